"""One sentence on how well a flow serves as a proposal: good, usable with so many draws, or useless and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from latticeflow.quality import mode_coverage as modes
from latticeflow.quality.flow_quality import FlowQuality

GOOD, USABLE = 0.2, 0.002
"""Independent draws a step, 1 / (2 tau_int), at the worst temperature, from which on a flow is good or usable."""
INDEPENDENT = 1000
"""Independent draws that the number of draws of a usable flow is for."""
LEAST_COVERAGE = 0.9
"""Share of the ensemble below which a flow with smooth weights must miss something, if it is five sigmas below."""


class Verdict(NamedTuple):
    """What to think of a flow."""

    grade: str
    """``"good"``, ``"usable"`` or ``"useless"``."""
    sentence: str
    """The same in one sentence, the grade first."""

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


def verdict(rows: Sequence[FlowQuality], draws: int) -> Verdict:
    """Grade a flow by its worst temperature.

    A flow that misses modes is useless whatever its acceptance: its chains would be exact in the end, but not before
    they have found those modes by the rare draw that reaches them.

    Args:
        rows: from `latticeflow.quality.compare.compare`.
        draws: of flow and ensemble at each temperature.
    """
    missing = [(row, found) for row in rows if (found := modes.collapsed(row.kinds, draws)) is not None]
    if missing:
        row, found = max(missing, key=lambda pair: pair[1].missed_share)
        where = f" at {len(missing)} of {len(rows)} temperatures" if len(rows) > 1 else ""
        blind = "; its acceptance of {0:.2f} does not show it" if row.acceptance > 0.1 else "; acceptance {0:.2f}"
        return Verdict(
            "useless",
            f"useless: mode collapse{where}, worst at T = {row.temperature:.4g}, where it hardly ever draws "
            f"configurations with {found.describe_missed()}{blind.format(row.acceptance)}",
        )
    dark = min(rows, key=lambda row: np.nan_to_num(row.coverage, nan=np.inf))
    if dark.ess_reverse > 0.1 and dark.coverage + 5 * dark.coverage_error < LEAST_COVERAGE:
        return Verdict(
            "useless",
            f"useless: at T = {dark.temperature:.4g} its draws reach only {dark.coverage:.0%} of the ensemble, which "
            f"neither its acceptance of {dark.acceptance:.2f} nor its own effective sample size show",
        )
    worst = max(rows, key=lambda row: row.tau_int_predicted)
    steps = 2 * worst.tau_int_predicted
    at = f"at its worst temperature, T = {worst.temperature:.4g},"
    if steps <= 1 / GOOD:
        return Verdict("good", f"good: {at} an independent draw takes {steps:.1f} steps of the chain")
    if steps <= 1 / USABLE:
        total = math.ceil(INDEPENDENT * steps / 100) * 100
        return Verdict(
            "usable",
            f"usable with {total:,} draws per temperature: {at} an independent draw takes {steps:.2g} steps, "
            f"and that many make {INDEPENDENT:,} of them",
        )
    why = f"the variance of its log weights, {worst.log_weight_variance:.3g}, is too large"
    return Verdict("useless", f"useless: {at} an independent draw takes more than {1 / USABLE:.0f} steps, as {why}")
