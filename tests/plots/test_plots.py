"""Figures: each draws without a warning, holds what it should, and reaches every format."""

import numpy as np
import pytest

from latticeflow.plots import figures as plots
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.observable_registry import OBSERVABLES
from mcmc.analysis.reweighting import Curve
from mcmc.analysis.table import Table
from mcmc.analysis.thermodynamics import measure, thermodynamics


def table(model, seed):
    T = np.array([0.5, 1.0])
    theta = np.random.default_rng(seed).uniform(-2, 2, (2, 3, 40, 4, 4))
    rows = [thermodynamics(measure(each, model), model, Lattice(4, 4), t) for each, t in zip(theta, T, strict=True)]
    return Table(model, Lattice(4, 4), T, rows, np.ones((2, 2)), 3)


def test_overview_of_all_observables(tmp_path):
    tables = {"XY": table(XY(), 1), "EXY": table(ExtendedXY(1.0, -1.0), 2)}
    figure = plots.overview(tables, tuple(OBSERVABLES))
    drawn = [axes for axes in figure.axes if axes.has_data()]
    held = [name for name in OBSERVABLES if name in tables["EXY"].observables]
    assert {"chirality", "staggered_magnetization"} <= {*held} - {*tables["XY"].observables}
    assert [axes.get_ylabel() for axes in drawn] == [plots.LABELS[name] for name in held]
    with pytest.raises(InputError, match="chirality"):
        plots.overview({"XY": tables["XY"]}, ["chirality"])
    assert set(plots.LABELS) == {*OBSERVABLES, "free_energy", "entropy"}
    plots.save(figure, tmp_path / "all.png")
    small = plots.overview({"XY": table(XY(), 1)}, ("helicity_modulus",))
    for suffix in plots.FORMATS:
        plots.save(small, tmp_path / f"one{suffix}")
        assert (tmp_path / f"one{suffix}").stat().st_size > 5000


def test_pulls_stand_below_tables_of_one_system():
    first, second = table(XY(), 1), table(XY(), 2)
    panel, below = plots.overview({"a": first, "b": second}, ["energy"]).axes
    a, b = first["energy"], second["energy"]
    expected = (b.values - a.values) / np.hypot(a.errors, b.errors)
    np.testing.assert_allclose(below.lines[-1].get_ydata(), expected)
    assert below.get_ylim()[1] > np.abs(expected).max()
    assert [line.get_markerfacecolor() for line in panel.lines[:: len(panel.lines) // 2]][1] == "none"
    # One temperature in common.
    other = second.select(temperatures=[1.0])
    assert len(plots.overview({"a": first, "b": other}, ["energy"]).axes[1].lines[-1].get_xdata()) == 1
    for alone in ({"a": first}, {"a": first, "b": table(ExtendedXY(), 2)}):
        assert len(plots.overview(alone, ["energy"]).axes) == 1


@pytest.mark.parametrize("L", [6, 40])
def test_pieces(L, tmp_path):
    rng = np.random.default_rng(3)
    with plots.style():
        figure, axes = plots.new_figure(2, 2)
        series = {"short": rng.normal(size=(2, 200)), "long": rng.normal(size=(2, 200)).cumsum(1)}
        plots.histogram(axes[0, 0], series, "energy")
        plots.autocorrelations(axes[0, 1], series)
        plots.configuration(axes[1, 0], rng.uniform(-np.pi, np.pi, (L, L + 2)))
        T = np.linspace(0.5, 1, 20)
        plots.curve(axes[1, 1], Curve(T, T, 0.1 * T, np.linspace(1, 0, 20)), label="reweighted")
        assert np.isnan(axes[1, 1].lines[0].get_ydata()).sum() == 2  # the untrusted end is not drawn
        plots.save(figure, tmp_path / "pieces.png")
        figure, axes = plots.new_figure()
        plots.correlation(axes, np.arange(4), np.array([1, 0.5, 0.2, 0.01]), np.array([0, 0.01, 0.02, 0.02]))
        assert axes.get_xscale() == "log"
        plots.save(figure, tmp_path / "correlation.pdf")


def test_axes_name_the_unit_of_the_values():
    """Energies and temperatures are in the unit in which J is given, also where J is not 1."""
    for name in ("energy", "susceptibility"):
        axes = plots.overview({"XY": table(XY(J=2.0), 1)}, (name,)).axes[0]
        for label in (axes.get_xlabel(), axes.get_ylabel()):
            assert "unit of $J$" in label
            assert "[$J" not in label


def test_bad_paths(tmp_path):
    with pytest.raises(InputError, match=r"\.png"):
        plots.check_path("figure.bmp")
    with pytest.raises(InputError, match="does not exist"):
        plots.check_path(tmp_path / "no" / "figure.png")
