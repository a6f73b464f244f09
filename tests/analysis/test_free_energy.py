"""Free energies against exact values, a series, each other, and what they must not say."""

import csv

import numpy as np
import pytest
import torch
from scipy.special import ive

from latticeflow.chains.neural_mcmc import NeuralChains, log_weights, propose
from latticeflow.cli import main
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.free_energy import bridge, from_weights, integrate, log_partition
from mcmc.analysis.statistics import block_means, jackknife
from mcmc.analysis.thermodynamics import observe
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble
from tests import oracle
from tests.helpers import make

SYSTEMS = pytest.mark.parametrize(("model", "side"), [(XY(), 2), (ExtendedXY(), 2), (XY(), 4)], ids=str)


def high_temperature(beta):
    """ln Z / N of the infinite XY lattice, angles integrated: 2 ln I0 + 2 t^4 + 4 t^6 + O(t^8)."""
    t = ive(1, beta) / ive(0, beta)
    return np.log(2 * np.pi) + 2 * (np.log(ive(0, beta)) + beta) + 2 * t**4 + 4 * t**6


def reference(model, side, T, draws=2000):
    return Simulation(Settings(model, Lattice(side, side), (T,), chains=4, seed=40)).block(draws).theta[0]


@SYSTEMS
def test_weights_give_the_exact_free_energy_and_entropy(model, side):
    T, N = 1.0, side**2
    exact = oracle.exact(model, side, side, 1 / T)
    flow = make("multiscale", model, side, side, disturb=0.0)
    block = NeuralChains(flow, [T], chains=4, seed=41).block(5000)
    log_w, energy = block.series["proposal_log_weight"][0], block.series["energy"][0]
    ln_z = log_partition(log_w)
    assert ln_z.error < 0.05
    assert abs(ln_z.value - exact["log_partition"]) < 5 * ln_z.error
    # The mean of log w in place of the log of the mean is a bound, not the value: the same check rejects it.
    assert abs(log_w.mean() - exact["log_partition"]) > 5 * ln_z.error
    found = from_weights(log_w, energy, N, T)
    f = -T * exact["log_partition"] / N
    assert abs(found["free_energy"].value - f) < 5 * found["free_energy"].error
    assert abs(found["entropy"].value - (exact["energy"] - f) / T) < 5 * found["entropy"].error


@SYSTEMS
def test_bridge_gives_the_exact_free_energy_with_less_error(model, side):
    exact = oracle.exact(model, side, side, 1.0)["log_partition"]
    flow = make("multiscale", model, side, side, disturb=0.0)
    theta = reference(model, side, 1.0)
    p = log_weights(flow, theta.reshape(-1, side, side), 1.0).reshape(theta.shape[:2])
    q = propose(flow, 1.0, 8000, generator=torch.Generator().manual_seed(42)).log_weight
    found = bridge(q, p)
    assert abs(found.value - exact) < 5 * found.error
    assert found.error < log_partition(q).error
    # Draws of another temperature are another ensemble: the same check rejects them.
    theta = reference(model, side, 1.4)
    wrong = bridge(q, log_weights(flow, theta.reshape(-1, side, side), 1.0).reshape(theta.shape[:2]))
    assert abs(wrong.value - exact) > 5 * wrong.error


def test_errors_cover_the_truth():
    """Gaussian log weights of variance s^2 with ln Z = 3: N(3 - s^2/2, s^2) under q, N(3 + s^2/2, s^2) under p."""
    rng, s, n = np.random.default_rng(43), 0.8, 400
    pulls = {"weights": [], "bridge": []}
    for _ in range(300):
        q, p = rng.normal(3 - s**2 / 2, s, n), rng.normal(3 + s**2 / 2, s, (2, n))
        for name, found in (("weights", log_partition(q)), ("bridge", bridge(q, p))):
            pulls[name].append((found.value - 3) / found.error)
    for values in pulls.values():
        assert abs(np.mean(values)) < 0.3
        assert 0.8 < np.std(values) < 1.25


def test_equal_weights_leave_no_error():
    assert log_partition(np.full((2, 50), 700.0)).value == pytest.approx(700)
    found = bridge(np.full(50, 3.0), np.full((1, 100), 3.0))
    assert found.value == pytest.approx(3, abs=1e-9)
    assert found.error == pytest.approx(0, abs=1e-9)


def test_a_flow_that_covers_nothing_is_no_free_energy():
    assert bridge(np.zeros(50), np.full((1, 50), np.inf)).error == np.inf
    for bad in (np.full(9, -np.inf), np.array([0.0, np.nan]), np.array([0.0, np.inf])):
        with pytest.raises(InputError, match="does not cover"):
            log_partition(bad)


def test_integration_of_an_exact_energy_is_exact():
    T = np.linspace(0.4, 2.05, 20)
    exact = [oracle.exact(XY(), 2, 2, 1 / t) for t in T]
    found = integrate(T, [row["energy"] for row in exact], [row["specific_heat"] for row in exact])
    expected = np.array([row["log_partition"] for row in exact]) / 4
    np.testing.assert_allclose(found, expected - expected[0], atol=2e-4)
    with pytest.raises(InputError, match="ascending"):
        integrate([1.0, 0.9], [0, 0], [0, 0])


def test_weights_agree_with_the_series_and_thermodynamic_integration():
    side, T = 8, np.linspace(0.9, 3.0, 12)
    flow = make("multiscale", XY(), side, side, disturb=0.0)
    flow.temperatures = (0.5, 3.0)
    energy = Simulation(Settings(XY(), Lattice(side, side), tuple(T), chains=8, seed=44)).block(300).series["energy"]
    moments = block_means(np.stack([energy, energy**2], -1).transpose(1, 2, 0, 3), 64)

    def of_means(mean):
        e, square = mean.T
        return integrate(T, e, side**2 * (square - e**2) / T**2)[-1]

    # From the infinite lattice's series at high temperature down the grid to where the flow is.
    rise, error = jackknife(of_means, moments)
    expected = side**2 * (high_temperature(1 / T[-1]) - rise)
    log_w = NeuralChains(flow, [T[0]], chains=1, seed=45).block(4000).series["proposal_log_weight"][0]
    theta = reference(XY(), side, float(T[0]), 500)
    found = bridge(log_w, log_weights(flow, theta.reshape(-1, side, side), T[0]).reshape(theta.shape[:2]))
    assert abs(found.value - expected) < 5 * np.hypot(found.error, side**2 * error)
    assert np.hypot(found.error, side**2 * error) < 1.0


def test_observe_prints_the_free_energy_of_neural_chains(tmp_path):
    flow = make("multiscale", XY(), 4, 4, disturb=0.0)
    chains, classical = tmp_path / "chain.h5", tmp_path / "classical.h5"
    block = NeuralChains(flow, [1.0], chains=2, seed=46).block(2000)
    for path, series in ((chains, tuple(block.series)), (classical, ("energy",))):
        with Ensemble.create(
            path, model=XY(), lattice=Lattice(4, 4), temperatures=(1.0,), chains=2, series=series, provenance={}
        ) as file:
            file.append(block)
    with Ensemble.open(chains) as file:
        found = observe(file).rows[0]["free_energy"]
    assert abs(found.value + oracle.exact(XY(), 4, 4, 1.0)["log_partition"] / 16) < 5 * found.error
    with Ensemble.open(classical) as file:
        assert "free_energy" not in observe(file).rows[0]
    table = tmp_path / "table.csv"
    assert main(["observe", str(classical), str(chains), "--csv", str(table)]) == 0
    first, second = csv.DictReader(table.read_text().splitlines())
    assert first["free_energy"] == ""
    assert float(second["free_energy"]) == pytest.approx(found.value)
