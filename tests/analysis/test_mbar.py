"""The multistate acceptance ratio against pymbar, closed forms and repeated runs."""

import time
from functools import cache

import numpy as np
import pytest

from mcmc import XY, InputError, Lattice
from mcmc.analysis.mbar import Mbar, solve
from mcmc.analysis.reweighting import Reweighting

TEMPERATURES = np.array([1.0, 1.3, 0.8, 1.1])
OSCILLATORS = 6


def energies(rng, shape, *, memory=0.0, temperatures=TEMPERATURES):
    """Of six oscillators, ln Z = 3 ln T: by temperature, (chains, draws), AR(1) in the coordinates along the draws."""
    noise = rng.normal(size=(len(temperatures), OSCILLATORS, *shape))
    x = noise.copy()
    for t in range(1, shape[1]):
        x[..., t] = memory * x[..., t - 1] + np.sqrt(1 - memory**2) * noise[..., t]
    return temperatures[:, None, None] * (x**2).sum(1) / 2


def log_z(temperature):
    return OSCILLATORS / 2 * np.log(temperature)


def reweighting(E, unit=1.0, blocks=32):
    moments = [{"energy": unit * each / 4} for each in E]
    return Reweighting.from_moments(moments, XY(), Lattice(2, 2), unit * TEMPERATURES, blocks=blocks)


@pytest.fixture(scope="module")
def pymbar():
    return pytest.importorskip("pymbar")


@pytest.mark.filterwarnings("ignore")  # pymbar warns on import
def test_values_and_errors_equal_those_of_pymbar(pymbar):
    E = energies(np.random.default_rng(1), (4, 2000))
    ours = reweighting(E).free_energy_differences()
    theirs = pymbar.MBAR(np.outer(1 / TEMPERATURES, E.ravel()), np.full(4, 8000)).compute_free_energy_differences()
    np.testing.assert_allclose(ours.value, theirs["Delta_f"], atol=1e-8)
    # The Gamma method's error has an error of its own, of relative size 1 / sqrt(draws) here.
    np.testing.assert_allclose(ours.error, theirs["dDelta_f"], rtol=0.06, atol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_faster_than_pymbar(pymbar):
    T = np.linspace(0.8, 1.2, 11)
    E = energies(np.random.default_rng(2), (4, 2500), temperatures=T)
    moments = [{"energy": each / 4} for each in E]
    start = time.perf_counter()
    Reweighting.from_moments(moments, XY(), Lattice(2, 2), T).free_energy_differences()
    ours = time.perf_counter() - start
    start = time.perf_counter()
    pymbar.MBAR(np.outer(1 / T, E.ravel()), np.full(11, 10000)).compute_free_energy_differences()
    assert ours < time.perf_counter() - start


@cache
def repeated(shape, memory, runs=200):
    rng = np.random.default_rng(3)
    return [reweighting(energies(rng, shape, memory=memory), blocks=2) for _ in range(runs)]


def pulls(shape, *, memory=0.0, between=(1.0, 0.8)):
    first, second = between
    exact = log_z(first) - log_z(second)
    found = [run.free_energy_difference(*between) for run in repeated(shape, memory)]
    return np.array([(each.value - exact) / each.error for each in found]), found


@pytest.mark.parametrize("between", [(1.0, 0.8), (1.2, 0.9)], ids=("drawn", "in between"))
@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_errors_are_those_of_repeated_runs(memory, between):
    found, estimates = pulls((2, 500), memory=memory, between=between)
    assert abs(found.mean()) < 5 / np.sqrt(len(found))
    assert 0.8 < found.std() < 1.25
    tau = np.mean([each.tau_int for each in estimates])
    # Energies are squares of the coordinates: their memory is that of the squares.
    assert tau == pytest.approx(0.5 + memory**2 / (1 - memory**2), rel=0.3)


@pytest.mark.filterwarnings("ignore")
def test_errors_that_ignore_autocorrelation_are_rejected(pymbar):
    rng = np.random.default_rng(4)
    found = []
    for _ in range(30):
        E = energies(rng, (2, 500), memory=0.9)
        theirs = pymbar.MBAR(np.outer(1 / TEMPERATURES, E.ravel()), np.full(4, 1000)).compute_free_energy_differences()
        found.append((theirs["Delta_f"][0, 2] - (log_z(1.0) - log_z(0.8))) / theirs["dDelta_f"][0, 2])
    assert np.std(found) > 1.25


def test_common_fluctuations_of_two_temperatures_cancel():
    """Draws of all temperatures from the same random numbers: errors must know."""
    rng, exact, found = np.random.default_rng(5), log_z(1.0) - log_z(0.8), []
    for _ in range(200):
        x = (rng.normal(size=(OSCILLATORS, 2, 400)) ** 2).sum(0) / 2
        found.append(Mbar(np.multiply.outer(TEMPERATURES, x), 1 / TEMPERATURES).difference(0, 2))
    z = np.array([(each.value - exact) / each.error for each in found])
    assert 0.8 < z.std() < 1.25


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_of_energy_do_not_matter(unit):
    E = energies(np.random.default_rng(6), (2, 500))
    one, other = reweighting(E), reweighting(E, unit)
    np.testing.assert_allclose(other.free_energies, one.free_energies, atol=1e-9)
    np.testing.assert_allclose(
        other.free_energy_differences().error, one.free_energy_differences().error, rtol=1e-5, atol=1e-9
    )
    assert other.curve("energy", 0.9 * unit).error / unit == pytest.approx(one.curve("energy", 0.9).error, rel=1e-5)


def test_one_temperature():
    E = energies(np.random.default_rng(7), (4, 2000), temperatures=TEMPERATURES[:1])
    mbar = Mbar(E, 1 / TEMPERATURES[:1])
    found = mbar.at(1 / 0.9).estimate()
    assert abs(found.value - (log_z(1.0) - log_z(0.9))) < 5 * found.error
    assert 0 < found.error < 0.02


def test_bad_input():
    E = energies(np.random.default_rng(8), (2, 100))
    with pytest.raises(InputError, match=r"not \(3 temperatures, chains, draws\)"):
        Mbar(E, 1 / TEMPERATURES[:3])
    with pytest.raises(InputError, match="do not overlap"):
        solve([np.linspace(0, 1, 50), np.linspace(1e5, 1e5 + 1, 50)], np.array([10.0, 1.0]))
    with pytest.raises(InputError, match="positive"):
        reweighting(E).free_energy_difference(1.0, -1.0)
    with pytest.raises(InputError, match="too few draws"):
        reweighting(E).free_energy_difference(1.0, 0.05)
