"""Estimates where fluctuations are tiny, the unit of energy is extreme, or a quantity does not exist."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, Lattice
from mcmc.analysis.observable_registry import OBSERVABLES, Observable, System
from mcmc.analysis.reweighting import Reweighting
from mcmc.analysis.statistics import derived, estimate
from mcmc.analysis.table import Table
from mcmc.analysis.thermodynamics import simulate, tabulate
from mcmc.sampling.settings import Settings

HARMONIC = 0.5 * (1 - 1 / 64)


@pytest.mark.parametrize("T", [1e-3, 1e-7, 1e-9])
def test_fluctuations_of_a_cold_lattice(T):
    """Spin waves: c = (1 - 1 / N) / 2 at any low temperature."""
    settings = Settings(XY(), Lattice(8, 8), (T,), 16, thermalise=1500, thin=8, seed=1)
    [moments] = simulate(settings, 200)
    row = tabulate([moments], XY(), settings.lattice, [T]).rows[0]
    assert row["energy"].value == pytest.approx(-2 + HARMONIC * T, abs=0.02 * T)
    c, chi = row["specific_heat"], row["susceptibility"]
    assert c.error < 0.03
    assert abs(c.deviation(HARMONIC)) < 5
    assert 0 < chi.value < 10 * T
    # The control: a variance without a reference.
    blind = Observable(
        lambda moments: (moments["energy"] ** 2, moments["energy"]), OBSERVABLES["specific_heat"].function
    )
    lost = blind.estimate(moments, System(XY(), settings.lattice, T)).value
    assert (abs(lost - HARMONIC) > 0.1) == (T < 1e-6)


def test_reweighting_of_a_cold_lattice():
    grid = (0.9e-8, 1e-8, 1.1e-8)
    moments = simulate(Settings(XY(), Lattice(4, 4), grid, 8, thermalise=500, thin=5, seed=1), 300)
    curve = Reweighting.from_moments(moments, XY(), Lattice(4, 4), grid).curve("specific_heat", [0.95e-8, 1.05e-8])
    assert curve.trusted.all()
    assert np.abs((curve.value - 0.5 * 15 / 16) / curve.error).max() < 5
    assert curve.error.max() < 0.05


@pytest.mark.parametrize("unit", [1e-200, 1e-21, 1e12, 1e200])
def test_errors_do_not_depend_on_the_unit(unit):
    series = np.random.default_rng(0).normal(size=(4, 500))
    here, there = estimate(series), estimate(unit * series)
    assert there.error == pytest.approx(unit * here.error)
    assert there.tau_int == pytest.approx(here.tau_int)
    here, there = (derived(lambda a, b: a - b, s * series, s * series**2) for s in (1.0, unit))
    assert there.error == pytest.approx(unit * here.error)


def test_binder_cumulant_without_magnetisation_is_undefined():
    moments = {"magnetization": np.zeros((2, 50))}
    found = OBSERVABLES["binder_cumulant"].estimate(moments, System(XY(), Lattice(4, 4), 1.0))
    assert math.isnan(found.value)
    assert math.isnan(found.error)
    assert str(found) == "undefined"


def table(lattice, T, model=None, draws=60, seed=1):
    model = XY() if model is None else model
    settings = Settings(model, lattice, (T,), 2, thermalise=40, thin=2, seed=seed)
    return tabulate(simulate(settings, draws), model, lattice, settings.temperatures)


def test_an_undefined_correlation_length_says_so_and_why():
    """At T = 100 spins are independent: in half of all runs S(0) lies below S at the smallest wave vector."""
    found = [table(Lattice(16, 16), 100.0, seed=seed) for seed in range(8)]
    values = [each.rows[0]["correlation_length"].value for each in found]
    assert 0 not in values
    undefined = [each for each, value in zip(found, values, strict=True) if math.isnan(value)]
    assert 0 < len(undefined) < 8
    for each in undefined:
        [line] = [line for line in each.warnings() if "undefined" in line]
        assert "correlation_length" in line
        assert "S(0)" in line
        assert "undefined" in each.text(["correlation_length"])
        assert "nan" not in each.text(["correlation_length"])
        again = Table.from_json(each.as_json())
        assert math.isnan(again.rows[0]["correlation_length"].value)
    # The control: where it is long it is there.
    warm = table(Lattice(16, 16), 1.2, draws=300)
    assert warm.rows[0]["correlation_length"].value > 1
    assert not [line for line in warm.warnings() if "undefined" in line]


def test_spins_that_do_not_interact_are_not_said_to_stand_still():
    assert not [line for line in table(Lattice(4, 4), 1.0, XY(0.0)).warnings() if "never moved" in line]
    # The control: a run that stands still says so.
    frozen = {
        name: np.full((2, 60), values.mean())
        for name, values in simulate(Settings(ExtendedXY(), Lattice(4, 4), (1.0,), 2, thermalise=20), 60)[0].items()
    }
    assert "never moved" in tabulate([frozen], ExtendedXY(), Lattice(4, 4), [1.0]).warnings()[0]
