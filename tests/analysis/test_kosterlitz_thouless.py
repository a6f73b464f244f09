"""The transition fit: on made-up tables that obey the formula, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.kosterlitz_thouless import approach, crossing, transition
from mcmc.analysis.statistics import Estimate
from mcmc.analysis.table import Table
from mcmc.models import presets

T0, C = 0.893, 0.3


def table(L, temperatures, rng, *, noise=3e-4, model=None, Ly=None, name="helicity_modulus"):
    """Helicity moduli that follow the formula, bent by a slope and a curvature that grow with L."""
    T = np.asarray(temperatures)
    Y = T * (approach(math.log(L), C) - (1.5 + 0.2 * math.log(L)) * (T - T0) - 3 * (T - T0) ** 2)
    Y = Y + noise * rng.normal(size=len(T))
    rows = [{name: Estimate(float(y), noise, 1.0, 0.1, 1000)} for y in Y]
    return Table(model or XY(), Lattice(L, Ly or L), T, rows, np.ones((len(T), 2)), 1)


def test_fit_finds_what_was_put_in():
    rng = np.random.default_rng(1)
    found = [transition([table(L, np.linspace(0.86, 0.92, 5), rng) for L in (8, 16, 32, 64)]) for _ in range(60)]
    pulls = np.array([(t.temperature - T0) / t.error for t in found])
    assert abs(pulls.mean()) < 4 / math.sqrt(60)
    assert 0.7 < pulls.std() < 1.3
    assert np.mean([t.chi_square / t.freedom for t in found]) == pytest.approx(1, abs=0.2)
    assert np.mean([t.constant for t in found]) == pytest.approx(C, abs=0.02)


def test_leaving_the_second_logarithm_out_shifts_the_result():
    tables = [table(L, np.linspace(0.86, 0.92, 5), np.random.default_rng(5), noise=1e-4) for L in (16, 32, 64)]
    full, leading = transition(tables), transition(tables, subleading=False)
    assert abs(full.temperature - T0) < 4 * full.error
    assert T0 - leading.temperature > 5 * leading.error


def test_crossing_lies_above():
    rng = np.random.default_rng(2)
    crossings = [crossing(table(L, np.linspace(0.85, 1.1, 26), rng)) for L in (8, 16, 32, 64)]
    assert (np.diff(crossings) < 0).all()
    assert crossings[-1] > T0 + 0.02


def test_few_temperatures_are_fitted_by_lines():
    rng = np.random.default_rng(3)
    found = transition([table(L, (0.88, 0.89, 0.9, 1.2), rng, noise=1e-4) for L in (16, 64)])
    assert found.freedom == 2
    assert found.temperature == pytest.approx(T0, abs=0.003)
    assert str(found).startswith("Kosterlitz-Thouless transition at T = 0.89")


def test_bad_input():
    rng = np.random.default_rng(4)
    near = np.linspace(0.86, 0.96, 6)
    with pytest.raises(InputError, match="at least two sizes"):
        transition([table(16, near, rng)])
    with pytest.raises(InputError, match="each size once"):
        transition([table(16, near, rng), table(16, near, rng)])
    with pytest.raises(InputError, match="square"):
        transition([table(16, near, rng), table(32, near, rng, Ly=16)])
    cube = replace(table(16, near, rng), lattice=Lattice(16, 16, 16))
    with pytest.raises(InputError, match="square"):
        transition([cube, table(8, near, rng)])
    with pytest.raises(InputError, match="one model"):
        transition([table(16, near, rng), table(32, near, rng, model=ExtendedXY())])
    with pytest.raises(InputError, match="does not cross"):
        crossing(table(16, near - 0.4, rng))
    with pytest.raises(InputError, match="has 0 temperatures"):
        transition([table(16, near + 0.2, rng), table(32, near, rng)])
    with pytest.raises(InputError, match="without errors"):
        transition([table(16, near, rng, noise=0.0), table(32, near, rng)])


@pytest.mark.parametrize("model", [XY() + presets.field(0.3), presets.clock(6, h=0.5), presets.gauge_glass(16)])
def test_models_without_a_helicity_modulus_are_told_why(model):
    without = table(16, np.linspace(0.86, 0.96, 6), np.random.default_rng(4), model=model, name="energy")
    for read in (lambda: crossing(without), lambda: transition([without, without])):
        with pytest.raises(InputError, match=r"makes no sense for .*: .*binder_cumulant") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_helicity_modulus_that_was_not_measured():
    with pytest.raises(InputError, match="observe it too"):
        crossing(table(16, np.linspace(0.86, 0.96, 6), np.random.default_rng(4), name="energy"))
