"""Constants that the kernels share with what calls them; importing this does not import numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDTH = 16
"""Replicas in a vector, one float32 each: 512 bits."""
OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Columns of a table of neighbours, as (dx, dy): east, west, south, north, then the diagonals SE, NE, SW, NW."""
HEAT_BATH, METROPOLIS, OVER_RELAXATION, LINES, TWIST, SWENDSEN_WANG = range(6)
"""Kernels that `mcmc.kernels.steps` runs in one call, by number."""
STRIPS = (1, 2, 4, 8, 16)
"""Into how many strips a lattice may be cut, one a lane; see `mcmc.kernels.strips`."""


class Square(NamedTuple):
    """Bonds of one J along both axes of a rectangle and plaquettes of one K: what has kernels of its own."""

    neighbours: np.ndarray
    """int32 (N, 8), see `OFFSETS`."""
    J: np.float32
    K: np.float32


class Bonds(NamedTuple):
    """Fields h(i) = f(i) + sum_z a_z(i) s(j_z): charges +-1, in pairs or alone."""

    neighbours: np.ndarray
    """int32 (N, Z), the sites j_z."""
    amplitudes: np.ndarray
    """float32 (N or 1, Z, 2), real and imaginary parts of a_z."""
    fields: np.ndarray
    """float32 (N or 1, 2), f."""
    stride: int
    """1 where amplitudes and fields depend on the site, else 0."""
    real: bool
    """Whether no amplitude has an imaginary part."""


class Table(NamedTuple):
    """Relations of any charges: h_m(i) is a sum of amplitudes times products of powers of other spins.

    The structure is that of every site: for each relation the harmonic m, the number of other spins and their charges.
    """

    program: np.ndarray
    """int32, for each relation m, n, q_1, ..., q_n; sorted by m."""
    neighbours: np.ndarray
    """int32 (N, S), the other spins of all relations in turn."""
    amplitudes: np.ndarray
    """float32 (N or 1, E, 2), of each relation."""
    stride: int
    """1 where amplitudes depend on the site, else 0."""


class Owned(NamedTuple):
    """The terms that every site owns, for the energy: |J| (1 - Re z), z a unit amplitude times all spins' powers."""

    program: np.ndarray
    """int32, for each term n, q_1, ..., q_n."""
    neighbours: np.ndarray
    """int32 (N, S), the spins of all terms in turn."""
    amplitudes: np.ndarray
    """float32 (N or 1, E, 3): real and imaginary part of the unit amplitude, and |J|."""
    stride: int
    """1 where amplitudes depend on the site, else 0."""


Interaction = Square | Bonds | Table


class BlockArrays(NamedTuple):
    """A block as `mcmc.kernels.steps` gives it to kernels; see `mcmc.kernels`."""

    x: np.ndarray
    y: np.ndarray
    beta: np.ndarray
    keys: np.ndarray
    shared: np.ndarray
    """uint32 (4 * W,), keys that the lanes of a replica have in common."""
    interaction: Interaction
    owned: Owned | None
    """None where the interaction tells the energy."""
    Lx: int
    strips: int
    """Lanes of a replica; see `mcmc.kernels.strips`."""
    replicas: int
    """How many there are, without the padding."""
