"""Training whose steps do not grow with the lattice, and the way from a small lattice to a large one."""

import json

import numpy as np
import pytest
import torch

import latticeflow
import mcmc
from latticeflow.flows import Multiscale, build_flow, checkpoint, generalised_von_mises, multiscale
from latticeflow.flows.transfer import enlarge
from latticeflow.training import coarse_draws, growth
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.growth import lattices_to, shared
from latticeflow.training.objectives import OBJECTIVES, SCHEDULES
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.runtime.stop import Stop
from mcmc.storage.loader import Loader
from tests.helpers import After

TEMPERATURES = (0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def ensemble():
    return mcmc.generate(XY(), size=16, temperatures=TEMPERATURES, draws=20, thermalise=50, thin=2)


def small(model=None, side=4, sides=None, **sizes):
    torch.manual_seed(1)
    sizes = {"invariants": 8, "vectors": 4, "products": 3, "width": 16, **sizes}
    return build_flow("multiscale", model or XY(), Lattice(*(sides or (side, side))), (0.5, 2.0), **sizes)


@pytest.mark.parametrize("model", [XY(), ExtendedXY()], ids=lambda model: model.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_estimate_on_random_sites_is_unbiased(model, dtype):
    """The mean of 60 estimates against all sites, each averaged by quadrature over its law given all others; z < 5.

    One that leaves a site of a group out would be seen.
    """
    flow = small(model, 8).to(dtype)
    generator = torch.Generator().manual_seed(2)
    T = torch.linspace(0.5, 2.0, 24, dtype=dtype)
    angles = torch.arange(64, dtype=dtype) * (2 * np.pi / 64)
    directions = torch.stack((angles.cos(), angles.sin()))[:, None, :, None]
    with torch.no_grad():
        theta = flow.sample(24, T, generator=generator)[0]
        found = np.array([float(flow.estimate_nll(theta, T, rows=600, generator=generator)) for _ in range(60)])
        u, h = torch.stack((theta.cos(), theta.sin())).flatten(2), model.field(theta).flatten(1)
        exact = 0.0
        for conditioner, nodes, sites, table in flow._groups():
            c = conditioner(u[:, :, table], T)[:, :, None]
            log_q = generalised_von_mises.log_prob(c, directions.expand(2, 24, 64, len(sites)), nodes=nodes)
            around = h[:, None, sites] * torch.polar(torch.ones_like(angles), -angles)[:, None]
            exact -= float((torch.softmax(around.real / T[:, None, None], 1) * log_q).sum() / 24)
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - exact) < 5 * error
    assert abs(found.mean() - 0.95 * exact) > 5 * error


def test_gradient_of_the_estimate_is_that_of_all_sites(monkeypatch):
    """Summed over many choices of few and of many sites; and that of a fused step is that of plain torch."""
    flow = small(ExtendedXY(), 8)
    generator = torch.Generator().manual_seed(3)
    T = torch.linspace(0.5, 2.0, 32)
    theta = flow.sample(32, T, generator=generator)[0]
    cosine = torch.nn.functional.cosine_similarity

    def gradient(rows, times=1):
        losses = [flow.estimate_nll(theta, T, rows=rows, generator=generator) for _ in range(times)]
        gradients = torch.autograd.grad(sum(losses) / times, list(flow.parameters()))
        return torch.cat([each.flatten() for each in gradients])

    whole, mean, one = gradient(10_000, 20), gradient(400, 40), gradient(400)
    assert cosine(mean, whole, dim=0) > 0.97
    assert cosine(mean, whole, dim=0) > cosine(one, whole, dim=0)
    generator.manual_seed(4)
    fused_gradient = gradient(400)
    monkeypatch.setattr("latticeflow.flows.multiscale.serves", lambda *_: False)
    flow, theta, T = flow.double(), theta.double(), T.double()
    generator.manual_seed(4)
    plain = gradient(400)
    assert float((fused_gradient - plain).norm() / plain.norm()) < 1e-3


def test_steps_on_random_sites_take_as_many_of_them_on_any_lattice(monkeypatch):
    from latticeflow.flows import fused

    rows = []
    right = fused.log_prob
    monkeypatch.setattr(
        fused, "log_prob", lambda c, seen, *a, **k: rows.append(seen.shape[-1]) or right(c, seen, *a, **k)
    )
    evaluated = []
    for side, n in ((16, 64), (64, 16)):
        rows.clear()
        small(side=side).estimate_nll(torch.zeros(n, side, side), torch.linspace(0.5, 2.0, n), rows=4000)
        evaluated.append(sum(rows))
    assert evaluated == pytest.approx([4000, 4000], rel=0.25)


def test_sites_first_changes_its_objective_and_resumes_exactly(ensemble, tmp_path):
    assert set(SCHEDULES) <= set(OBJECTIVES)
    how = {"objective": "sites_first", "steps": 10, "rows": 500, "batch_draws": 4, "device": "cpu", "seed": 5}
    sizes = dict(small().sizes)
    whole = latticeflow.train(ensemble, sizes=sizes, log=tmp_path / "log.jsonl", **how)
    acceptance = [json.loads(line)["acceptance"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [value is None or np.isnan(value) for value in acceptance] == [True] * 7 + [False] * 3
    out = tmp_path / "flow.pt"
    for stop in (After(4), After(4), Stop()):
        latticeflow.train(ensemble, sizes=sizes, out=out, resume=True, stop=stop, **how)
    assert checkpoint.fingerprint(checkpoint.load(out).flow) == checkpoint.fingerprint(whole)


def test_training_grows_through_the_lattices_between(ensemble, tmp_path):
    start = small(side=4)
    assert [each.Lx for each in lattices_to(start, Lattice(16, 16))] == [8, 16]
    assert lattices_to(start, Lattice(12, 12)) == [Lattice(12, 12)]
    assert lattices_to(start, start.lattice) == [start.lattice]
    assert shared(TrainingSettings(minutes=3.0), 3).minutes == 1.0
    how = {"start": start, "steps": 6, "batch_draws": 2, "device": "cpu"}
    grown = latticeflow.train(ensemble, log=tmp_path / "log.jsonl", **how)
    assert grown.lattice == Lattice(16, 16)
    assert grown.history["steps"] == 3
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 6
    out = tmp_path / "flow.pt"
    latticeflow.train(ensemble, out=out, stop=After(2), **how)
    assert checkpoint.load(out).flow.lattice == Lattice(8, 8)
    other = mcmc.generate(XY(), size=32, temperatures=TEMPERATURES, draws=5, thermalise=5, thin=1)
    with pytest.raises(InputError, match="was trained for"):
        latticeflow.train(other, out=out, resume=True, **how)
    latticeflow.train(ensemble, out=out, resume=True, **how)
    resumed = checkpoint.load(out)
    assert resumed.training is None
    assert checkpoint.fingerprint(resumed.flow) == checkpoint.fingerprint(grown)


def test_a_small_file_holds_a_rounded_flow(tmp_path):
    flow = small(side=8, width=64)
    for name, is_small in (("whole.pt", False), ("small.pt", True)):
        checkpoint.save(tmp_path / name, flow, {}, small=is_small)
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.pt", "small.pt")]
    assert sizes[1] < 0.5 * sizes[0]
    rounded = checkpoint.load(tmp_path / "small.pt").flow
    assert rounded.dtype == torch.float32
    T = torch.linspace(0.5, 2.0, 20)
    theta, log_q = rounded.sample(20, T, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(log_q, rounded.log_prob(theta, T), rtol=0, atol=1e-3)
    difference = (rounded.log_prob(theta, T) - flow.log_prob(theta, T)).abs().max()
    assert 0 < difference < 0.05


def parameters(flow):
    return [[each.detach().clone() for each in net.parameters()] for net in flow.conditioners]


def test_fine_groups_keep_their_nets(ensemble):
    start = small(side=16)
    trained = latticeflow.train(
        ensemble, start=start, objective="ensemble_variance", least_spacing=4, steps=3, batch_draws=4, device="cpu"
    )
    assert set(start.spacings) == {16, 8, 4, 2}
    for spacing, old, new in zip(start.spacings, parameters(start), parameters(trained), strict=True):
        same = [torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        assert all(same) if spacing < 4 else not all(same)
    # All of them go on to learn where they are asked to.
    more = latticeflow.train(ensemble, start=trained, objective="ensemble_variance", steps=2, batch_draws=4)
    assert not torch.equal(parameters(more)[-1][0], parameters(start)[-1][0])


def test_density_and_gradients_are_the_same_whether_fine_groups_are_trained(monkeypatch):
    flow = small(side=16)
    T = torch.linspace(0.5, 2.0, 64)
    theta = flow.sample(64, T, seed=1)[0]
    coarse = [p for s, net in zip(flow.spacings, flow.conditioners, strict=True) if s >= 8 for p in net.parameters()]
    whole = flow.log_prob(theta, T)
    gradients = torch.autograd.grad(whole.sum(), coarse)
    flow.requires_grad_(False)
    for each in coarse:
        each.requires_grad_(True)
    for sites in (2**17, 2**13):  # at once, and in pieces
        monkeypatch.setitem(multiscale._SITES_AT_A_TIME, "cpu", sites)
        part = flow.log_prob(theta, T)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-3)
        for known, found in zip(gradients, torch.autograd.grad(part.sum(), coarse), strict=True):
            torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-3)
    flow.requires_grad_(False)
    assert not flow.log_prob(theta, T).requires_grad


@pytest.mark.parametrize("kept", [2, 256])
def test_large_lattices_train_their_coarse_groups(ensemble, tmp_path, monkeypatch, caplog, kept):
    monkeypatch.setattr(growth, "LARGE", 100)
    monkeypatch.setattr(coarse_draws, "KEPT", kept)
    start = small(side=8)
    how = {"start": start, "steps": 6, "batch_draws": 2, "device": "cpu"}
    assert "ensemble_variance" not in str(latticeflow.train(ensemble, **how).history["training"])  # no trained nets
    start.history = {"steps": 1}
    out = tmp_path / "flow.pt"
    whole = latticeflow.train(ensemble, **how)
    assert whole.history["training"]["least_spacing"] == 4
    assert torch.equal(parameters(whole)[-1][0], parameters(enlarge(start, Lattice(16, 16)))[-1][0])
    latticeflow.train(ensemble, out=out, stop=After(2), **how)
    with caplog.at_level("WARNING"):
        resumed = latticeflow.train(ensemble, out=out, resume=True, **how)
    assert "going on by the settings" not in caplog.text
    assert checkpoint.fingerprint(resumed) == checkpoint.fingerprint(whole)
    # Who asks for an objective gets it, for all nets.
    asked = latticeflow.train(ensemble, objective="forward_kl", **how)
    assert asked.history["training"]["least_spacing"] is None


def test_coarse_groups_learn_from_draws_evaluated_once(ensemble, monkeypatch):
    """Their loss has the gradient of the variance of log w of whole draws; and only few of the draws are new."""
    flow = small(side=16)
    settings = TrainingSettings("ensemble_variance", least_spacing=8, steps=30, batch_draws=16)
    draws = ReferenceDraws(Loader(ensemble, np.random.default_rng(0)).sample, ensemble.temperatures, model=XY())
    trainer = Trainer(flow, settings, draws)
    evaluated = []
    right = Multiscale.log_prob
    monkeypatch.setattr(
        Multiscale, "log_prob", lambda self, theta, T: evaluated.append(len(theta)) or right(self, theta, T)
    )
    trainer.step()
    trainer.step()
    assert evaluated == [3 * 2] * 2
    theta, T, rest = trainer.coarse.batch(3, 4, torch.Generator().manual_seed(1))
    flat = theta.flatten(0, 1)
    log_w = -flow.model.energy(flat) / T.flatten() - right(flow, flat, T.flatten()).detach()
    known = log_w + flow.log_prob_of_coarse(flat, T.flatten(), trainer.coarse.end)
    torch.testing.assert_close(rest.flatten(), known.detach(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("sides", "least"), [((32, 32), 8), ((64, 64), 16), ((40, 40), 8), ((48, 40), 8), ((16, 16, 16), 4)]
)
def test_coarse_groups_of_any_lattice_are_some(sides, least):
    flow = small(XY(dimensions=len(sides)), sides=[side // 2 for side in sides])
    flow.history = {"steps": 1}
    lattice = Lattice(*sides)
    settings = growth.grown(TrainingSettings(minutes=1), flow, lattice)
    assert settings.least_spacing == least
    assert max(enlarge(flow, lattice).spacings) >= least


def test_a_spacing_that_leaves_nothing_is_refused(ensemble):
    with pytest.raises(InputError, match=r"least_spacing = 32 leaves nothing to train: .* a spacing of 16"):
        latticeflow.train(ensemble, start=small(side=16), least_spacing=32, steps=1)
    with pytest.raises(InputError, match="expected configurations of shape"):
        small().log_prob_of_coarse(torch.zeros(1, 8, 8), 1.0, 1)
    with pytest.raises(InputError, match="end = 0 must be from 1 to"):
        small().log_prob_of_coarse(torch.zeros(1, 4, 4), 1.0, 0)
    with pytest.raises(InputError, match="spline flow has no groups"):
        latticeflow.train(ensemble, flow="spline", least_spacing=2, steps=1)
