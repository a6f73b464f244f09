"""What a run hands to its file: consecutive draws of all chains."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Block(NamedTuple):
    """Consecutive draws of every chain at every temperature (T of them, C chains, n draws)."""

    theta: np.ndarray
    """Angles in [-pi, pi), float32 (T, C, n, Ly, Lx)."""
    series: dict[str, np.ndarray]
    """Measured series by name, float64 (T, C, n); see `mcmc.models.observables`."""
