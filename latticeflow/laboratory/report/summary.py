"""The table as people read it: means and spreads over seeds, beside the published figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latticeflow.laboratory.measures.mode_measures import Measures
from latticeflow.laboratory.methods import recipes, weight_scan
from latticeflow.laboratory.methods.method_registry import METHODS, Effort
from latticeflow.laboratory.report.cells import GAIN
from latticeflow.laboratory.targets import TARGETS, build_target
from mcmc import InputError
from mcmc.runtime.whole_file import whole_file

QUICK_TARGETS = ["mog8", "ring8"]
QUICK_METHODS = ["exact", "gaussian", "realnvp", "realnvp_reverse_kl", "realnvp_advnf", "flow_matching"]


TABLE_TARGETS = ["mog8", "ring8", "mog4", "grid25"]
"""Densities of the table, unless others are named; each shows something else, and the others cost more."""
TABLE_METHODS = [
    "exact",
    "gaussian",
    "realnvp",
    "realnvp_reverse_kl",
    "realnvp_advnf_reverse",
    "realnvp_advnf_reverse_rescue_late_anneal",
    "spline",
    "spline_reverse_kl",
    "spline_advnf_reverse",
    "spline_advnf_reverse_rescue_late_anneal",
    "realnvp_advnf",
    "realnvp_advnf_forward",
    "flow_matching",
    "gan",
    "pacgan4",
    "veegan",
    "ali",
    "unrolled_gan",
    "infogan",
    "vae",
    "realnvp_reverse_kl_mixture8",
]
"""Methods of the table, unless others are named."""


def all_methods() -> list[str]:
    """All methods but those that explain the others: the recipes and the scan of weights."""
    return [name for name, method in METHODS.items() if method.group not in (recipes.GROUP, weight_scan.GROUP)]


PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "ring8": {
        "gan": (1, 99.3),
        "ali": (2.8, 0.13),
        "unrolled_gan": (7.6, 35.6),
        "veegan": (8, 52.9),
        "pacgan2": (7.9, 95.6),
    },
    "grid25": {
        "gan": (3.3, 0.5),
        "ali": (15.8, 1.6),
        "unrolled_gan": (23.6, 16),
        "veegan": (24.6, 40),
        "pacgan4": (24.8, 93.6),
    },
    "manifold1200": {"gan": (1.6, 2.0), "ali": (3, 5.4), "unrolled_gan": (0, 0), "veegan": (5.5, 28.3)},
}
"""Modes captured and per cent of high quality, by target and method: VEEGAN, arXiv:1705.07761, table 1; PacGAN,
arXiv:1712.04086."""


class Spread(NamedTuple):
    """Mean and standard deviation over seeds (0 for a single one)."""

    mean: float
    deviation: float


class Mean(NamedTuple):
    """One method on one target, over its seeds."""

    target: str
    method: str
    runs: int
    diverged: int
    capped: int
    """Runs that the largest budget ended before they had stopped improving."""
    values: dict[str, Spread]
    """Over the runs that did not diverge, by measure, `steps` and `seconds` over all; what no run has is left out."""

    def as_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {**self._asdict(), "values": {name: value._asdict() for name, value in self.values.items()}}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Mean:
        """What `as_json` made; rows of a fixed budget may lack ``capped``."""
        return cls(**{"capped": 0, **row, "values": {name: Spread(**value) for name, value in row["values"].items()}})


def summarise(rows: Iterable[dict[str, Any]]) -> list[Mean]:
    """Means over seeds, in the order of the registries."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["target"], row["method"]), []).append(row)
    orders = [*TARGETS], [*METHODS]

    def place(key: tuple[str, str]) -> tuple[int, ...]:
        return tuple(order.index(k) if k in order else len(order) for k, order in zip(key, orders, strict=True))

    return [
        Mean(
            target,
            method,
            len(group),
            sum(row["diverged"] is not None for row in group),
            sum(row.get("converged") is False and row["diverged"] is None for row in group),
            _spreads(group),
        )
        for (target, method), group in sorted(groups.items(), key=lambda item: place(item[0]))
    ]


def _spreads(group: Sequence[dict[str, Any]]) -> dict[str, Spread]:
    found = {}
    for name in (*Measures._fields, "steps", "seconds"):
        values = np.array([row[name] for row in group if row.get(name) is not None])
        if len(values):
            found[name] = Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0)
    return found


def spread(value: Spread | None) -> str:
    """A value and its spread in the digits that mean something, ``7.6(5)``; ``-`` for none."""
    if value is None or not math.isfinite(value.mean):
        return "-"
    mean, deviation = value
    if abs(mean) >= 1e4 or 0 < abs(mean) < 5e-4:
        return f"{mean:.0e}"
    digits = 3 - math.ceil(math.log10(abs(mean))) if mean else 2
    if deviation:
        digits = min(digits, 1 - math.ceil(math.log10(deviation)))
    digits = min(max(digits, 0), 3)
    shown = f"{mean:.{digits}f}"
    if not deviation:
        return shown
    unit = round(deviation * 10**digits) if digits == 0 or deviation < 1 else None
    return f"{shown}({unit})" if unit is not None else f"{shown}({deviation:.{digits}f})"


def answers(means: Sequence[Mean]) -> list[str]:
    """Whether AdvNF loses fewer modes than its parts and than VEEGAN: one line for each target that has the runs."""
    by = {(each.target, each.method): each for each in means}
    lines = []
    for target in dict.fromkeys(each.target for each in means):
        for flow in ("realnvp", "spline"):
            rivals = {
                "FKL": flow,
                "RKL": f"{flow}_reverse_kl",
                "FKL + RKL": f"{flow}_forward_reverse_kl",
                "its critic alone": f"{flow}_jensen_shannon",
                "VEEGAN": "veegan",
            }
            for kind in ("advnf", "advnf_forward", "advnf_reverse"):
                mine = by.get((target, f"{flow}_{kind}"))
                if mine is None or "kept" not in mine.values:
                    continue
                phrases = [
                    _compare(mine, other, label)
                    for label, name in rivals.items()
                    if (other := by.get((target, name))) is not None
                ]
                if phrases:
                    title = METHODS[f"{flow}_{kind}"].title
                    kept = f"{spread(mine.values['kept'])} (weight KL {spread(mine.values['weight_kl'])}"
                    runs = f"{mine.runs} run{'s' * (mine.runs > 1)}"
                    lines.append(f"{target}: {title} keeps {kept}, {runs}): {'; '.join(phrases)}.")
    return lines


def _compare(mine: Mean, other: Mean, label: str) -> str:
    if "kept" not in other.values:
        return f"{label}: every run diverged"
    a, b = mine.values["kept"], other.values["kept"]
    # Two standard errors of the difference, and at least the resolution of modes: more than one between single runs.
    error = math.sqrt(a.deviation**2 / mine.runs + b.deviation**2 / other.runs)
    slack = max(2 * error, 1 / min(mine.runs, other.runs))
    verdict = "as many as" if abs(a.mean - b.mean) <= slack else ("MORE than" if a.mean > b.mean else "FEWER than")
    return f"{verdict} {label} ({spread(b)}, KL {spread(other.values['weight_kl'])})"


WHY = (
    "Why they differ. Recipe: our baselines scale the draws to mean 0 and variance 1, normalise batches in the "
    "generator and lower their learning rates to zero; `recipes.md` takes these away one by one. Noise: VEEGAN "
    "has at most 8 noise variables here, 254 there, where with our budget nothing of high quality comes out in "
    "many dimensions (same file). Budget: the published codes train for a fixed number of updates, we until a doubled "
    "budget gains nothing, or the cap. Protocol: on manifold1200 our rule of quality is another one, see "
    "`GaussiansOnManifold`. Quality is the share of draws within 3 sigma of a mode; a method may reach all modes "
    "and have little of it."
)


def differences(means: Sequence[Mean]) -> list[str]:
    """Ours beside the published figures, one line for each that is published and was run."""
    lines = []
    for each in means:
        theirs = PUBLISHED.get(each.target, {}).get(each.method)
        if theirs is None or "modes" not in each.values:
            continue
        modes, quality = each.values["modes"], each.values["high_quality"]
        ours = f"{spread(modes)} modes ({spread(quality)} %)"
        verdict = "fewer" if modes.mean < theirs[0] - 0.5 else "more" if modes.mean > theirs[0] + 0.5 else "as many"
        title = METHODS[each.method].title
        lines.append(f"{each.target}, {title}: {ours}, published {theirs[0]:g} ({theirs[1]:g} %): {verdict}.")
    return lines


def write(means: Sequence[Mean], path: Path, *, effort: Effort, doublings: int = 0) -> None:
    """Write the table as Markdown to ``path``, and as JSON beside it."""
    data = {
        "effort": asdict(effort),
        "doublings": doublings,
        "means": [each.as_json() for each in means],
        "answers": answers(means),
        "published": differences(means),
    }
    with whole_file(path.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Mode collapse, method by method",
        "",
        f"Made by `latticeflow modes --table`: {effort.steps} updates of {effort.batch} draws, times the pace of the "
        f"method; networks of {effort.width} units. " + _doubled(doublings) + "Means over seeds, with the standard "
        "deviation over seeds in brackets, in units of the last digit unless it has a point. Under `runs`, 5-2 means "
        "that of five runs two diverged and are not in the means. *Exact draws* are what a perfect sampler reads. "
        "*kept*: modes whose share of good draws is at least half of their weight; *fidelity*: overlap of these shares "
        "with the weights; *reached*: modes with one good draw, the published count. Published: modes reached (% of "
        "high quality) of VEEGAN, arXiv:1705.07761, and PacGAN, arXiv:1712.04086. What is not here was not run: "
        "the command goes on with the cells that its file of rows lacks.",
    ]
    for target in dict.fromkeys(each.target for each in means):
        lines += ["", f"## {target}", "", *_section(target, [each for each in means if each.target == target])]
    if found := answers(means):
        lines += ["", "## Does AdvNF lose fewer modes?", "", *(f"- {line}" for line in found)]
    if found := differences(means):
        lines += ["", "## Beside the published figures", "", *(f"- {line}" for line in found), "", WHY]
    with whole_file(path) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path: str | Path) -> list[Mean]:
    """The rows of a table that `write` has left as JSON.

    Raises:
        InputError: the file holds something else.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["means"]
        return [Mean.from_json(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a table of the laboratory: name the .json file that `latticeflow modes --report` writes"
        ) from error


def completed(means: Sequence[Mean], others: Sequence[Mean], *, runs: int = 1) -> list[Mean]:
    """A table, and of another one what it lacks, for one figure.

    Args:
        means: the table.
        others: the other.
        runs: at least so many of what is taken from ``others``.
    """
    have = {(each.target, each.method) for each in means}
    return [*means, *(each for each in others if each.runs >= runs and (each.target, each.method) not in have)]


def _doubled(doublings: int) -> str:
    if not doublings:
        return ""
    return (
        f"Each training is made anew with twice the updates until that gains neither {GAIN['fidelity']:g} points of "
        f"fidelity nor {GAIN['nll']:g} in NLL, at most {doublings} times, or fewer where a run was given less; "
        "*updates* are those of the last, of pace 1, and a number of runs behind `cap` says how many were still "
        "improving there. "
    )


def _section(target: str, means: Sequence[Mean]) -> list[str]:
    published = PUBLISHED.get(target, {})
    count = build_target(target).mode_count if target in TARGETS else math.nan
    head = ["method", "runs", "updates", f"kept of {count}", "fidelity %", "reached", "quality %", "published"]
    head += ["weight KL", "NLL", "sliced EMD", "EMD", "acceptance", "ESS rev", "ESS fwd", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for each in means:
        title = METHODS[each.method].title if each.method in METHODS else each.method
        theirs = "{:g} ({:g})".format(*published[each.method]) if each.method in published else ""
        runs = f"{each.runs}-{each.diverged}" if each.diverged else f"{each.runs}"
        names = ("weight_kl", "nll", "sliced_emd", "emd", "acceptance", "ess_reverse", "ess_forward", "seconds")
        shown = [spread(each.values.get(name)) for name in ("kept", "fidelity", "modes", "high_quality")]
        rest = [spread(each.values.get(name)) for name in names]
        steps = f"{each.values['steps'].mean:.0f}" if "steps" in each.values else ""
        steps += f", cap {each.capped}" if each.capped else ""
        lines.append("| " + " | ".join([title, runs, steps, *shown, theirs, *rest]) + " |")
    return lines
