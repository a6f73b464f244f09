"""Redraws and local sweeps between proposals, and weights without a chain: all exact, their negative controls not."""

import numpy as np
import pytest
import torch

from latticeflow.chains.importance import importance
from latticeflow.chains.neural_mcmc import NeuralChains, log_weights, unit_size
from latticeflow.chains.neural_moves import LocalSweeps, Redraws, depth_of
from latticeflow.chains.neural_streams import NeuralStreams
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.statistics import estimate
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from tests import oracle
from tests.helpers import make

BETA = 1.0
SYSTEMS = pytest.mark.parametrize(
    ("model", "side"), [(XY(), 2), (XY(), 3), (XY(), 4), (ExtendedXY(), 2), (ExtendedXY(), 3)], ids=str
)


def deviation(energy, model, side):
    """Difference from the exact energy, in errors."""
    found = estimate(energy)
    assert found.error < 0.03
    return abs(found.value - oracle.exact(model, side, side, BETA)["energy"]) / found.error


@pytest.mark.parametrize(
    ("model", "side", "moves"),
    [
        (XY(), 2, {"local_sweeps": 1}),
        (XY(), 3, {"local_sweeps": 1}),
        (XY(), 3, {"redraws": 1}),
        (ExtendedXY(), 3, {"redraws": 1}),
        (ExtendedXY(), 2, {"local_sweeps": 1, "redraws": 1}),
        (XY(), 4, {"local_sweeps": 1, "redraws": 1}),
    ],
    ids=str,
)
def test_chains_with_moves_between_proposals_are_exact(model, side, moves):
    flow = make("multiscale", model, side, side, disturb=0.15)
    chains = NeuralChains(flow, [1 / BETA], chains=64, seed=70, **moves)
    chains.block(10)
    assert deviation(chains.block(150).series["energy"][0], model, side) < 5


@pytest.mark.parametrize("moves", [{"local_sweeps": 1}, {"redraws": 2}], ids=str)
def test_weights_are_those_of_the_states_after_the_moves(moves):
    flow = make("multiscale", XY(), 4, 4)
    block = NeuralChains(flow, [0.7, 1.2], chains=3, seed=78, **moves).block(30)
    for t, T in enumerate([0.7, 1.2]):
        found = log_weights(flow, block.theta[t].reshape(-1, 4, 4), T).reshape(3, 30)
        np.testing.assert_allclose(block.series["log_weight"][t], found, atol=1e-3)
    moved = (np.diff(block.theta, axis=2) != 0).any((-2, -1))
    assert moved.mean() > block.series["accepted"].mean()


@pytest.mark.parametrize("side", [3, 4])
def test_redraws_alone_keep_the_ensemble_as_it_is(side, monkeypatch):
    """From exact draws, many redraws of one depth after the other must leave an exact ensemble."""
    lattice = Lattice(side, side)
    settings = Settings(XY(), lattice, (1 / BETA,), chains=64, seed=71)
    start = Simulation(settings).block(40).theta.reshape(-1, side, side)
    flow = make("multiscale", XY(), side, side, disturb=0.15)

    def energies():
        redraw, theta = Redraws(flow, [1 / BETA], len(start), NeuralStreams.of(flow, 72)), start
        for number in range(2 * flow.depths):
            theta, accepted = redraw(theta, number)
            assert 0 < accepted.mean() < 1
        return XY().energy(theta)[None] / lattice.N

    assert deviation(energies(), XY(), side) < 5
    # The negative control takes the densities of the redrawn sites for equal.
    honest = flow.redraw

    def careless(*arguments, **options):
        drawn, new, _ = honest(*arguments, **options)
        return drawn, new, new

    monkeypatch.setattr(flow, "redraw", careless)
    assert deviation(energies(), XY(), side) > 5


def test_every_depth_has_its_turn():
    flow = make("multiscale", XY(), 8, 8)
    # The 2x2 coarse grid, its halving by centres and by edges, and the centres of the last halving.
    assert flow.stages == (3, 7, 11)
    assert [depth_of(number, flow) for number in range(5)] == [3, 7, 11, 3, 7]
    assert make("multiscale", XY(), 3, 3).stages == tuple(range(1, 8 - 1))
    assert make("multiscale", XY(), 2, 2).stages[0] < make("multiscale", XY(), 2, 2).depths


def test_deeper_redraws_are_accepted_more_often():
    flow = make("multiscale", XY(), 8, 8, disturb=0.05)
    chains = NeuralChains(flow, [0.8], chains=32, seed=73, redraws=len(flow.stages))
    chains.block(16)
    report = chains.report()
    rates = [rate[0] for rate in report["redraw_acceptance"].values()]
    assert list(report["redraw_acceptance"]) == [str(depth) for depth in flow.stages]
    assert report["acceptance"][0] < rates[len(rates) // 2] < rates[-1]


@pytest.mark.parametrize("moves", [{"local_sweeps": 2}, {"redraws": 3}], ids=str)
def test_draws_with_moves_do_not_depend_on_blocks_or_restarts(moves):
    flow = make("multiscale", XY(), 4, 4)
    grid = [0.7, 1.3]
    whole = NeuralChains(flow, grid, chains=6, seed=74, **moves)
    unit = unit_size(flow)
    expected = whole.block(unit // 6 + 10)
    first = NeuralChains(flow, grid, chains=6, seed=74, **moves)
    parts = [first.block(n) for n in (1, 7)]
    second = NeuralChains(flow, grid, chains=6, seed=74, state=first.state(), **moves)
    parts += [second.block(n) for n in (2, unit // 6)]
    np.testing.assert_array_equal(np.concatenate([part.theta for part in parts], axis=2), expected.theta)
    for name, values in expected.series.items():
        np.testing.assert_array_equal(np.concatenate([part.series[name] for part in parts], axis=2), values)
    assert second.report() == whole.report()
    # Chains and temperatures do not share random numbers.
    assert len(np.unique(expected.theta[:, :, -1, 0, 0])) == 12


def test_local_sweeps_at_many_temperatures_use_each_ones_own():
    flow, grid = make("multiscale", XY(), 2, 2, disturb=0.0), [0.6, 1.0, 1.8]
    sweep = LocalSweeps(flow, grid, 512, NeuralStreams.of(flow, 75), 1)
    theta = np.zeros((3 * 512, 2, 2), np.float32)
    for number in range(40):
        theta = sweep(theta, number)
    energy = XY().energy(theta).reshape(3, 512) / 4
    for T, values in zip(grid, energy, strict=True):
        exact = oracle.exact(XY(), 2, 2, 1 / T)["energy"]
        assert abs(values.mean() - exact) < 5 * values.std() / np.sqrt(512)


@SYSTEMS
def test_weighted_draws_are_exact(model, side):
    flow = make("multiscale", model, side, side, disturb=0.3 if side == 2 else 0.1)
    table = importance(flow, [1 / BETA], draws=8_000, seed=77)
    exact = oracle.exact(model, side, side, BETA)
    exact["free_energy"] = -exact["log_partition"] / BETA / side**2
    exact["entropy"] = BETA * (exact["energy"] - exact["free_energy"])
    for name in ("energy", "specific_heat", "helicity_modulus", "free_energy", "entropy"):
        found = table.rows[0][name]
        assert abs(found.value - exact[name]) < 5 * found.error, name
    found = table.rows[0]["energy"]
    assert found.error < 0.02
    # Without the weights the flow's draws are no ensemble; the same check rejects them.
    theta, _ = flow.sample(8_000, 1 / BETA, generator=torch.Generator().manual_seed(77))
    energy = model.energy(theta).numpy() / side**2
    assert abs(energy.mean() - exact["energy"]) > 5 * energy.std() / np.sqrt(len(energy))


def test_weighted_errors_cover_the_truth():
    flow, exact = make("multiscale", XY(), 2, 2, disturb=0.1), oracle.exact(XY(), 2, 2, BETA)
    rows = [importance(flow, [1 / BETA], draws=512, seed=seed).rows[0]["energy"] for seed in range(80, 160)]
    pulls = np.array([(row.value - exact["energy"]) / row.error for row in rows])
    assert abs(pulls.mean()) < 0.5
    assert 0.75 < pulls.std() < 1.3
    # tau_int says what the draws are worth: the error is that of draws / (2 tau_int) draws of the ensemble.
    spread = np.sqrt(exact["specific_heat"] / BETA**2 / 4)
    worth = np.mean([row.error * np.sqrt(row.draws / (2 * row.tau_int)) for row in rows])
    assert worth == pytest.approx(spread, rel=0.3)


def test_bad_moves_are_named():
    flow = make("multiscale", XY(), 2, 2)
    with pytest.raises(InputError, match=r"local sweeps = -1 must be at least 0"):
        NeuralChains(flow, [1.0], local_sweeps=-1)
    with pytest.raises(InputError, match=r"redraws = -2"):
        NeuralChains(flow, [1.0], redraws=-2)
    with pytest.raises(InputError, match="draws = 1 must be at least 2"):
        importance(flow, [1.0], draws=1)
    flow.__class__ = type("Whole", (type(flow),), {"depths": 0, "name": "whole"})
    with pytest.raises(InputError, match="'whole' draws all sites at once: partial redraws need a multiscale"):
        NeuralChains(flow, [1.0], redraws=1)
