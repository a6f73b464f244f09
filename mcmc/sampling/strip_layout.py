"""Into how many strips a lattice is cut, one a lane of the kernels' vectors; see `mcmc.kernels.strips`."""

from __future__ import annotations

import numpy as np

from mcmc.kernels.conventions import OFFSETS, STRIPS, WIDTH
from mcmc.models.lattice import Lattice

LEAST_HEIGHT = 2
"""Rows of a strip at least: no bond and no plaquette then holds the same row of two strips."""
LEAST_SITES = 256
"""Sites of a lattice that is cut into strips, at least: smaller ones are cheap, and take more chains instead."""
LEAST_SHARED, LEAST_COLUMNS = 128**2, 16
"""Sites of a lattice that threads share, and columns of a section, at least: barriers take microseconds."""


def strip_neighbours(lattice: Lattice, strips: int) -> np.ndarray:
    """Neighbours within a strip and its copies of rows, int32 (N / strips, 8); see `mcmc.kernels.strips`."""
    height = lattice.Ly // strips
    y, x = np.divmod(np.arange(height * lattice.Lx), lattice.Lx)
    # Row h is a copy of the next strip's first one, row h + 1 of the last one of the strip before.
    columns = [(y + dy) % (height + 2) * lattice.Lx + (x + dx) % lattice.Lx for dx, dy in OFFSETS]
    return np.stack(columns, axis=1).astype(np.int32)


def fits(strips: int, lattice: Lattice) -> bool:
    """Whether a lattice may be cut into that many strips."""
    rectangle = lattice.dimensions == 2 and strips in STRIPS
    return strips == 1 or (rectangle and not lattice.Ly % strips and lattice.Ly // strips >= LEAST_HEIGHT)


def sections_of(lattice: Lattice, strips: int) -> int:
    """Into how many sections of columns a lattice is divided, which threads may share; see `mcmc.kernels.strips`.

    Example:
        >>> [sections_of(Lattice(L, L), 16) for L in (64, 128, 256, 1024)]
        [1, 8, 8, 8]
    """
    return 8 if strips > 1 and lattice.N >= LEAST_SHARED and lattice.Lx >= 8 * LEAST_COLUMNS else 1


def choose_strips(lattice: Lattice, replicas: int) -> int:
    """Into how many strips to cut every lattice, so that the vectors are full and threads have vectors to share.

    The time of a sweep goes as the number of vectors times the rows of a strip, and half a row more for the copies at
    the seams. Among those within an eighth of the least time the largest number is taken.

    Example:
        >>> [choose_strips(Lattice(64, 64), replicas) for replicas in (1, 4, 16, 1000)]
        [16, 16, 16, 16]
        >>> [choose_strips(Lattice(16, 16), replicas) for replicas in (1, 4, 16, 1000)]
        [8, 8, 4, 4]
    """
    times = _sweep_times(lattice, replicas)
    return max(strips for strips, time in times.items() if time <= 1.125 * min(times.values()))


def _sweep_times(lattice: Lattice, replicas: int) -> dict[int, float]:
    """Time of a sweep of all replicas for every possible number of strips, in rows of a vector."""
    possible = [strips for strips in STRIPS if fits(strips, lattice)] if lattice.N >= LEAST_SITES else [1]
    return {
        strips: -(-replicas * strips // WIDTH) * (lattice.Ly // strips + (0.5 if strips > 1 else 0.0))
        for strips in possible
    }


def chains_at_no_cost(lattice: Lattice, temperatures: int, chains: int, *, cut: bool) -> int:
    """Twice as many chains at each temperature, or 4, 8, 16 times, if they take no longer: they fill the vectors.

    Args:
        lattice: the periodic rectangle.
        temperatures: how many.
        chains: how many there are.
        cut: whether the sampler advances strips of a lattice, see `choose_strips`.

    Example:
        >>> [chains_at_no_cost(Lattice(L, L), 1, 4, cut=True) for L in (8, 16, 64)]
        [16, 4, 4]
        >>> [chains_at_no_cost(Lattice(8, 8), temperatures, 4, cut=True) for temperatures in (2, 3, 4, 11)]
        [8, 4, 4, 4]
    """

    def time(count: int) -> float:
        times = _sweep_times(lattice, temperatures * count)
        return min(times.values()) if cut else times[1]

    return max(times * chains for times in (1, 2, 4, 8, 16) if time(times * chains) <= time(chains))
