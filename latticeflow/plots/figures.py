"""Figures of ensembles and their observables; those of flows are in `latticeflow.plots.flow_figures`.

Functions that take axes draw one thing and compose; functions that return a figure lay out several. All figures share
one `style`: colours that survive colour blindness (Okabe and Ito) and markers that survive a grey print.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc import XY, InputError
from mcmc.analysis.statistics import autocorrelation, estimate
from mcmc.analysis.table import Table
from mcmc.models import observables
from mcmc.runtime.registry import nearest
from mcmc.runtime.whole_file import require_replaceable, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mcmc.analysis.reweighting import Curve
    from mcmc.analysis.table import Table
    from mcmc.models.presets import Model

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
FORMATS = (".png", ".pdf", ".svg")

LABELS = {
    "energy": r"energy per site $e$  [unit of $J$]",
    "specific_heat": r"specific heat per site $c$  [$k_B$]",
    "magnetization": r"magnetisation $m$",
    "susceptibility": r"susceptibility $\chi$  [1 / unit of $J$]",
    "structure_factor": r"structure factor $S(0)$",
    "binder_cumulant": r"Binder cumulant $U$",
    "vortex_density": r"vortex density $n_v$",
    "helicity_modulus": r"helicity modulus $\Upsilon$  [unit of $J$]",
    "helicity_modulus_x": r"helicity modulus $\Upsilon_x$  [unit of $J$]",
    "helicity_modulus_y": r"helicity modulus $\Upsilon_y$  [unit of $J$]",
    "correlation_length": r"correlation length $\xi$  [spacings]",
    "nematic_order": r"nematic order $m_2$",
    "plaquette_term": r"plaquette term $\langle\cos\,\theta_p\rangle$",
    "winding_square": r"winding $\langle W_x^2 + W_y^2\rangle$",
    "helicity_modulus_z": r"helicity modulus $\Upsilon_z$  [unit of $J$]",
    "clock_order": r"clock order $\langle\cos q\phi\rangle$",
    "sublattice_magnetization": r"sublattice magnetisation",
    "staggered_magnetization": r"staggered magnetisation",
    "staggered_binder": r"staggered Binder cumulant",
    "chirality": r"chirality $\langle\vert\kappa\vert\rangle$",
    "chirality_square": r"chirality $\langle\kappa^2\rangle$",
    "chirality_binder": r"Binder cumulant of $\kappa$",
    "stripe_magnetization": r"stripe magnetisation",
    "stripe_order": r"direction of stripes $\langle\vert\sigma\vert\rangle$",
    "stripe_binder": r"Binder cumulant of $\sigma$",
    "overlap": r"overlap $q$",
    "overlap_square": r"overlap $\langle q^2\rangle$",
    "overlap_binder": r"Binder cumulant of $q$",
    "free_energy": r"free energy per site $f$  [unit of $J$]",
    "entropy": r"entropy per site $s$  [$k_B$]",
}
TEMPERATURE = r"temperature $T$  [unit of $J$]"
"""With k_B = 1; the unit is that in which the couplings are given, also where they are not 1."""
OVERVIEW = (
    "energy",
    "specific_heat",
    "magnetization",
    "susceptibility",
    "binder_cumulant",
    "vortex_density",
    "helicity_modulus",
    "correlation_length",
)


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures; draw inside it."""
    import matplotlib as mpl
    from cycler import cycler

    settings = {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "errorbar.capsize": 2,
        "figure.constrained_layout.use": True,
        "figure.dpi": 110,
        "font.size": 9,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "pdf.fonttype": 42,
        "savefig.dpi": 200,
        "svg.fonttype": "none",
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 3.4, height: float = 2.6) -> tuple[Figure, Any]:
    """A figure with axes (rows, columns), each of the given size in inches; a single one is not wrapped in an array."""
    from latticeflow.plots.shown_figure import ShownFigure

    figure = ShownFigure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns)


def check_path(path: str | Path) -> Path:
    """Refuse a file that no figure can be written to, before the work of making one.

    Raises:
        InputError: a suffix other than `FORMATS`, or a directory that does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"cannot draw into {str(path)!r}: its name must end in {', '.join(FORMATS)}")
    require_replaceable(path)
    return path


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, PDF or SVG; raises as `check_path`."""
    path = check_path(path)
    with style(), whole_file(path) as draft:
        figure.savefig(draft)


def observable(
    axes: Axes,
    table: Table,
    name: str,
    *,
    label: str = "",
    series: int = 0,
    joined: bool = True,
    hollow: bool = False,
) -> None:
    """One observable against temperature, with bars.

    Args:
        axes: to draw in.
        table: from `mcmc.analysis.thermodynamics.observe`.
        name: of the observable.
        label: for the legend.
        series: number of the data set, which picks colour and marker.
        joined: lead the eye from point to point.
        hollow: large open markers, through which another set can be seen.
    """
    values, errors = table[name].values, table[name].errors
    axes.errorbar(
        table.temperatures,
        values,
        # An error that is not known is drawn as none.
        np.nan_to_num(errors),
        color=COLOURS[series % len(COLOURS)],
        marker=MARKERS[series % len(MARKERS)],
        markerfacecolor="none" if hollow else None,
        markersize=6.5 if hollow else None,
        linestyle=":" if joined else "none",
        linewidth=0.7,
        elinewidth=1.2,
        label=label,
    )
    axes.set_xlabel(TEMPERATURE)
    axes.set_ylabel(LABELS.get(name, name))


def pulls_below(axes: Axes) -> Axes:
    """Make room below a panel, at the cost of its height, for the `pulls` of what is drawn in it."""
    place = axes.get_subplotspec()
    assert place is not None  # every panel of `new_figure` has one
    halves = place.subgridspec(2, 1, height_ratios=(3, 1), hspace=0.06)
    axes.set_subplotspec(halves[0])
    below = axes.figure.add_subplot(halves[1], sharex=axes)
    below.axhspan(-2, 2, color="0.9", zorder=0)
    below.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    below.set_ylabel("pull")
    below.set_xlabel(axes.get_xlabel())
    axes.set_xlabel("")
    axes.tick_params(axis="x", labelbottom=False)
    return below


def pulls(axes: Axes, table: Table, reference: Table, name: str, *, series: int = 0) -> None:
    """Differences of one observable between two independent tables, in standard errors, where both have a temperature.

    Args:
        axes: to draw in; the band is two standard errors wide on either side.
        table, reference: of the same model and lattice.
        name: of the observable.
        series: number of the data set, which picks colour and marker.
    """
    T, here, there = np.intersect1d(table.temperatures.round(9), reference.temperatures.round(9), return_indices=True)
    ours, theirs = table[name], reference[name]
    error = np.hypot(ours.errors[here], theirs.errors[there])
    difference = ours.values[here] - theirs.values[there]
    pull = np.divide(difference, error, out=np.where(difference == 0, 0.0, np.nan), where=error > 0)
    colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
    axes.plot(T, pull, linestyle="none", markerfacecolor="none", color=colour, marker=marker)
    largest = np.nanmax(np.abs(pull), initial=max(3.0, *map(abs, axes.get_ylim())))
    axes.set(ylim=(-1.15 * largest, 1.15 * largest) if largest > 3 else (-3.4, 3.4), yticks=(-2, 0, 2))


def _same_system(tables: Sequence[Table]) -> bool:
    """Whether all tables are of one model and lattice and share a temperature with the first."""
    first, *others = tables
    return bool(others) and all(
        (other.model, other.lattice) == (first.model, first.lattice)
        and np.isclose(other.temperatures[:, None], first.temperatures).any()
        for other in others
    )


def curve(axes: Axes, reweighted: Curve, *, label: str = "", series: int = 0) -> None:
    """A reweighted curve with its one-sigma band, where it can be trusted."""
    colour = COLOURS[series % len(COLOURS)]
    hidden = ~reweighted.trusted
    value = np.where(hidden, np.nan, reweighted.value)
    axes.plot(reweighted.temperature, value, color=colour, label=label)
    axes.fill_between(
        reweighted.temperature,
        value - reweighted.error,
        value + reweighted.error,
        color=colour,
        alpha=0.25,
        linewidth=0,
    )
    axes.set_xlabel(TEMPERATURE)


def jump_line(axes: Axes) -> None:
    """The line 2 T / pi, which the helicity modulus crosses where a Kosterlitz-Thouless transition is."""
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    T = min(high, math.pi / 2 * top)
    axes.plot([0, T], [0, 2 * T / math.pi], color="0.4", linestyle="--", linewidth=1, zorder=0)
    axes.set(xlim=(low, high), ylim=(bottom, top))
    axes.annotate(
        r"$2T/\pi$",
        (T, 2 * T / math.pi),
        (3, -3),
        textcoords="offset points",
        ha="left",
        va="top",
        color="0.3",
        fontsize=8,
    )


def overview(tables: Mapping[str, Table], names: Sequence[str] = OVERVIEW) -> Figure:
    """Observables against temperature, several ensembles overlaid; below those of one system, their pulls.

    Args:
        tables: by the label that the legend shows; pulls are taken from the first.
        names: the observables, one panel each; those that none of the tables has are left out.

    Raises:
        InputError: none of the tables has any of them.
    """
    for table in tables.values():
        if not isinstance(table, Table):
            raise InputError(f"expected tables, such as observe makes; got {type(table).__name__}")
    known = [name for table in tables.values() for name in table.observables]
    if not (held := [name for name in names if name in known]):
        raise InputError(f"unknown observable {names[0]!r}: {nearest(names[0], known)}")
    names = held
    reference = next(iter(tables.values()))
    with_pulls = _same_system(list(tables.values()))
    with style():
        rows = -(-len(names) // 4)
        columns = -(-len(names) // rows)
        figure, panels = new_figure(rows, columns, width=3.1, height=3.3 if with_pulls else 2.4)
        panels = np.atleast_1d(panels).ravel()
        for axes, name in zip(panels, names, strict=False):
            for number, (label, table) in enumerate(tables.items()):
                if name in table.observables:
                    observable(axes, table, name, label=label, series=number, hollow=number > 0)
            if name.startswith("helicity_modulus"):
                jump_line(axes)
            if with_pulls:
                below = pulls_below(axes)
                for number, table in enumerate(list(tables.values())[1:], 1):
                    pulls(below, table, reference, name, series=number)
        for axes in panels[len(names) :]:
            axes.remove()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return figure


def histogram(axes: Axes, sets: Mapping[str, np.ndarray], name: str, *, bins: int = 60) -> None:
    """Normalised histograms of a series on common bins.

    Args:
        axes: to draw in.
        sets: series of any shape by the label that the legend shows.
        name: of the observable.
        bins: their number.
    """
    flat = {label: np.ravel(values) for label, values in sets.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(flat.values())), bins).tolist()
    for number, (label, values) in enumerate(flat.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.hist(values, edges, density=True, histtype="stepfilled", color=colour, alpha=0.2)
        axes.hist(values, edges, density=True, histtype="step", color=colour, label=label)
    axes.set_xlabel(LABELS.get(name, name))
    axes.set_ylabel("probability density")
    if len(flat) > 1:
        axes.legend()


def autocorrelations(axes: Axes, sets: Mapping[str, np.ndarray], *, longest: int | None = None) -> None:
    """Autocorrelation functions, with tau_int in the legend.

    Args:
        axes: to draw in.
        sets: series (chains, draws) by label.
        longest: last distance shown; None takes eight of the longest tau_int.
    """
    found = {label: (autocorrelation(series), estimate(series)) for label, series in sets.items()}
    if longest is None:
        longest = max(10, *(math.ceil(8 * bar.tau_int) for _, bar in found.values()))
    for number, (label, (rho, bar)) in enumerate(found.items()):
        shown = rho[: longest + 1]
        axes.plot(
            np.arange(len(shown)),
            shown,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markevery=max(1, len(shown) // 20),
            label=rf"{label}: $\tau_\mathrm{{int}}$ = {bar.tau_int:.3g} $\pm$ {bar.tau_int_error:.2g}",
        )
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlabel("distance $t$  [draws]")
    axes.set_ylabel(r"autocorrelation $\rho(t)$")
    axes.legend()


def _hues(saturation: float) -> Any:
    """Colours of the angle, the same at both ends of its range."""
    from matplotlib.colors import ListedColormap, hsv_to_rgb

    hue = np.linspace(0.5, 1.5, 257)[:-1] % 1
    return ListedColormap(hsv_to_rgb(np.stack([hue, np.full(256, saturation), np.full(256, 0.97)], -1)))


def configuration(axes: Axes, theta: np.ndarray, *, arrows: bool | None = None, model: Model | None = None) -> None:
    """One configuration: hue for the angle, arrows where there is room, vortices (circles) and antivortices (squares).

    Args:
        axes: to draw in.
        theta: angles in [-pi, pi), (Ly, Lx).
        arrows: draw each spin as an arrow; None does up to 32 sites across.
        model: whose bonds vortices are relative to; None takes those of a ferromagnet.
    """
    from matplotlib.ticker import MaxNLocator

    found = observables.vortices(theta, model or XY())
    Ly, Lx = theta.shape
    if arrows is None:
        arrows = max(Lx, Ly) <= 32
    # Black arrows need a pale ground.
    hues = _hues(0.35 if arrows else 0.7)
    image = axes.imshow(theta, cmap=hues, vmin=-math.pi, vmax=math.pi, origin="upper")
    if arrows:
        # Rows count downwards, so an angle turns clockwise on the page: vortices look as their charge says.
        axes.quiver(
            *np.meshgrid(np.arange(Lx), np.arange(Ly)),
            np.cos(theta),
            np.sin(theta),
            angles="xy",
            pivot="mid",
            scale=1.25,
            scale_units="xy",
            width=0.11,
            units="xy",
            headwidth=3.5,
            headlength=4,
            headaxislength=3.5,
            color="black",
        )
    size = 60 * min(1.0, 16 / max(Lx, Ly)) + 6
    outline = {"edgecolors": "black", "linewidths": 0.8, "s": size, "zorder": 3, "clip_on": False}
    for charge, marker, colour, label in ((1, "o", COLOURS[5], "vortex"), (-1, "s", "white", "antivortex")):
        at = np.sign(found.charge) == charge
        axes.scatter(found.x[at], found.y[at], marker=marker, color=colour, label=f"{label} ({at.sum()})", **outline)
    axes.set(xlim=(-0.5, Lx - 0.5), ylim=(Ly - 0.5, -0.5), xlabel="$x$  [spacings]", ylabel="$y$  [spacings]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    bar = axes.figure.colorbar(image, ax=axes, ticks=[-math.pi, 0, math.pi], shrink=0.8, label=r"angle $\theta$  [rad]")
    bar.ax.set_yticklabels([r"$-\pi$", "0", r"$\pi$"])


def correlation(
    axes: Axes, distance: np.ndarray, value: np.ndarray, error: np.ndarray, *, label: str = "", series: int = 0
) -> None:
    """A correlation function with bars on logarithmic axes; what is not positive at two sigma is left out.

    Args:
        axes: to draw in.
        distance, value, error: (n,), from `mcmc.analysis.correlations.Correlation.along_axes`.
        label: for the legend.
        series: number of the data set, which picks colour and marker.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    shown = (value > 2 * error) & (distance > 0)
    axes.errorbar(
        distance[shown],
        value[shown],
        error[shown],
        color=COLOURS[series % len(COLOURS)],
        marker=MARKERS[series % len(MARKERS)],
        linestyle="none",
        label=label,
    )
    axes.set(xscale="log", yscale="log", xlabel="distance $r$  [spacings]", ylabel=r"correlation $G(r)$")
    axes.xaxis.set_major_locator(LogLocator(2))
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
