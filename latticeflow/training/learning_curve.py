"""What a flow remembers of how its training went: loss and acceptance against time, in few points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from latticeflow.training.trainer import Metrics

POINTS = 200
"""At most so many are kept; then every two neighbours become one."""
_NAMES = ("step", "seconds", "loss", "acceptance")


class LearningCurve:
    """Means of `Metrics` over equal numbers of steps, at most `POINTS` of them.

    Args:
        kept: from `to_json`, to go on from; None begins.

    Example:
        >>> curve = LearningCurve()
        >>> for step in range(1000):
        ...     curve.add(Metrics(step, 0.1 * step, 1 / (step + 1), 1.0, 0.5, 1.0, float("nan")))
        >>> len(curve.to_json()["loss"]), curve.to_json()["step"][:3]
        (125, [3.5, 11.5, 19.5])
    """

    def __init__(self, kept: Mapping[str, Any] | None = None):
        self._width = int(kept["width"]) if kept else 1
        columns = [kept[name] for name in _NAMES] if kept else []
        self._points = [[math.nan if value is None else value for value in row] for row in zip(*columns, strict=True)]
        self._sums, self._count = [0.0] * len(_NAMES), 0

    def add(self, metrics: Metrics) -> None:
        """Take one step in."""
        self._sums = [total + getattr(metrics, name) for total, name in zip(self._sums, _NAMES, strict=True)]
        self._count += 1
        if self._count < self._width:
            return
        self._points.append([total / self._count for total in self._sums])
        self._sums, self._count = [0.0] * len(_NAMES), 0
        if len(self._points) >= POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [[(a + b) / 2 for a, b in zip(first, second, strict=True)] for first, second in pairs]
            self._width *= 2

    def to_json(self) -> dict[str, Any]:
        """Columns ``step``, ``seconds``, ``loss`` and ``acceptance`` (None where unknown), and the steps of a point."""
        columns = zip(*self._points, strict=True) if self._points else [[] for _ in _NAMES]
        known = {
            name: [None if math.isnan(value) else float(f"{value:.6g}") for value in column]
            for name, column in zip(_NAMES, columns, strict=True)
        }
        return {"width": self._width, **known}
