"""Constants that the kernels share with what calls them; importing this does not import numba."""

from __future__ import annotations

WIDTH = 16
"""Replicas in a vector, one float32 each: 512 bits."""
OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Columns of a table of neighbours, as (dx, dy): east, west, south, north, then the diagonals SE, NE, SW, NW."""
HEAT_BATH, METROPOLIS, OVER_RELAXATION, LINES, TWIST = range(5)
"""Kernels that `mcmc.kernels.steps` runs in one call, by number."""
