"""What every registered flow must satisfy, for both models."""

import copy
import math

import numpy as np
import pytest
import torch

from latticeflow.chains.importance import importance
from latticeflow.chains.neural_mcmc import NeuralChains
from latticeflow.flows import FLOWS, build_flow, checkpoint
from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.quality.compare import compare
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.sampling.generate import generate_file
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble
from tests import oracle
from tests.helpers import RANGE, make

MODELS = [XY(), ExtendedXY(1.0, 0.5)]
# A colon goes before another base density than the flow's own.
CASES = [*sorted(FLOWS), "spline:uniform"]
every_flow = pytest.mark.parametrize("name", CASES)
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


@every_flow
@every_model
def test_density_is_normalised_on_2x2(name, model):
    flow = make(name, model, 2, 2, disturb=0.05 if name == "realnvp" else 0.1).double()
    smooth = flow.name == "multiscale"
    if flow.seamless:
        # The trapezoidal rule of a smooth periodic function converges faster than any power; splines have kinks.
        points = 18 if smooth else 36
        grid = torch.arange(points, dtype=torch.float64) * 2 * math.pi / points - math.pi
        weight = torch.full_like(grid, 2 * math.pi / points)
    else:
        # So it does for a density that vanishes at both ends, in a coordinate that stretches them.
        stretched = torch.linspace(-12, 12, 25, dtype=torch.float64)
        z = torch.sigmoid(stretched)
        grid, weight = 2 * math.pi * z - math.pi, 2 * math.pi * z * (1 - z)
    weights = torch.cartesian_prod(weight, weight, weight).prod(-1)
    with torch.no_grad():
        if flow.symmetric:  # then every first angle gives the same
            grid_of_first, weight = grid[:1], torch.tensor([2 * math.pi])
        else:
            grid_of_first = grid
        total = sum(
            float(first_weight * (flow.log_prob(corner(first, grid), 1.5).exp() * weights).sum())
            for first, first_weight in zip(grid_of_first, weight, strict=True)
        )
    assert total == pytest.approx(1, abs=1e-5 if smooth else 2e-3)


def corner(first, grid):
    """All 2x2 configurations on a grid whose first angle is given."""
    return torch.cartesian_prod(first[None], grid, grid, grid).view(-1, 2, 2)


@every_model
@pytest.mark.parametrize(("name", "shape"), [("multiscale", (2, 2)), ("multiscale", (3, 3)), ("spline", (2, 2))])
def test_mean_weight_of_draws_is_the_partition_function(name, model, shape):
    """E_q[exp(-E/T) / q] = Z for normalised densities that have all of the target in reach."""
    flow, T = make(name, model, *shape, disturb=0.1), 1.0
    log_Z, _ = oracle.log_partition(model, *shape, 1 / T, 8)
    theta, log_q = flow.sample(40_000, T, generator=torch.Generator().manual_seed(2))
    ratio = np.exp((-model.energy(theta) / T - log_q.detach()).numpy() - log_Z)
    error = ratio.std() / math.sqrt(len(ratio))
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 5 * error
    assert abs(1.2 * ratio.mean() - 1) > 5 * error  # a density that integrates to 1 / 1.2


@every_flow
@every_model
def test_draws_follow_their_density(name, model):
    """E_q[p / q] = 1 for any density p: here that of a slightly higher temperature."""
    flow = make(name, model, 4, 4, disturb=0.1)

    def mean_ratio(drawn_at):
        theta, _ = flow.sample(20_000, drawn_at, generator=torch.Generator().manual_seed(2))
        ratio = (flow.log_prob(theta, 1.05) - flow.log_prob(theta, 1.0)).detach().exp().numpy()
        return ratio.mean(), ratio.std() / math.sqrt(len(ratio))

    mean, error = mean_ratio(1.0)
    assert abs(mean - 1) < 5 * error
    mean, error = mean_ratio(1.3)  # draws of another density fail the same check
    assert abs(mean - 1) > 5 * error


@every_flow
@every_model
def test_draws_bring_their_own_density(name, model):
    flow = make(name, model, 4, 4)
    T = torch.linspace(*RANGE, 50)
    theta, log_q = flow.sample(50, T, generator=torch.Generator().manual_seed(3))
    assert theta.dtype == torch.float32
    assert log_q.dtype == torch.float64
    assert theta.shape == (50, 4, 4)
    assert bool(((theta >= -math.pi) & (theta < math.pi)).all())
    torch.testing.assert_close(flow.log_prob(theta, T), log_q, rtol=1e-5, atol=1e-4)


@every_flow
@every_model
def test_density_is_periodic_in_every_angle(name, model):
    flow = make(name, model, 4, 4).double()
    theta = 2 * math.pi * torch.rand(8, 4, 4, dtype=torch.float64) - math.pi
    turns = torch.randint(-2, 3, theta.shape)
    torch.testing.assert_close(
        flow.log_prob(theta + 2 * math.pi * turns, 1.0), flow.log_prob(theta, 1.0), rtol=1e-5, atol=1e-7
    )
    if not flow.seamless:
        pytest.skip("the density of the published flow jumps at the cut")
    before, after = theta.clone(), theta.clone()
    before[:, 1, 2], after[:, 1, 2] = math.pi - 1e-9, -math.pi + 1e-9
    torch.testing.assert_close(flow.log_prob(before, 1.0), flow.log_prob(after, 1.0), rtol=0, atol=1e-6)


@every_flow
@every_model
def test_density_is_invariant_under_rotation_and_reflection_where_promised(name, model):
    flow = make(name, model, 4, 4).double()
    theta = 2 * math.pi * torch.rand(8, 4, 4, dtype=torch.float64) - math.pi
    expected = flow.log_prob(theta, 1.0)
    for same in (theta + 1.234, -theta):
        if flow.symmetric:
            torch.testing.assert_close(flow.log_prob(same, 1.0), expected, rtol=1e-7, atol=1e-7)
        else:
            assert (flow.log_prob(same, 1.0) - expected).abs().max().item() > 0.1
    # What is no symmetry of the models changes the density of each.
    theta[:, 1] += 1.234
    assert (flow.log_prob(theta, 1.0) - expected).abs().max().item() > 0.1


@every_flow
@every_model
def test_a_file_brings_back_the_same_density(name, model, tmp_path):
    flow = make(name, model, 4, 4)
    checkpoint.save(tmp_path / "flow.pt", flow, {})
    loaded = checkpoint.load(tmp_path / "flow.pt").flow
    theta = 2 * math.pi * torch.rand(8, 4, 4) - math.pi
    torch.testing.assert_close(loaded.log_prob(theta, 1.0), flow.log_prob(theta, 1.0), rtol=0, atol=0)
    assert (type(loaded), loaded.sizes, loaded.temperatures) == (type(flow), flow.sizes, flow.temperatures)
    other = make(name, model, 4, 4, disturb=0.21).log_prob(theta, 1.0)
    assert (other - flow.log_prob(theta, 1.0)).abs().max().item() > 1e-3


@every_flow
@every_model
@pytest.mark.parametrize("shape", [(2, 4), (8, 4), (6, 6)])
def test_rectangles_are_drawn(name, model, shape):
    flow = make(name, model, *shape, disturb=0.05)
    T = torch.linspace(*RANGE, 20)
    theta, log_q = flow.sample(20, T, generator=torch.Generator().manual_seed(7))
    assert theta.shape == (20, *Lattice(*shape).shape)
    torch.testing.assert_close(flow.log_prob(theta, T), log_q, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["realnvp", "spline"])
def test_lattices_whose_colours_do_not_close_are_refused(name):
    for shape in ((3, 3), (4, 5)):
        with pytest.raises(InputError, match=f"a {shape[0]}x{shape[1]} lattice .*every side must be even"):
            build_flow(name, XY(), Lattice(*shape), RANGE)


@every_flow
@every_model
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_gpu_follows_cpu(name, model):
    flow = make(name, model, 4, 4)
    theta, _ = flow.sample(64, 1.0, generator=torch.Generator().manual_seed(8))
    there = copy.deepcopy(flow).cuda()
    torch.testing.assert_close(there.log_prob(theta.cuda(), 1.0).cpu(), flow.log_prob(theta, 1.0), rtol=1e-4, atol=1e-3)
    drawn, log_q = there.sample(64, 1.0, generator=torch.Generator("cuda").manual_seed(8))
    assert drawn.is_cuda
    torch.testing.assert_close(flow.log_prob(drawn.cpu(), 1.0), log_q.cpu(), rtol=1e-4, atol=1e-3)


@every_flow
@every_model
def test_gradients_reach_every_parameter(name, model):
    flow = make(name, model, 4, 4)
    theta, _ = flow.sample(64, 1.0, generator=torch.Generator().manual_seed(4))
    flow.log_prob(theta, 1.0).mean().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.isfinite().all()), key
        assert bool((parameter.grad != 0).any()), key


@every_flow
@every_model
def test_gradient_of_a_draw_is_that_of_its_density(name, model):
    flow = make(name, model, 4, 4)
    theta, log_q = flow.sample(32, 1.0, generator=torch.Generator().manual_seed(4))
    assert not theta.requires_grad
    drawn = torch.autograd.grad(log_q.mean(), list(flow.parameters()))
    known = torch.autograd.grad(flow.log_prob(theta, 1.0).mean(), list(flow.parameters()))
    for a, b in zip(drawn, known, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@every_flow
@every_model
def test_single_precision_follows_double(name, model):
    flow = make(name, model, 8, 8)
    theta, _ = flow.sample(64, 0.5, generator=torch.Generator().manual_seed(5))
    double = copy.deepcopy(flow).double().log_prob(theta.double(), 0.5)
    torch.testing.assert_close(flow.log_prob(theta, 0.5), double, rtol=1e-5, atol=2e-3)


@every_flow
def test_one_configuration_is_a_batch(name):
    flow = make(name, XY(), 4, 4)
    theta, log_q = flow.sample(1, torch.tensor(1.0))
    assert theta.shape == (1, 4, 4)
    assert log_q.shape == (1,)
    together = flow.sample(5, torch.tensor(1.0))[0]
    apart = torch.cat([flow.log_prob(one[None], 1.0) for one in together])
    torch.testing.assert_close(flow.log_prob(together, 1.0), apart, rtol=1e-5, atol=1e-4)


@every_flow
def test_wrong_shapes_are_named(name):
    flow = make(name, XY(), 4, 4)
    with pytest.raises(InputError, match=r"expected configurations of shape \(n, 4, 4\); got \(2, 4, 8\)"):
        flow.log_prob(torch.zeros(2, 4, 8), 1.0)
    with pytest.raises(InputError, match=r"temperature of shape \(3,\)"):
        flow.log_prob(torch.zeros(2, 4, 4), torch.ones(3))


def test_unknown_flow_and_size_are_named():
    with pytest.raises(InputError, match="unknown flow 'realnvpp': did you mean 'realnvp'"):
        build_flow("realnvpp", XY(), Lattice(4, 4), RANGE)
    with pytest.raises(InputError, match="widht"):
        build_flow("multiscale", XY(), Lattice(4, 4), RANGE, widht=3)
    for size in ("harmonics", "directions", "products", "seen"):
        with pytest.raises(InputError, match=f"{size} = 0 of a multiscale flow must be at least 1"):
            build_flow("multiscale", XY(), Lattice(4, 4), RANGE, **{size: 0})


def test_a_file_whose_sizes_are_unknown_is_refused_with_the_remedy(tmp_path):
    flow = make("multiscale", XY(), 4, 4)
    flow.sizes["components"] = flow.sizes.pop("harmonics")  # as an earlier revision wrote it
    checkpoint.save(tmp_path / "old.pt", flow, {})
    with pytest.raises(InputError, match=r"old.pt was made by another revision.*no size 'components'.*train it anew"):
        checkpoint.load(tmp_path / "old.pt")


@every_model
def test_redrawing_keeps_the_coarse_sites_and_follows_its_density(model):
    flow = make("multiscale", model, 4, 4)
    theta = flow.sample(64, 1.0, generator=torch.Generator().manual_seed(20))[0]
    schedule = coarse_to_fine(flow.lattice, model)
    assert flow.depths == len(schedule.groups)
    for keep in range(flow.depths):
        drawn, new, old = flow.redraw(theta, 1.0, keep, generator=torch.Generator().manual_seed(21))
        kept = np.concatenate([[0], *(group.sites for group in schedule.groups[:keep])])
        same = (drawn == theta).flatten(1)
        assert bool(same[:, kept].all())
        assert not bool(same[:, np.setdiff1d(np.arange(16), kept)].any())
        # What is kept has the same density before and after.
        torch.testing.assert_close(new - old, flow.log_prob(drawn, 1.0) - flow.log_prob(theta, 1.0), atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="does not exist"):
        flow.redraw(theta, 1.0, flow.depths)


def test_every_use_outside_of_the_range_warns_once(tmp_path):
    flow, temperatures = make("multiscale", XY(), 4, 4), (1.0, 3.0)
    generate_file(Settings(XY(), Lattice(4, 4), temperatures, thermalise=20, thin=1), tmp_path / "xy4.h5", draws=8)
    with Ensemble.open(tmp_path / "xy4.h5") as ensemble:
        uses = [
            lambda: NeuralChains(flow, temperatures),
            lambda: importance(flow, temperatures, draws=10),
            lambda: compare(flow, ensemble, draws=10),
        ]
        for use in uses:
            with pytest.warns(UserWarning, match=r"temperatures 0.5 to 2: at 3 expect few accepted") as caught:
                use()
            assert len(caught) == 1
            assert caught[0].filename == __file__  # it names the line that used the flow
    NeuralChains(flow, RANGE)  # silent at the ends
