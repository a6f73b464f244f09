"""What a run hands to its file: consecutive draws of all chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np


class Block(NamedTuple):
    """Consecutive draws of every chain at every temperature (T of them, C chains, n draws)."""

    theta: np.ndarray
    """Angles in [-pi, pi), float32 (T, C, n, Ly, Lx); (T, C, n, 0, 0) where only the series are kept."""
    series: dict[str, np.ndarray]
    """Measured series by name, float64 (T, C, n); see `mcmc.models.observables`."""

    @classmethod
    def of_series(cls, series: Mapping[str, np.ndarray], dimensions: int) -> Self:
        """A block without configurations.

        Args:
            series: by name, at least one.
            dimensions: axes of the lattice.
        """
        shape = next(iter(series.values())).shape
        return cls(np.empty((*shape, *(0,) * dimensions), np.float32), dict(series))
