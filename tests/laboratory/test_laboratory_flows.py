"""The contract of flows on R^d: every registered architecture keeps it."""

import copy
import math

import pytest
import torch

from latticeflow.laboratory import METHODS, DivergedError, Effort, seeded
from latticeflow.laboratory.measures.mode_measures import sliced_emd
from latticeflow.laboratory.methods.architectures import ARCHITECTURES
from latticeflow.laboratory.methods.continuous import ContinuousFlow, Velocity
from latticeflow.laboratory.methods.density_objectives import (
    OBJECTIVES,
    DensityCritic,
    critic_loss,
    fisher_divergence,
    train,
)
from latticeflow.laboratory.methods.flow_methods import FlowMethod
from latticeflow.laboratory.targets import GaussianMixture, XYLattice, build_target
from latticeflow.laboratory.targets.mixtures import circle
from latticeflow.training.objectives import Objective
from mcmc import InputError

every_flow = pytest.mark.parametrize("name", sorted(ARCHITECTURES))
with_density = pytest.mark.parametrize(
    "name", sorted(name for name, each in ARCHITECTURES.items() if each.build(2, 0, 4).has_density)
)


def make(name, d=2, c=1, *, disturb=0.15, bounds=None):
    """A flow in float64 away from its initial state, which may be special."""
    torch.manual_seed(1)
    flow = ARCHITECTURES[name].build(d, c, 16).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(disturb * torch.randn_like(parameter))
        flow.location.copy_(torch.linspace(-0.5, 0.5, d))
        flow.scale.copy_(torch.linspace(0.8, 1.2, d))
    flow.bounds = bounds
    if isinstance(flow, ContinuousFlow):
        flow.steps = 8
        flow.exact = True
    return flow.eval()


@with_density
@pytest.mark.parametrize("bounds", [None, (-math.pi, math.pi)])
def test_density_is_normalised(name, bounds):
    many_layers = name.startswith(("realnvp16", "realnvp32", "glow12"))
    flow = make(name, bounds=bounds, disturb=0.05 if many_layers else 0.15)  # else a part lies outside of the grid
    grid = torch.linspace(-13, 13, 105, dtype=torch.float64)
    if bounds is None:
        x, weight = grid, torch.full_like(grid, 0.25)
    else:  # the density vanishes at both ends, in a coordinate that stretches them
        z = torch.sigmoid(grid)
        x, weight = 2 * math.pi * z - math.pi, 0.25 * 2 * math.pi * z * (1 - z)
    points, weights = torch.cartesian_prod(x, x), torch.cartesian_prod(weight, weight).prod(1)
    if isinstance(flow, ContinuousFlow):
        flow.steps = 1
    with torch.no_grad():
        condition = torch.full((len(points), 1), 0.3, dtype=torch.float64)
        total = float((flow.log_prob(points, condition).exp() * weights).sum())
    assert total == pytest.approx(1, abs=2e-3)


@every_flow
@pytest.mark.parametrize("d", [2, 3])
def test_draws_are_the_inverse_of_densities(name, d):
    flow = make(name, d)
    z = torch.randn(20, flow.noise_dimension, dtype=torch.float64)
    condition = torch.rand(20, 1, dtype=torch.float64)
    with torch.no_grad():
        u, log_det = flow.to_data(z, condition)
        if not flow.has_density:
            assert u.shape == (20, d)
            return
        back, again = flow.to_noise(u, condition)
    torch.testing.assert_close(back, z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_det, again, rtol=1e-5, atol=1e-5)


@with_density
def test_log_determinant_is_that_of_autograd(name):
    flow, condition = make(name, 3), torch.full((1, 1), 0.7, dtype=torch.float64)
    if isinstance(flow, ContinuousFlow):
        flow.steps = 2
    for x in torch.randn(2, 3, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda y: flow.to_noise(y[None], condition)[0][0], x)
        log_det = flow.to_noise(x[None], condition)[1][0]
        torch.testing.assert_close(jacobian.det().abs().log(), log_det, rtol=1e-4, atol=1e-4)


@with_density
def test_draws_bring_their_own_density(name):
    flow = make(name, 3)
    condition = torch.rand(30, 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        x, log_q = flow.rsample(30, condition, generator)
        torch.testing.assert_close(flow.log_prob(x, condition), log_q, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(flow.log_prob(x, 1 - condition), log_q)  # the condition matters


@every_flow
def test_gradients_reach_every_parameter(name):
    flow = make(name).train()
    x, condition = torch.randn(64, 2, dtype=torch.float64), torch.rand(64, 1, dtype=torch.float64)
    flow.loss(x, condition).backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert bool((parameter.grad != 0).any()), key


@pytest.mark.parametrize("name", sorted({*ARCHITECTURES} - {"augmented"}))
def test_gradients_pass_through_draws(name):
    """The gradient of E_q[f] by draws is that of shifting a parameter, at the same noise."""
    flow = make(name)
    condition = torch.rand(16, 1, dtype=torch.float64)

    def mean():
        x, log_q = flow.rsample(16, condition, torch.Generator().manual_seed(3))
        return (x.square().sum(1) + log_q).mean()

    mean().backward()
    parameter = next(p for p in flow.parameters() if p.grad is not None and bool((p.grad != 0).any()))
    k = int(parameter.grad.abs().argmax())
    with torch.no_grad():
        parameter.view(-1)[k] += 1e-5
        upper = mean()
        parameter.view(-1)[k] -= 2e-5
        lower = mean()
    assert float((upper - lower) / 2e-5) == pytest.approx(float(parameter.grad.view(-1)[k]), rel=1e-3)


@every_flow
def test_state_is_saved_and_loaded(name):
    flow = make(name)
    torch.manual_seed(9)
    other = ARCHITECTURES[name].build(2, 1, 16).double().eval()
    if isinstance(other, ContinuousFlow):
        other.steps, other.exact = flow.steps, flow.exact
    other.load_state_dict(copy.deepcopy(flow.state_dict()))
    condition = torch.rand(9, 1, dtype=torch.float64)
    for each in (flow, other):
        with torch.no_grad():
            each.result = each.rsample(9, condition, torch.Generator().manual_seed(4))[0]
    assert torch.equal(flow.result, other.result)


def test_products_of_the_velocity_are_those_of_autograd():
    torch.manual_seed(0)
    velocity, x = Velocity(3, 1, 8).double(), torch.randn(1, 3, dtype=torch.float64)
    t, c = torch.tensor(0.3, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    v, products = velocity.with_products(t, x, c, torch.eye(3, dtype=torch.float64)[:, None])
    torch.testing.assert_close(v, velocity(t, x, c))
    jacobian = torch.autograd.functional.jacobian(lambda y: velocity(t, y[None], c)[0], x[0])
    torch.testing.assert_close(products[:, 0].T, jacobian)


def test_hutchinson_estimates_the_exact_trace():
    flow = make("continuous", 3)
    x, condition = torch.randn(1, 3, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    with torch.no_grad():
        _, exact = flow.to_noise(x, condition)
        flow.exact = False
        torch.manual_seed(0)
        _, estimates = flow.to_noise(x.expand(4000, -1), condition.expand(4000, -1))
    error = float(estimates.std()) / math.sqrt(4000)
    assert error > 0
    assert abs(float(estimates.mean() - exact)) < 5 * error


def test_regularisers_straighten_the_paths():
    flow = make("continuous").train()
    x, condition = torch.randn(32, 2, dtype=torch.float64), torch.rand(32, 1, dtype=torch.float64)
    plain = float(flow.loss(x, condition).detach())
    flow.kinetic = 1.0
    kinetic = float(flow.loss(x, condition).detach()) - plain
    u, _ = flow._inside(x)
    z, _, _ = flow._integrate(u, condition, False)
    # The action of a path is at least that of the straight one.
    assert kinetic >= float((z - u).detach().square().sum(1).mean()) * (1 - 1e-6)


@pytest.mark.parametrize("objective", sorted({*OBJECTIVES} - {"wasserstein"}))
def test_every_objective_brings_a_flow_nearer(objective):
    """From one Gaussian to two: the forward KL falls, and where the critic rules alone the earth mover's distance."""
    target = GaussianMixture("pair", circle(2, 1.5, 0.25), 0.5)
    with seeded(0) as generator:
        flow = ARCHITECTURES["realnvp"].build(2, 0, 16)
        flow.prepare(target, target.sample(2048, generator=generator), None)
        x = target.sample(2000, generator=generator)

        def distance():
            with torch.no_grad():
                if OBJECTIVES[objective].terms == Objective(adversarial=1.0):
                    return sliced_emd(flow.rsample(2000, None, generator)[0], x, generator)
                return float((target.log_prob(x) - flow.log_prob(x)).mean())

        before = distance()
        train(flow, target, OBJECTIVES[objective], Effort(steps=150, batch=64, width=16), generator=generator)
        after = distance()
    assert before > 0.2
    assert after < 0.7 * before


def test_fisher_divergence_vanishes_for_the_truth_and_is_blind_to_weights():
    target = build_target("mog4")
    flow = make("realnvp", c=0)
    x = target.sample(50, generator=torch.Generator().manual_seed(0)).double()
    assert float(fisher_divergence(flow, target, x, None).detach()) > 1

    class Reweighted:
        scale = flow.scale

        @staticmethod
        def log_prob(x, condition):
            return GaussianMixture("m", target.means, 0.3, weights=torch.tensor([1.0, 2.0, 3.0, 4.0])).log_prob(x)

    assert float(fisher_divergence(Reweighted(), target, x, None).detach()) < 1e-6


def test_critics_reward_what_they_should():
    target = build_target("ring8")
    critic = DensityCritic(target, torch.zeros(2), torch.ones(2))
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
        real, fake = torch.zeros(4, 2), torch.ones(4, 2)
    assert float(critic_loss(critic, "jensen_shannon", real, fake, None).detach()) == pytest.approx(2 * math.log(2))
    # A critic without slope pays the whole penalty.
    assert float(critic_loss(critic, "wasserstein", real, fake, None).detach()) == pytest.approx(10, abs=1e-4)


def test_wasserstein_critic_learns_a_slope_of_one():
    """The best critic of a shifted Gaussian is the coordinate along the shift: that is what moves the flow."""
    torch.manual_seed(0)
    critic = DensityCritic(build_target("mog4"), torch.zeros(2), torch.ones(2))
    optimiser = torch.optim.Adam(critic.parameters(), 5e-3)
    for _ in range(200):
        real, fake = torch.randn(64, 2), torch.randn(64, 2) + torch.tensor([2.0, 0.0])
        loss = critic_loss(critic, "wasserstein", real, fake, None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = (torch.randn(200, 2) + torch.tensor([1.0, 0.0])).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x, None).sum(), x)
    assert float(slope[:, 0].mean()) == pytest.approx(-1, abs=0.25)
    assert abs(float(slope[:, 1].mean())) < 0.25


def test_divergence_is_caught_and_nonsense_refused():
    class Broken(GaussianMixture):
        def _log_prob(self, x, condition):
            return x.double().sum(1) * float("nan")

    target = Broken("broken", circle(2, 1.0), 0.5)
    with pytest.raises(DivergedError, match="step 0"):
        FlowMethod("realnvp", "reverse_kl").fit(target, Effort(steps=3, batch=8, width=8))
    with pytest.raises(InputError, match="realnvp"):
        FlowMethod("nonsense")
    assert not FlowMethod("realnvp", "reverse_kl").supports(build_target("digits"))


def test_a_mixture_of_flows_has_the_density_of_its_draws():
    """E_q[p / q] = 1 for any density p that q covers: here for one of its parts."""
    target, generator = build_target("mog8"), torch.Generator().manual_seed(1)
    sampler = METHODS["realnvp_reverse_kl_mixture8"].fit(target, Effort(steps=800, batch=64, width=16), seed=3)
    x = sampler.sample(4000, generator=generator)

    def mean_ratio(log_q):
        ratio = (sampler.parts[0].log_prob(x) - log_q).exp()
        return float(ratio.mean()), float(ratio.std()) / math.sqrt(len(ratio))

    mean, error = mean_ratio(sampler.log_prob(x))
    assert abs(mean - 1) < 5 * error
    mean, error = mean_ratio(sampler.log_prob(x) - 0.5)  # not normalised
    assert abs(mean - 1) > 5 * error


@pytest.mark.parametrize("name", ["multiscale_log_variance", "multiscale_reverse_kl"])
def test_lattice_flows_draw_at_the_condition_and_know_their_density(name):
    target = XYLattice("xy4", 4, (0.5, 1.0), draws=64)
    method = METHODS[name]
    assert method.supports(target)
    assert not method.supports(build_target("ring8"))
    sampler = method.fit(target, Effort(steps=25, batch=64), seed=1)
    energies = []
    for c in (0.0, 1.0):
        condition = torch.full((300, 1), c)
        x = sampler.sample(300, condition=condition, generator=torch.Generator().manual_seed(2))
        log_w = target.log_prob(x, condition) - sampler.log_prob(x, condition)
        energies.append(float(target.model.energy(x.view(-1, 4, 4)).mean()))
        assert 0.1 < float(log_w.std()) < 5  # of a density on the same angles, and not yet a perfect one
    assert energies[0] < energies[1] - 2
