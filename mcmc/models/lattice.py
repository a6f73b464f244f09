"""The periodic rectangle: sites, neighbours, colourings, and angles on it.

Sites are numbered row by row, ``i = y * Lx + x``; *right* is x + 1 and *below* is y + 1, both periodic. Each
site owns its right and its lower bond and the plaquette below-right, for L = 2 as well, where a pair of
neighbours then shares two bonds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcmc.errors import InputError


def wrap(theta: Any) -> Any:
    """Map angles in radians to [-pi, pi).

    Args:
        theta: numpy array or torch tensor of any shape, float32 or float64.

    Returns:
        The same kind, shape and dtype.

    Example:
        >>> float(wrap(np.float64(np.pi)))
        -3.141592653589793
    """
    wrapped = (theta + np.pi) % (2 * np.pi) - np.pi
    # Rounding may land exactly on +pi (always so for float32, whose nearest number lies above pi).
    return wrapped - (2 * np.pi) * (wrapped >= np.pi)


@dataclass(frozen=True)
class Lattice:
    """A periodic rectangle of ``Lx`` by ``Ly`` sites, both at least 2.

    Raises:
        InputError: a side is not an integer of at least 2.
    """

    Lx: int
    Ly: int

    def __post_init__(self) -> None:
        """Refuse sides that no periodic lattice has; numpy's integers become Python's."""
        for name, side in (("Lx", self.Lx), ("Ly", self.Ly)):
            if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 2:
                raise InputError(f"lattice side {name} = {side!r} must be an integer of at least 2")
            object.__setattr__(self, name, int(side))

    @property
    def shape(self) -> tuple[int, int]:
        """``(Ly, Lx)``: the last two axes of every array of configurations."""
        return (self.Ly, self.Lx)

    @property
    def N(self) -> int:
        """Number of sites."""
        return self.Lx * self.Ly

    def site(self, x: Any, y: Any) -> Any:
        """Site number at column ``x`` and row ``y`` (integers or integer arrays, taken periodically)."""
        return (np.asarray(y) % self.Ly) * self.Lx + np.asarray(x) % self.Lx

    def neighbours(self, *offsets: tuple[int, int]) -> np.ndarray:
        """Sites at the given ``(dx, dy)`` offsets from every site.

        Returns:
            int32 array of shape (N, len(offsets)).

        Example:
            >>> Lattice(3, 2).neighbours((1, 0), (0, 1))[2].tolist()
            [0, 5]
        """
        y, x = np.divmod(np.arange(self.N), self.Lx)
        columns = [self.site(x + dx, y + dy) for dx, dy in offsets]
        return np.stack(columns, axis=1).astype(np.int32)

    def sublattices(self, period: int) -> list[np.ndarray]:
        """Split the sites into colours.

        ``period`` 1 gives the two checkerboard colours (no nearest neighbours share one), ``period`` 2 the
        four colours of a 2x2 tile (no plaquette partners share one).

        Returns:
            int32 arrays of site numbers, even colour first.

        Raises:
            InputError: a side is odd, so the colouring does not close around the torus.
        """
        if self.Lx % 2 or self.Ly % 2:
            raise InputError(f"a {self.Lx}x{self.Ly} lattice has no periodic colouring: both sides must be even")
        y, x = np.divmod(np.arange(self.N), self.Lx)
        colour = (x + y) % 2 if period == 1 else 2 * (y % 2) + x % 2
        return [np.flatnonzero(colour == c).astype(np.int32) for c in range(colour.max() + 1)]


def as_lattice(size: int | Sequence[int] | Lattice) -> Lattice:
    """A lattice from what people call its size.

    Args:
        size: side of a square, (Lx, Ly), or a lattice.

    Raises:
        InputError: a side is not an integer of at least 2, or there are not one or two of them.

    Example:
        >>> as_lattice(8), as_lattice((8, 4))
        (Lattice(Lx=8, Ly=8), Lattice(Lx=8, Ly=4))
    """
    if isinstance(size, Lattice):
        return size
    if isinstance(size, int | np.integer):
        return Lattice(int(size), int(size))
    sides = [*size] if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) else []
    if len(sides) != 2:
        raise InputError(f"size = {size!r} must be the side of a square lattice, such as 16, or a pair such as (16, 8)")
    return Lattice(*(int(side) if isinstance(side, np.integer) else side for side in sides))
