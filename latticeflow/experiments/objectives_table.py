"""Tables of a study, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latticeflow.experiments.objectives_study import Plan, without_critic

COLUMNS = {
    "flow": "flow",
    "objective": "objective",
    "draws": "draws",
    "nll": "NLL",
    "overlap_energy": "overlap e %",
    "overlap_magnetization": "overlap m %",
    "proposal_overlap_energy": "flow alone e %",
    "proposal_overlap_magnetization": "flow alone m %",
    "emd_energy": "EMD e",
    "emd_magnetization": "EMD m",
    "acceptance": "acceptance",
    "acceptance_min": "least",
    "ess_reverse": "ESS reverse",
    "ess_forward": "ESS forward",
    "coverage": "coverage",
    "missed_share": "missed",
    "steps": "steps",
    "seconds": "s",
    "note": "",
}
_MEASURES = {"acceptance": "acceptance", "ess_forward": "ESS forward", "nll": "NLL", "coverage": "coverage"}


def study_text(rows: Sequence[dict[str, Any]], plan: Plan, title: str) -> str:
    """All cells, one a line, and what the critic adds where there is a cell without it.

    Args:
        rows: from `study.run`.
        plan: of the study.
        title: a heading.
    """
    length = f"{plan.training.minutes:g} minutes" if plan.training.minutes else f"{plan.training.steps} steps"
    lines = [
        f"# {title}",
        "",
        f"{plan.model.upper()} {plan.size}x{plan.size}, {len(plan.temperatures)} temperatures from "
        f"{plan.temperatures[0]:g} to {plan.temperatures[-1]:g}, {length} of training on one thread; means over the "
        f"temperatures, on {plan.test_draws:,} draws each that no training has seen. *draws*: of the ensemble that the "
        f"flow learns from, per temperature. Overlaps and EMD (in units of J) are those of the chain, *flow "
        f"alone* those before the Metropolis test. *least*: acceptance at the worst temperature; *missed*: share of "
        f"the ensemble in kinds of configurations that the flow hardly ever draws.",
        "",
        *_markdown([[*COLUMNS.values()], *([_cell(row.get(name)) for name in COLUMNS] for row in rows)]),
    ]
    pairs = [(row, partner) for row in rows if (partner := _partner(row, rows))]
    if pairs:
        lines += ["", "What the critic adds (with it, less without it):", ""]
        head = ["flow", "with", "without", *_MEASURES.values()]
        body = [
            [
                row["flow"],
                row["objective"],
                partner["objective"],
                *(_difference(row[name], partner[name]) for name in _MEASURES),
            ]
            for row, partner in pairs
        ]
        lines += _markdown([head, *body])
    return "\n".join(lines) + "\n"


def _partner(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    name = without_critic(row["objective"])
    same = (other for other in rows if all(other[key] == row[key] for key in ("flow", "draws", "sizes")))
    return next((other for other in same if other["objective"] == name), None)


def _markdown(cells: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(line) + " |" for line in cells]
    return [head, "|" + "---|" * len(cells[0]), *body]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "-" if value is None else str(value)


def _difference(a: float | None, b: float | None) -> str:
    return "-" if a is None or b is None else f"{a - b:+.3g}"
