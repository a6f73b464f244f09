"""Neural chains are exact however bad the flow; without log q they are not."""

import math

import numpy as np
import pytest
import torch

from latticeflow.chains.neural_mcmc import NeuralChains, log_weights, propose, unit_size
from latticeflow.flows.weights import acceptance_of_weights, ess_forward, ess_reverse, longest_run, overlap
from mcmc import XY, ExtendedXY, InputError
from mcmc.analysis.statistics import estimate
from mcmc.kernels.independence import walk
from tests import oracle
from tests.helpers import make

# disturb = 0 is the untrained flow, a spin wave; 1 makes the nets nonsense.
QUALITIES = pytest.mark.parametrize("disturb", [0.0, 0.1, 0.15])


@QUALITIES
@pytest.mark.parametrize("model", [XY(), ExtendedXY()], ids=lambda model: model.name)
@pytest.mark.parametrize("side", [2, 3])
def test_energy_of_the_chain_is_exact(model, side, disturb):
    exact = oracle.exact(model, side, side, 1.0)["energy"]
    flow = make("multiscale", model, side, side, disturb=disturb)
    chains = NeuralChains(flow, [1.0], chains=8, seed=7)
    chains.block(200)
    block = chains.block(4000)
    found = estimate(block.series["energy"][0])
    assert found.error < 0.03
    assert abs(found.value - exact) < 5 * found.error
    # The negative control takes the proposal density for symmetric, and the same check rejects it.
    theta = propose(flow, 1.0, 32_000, generator=torch.Generator().manual_seed(7)).theta
    log_p = -model.energy(theta)
    log_u = np.log(np.random.default_rng(7).random((1, len(log_p))))
    symmetric = walk(log_p[None], log_u, np.array([-np.inf]))[0]
    wrong = estimate((model.energy(theta) / side**2)[symmetric])
    assert abs(wrong.value - exact) > 5 * wrong.error


def test_independence_kernel_leaves_the_target_invariant():
    """Transition matrix of the kernel on a discretised 2x2 model, from the kernel's own decisions."""
    rng = np.random.default_rng(8)
    points = 4
    grid = 2 * np.pi * np.arange(points) / points
    theta = np.stack(np.meshgrid(*[grid] * 4, indexing="ij"), -1).reshape(-1, 2, 2)
    p = np.exp(-XY().energy(theta))
    p /= p.sum()
    q = rng.dirichlet(np.ones(len(p)))
    log_w = np.log(p / q)
    # The kernel accepts while log u < log w_y - log w_x: its probability is that of the threshold.
    accept = np.minimum(1, np.exp(log_w[None] - log_w[:, None]))
    for x, y in rng.integers(0, len(p), (200, 2)):
        threshold = np.log(accept[x, y])
        for log_u, moves in ((threshold - 1e-12, True), (threshold + 1e-12, accept[x, y] == 1)):
            held = walk(log_w[None, [y]], np.array([[min(log_u, -1e-300)]]), log_w[[x]])
            assert (held[0, 0] == 0) == moves or x == y
    transition = accept * q
    np.fill_diagonal(transition, 0)
    np.fill_diagonal(transition, 1 - transition.sum(1))
    np.testing.assert_allclose(p @ transition, p, atol=1e-14)


def test_weights_that_are_not_finite_are_never_accepted():
    log_w = np.array([[0.0, np.nan, -np.inf, 1.0]])
    held = walk(log_w, np.full((1, 4), -1e-9), np.array([-np.inf]))
    assert held.tolist() == [[0, 0, 0, 3]]


@pytest.mark.parametrize("chains", [1, 3])
def test_draws_do_not_depend_on_blocks_or_restarts(chains):
    flow = make("multiscale", XY(), 4, 4)
    temperatures = [0.7, 1.3]
    whole = NeuralChains(flow, temperatures, chains=chains, seed=9)
    unit = unit_size(flow)
    expected = whole.block(unit + 40)
    first = NeuralChains(flow, temperatures, chains=chains, seed=9)
    parts = [first.block(n) for n in (1, 7, 30)]
    second = NeuralChains(flow, temperatures, chains=chains, seed=9, state=first.state())
    parts += [second.block(n) for n in (2, unit)]
    np.testing.assert_array_equal(np.concatenate([part.theta for part in parts], axis=2), expected.theta)
    for name, values in expected.series.items():
        np.testing.assert_array_equal(np.concatenate([part.series[name] for part in parts], axis=2), values)
    assert second.report() == whole.report()
    # Nor on what else is drawn at the same time.
    alone = NeuralChains(flow, temperatures[:1], chains=chains, seed=9).block(unit + 40)
    np.testing.assert_array_equal(alone.theta[0], expected.theta[0])
    other = NeuralChains(flow, temperatures, chains=chains, seed=10).block(40)
    assert not (other.theta == expected.theta[:, :, :40]).any()


def test_series_describe_the_chain():
    flow = make("multiscale", XY(), 4, 4, disturb=0.4)
    chains = NeuralChains(flow, [1.0], seed=11)
    block = chains.block(300)
    moved = np.append(True, (np.diff(block.theta[0, 0].reshape(300, -1), axis=0) != 0).any(1))
    np.testing.assert_array_equal(block.series["accepted"][0, 0], moved)
    np.testing.assert_allclose(block.series["energy"], XY().energy(block.theta) / 16, rtol=1e-12)
    np.testing.assert_allclose(block.series["log_weight"][0, 0], log_weights(flow, block.theta[0, 0], 1.0), atol=1e-3)
    report = chains.report()
    assert report["acceptance"][0] == pytest.approx(moved[1:].mean())
    assert report["longest_rejection_run"][0] == longest_run(moved)


def test_temperatures_outside_the_range_warn_and_stay_exact():
    flow = make("multiscale", XY(), 2, 2)
    with pytest.warns(UserWarning, match=r"trained for temperatures 0.5 to 2: at 4 expect few accepted"):
        chains = NeuralChains(flow, [4.0], chains=4, seed=12)
    found = estimate(chains.block(4000).series["energy"][0])
    assert abs(found.value - oracle.exact(XY(), 2, 2, 0.25)["energy"]) < 5 * found.error


def test_bad_temperatures_are_named():
    flow = make("multiscale", XY(), 2, 2)
    with pytest.raises(InputError, match=r"temperature -1\.0 must be a positive"):
        NeuralChains(flow, [-1.0])
    with pytest.raises(InputError, match="chains = 0"):
        NeuralChains(flow, [1.0], chains=0)


@pytest.mark.parametrize("s", [0.2, 0.7])
def test_weights_of_a_gaussian_give_the_known_acceptance_and_ess(s):
    """log w ~ N(-s^2/2, s^2) under q, N(s^2/2, s^2) under p: acceptance erfc(s/2), ESS exp(-s^2)."""
    rng = np.random.default_rng(13)
    under_q, under_p = (rng.normal(sign * s**2 / 2, s, 100_000) + 300 for sign in (-1, 1))
    assert acceptance_of_weights(under_q) == pytest.approx(math.erfc(s / 2), abs=0.005)
    assert ess_reverse(under_q) == pytest.approx(math.exp(-(s**2)), abs=0.01)
    assert ess_forward(under_p) == pytest.approx(math.exp(-(s**2)), abs=0.01)


def test_forward_ess_sees_the_mode_that_reverse_ess_misses():
    # q covers half of p, perfectly: its own weights are all equal; those of ensemble draws are not.
    assert ess_reverse(np.zeros(1000)) == pytest.approx(1)
    assert ess_forward(np.repeat([0.0, 30.0], 500)) < 1e-10


def test_overlap_counts_common_mass():
    assert overlap([0.1, 0.1, 0.6, 0.6], [0.1, 0.1, 0.1, 0.6], 2, (0, 1)) == pytest.approx(75)
    assert overlap([-5.0], [0.1], 2, (0, 1)) == pytest.approx(100)
    assert longest_run([1, 0, 0, 1, 0, 0, 0]) == 3
    assert longest_run([1, 1]) == 0
