"""Figures, as ``latticeflow.plot``: each function returns a matplotlib figure; `save` writes it to a file.

Functions that draw into given axes, for figures of one's own, are in `latticeflow.plots.figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from latticeflow.quality.comparison import Comparison
    from mcmc.analysis.reweighting import Curve
    from mcmc.analysis.table import Table
    from mcmc.models.presets import Model

__all__ = ["autocorrelations", "comparison", "curves", "histograms", "observables", "save", "spins"]


def observables(tables: Table | Mapping[str, Table], names: Sequence[str] = ()) -> Figure:
    """Observables against temperature, several ensembles overlaid.

    Args:
        tables: a table of observables, or several by the label that the legend shows.
        names: the observables, one panel each; none takes eight of them.

    Raises:
        InputError: a table has no such observable.

    Example:
        >>> import latticeflow as lf
        >>> table = lf.importance("xy8", [0.5, 1.0], draws=50)
        >>> len(lf.plot.observables({"flow": table}, ["energy", "vortex_density"]).axes)
        2
    """
    from latticeflow.plots import figures

    names = [names] if isinstance(names, str) else names
    return figures.overview(_labelled(tables), names or figures.OVERVIEW)


def comparison(found: Comparison) -> Figure:
    """A flow beside an ensemble: acceptance, effective sample sizes, and the kinds of configurations that it draws.

    Args:
        found: from `latticeflow.compare`.
    """
    from latticeflow.plots import flow_figures
    from latticeflow.quality.comparison import Comparison
    from mcmc import InputError

    if not isinstance(found, Comparison):
        raise InputError(f"expected a comparison, such as compare makes; got {type(found).__name__}")
    return flow_figures.comparison(found)


def spins(theta: Any, *, titles: Sequence[str] = (), arrows: bool | None = None, model: Model | None = None) -> Figure:
    """Configurations: hue for the angle, arrows where there is room, vortices (circles) and antivortices (squares).

    Args:
        theta: angles in radians, (Ly, Lx), or several side by side, (n, Ly, Lx).
        titles: of the panels.
        arrows: draw each spin as an arrow; None does up to 32 sites across.
        model: whose bonds vortices are relative to; None takes those of a ferromagnet.

    Raises:
        InputError: ``theta`` has another shape, or more than 12 configurations.

    Example:
        >>> import latticeflow as lf, numpy as np
        >>> figure = lf.plot.spins(np.zeros((2, 8, 8)), titles=["cold", "colder"])
    """
    from latticeflow.plots import figures
    from mcmc import wrap

    angles = np.asarray(theta, np.float64)
    angles = angles[None] if angles.ndim == 2 else angles
    if angles.ndim != 3 or not 1 <= len(angles) <= 12:
        raise InputError(f"expected one configuration (Ly, Lx), or up to 12, (n, Ly, Lx); got shape {np.shape(theta)}")
    with figures.style():
        columns = min(4, len(angles))
        figure, panels = figures.new_figure(-(-len(angles) // columns), columns, width=4.2, height=3.9)
        panels = np.atleast_1d(panels).ravel()
        for axes, one in zip(panels, angles, strict=False):
            figures.configuration(axes, wrap(one), arrows=arrows, model=model)
        for axes, title in zip(panels, titles, strict=False):
            axes.set_title(title)
        for axes in panels[len(angles) :]:
            axes.remove()
        return figure


def histograms(sets: Any, name: str = "energy", *, bins: int = 60) -> Figure:
    """Normalised histograms of a series on common bins.

    Args:
        sets: a series of any shape, or several by the label that the legend shows.
        name: of the observable, for the axis.
        bins: their number.

    Raises:
        InputError: there is no observable of that name.
    """
    from latticeflow.plots import figures

    if name not in figures.LABELS:
        raise InputError(f"unknown observable {name!r}: choose one of {', '.join(figures.LABELS)}")
    with figures.style():
        figure, axes = figures.new_figure(width=4.6, height=3)
        figures.histogram(axes, {k: np.asarray(v) for k, v in _labelled(sets).items()}, name, bins=bins)
        return figure


def autocorrelations(sets: Any, *, longest: int | None = None) -> Figure:
    """Autocorrelation functions, with tau_int in the legend.

    Args:
        sets: a series (chains, draws) of one temperature, or several by label.
        longest: last distance shown; None takes eight of the longest tau_int.
    """
    from latticeflow.plots import figures

    with figures.style():
        figure, axes = figures.new_figure(width=4.6, height=3)
        named = {label: np.atleast_2d(np.asarray(series)) for label, series in _labelled(sets).items()}
        figures.autocorrelations(axes, named, longest=longest)
        return figure


def curves(found: Curve | Mapping[str, Curve], ylabel: str = "") -> Figure:
    """Reweighted curves with their one-sigma bands, where they can be trusted.

    Args:
        found: a curve of `mcmc.analysis.reweighting`, or several by label.
        ylabel: of the axis.
    """
    from latticeflow.plots import figures

    with figures.style():
        figure, axes = figures.new_figure(width=4.6, height=3)
        for number, (label, one) in enumerate(_labelled(found).items()):
            figures.curve(axes, one, label=label, series=number)
        axes.set_ylabel(ylabel)
        if any(_labelled(found)):
            axes.legend()
        return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, PDF or SVG.

    Raises:
        InputError: another suffix, or the directory does not exist.
    """
    from latticeflow.plots import figures

    figures.save(figure, path)


def _labelled(things: Any) -> dict[str, Any]:
    return dict(things) if isinstance(things, Mapping) else {"": things}
