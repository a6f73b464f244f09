"""A flow beside an ensemble: one row a temperature, and what to think of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, overload

from latticeflow.quality.flow_quality import FlowQuality, mean_row
from latticeflow.quality.verdict import Verdict, verdict
from mcmc import InputError
from mcmc.runtime.text import html_table

COLUMNS = {
    "temperature": "T",
    "acceptance": "accept",
    "ess_reverse": "ESS rev",
    "ess_forward": "ESS fwd",
    "coverage": "coverage",
    "tau_int": "tau",
    "overlap_energy": "ovl e %",
    "overlap_magnetization": "ovl m %",
}
"""Measures that a comparison shows of itself; all others are fields of its rows."""


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

    def _cells(self) -> Iterator[list[str]]:
        for row in self.rows:
            yield [f"{getattr(row, name):.4g}" for name in COLUMNS]
        yield ["mean", *(f"{self.mean[name]:.4g}" for name in list(COLUMNS)[1:])]

    def __repr__(self) -> str:
        """The main measures by temperature, the verdict, and warnings."""
        lines = ["".join(f"{cell:>11}" for cell in cells) for cells in (list(COLUMNS.values()), *self._cells())]
        return "\n".join([*lines, str(self.verdict), *(f"warning: {line}" for line in self.warnings)])

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
