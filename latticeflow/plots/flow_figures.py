"""Figures of flows: how good they are, what they miss, how fast they are.

Their style is that of `latticeflow.plots.figures`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latticeflow.plots.figures import COLOURS, MARKERS, TEMPERATURE, new_figure, observable, pulls, pulls_below, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from latticeflow.experiments.free_energy_contest import FreeEnergyResult
    from latticeflow.experiments.head_to_head import Rate
    from latticeflow.quality.flow_quality import FlowQuality
    from latticeflow.quality.mode_coverage import Kinds
    from mcmc.analysis.table import Table


def flow_quality(axes: Axes, rows: Sequence[FlowQuality]) -> None:
    """Acceptance and both effective sample sizes of a flow against temperature.

    Args:
        axes: to draw in.
        rows: from `latticeflow.quality.compare.compare`.
    """
    T = [row.temperature for row in rows]
    axes.plot(T, [row.acceptance for row in rows], marker="o", label="acceptance")
    axes.plot(T, [row.ess_reverse for row in rows], marker="s", label="ESS of the flow's draws")
    axes.plot(T, [row.ess_forward for row in rows], marker="D", label="ESS of ensemble draws")
    axes.set(xlabel=TEMPERATURE, ylabel="fraction", ylim=(0, 1.02))
    axes.legend(loc="lower right")


def training_curve(history: Mapping[str, Any]) -> Figure | None:
    """Loss and acceptance along a training, against minutes; None for a flow that remembers none.

    Args:
        history: of a flow, see `latticeflow.flows.flow.Flow`.
    """
    curve = history.get("curve") or {}
    if not curve.get("loss"):
        return None
    minutes = np.array(curve["seconds"]) / 60
    known = {name: np.array(curve[name], np.float64) for name in ("acceptance", "loss")}
    known = {name: values for name, values in known.items() if np.isfinite(values).any()}
    with style():
        figure, axes = new_figure(1, len(known))
        for panel, (name, values), colour in zip(np.atleast_1d(axes), known.items(), COLOURS, strict=False):
            panel.plot(minutes, values, color=colour)
            panel.set(xlabel="training  [minutes]", ylabel=name)
            if name == "loss" and values[np.isfinite(values)].min() > 0:
                panel.set_yscale("log")
        return figure


def flow_against_reference(
    rows: Sequence[FlowQuality],
    flow: Table,
    reference: Table,
    names: Sequence[str] = ("energy", "magnetization", "vortex_density"),
) -> Figure:
    """Quality of a flow, and the observables of its exact chains on those of a reference ensemble.

    Args:
        rows: from `latticeflow.quality.compare.compare`.
        flow: thermodynamics of the neural chains.
        reference: thermodynamics of the ensemble.
        names: the observables, one panel each.
    """
    with style():
        figure, axes = new_figure(-(-(len(names) + 1) // 2), 2)
        flow_quality(axes.flat[0], rows)
        for panel, name in zip(axes.flat[1:], names, strict=False):
            observable(panel, reference, name, label="Markov chains")
            observable(panel, flow, name, label="flow + Metropolis", series=1, hollow=True)
            panel.legend()
            pulls(pulls_below(panel), flow, reference, name, series=1)
        for panel in axes.flat[len(names) + 1 :]:
            panel.remove()
    return figure


def mode_shares(axes: Axes, found: Kinds) -> None:
    """Shares of the kinds of configurations in the ensemble, the flow's draws and the chain, side by side."""
    from latticeflow.quality.mode_coverage import TITLES

    shown = np.flatnonzero(np.maximum(found.ensemble, np.maximum(found.flow, found.chain)) > 0.002)
    bars = {"ensemble": (found.ensemble, 6), "flow": (found.flow, 0), "flow + Metropolis": (found.chain, 1)}
    for number, (label, (shares, colour)) in enumerate(bars.items()):
        x = np.arange(len(shown)) + 0.27 * (number - 1)
        axes.bar(x, shares[shown], 0.27, color=COLOURS[colour], label=label)
    axes.set_xticks(np.arange(len(shown)), [found.labels[k] for k in shown])
    if len(shown) > 6:
        axes.tick_params(axis="x", rotation=60)
    axes.set(xlabel=TITLES[found.name], ylabel="share of draws")


def comparison(rows: Sequence[FlowQuality]) -> Figure:
    """A flow against a reference ensemble: its weights over the temperatures, its modes where they fit worst.

    Args:
        rows: from `latticeflow.quality.compare.compare`.
    """

    def column(name: str) -> np.ndarray:
        values = np.array([getattr(row, name) for row in rows], np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    worst = max(rows, key=lambda row: (round(row.missed_share, 1), row.tau_int_predicted))
    with style():
        figure, axes = new_figure(2, 3)
        flow_quality(axes[0, 0], rows)
        T = column("temperature")
        axes[0, 1].plot(T, column("log_weight_variance_per_site"), marker="o")
        axes[0, 1].set(xlabel=TEMPERATURE, ylabel=r"variance of $\log w$ per site", yscale="log")
        for name, marker, label in (("tau_int", "o", "chain"), ("tau_int_predicted", "s", "from the weights")):
            axes[0, 2].plot(T, column(name), marker=marker, label=label)
        axes[0, 2].set(xlabel=TEMPERATURE, ylabel=r"$\tau_\mathrm{int}$ of the energy  [steps]", ylim=(0, None))
        axes[0, 2].legend()
        for panel, found in zip(axes[1], worst.kinds, strict=True):
            mode_shares(panel, found)
            panel.set_title(f"$T$ = {worst.temperature:.4g}")
        figure.legend(*axes[1, 2].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def _line(number: int, classical: bool) -> dict[str, Any]:
    """How the line of a method looks; the eighth has the first one's colour, but another marker."""
    look = {"color": COLOURS[number % 7], "marker": MARKERS[(number + number // 7) % 7]}
    return look | {"linestyle": "--", "markerfacecolor": "none"} if classical else look


def _legend_of_all(figure: Figure, axes: Any, *, ncols: int) -> None:
    """One legend of the lines in any of the panels."""
    lines = {
        label: line for panel in np.ravel(axes) for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend([*lines.values()], [*lines], loc="outside upper center", ncols=ncols)


def head_to_head(rows: Sequence[Rate]) -> Figure:
    """Effective draws a second against temperature: a row of panels for each system, a panel for each observable.

    Lines of classical samplers are broken, their markers hollow.

    Args:
        rows: from `latticeflow.experiments.head_to_head.contest`, of one system or several.
    """
    from latticeflow.experiments.head_to_head import CLASSICAL

    titles = ("energy", "squared magnetisation", "vortex density")
    systems = list(dict.fromkeys(row.system for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    with style():
        figure, axes = new_figure(len(systems), len(titles))
        for system, panels in zip(systems, np.atleast_2d(axes), strict=True):
            for k, (panel, title) in enumerate(zip(panels, titles, strict=True)):
                for number, method in enumerate(methods):
                    found = [row for row in rows if (row.system, row.method) == (system, method)]
                    if found:
                        T, rates = [row.temperature for row in found], [row.rates[k] for row in found]
                        panel.plot(T, rates, label=method, **_line(number, method in CLASSICAL))
                panel.set(yscale="log", xlabel=TEMPERATURE, title=f"{system}, {title}")
            panels[0].set_ylabel("effective draws a second")
        _legend_of_all(figure, axes, ncols=5)
        return figure


def free_energy_errors(rows: Sequence[FreeEnergyResult]) -> Figure:
    """Errors of free energy and entropy at equal time against temperature, a row of panels for each system.

    Lines of classical methods are broken, their markers hollow.

    Args:
        rows: from `latticeflow.experiments.free_energy_contest.contest`, of one system or several.
    """
    from latticeflow.experiments.free_energy_contest import CLASSICAL_METHODS

    systems = list(dict.fromkeys(row.system for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    with style():
        figure, axes = new_figure(len(systems), 2)
        for system, panels in zip(systems, np.atleast_2d(axes), strict=True):
            for panel, name, letter in zip(panels, ("free_energy", "entropy"), "fs", strict=True):
                for number, method in enumerate(methods):
                    found = [row for row in rows if (row.system, row.method) == (system, method)]
                    errors = np.array([getattr(row, f"{name}_error") for row in found])
                    if (known := np.isfinite(errors)).any():  # an error that nobody knows is NaN or infinite
                        T, errors = np.array([row.temperature for row in found])[known], errors[known]
                        panel.plot(T, errors, label=method, **_line(number, method in CLASSICAL_METHODS))
                seconds = max(row.seconds for row in rows if row.system == system)
                panel.set(yscale="log", xlabel=TEMPERATURE, title=f"{system}, at most {seconds:.0f} s each")
                panel.set_ylabel(f"error of ${letter}$ per site")
        _legend_of_all(figure, axes, ncols=3)
        return figure


PUBLISHED_PANELS = {"acceptance": "acceptance", "missed_share_max": "missed at the worst T", "nll": "NLL  [nats]"}


def published_curves(rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]) -> Figure:
    """Learning curves of the paper's experiment: thin lines for the seeds, a thick one for their mean where all are.

    Args:
        rows: of `latticeflow.experiments.published_experiment`, of one size.
        pairs: objectives without, whose lines are broken, and with the critic.
    """
    with style():
        figure, axes = new_figure(1, len(PUBLISHED_PANELS), width=2.5, height=2.3)
        for (name, label), panel in zip(PUBLISHED_PANELS.items(), axes, strict=True):
            for number, pair in enumerate(pairs):
                for objective in pair:
                    mine = [row for row in rows if row["objective"] == objective and row[name] is not None]
                    seeds = {row["seed"] for row in mine}
                    reached = Counter(row["steps"] for row in mine)
                    steps = sorted(at for at, count in reached.items() if count == len(seeds))
                    how = _line(number, objective == pair[0])
                    for seed in sorted(seeds):
                        curve = sorted((row["steps"], row[name]) for row in mine if row["seed"] == seed)
                        panel.plot(*zip(*curve, strict=True), color=how["color"], linewidth=0.5, alpha=0.5)
                    average = np.log if name == "nll" else np.asarray
                    means = [float(np.mean([average(row[name]) for row in mine if row["steps"] == at])) for at in steps]
                    shown = np.exp(means) if name == "nll" else means
                    panel.plot(steps, shown, label=objective, linewidth=1.4, markersize=4, **how)
            panel.set(xlabel="steps", ylabel=label)
        axes[list(PUBLISHED_PANELS).index("nll")].set_yscale("log")
        _legend_of_all(figure, axes, ncols=3)
    return figure
