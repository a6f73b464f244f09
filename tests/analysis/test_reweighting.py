"""Reweighting against pymbar, exact values and direct simulation."""

import math

import numpy as np
import pytest

import mcmc
from mcmc import XY, InputError, Lattice
from mcmc.analysis.mbar import solve
from mcmc.analysis.reweighting import LEAST_SHARE, Reweighting
from mcmc.analysis.thermodynamics import measure, thermodynamics
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

MODEL, LATTICE = XY(), Lattice(4, 4)
# REFERENCE: exact values of the periodic 4x4 lattice at beta = 1 from the charge transfer matrix (see oracle.py).
EXACT = {"energy": -1.411729120, "specific_heat": 0.86526495, "helicity_modulus": 0.655523435}


def draw(temperatures, draws, chains=8, lattice=LATTICE, seed=1):
    settings = Settings(MODEL, lattice, tuple(temperatures), chains=chains, thermalise=200, thin=3, seed=seed)
    theta = Simulation(settings).block(draws).theta
    return [measure(each, MODEL) for each in theta]


@pytest.fixture(scope="module")
def ladder():
    temperatures = (0.8, 0.9, 1.1, 1.4, 1.9)
    return Reweighting.from_moments(draw(temperatures, 1000), MODEL, LATTICE, temperatures)


@pytest.mark.filterwarnings("ignore")  # pymbar warns on import
def test_equals_pymbar():
    pymbar = pytest.importorskip("pymbar")
    temperatures = np.array([0.7, 0.9, 1.0, 1.2])
    moments = draw(temperatures, 200, chains=2)
    ours = Reweighting.from_moments(moments, MODEL, LATTICE, temperatures, blocks=4)
    E = np.concatenate([16 * each["energy"].ravel() for each in moments])
    theirs = pymbar.MBAR(np.outer(1 / temperatures, E), np.full(4, 400), relative_tolerance=1e-13)
    assert ours.free_energies == pytest.approx(theirs.f_k - theirs.f_k[0], abs=1e-8)
    m = np.concatenate([each["magnetization"].ravel() for each in moments])
    mean = theirs.compute_multiple_expectations(m[None], E / 0.85)["mu"][0]
    assert ours.curve("magnetization", 0.85).value[0] == pytest.approx(mean, rel=1e-8)


@pytest.mark.parametrize("name", EXACT)
def test_many_histograms_meet_exact_values_in_between(ladder, name):
    curve = ladder.curve(name, 1.0)
    assert curve.trusted.all()
    assert abs(curve.value[0] - EXACT[name]) < 4 * curve.error[0]
    assert curve.error[0] < {"energy": 0.005, "specific_heat": 0.02, "helicity_modulus": 0.008}[name]


def test_one_histogram():
    reweighting = Reweighting.from_moments(draw([1.1], 2000), MODEL, LATTICE, [1.1])
    curve = reweighting.curve("energy", [1.0, 1.1, 0.3])
    assert abs(curve.value[0] - EXACT["energy"]) < 4 * curve.error[0]
    assert curve.trusted.tolist() == [True, True, False]
    assert curve.share[1] == pytest.approx(1)


def test_at_a_drawn_temperature_little_changes(ladder):
    # All histograms together may only sharpen what one alone says.
    alone = thermodynamics(draw([0.9], 1000, seed=7)[0], MODEL, LATTICE, 0.9)
    for name in ("energy", "magnetization", "helicity_modulus", "binder_cumulant", "correlation_length"):
        together = ladder.curve(name, 0.9)
        gap = together.value[0] - alone[name].value
        assert abs(gap) < 4.5 * math.hypot(together.error[0], alone[name].error), name


def test_the_error_is_that_of_repeated_runs():
    temperatures = (0.9, 1.15)
    moments = draw(temperatures, 150, chains=40 * 8)
    values, errors = [], []
    for run in range(40):
        ours = [{name: series[8 * run : 8 * run + 8] for name, series in each.items()} for each in moments]
        curve = Reweighting.from_moments(ours, MODEL, LATTICE, temperatures).curve("energy", 1.0)
        values.append(curve.value[0])
        errors.append(curve.error[0])
    pulls = (np.array(values) - EXACT["energy"]) / np.array(errors)
    assert abs(pulls.mean()) < 4 / math.sqrt(len(pulls))
    assert 0.7 < pulls.std() < 1.4


def test_peak_of_the_specific_heat(ladder):
    peak = ladder.peak("specific_heat")
    near = peak.temperature + np.linspace(-0.03, 0.03, 13)
    fine = ladder.curve("specific_heat", [*np.linspace(0.9, 1.6, 15), *near])
    assert peak.value == pytest.approx(fine.value.max(), rel=1e-4)
    assert abs(peak.temperature - fine.temperature[fine.value.argmax()]) < 0.01
    assert 0 < peak.temperature_error < 0.05
    assert 0 < peak.value_error < 0.05


def test_trust_ends_where_the_histogram_does():
    energy = np.random.default_rng(2).normal(-1.4, 3.0 / 16, (4, 20000))
    reweighting = Reweighting.from_moments([{"energy": energy}], MODEL, LATTICE, [1.0], blocks=4)
    for distance in (0.5, 1.0):  # in units of 1 / width; the effective draws of a Gaussian are exp(-distance^2)
        assert reweighting.share(1 / (1 + distance / 3.0)) == pytest.approx(math.exp(-(distance**2)), rel=0.1)
    assert reweighting.share(1 / (1 + 2.0 / 3.0)) < LEAST_SHARE


def test_bad_input(ladder):
    moments = draw([0.9, 1.0], 20, chains=1)
    with pytest.raises(InputError, match="different temperatures"):
        Reweighting.from_moments(moments, MODEL, LATTICE, [0.9, 0.9])
    with pytest.raises(InputError, match="different temperatures"):
        Reweighting.from_moments(moments, MODEL, LATTICE, [0.9])
    with pytest.raises(InputError, match="too few"):
        Reweighting.from_moments(moments, MODEL, LATTICE, [0.9, 1.0], blocks=32)
    with pytest.raises(InputError, match="energi"):
        ladder.curve("energi", 1.0)
    with pytest.raises(InputError, match="positive"):
        ladder.curve("energy", -1.0)
    with pytest.raises(InputError, match="end of the range"):
        ladder.peak("magnetization")
    with pytest.raises(InputError, match="do not overlap"):
        solve([np.linspace(0, 1, 50), np.linspace(1e5, 1e5 + 1, 50)], np.array([10.0, 1.0]))


def test_an_ensemble_is_the_same_as_its_moments():
    T = (0.9, 1.0, 1.1)
    ensemble = mcmc.generate(MODEL, size=4, temperatures=T, draws=100, thermalise=100)
    moments = [measure(theta, MODEL) for theta in ensemble.theta()[1:]]
    expected = Reweighting.from_moments(moments, MODEL, LATTICE, T[1:], blocks=8).curve("susceptibility", [1.03])
    found = Reweighting(ensemble, T[1:], blocks=8).curve("susceptibility", [1.03])
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]
    with pytest.raises(InputError, match=r"1\.05"):
        Reweighting(ensemble, [0.9, 1.05])
