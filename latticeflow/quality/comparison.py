"""A flow beside an ensemble: one row a temperature, and what to think of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, overload

from latticeflow.quality.flow_quality import FlowQuality, mean_row
from latticeflow.quality.verdict import Verdict, verdict
from mcmc import InputError
from mcmc.runtime.text import columns, html_table, wrapped

COLUMNS = {
    "temperature": "T",
    "acceptance": "accept",
    "ess_reverse": "ESS rev",
    "ess_forward": "ESS fwd",
    "coverage": "coverage",
    "tau_int": "tau",
    "overlap_energy": "e %",
    "overlap_magnetization": "m %",
    "proposal_overlap_vortices": "vort. %",
    "proposal_overlap_winding": "wind. %",
}
"""Measures that a comparison shows of itself; all others are fields of its rows."""

MORE_COLUMNS = {
    "log_weight_variance_per_site": "s^2/site",
    "tau_int_predicted": "tau pred",
    "longest_rejection_run": "stuck",
    "nll": "NLL",
    "free_energy_bridge": "f / site",
}
"""What is shown on request."""

LEGEND = (
    "accept = accepted proposals; ESS rev, fwd = effective sample size as a fraction, by draws of the flow, of the "
    "ensemble; coverage = share of the ensemble that the flow reaches, - where a few draws carry all the weight; "
    "tau = autocorrelation time of the chain's energy, in steps; e, m = overlap of histograms of the chain and the "
    "ensemble, energy and magnetisation; vort., wind. = the same of vortex numbers and windings, before the "
    "Metropolis test"
)
"""What the titles mean."""
MORE_LEGEND = (
    "s^2/site = variance of log w over N; tau pred = tau as the log weights predict it; stuck = most rejections in a "
    "row; NLL = mean of -log q over the ensemble, for all sites together;"
    " f / site = free energy from both sets of draws"
)
"""What the titles of `MORE_COLUMNS` mean."""


def _cell(name: str, value: float) -> str:
    """Two or three digits; a share that is unknown is a dash."""
    if math.isnan(value):
        return "-"
    if "overlap" in name:
        return f"{value:.1f}"
    if name == "tau_int":
        return f"{value:.2f}" if value < 10 else f"{value:.3g}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 10 else f"{value:.2g}" if value else "0"


class Comparison(Sequence[FlowQuality]):
    """The rows of `latticeflow.compare`, with their verdict.

    Args:
        rows: one a temperature.
        draws: of flow and ensemble at each temperature.
        warnings: what to keep in mind, one line each.

    Attributes:
        rows: see above.
        draws: see above.
        warnings: see above.
        verdict: good, usable or useless as a proposal, and why; ``verdict.grade`` is the word.
        mean: averages over the temperatures, each weighing the same.
    """

    def __init__(self, rows: Sequence[FlowQuality], *, draws: int, warnings: Sequence[str] = ()):
        self.rows, self.draws, self.warnings = list(rows), draws, list(warnings)

    @property
    def verdict(self) -> Verdict:
        """What to think of the flow as a proposal."""
        return verdict(self.rows, self.draws)

    @property
    def mean(self) -> dict[str, float]:
        """Averages over the temperatures, each weighing the same."""
        return mean_row(self.rows)

    def __len__(self) -> int:
        """Number of temperatures."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> FlowQuality: ...

    @overload
    def __getitem__(self, index: slice) -> list[FlowQuality]: ...

    def __getitem__(self, index: int | slice) -> FlowQuality | list[FlowQuality]:
        """The row of one temperature, by its number."""
        return self.rows[index]

    def _cells(self, names: Collection[str] = COLUMNS) -> Iterator[list[str]]:
        for row in self.rows:
            yield [f"{row.temperature:.6g}", *(_cell(name, getattr(row, name)) for name in list(names)[1:])]
        yield ["mean", *(_cell(name, self.mean[name]) for name in list(names)[1:])]

    def text(self, *, wide: bool = False) -> str:
        """The measures by temperature in columns.

        Args:
            wide: more than fit into 80 characters.
        """
        titles = COLUMNS | MORE_COLUMNS if wide else COLUMNS
        return columns([*titles.values()], [*self._cells(titles)])

    def __repr__(self) -> str:
        """The main measures by temperature, the verdict, and warnings."""
        sentences = [str(self.verdict), *(f"warning: {line}" for line in self.warnings)]
        return "\n".join([self.text(), *map(wrapped, sentences)])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        words = [str(self.verdict), *(f"warning: {line}" for line in self.warnings)]
        return html_table(list(COLUMNS.values()), list(self._cells()), notes=words)

    def to_pandas(self) -> Any:
        """All measures as a `pandas.DataFrame`, one row a temperature.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise InputError("pandas is not installed: install it with `pip install pandas`") from None
        rows = [{name: value for name, value in row._asdict().items() if name != "kinds"} for row in self.rows]
        return pandas.DataFrame(rows).set_index("temperature")

    def as_json(self) -> dict[str, Any]:
        """Rows, their mean, verdict and warnings in JSON's types; numbers that are not finite are None."""
        return {
            "rows": [row.as_json() for row in self.rows],
            "mean": {name: value if math.isfinite(value) else None for name, value in self.mean.items()},
            "verdict": self.verdict._asdict(),
            "warnings": self.warnings,
        }
