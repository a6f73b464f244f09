"""Ladders of classical chains from infinite temperature give exact free energies and entropies."""

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.free_energy_ladder import INFINITE, absolute, integrate_down, rungs
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from tests import oracle

SYSTEMS = pytest.mark.parametrize(("model", "side"), [(XY(), 2), (XY(), 4), (ExtendedXY(), 3)], ids=str)


def climb(model, side, ladder, seed):
    settings = Settings(model, Lattice(side, side), ladder, chains=4, seed=seed)
    return side**2 * Simulation(settings).block(1000).series["energy"]


@SYSTEMS
def test_free_energies_and_entropies_are_exact(model, side):
    lattice = Lattice(side, side)
    ladder = rungs(model, lattice, [1.0, 2.0], seed=1)
    assert ladder[-1] == INFINITE
    assert ladder[0] == 1.0
    assert 2.0 in ladder
    energies = climb(model, side, ladder, 2)
    found = absolute(energies, ladder, side**2)
    for T in (1.0, 2.0):
        k, exact = ladder.index(T), oracle.exact(model, side, side, 1 / T)
        ln_z = exact["log_partition"]
        assert found.log_partition_error[k] < 0.05
        assert abs(found.log_partition[k] - ln_z) < 5 * found.log_partition_error[k]
        assert abs(found.integrated[k] - ln_z) < 5 * found.integrated_error[k]
        assert abs(found.entropy[k] - (exact["energy"] / T + ln_z / side**2)) < 5 * found.entropy_error[k]
    # A rung drawn at a temperature a tenth off is the same check's undoing.
    wrong = list(ladder)
    wrong[0] *= 1.1
    found = absolute(climb(model, side, tuple(wrong), 2), ladder, side**2)
    exact = oracle.exact(model, side, side, 1.0)
    assert abs(found.entropy[0] - (exact["energy"] + exact["log_partition"] / side**2)) > 5 * found.entropy_error[0]


def test_ring_exchange_alone_on_16x16():
    model, exact = ExtendedXY(0.0, 1.0), oracle.ring_exchange(16, 16, 1.0)
    ladder = rungs(model, Lattice(16, 16), [1.0], seed=1)
    settings = Settings(model, Lattice(16, 16), ladder, chains=4, seed=2)
    found = absolute(256 * Simulation(settings).block(300).series["energy"], ladder, 256)
    assert found.log_partition_error[0] < 0.15
    for name in ("log_partition", "integrated"):
        pull = (getattr(found, name)[0] - exact["log_partition"]) / getattr(found, f"{name}_error")[0]
        assert abs(pull) < 5
    assert abs(found.entropy[0] - exact["energy"] - exact["log_partition"] / 256) < 5 * found.entropy_error[0]
    # A lowest rung that is one in a hundred too warm is seen.
    wrong = absolute(256 * Simulation(settings).block(300).series["energy"], (0.99, *ladder[1:]), 256)
    assert abs(wrong.log_partition[0] - exact["log_partition"]) > 5 * wrong.log_partition_error[0]


def test_errors_cover_the_spread():
    model, side = XY(), 2
    ladder = rungs(model, Lattice(side, side), [1.0])
    exact = oracle.exact(model, side, side, 1.0)["log_partition"]
    found = [absolute(climb(model, side, ladder, seed)[:, :, :250], ladder, 4) for seed in range(40)]
    for name in ("log_partition", "integrated"):
        pulls = [(getattr(each, name)[0] - exact) / getattr(each, f"{name}_error")[0] for each in found]
        assert abs(np.mean(pulls)) < 0.8
        assert 0.7 < np.std(pulls) < 1.5


def test_rungs_are_a_deviation_of_the_energy_apart():
    lattice = Lattice(8, 8)
    ladder = rungs(XY(), lattice, [0.5])
    energy = 64 * Simulation(Settings(XY(), lattice, ladder, chains=4, seed=3)).block(100).series["energy"]
    deviation = energy.reshape(len(ladder), -1).std(1)
    steps = -np.diff(1 / np.array(ladder)) * (deviation[1:] + deviation[:-1]) / 2
    assert ((steps > 0.3) & (steps < 1.8)).all()


def test_integration_is_of_fourth_order():
    # E = -b: the integral of a cubic would be exact, too.
    beta = np.array([0.0, 0.5, 2.0])
    energy, slope = -(beta**3), 3 * beta**2
    np.testing.assert_allclose(integrate_down(beta, energy, slope), beta**4 / 4, atol=0.01 + 1e-12)
    fine = np.linspace(0, 2, 41)
    np.testing.assert_allclose(integrate_down(fine, -np.sinh(fine), np.cosh(fine)), np.cosh(fine) - 1, atol=1e-7)


def test_a_gap_in_the_ladder_is_refused():
    energies = climb(XY(), 4, (0.1, INFINITE), 4)
    with pytest.raises(InputError, match="overlap"):
        absolute(energies, (0.1, INFINITE), 16)


@pytest.mark.parametrize("unit", [1e-5, 1e5])
def test_units_of_energy_do_not_matter(unit):
    model, lattice = XY(unit), Lattice(4, 4)
    ladder = rungs(model, lattice, [unit], seed=1)
    assert ladder[-1] == pytest.approx(INFINITE * unit)
    assert 5 < len(ladder) < 20
    found = absolute(climb(model, 4, ladder, 5), ladder, 16)
    exact = oracle.exact(XY(), 4, 4, 1.0)["log_partition"]
    assert found.log_partition_error[0] < 0.05
    assert abs(found.log_partition[0] - exact) < 5 * found.log_partition_error[0]
