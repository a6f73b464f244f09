"""Figures of the mode-collapse laboratory, in the style of `latticeflow.plots.figures`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from latticeflow.plots.figures import COLOURS, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from latticeflow.laboratory.methods.method_registry import Effort
    from latticeflow.laboratory.report.cells import Trial
    from latticeflow.laboratory.report.summary import Mean
    from latticeflow.laboratory.targets import Target


def points(axes: Axes, x: np.ndarray, *, colour: str = COLOURS[0], half: float | None = None) -> None:
    """Draws, (n, d): the first two coordinates, in a square that all share if ``half`` its side is given."""
    axes.plot(x[:, 0], x[:, 1], ".", markersize=1.5, alpha=0.35, color=colour, rasterized=True)
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    if half is not None:
        axes.set(xlim=(-half, half), ylim=(-half, half))
    axes.spines[["top", "right"]].set_visible(True)


def target_picture(axes: Axes, target: Target, *, seed: int = 0) -> None:
    """What a target looks like: points in the plane, a stacked digit, spins, or a profile of coordinates."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    conditions = target.conditions()
    n = 1500
    condition = None if conditions is None else conditions[torch.arange(n) % len(conditions)]
    x = target.sample(n, condition=condition, generator=generator).numpy()
    axes.set_title(target.name)
    if target.dimension == 2 and condition is not None:
        assert conditions is not None
        for k in range(len(conditions)):
            points(axes, x[k :: len(conditions)], colour=COLOURS[k])
    elif target.dimension == 2:
        points(axes, x)
    elif target.bounds is not None:
        side = round(target.dimension**0.5)
        axes.imshow(x[0].reshape(side, side), cmap="twilight", vmin=target.bounds[0], vmax=target.bounds[1])
        axes.set(xticks=[], yticks=[])
    elif target.dimension % 192 == 0:
        _digit(axes, x[0])
    else:
        for row in x[:12]:
            axes.plot(row, linewidth=0.4)
        axes.set(xlabel="coordinate", ylabel="$x$")


def _digit(axes: Axes, x: np.ndarray) -> None:
    """A stacked digit, (192,), as a picture in three colours."""
    axes.imshow(np.clip((x.reshape(3, 8, 8).transpose(1, 2, 0) + 1) / 2, 0, 1))
    axes.set(xticks=[], yticks=[])


def digits(rows: Mapping[str, Tensor]) -> Figure:
    """Stacked digits, a row for each title: held-out ones above what a generator makes of them, say.

    Args:
        rows: draws of the target ``digits`` by title, (n, 192) with the same n.
    """
    n = len(next(iter(rows.values())))
    with style():
        figure, grid = new_figure(len(rows), n, width=0.75, height=0.7)
        for (title, x), panels in zip(rows.items(), np.atleast_2d(grid), strict=True):
            for draw, panel in zip(x.numpy(), panels, strict=True):
                _digit(panel, draw)
            panels[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=7)
    return figure


def targets(names: Sequence[str]) -> Figure:
    """A picture of each target; the colours of conditional ones are conditions."""
    from latticeflow.laboratory.targets import build_target

    columns = min(5, len(names))
    with style():
        figure, axes = new_figure(-(-len(names) // columns), columns, width=1.5, height=1.6)
        flat = np.atleast_1d(axes).flat
        for name, panel in zip(names, flat, strict=False):
            target_picture(panel, build_target(name))
        for panel in [*flat][len(names) :]:
            panel.remove()
    return figure


def gallery(cells: Sequence[Trial], effort: Effort, report: Callable[[], None] = lambda: None) -> Figure:
    """Draws of the methods on planar targets, a row for each target; trains seed 0 of each anew.

    Args:
        cells: what to show; targets of another dimension show their first two coordinates.
        effort: of the training.
        report: called after each.
    """
    import torch

    from latticeflow.laboratory.methods.method_registry import DivergedError
    from latticeflow.laboratory.report.cells import find_method, find_target, fit

    names = list(dict.fromkeys(cell.target for cell in cells))
    methods = list(dict.fromkeys(cell.method for cell in cells))
    wanted = {(cell.target, cell.method) for cell in cells}
    with style():
        figure, grid = new_figure(len(names), len(methods) + 1, width=1.5, height=1.6)
        for name, row in zip(names, np.atleast_2d(grid), strict=True):
            target, generator = find_target(name), torch.Generator().manual_seed(1)
            condition = target.sample_conditions(2000, generator)
            x = target.sample(2000, condition=condition, generator=generator).numpy()
            half = 1.15 * float(np.abs(x[:, :2]).max())
            points(row[0], x, colour=COLOURS[6], half=half)
            row[0].set_ylabel(name)
            for method, panel in zip(methods, row[1:], strict=True):
                if (name, method) not in wanted:
                    panel.remove()
                    continue
                try:
                    sampler = fit(next(c for c in cells if (c.target, c.method) == (name, method)), effort)
                    drawn = sampler.sample(2000, condition=condition, generator=generator).numpy()
                    points(panel, drawn, half=half)
                except DivergedError:
                    panel.text(0.5, 0.5, "diverged", ha="center", transform=panel.transAxes)
                report()
        first = np.atleast_2d(grid)[0]
        first[0].set_title("truth")
        for method, panel in zip(methods, first[1:], strict=True):
            panel.set_title(find_method(method).title.replace(", ", "\n"))
    return figure


def heatmap(means: Sequence[Mean]) -> Figure:
    """Targets by methods, a page wide: modes kept, by number and by colour as a share; below, the published count.

    A mode is kept when it has a fair share of good draws, see `Measures.kept`; the published count, in brackets, asks
    for a single draw. A star marks what was still improving when its budget ended.
    """
    import matplotlib as mpl

    from latticeflow.laboratory.methods.method_registry import METHODS
    from latticeflow.laboratory.report.cells import find_target

    targets = list(dict.fromkeys(each.target for each in means))
    methods = [
        name for name in dict.fromkeys([*METHODS, *(m.method for m in means)]) if any(m.method == name for m in means)
    ]
    counts = {name: find_target(name).mode_count for name in targets}
    share = np.full((len(targets), len(methods)), np.nan)
    titles = [METHODS[name].short_title if name in METHODS else name for name in methods]
    longest = 0.055 * max(map(len, titles))  # inches of a title in 7 points, which is turned by 60 degrees
    with style():
        figure, axes = new_figure(
            width=max(5.2, 1.8 + 0.27 * len(methods)), height=max(1.9, 0.7 + 0.87 * longest) + 0.3 * len(targets)
        )
        for each in means:
            i, j = targets.index(each.target), methods.index(each.method)
            if "kept" not in each.values:  # diverged, or a row of earlier releases, which did not count this
                shown = "div" if each.diverged == each.runs else "?"
                axes.text(j, i, shown, ha="center", va="center", fontsize=5)
                continue
            kept, count = each.values["kept"].mean, each.values["modes"].mean
            share[i, j] = kept / counts[each.target]
            colour = "white" if share[i, j] < 0.6 else "black"
            axes.text(
                j, i - 0.15, f"{kept:.3g}{'*' * bool(each.capped)}", ha="center", va="center", fontsize=6, color=colour
            )
            axes.text(j, i + 0.27, f"({count:.3g})", ha="center", va="center", fontsize=4, color=colour)
        image = axes.imshow(share, cmap=mpl.colormaps["viridis"], vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(methods)), titles, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set_yticks(range(len(targets)), [f"{name} ({counts[name]})" for name in targets], fontsize=7)
        axes.tick_params(length=0)
        axes.set_facecolor("0.9")  # what was not run, or cannot be
        title = "modes with a fair share of good draws (modes with one good draw)"
        title += "; * still improving" if any(each.capped for each in means) else ""
        axes.set_title(title, loc="left", fontsize=8)
        figure.colorbar(image, ax=axes, pad=0.01, fraction=0.025).set_label("share of modes kept", fontsize=7)
    return figure


def frontier(means: Sequence[Mean]) -> Figure:
    """What each method gives up for its modes: KL of the modes' weights and NLL less the target's entropy.

    A filled point keeps every mode, see `Measures.kept`; the fainter a point, the fewer.

    Args:
        means: of a few targets without condition; methods without a density are left out.
    """
    import torch

    from latticeflow.laboratory.report.cells import find_method, find_target

    targets = list(dict.fromkeys(each.target for each in means))
    with style():
        figure, axes = new_figure(1, len(targets), width=4.2, height=3.4)
        for name, panel in zip(targets, np.atleast_1d(axes), strict=True):
            mine = [each for each in means if each.target == name]
            target = find_target(name)
            truth = -float(target.log_prob(target.sample(20_000, generator=torch.Generator().manual_seed(0))).mean())
            shown = [each for each in mine if "nll" in each.values and each.method != "exact"]
            for k, each in enumerate(shown):
                kept = each.values["kept"].mean / target.mode_count
                x, y = max(each.values["weight_kl"].mean, 1e-4), max(each.values["nll"].mean - truth, 1e-3)
                colour = COLOURS[k % len(COLOURS)]
                face = "none" if kept < 0.999 else colour
                panel.plot(x, y, "o", color=colour, markerfacecolor=face, alpha=0.35 + 0.65 * kept, markersize=5)
                label = find_method(each.method).title
                panel.annotate(label, (x, y), textcoords="offset points", xytext=(4, 2), fontsize=4)
            panel.set(xscale="log", yscale="log", xlabel="KL of the modes' weights", title=name)
        np.atleast_1d(axes)[0].set_ylabel("NLL less entropy")
    return figure
