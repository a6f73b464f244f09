"""The periodic rectangle or cuboid: sites, neighbours, colourings, and angles on it.

Sites are numbered row by row, ``i = (z * Ly + y) * Lx + x``; *right* is x + 1 and *below* is y + 1, both periodic. Each
site owns its right and its lower bond and the plaquette below-right, for L = 2 as well, where a pair of
neighbours then shares two bonds.
"""

from __future__ import annotations

import math
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


@dataclass(frozen=True, repr=False)
class Lattice:
    """A periodic rectangle of ``Lx`` by ``Ly`` sites, or a cuboid of ``Lx`` by ``Ly`` by ``Lz``; sides at least 2.

    Raises:
        InputError: a side is not an integer of at least 2.

    Example:
        >>> Lattice(8, 4).shape, Lattice(8, 4, 2).shape
        ((4, 8), (2, 4, 8))
    """

    Lx: int
    Ly: int
    Lz: int | None = None

    def __post_init__(self) -> None:
        """Refuse sides that no periodic lattice has; numpy's integers become Python's."""
        for name in ("Lx", "Ly", "Lz")[: self.dimensions]:
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 2:
                raise InputError(f"lattice side {name} = {side!r} must be an integer of at least 2")
            object.__setattr__(self, name, int(side))

    def __repr__(self) -> str:
        """The sides by name."""
        return f"Lattice({', '.join(f'{n}={L}' for n, L in zip(('Lx', 'Ly', 'Lz'), self.sides, strict=False))})"

    def __str__(self) -> str:
        """The sides: 8x4."""
        return "x".join(str(side) for side in self.sides)

    @property
    def dimensions(self) -> int:
        """Number of axes."""
        return 2 if self.Lz is None else 3

    @property
    def sides(self) -> tuple[int, ...]:
        """What makes the lattice, ``(Lx, Ly)`` or ``(Lx, Ly, Lz)``."""
        return (self.Lx, self.Ly) if self.Lz is None else (self.Lx, self.Ly, self.Lz)

    @property
    def shape(self) -> tuple[int, ...]:
        """The last axes of every array of configurations, ``(Ly, Lx)`` or ``(Lz, Ly, Lx)``."""
        return self.sides[::-1]

    @property
    def N(self) -> int:
        """Number of sites."""
        return math.prod(self.sides)

    def site(self, *place: Any) -> Any:
        """Site number at column ``x``, row ``y`` (and layer ``z``): integers or integer arrays, taken periodically."""
        number: Any = 0
        for coordinate, side in zip(reversed(place), self.shape, strict=True):
            number = number * side + np.asarray(coordinate) % side
        return number

    def places(self) -> tuple[np.ndarray, ...]:
        """Coordinates x, y (and z) of every site, int (N,) each."""
        return tuple(np.unravel_index(np.arange(self.N), self.shape))[::-1]

    def neighbours(self, *offsets: tuple[int, ...]) -> np.ndarray:
        """Sites at the given ``(dx, dy)`` or ``(dx, dy, dz)`` offsets from every site.

        Returns:
            int32 array of shape (N, len(offsets)).

        Example:
            >>> Lattice(3, 2).neighbours((1, 0), (0, 1))[2].tolist()
            [0, 5]
        """
        places = self.places()
        columns = [self.site(*(x + d for x, d in zip(places, offset, strict=True))) for offset in offsets]
        return np.array(columns, np.int32).reshape(len(offsets), self.N).T.copy()

    def sublattices(self, period: int) -> list[np.ndarray]:
        """Split the sites into colours.

        ``period`` 1 gives the two checkerboard colours (no nearest neighbours share one), ``period`` 2 the
        four colours of a 2x2 tile, or eight of a cube (no plaquette partners share one).

        Returns:
            int32 arrays of site numbers, even colour first.

        Raises:
            InputError: a side is odd, so the colouring does not close around the torus.
        """
        if any(side % 2 for side in self.sides):
            raise InputError(f"a {self} lattice has no periodic colouring: every side must be even")
        places = self.places()
        parities = [(place % 2) << axis for axis, place in enumerate(places)]
        colour = np.sum(places, 0) % 2 if period == 1 else np.sum(parities, 0)
        return [np.flatnonzero(colour == c).astype(np.int32) for c in range(colour.max() + 1)]


Size = int | Sequence[int] | Lattice
"""What people call the size of a lattice: its side, its sides, or a lattice."""


def as_lattice(size: Size, dimensions: int = 2) -> Lattice:
    """A lattice from what people call its size.

    Args:
        size: side of a square or a cube, (Lx, Ly), (Lx, Ly, Lz), or a lattice.
        dimensions: 2 or 3, axes of the lattice that one side describes.

    Raises:
        InputError: a side is not an integer of at least 2, or there are more than three of them.

    Example:
        >>> as_lattice(8), as_lattice((8, 4)), as_lattice(4, dimensions=3)
        (Lattice(Lx=8, Ly=8), Lattice(Lx=8, Ly=4), Lattice(Lx=4, Ly=4, Lz=4))
    """
    if isinstance(size, Lattice):
        return size
    if isinstance(size, int | np.integer):
        return Lattice(*[int(size)] * dimensions)
    sides = [*size] if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) else []
    if len(sides) not in (2, 3):
        raise InputError(f"size = {size!r} must be a side such as 16, or two or three, such as (16, 8)")
    return Lattice(*(int(side) if isinstance(side, np.integer) else side for side in sides))
