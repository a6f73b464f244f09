"""The order that a model's energy prefers: what its bonds want, its sublattices, the sign that frustration leaves open.

All of it follows from the model's terms of two charges, 1 and -1: the bonds. The energy of a bond between the sites i
and i + d is least where theta(i + d) - theta(i) has one value: 0 for a ferromagnet, pi for an antiferromagnet, -A for a
phase A. Differences are counted from there, so that vortices and windings do not depend on a gauge: an antiferromagnet
has those of the ferromagnet that turning every other spin makes of it, and every plaquette of a fully frustrated model
has +-1/2.

References:
    J. Villain, J. Phys. C 10, 1717 (1977), doi:10.1088/0022-3719/10/10/014: chirality of frustrated plaquettes.
    D. H. Lee et al., Phys. Rev. B 33, 450 (1986), doi:10.1103/PhysRevB.33.450: of the triangular antiferromagnet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from mcmc.models.terms import Model, Offset, Term, shifted

RIGHT, BELOW, DIAGONAL = (1, 0), (0, 1), (1, 1)


class Bond(NamedTuple):
    """What the bonds from every site to the one at an offset want."""

    turns: Any
    """The difference theta(i + d) - theta(i) at which the bond's energy is least, as a fraction of 2 pi in [-1/2, 1/2);
    0 for a site without a bond. A number, or an array over the sites."""
    present: Any
    """Whether there is a bond: a bool, or an array."""


def unit(axis: int, dimensions: int) -> Offset:
    """The offset of the next site along an axis, 0 for x."""
    return tuple(int(axis == k) for k in range(dimensions))


def bond_offset(term: Term) -> Offset | None:
    """From the site of charge 1 to that of charge -1; None for a term that is not a bond."""
    if sorted(term.charges) != [-1, 1]:
        return None
    plus, minus = _ends(term)
    return tuple(b - a for a, b in zip(plus, minus, strict=True))


def _ends(term: Term) -> tuple[Offset, Offset]:
    return term.offsets[term.charges.index(1)], term.offsets[term.charges.index(-1)]


@lru_cache(maxsize=256)
def bond(model: Model, offset: Offset) -> Bond:
    """What the model's bonds along an offset prefer; terms of other charges, such as nematic ones, do not count.

    Example:
        >>> from mcmc.models.presets import antiferromagnet, generalised_xy
        >>> bond(antiferromagnet(), (1, 0)), bond(generalised_xy(0.0), (1, 0))
        (Bond(turns=-0.5, present=True), Bond(turns=0.0, present=False))
    """
    backwards = tuple(-step for step in offset)
    total: Any = 0j
    for term in model.terms:
        along = bond_offset(term)
        if along not in (offset, backwards):
            continue
        # -J cos(theta(i + plus) - theta(i + minus) - A(i)), written for the site where the bond begins.
        sign, start = (1, _ends(term)[0]) if along == offset else (-1, _ends(term)[1])
        amplitude = np.asarray(term.coupling * np.exp(1j * sign * np.asarray(term.phase)))
        origin = tuple(-step for step in start)
        total = total + (shifted(amplitude, origin) if amplitude.ndim else complex(amplitude))
    size = np.abs(total)
    present = size > 1e-12 * np.max(size) if np.max(size) > 0 else np.zeros(np.shape(size), bool)
    turns = np.where(present, (0.5 - np.angle(total) / (2 * math.pi)) % 1 - 0.5, 0.0)
    # Rounding: a phase of pi is half a turn exactly, so that couplings of both signs leave no remainders.
    turns = np.where(np.abs(np.abs(turns) - 0.5) < 1e-12, -0.5, np.where(np.abs(turns) < 1e-12, 0.0, turns))
    return Bond(_plain(turns), _plain(present))


def _plain(values: np.ndarray) -> Any:
    """A number for an array that holds a single value."""
    if (values == values.flat[0]).all():
        return values.flat[0].item()
    values.setflags(write=False)
    return values


def bonds(model: Model) -> tuple[Bond, ...]:
    """The bonds between nearest neighbours, one an axis."""
    return tuple(bond(model, unit(axis, model.dimensions)) for axis in range(model.dimensions))


def no_vortices(model: Model, shape: Sequence[int] = ()) -> str:
    """Why vorticity says nothing about a model; empty if it does."""
    if all(found.present is False for found in bonds(model)) and not model.square:
        return "it has no bonds of charges 1 and -1 between nearest neighbours"
    return ""


def no_windings(model: Model, shape: Sequence[int] = ()) -> str:
    """Why winding numbers say nothing about a model; empty if they do."""
    if any(isinstance(found.present, np.ndarray) for found in bonds(model)):
        return "bonds are missing round the lattice"
    if reason := no_vortices(model):
        return reason
    return "" if _satisfied_plaquettes(model) else "its plaquettes are frustrated: rows do not wind by whole turns"


@lru_cache(maxsize=64)
def _satisfied_plaquettes(model: Model) -> bool:
    """Whether the bonds of every plaquette, of which none are missing, can all be satisfied."""

    def flux(a: int, b: int) -> Any:
        first, second = (bonds(model)[axis].turns for axis in (a, b))
        if np.ndim(first) == np.ndim(second) == 0:
            return 0.0
        shape = np.broadcast_shapes(np.shape(first), np.shape(second))
        along, across = _over(first, shape), _over(second, shape)
        return along + np.roll(across, -1, -1 - a) - np.roll(along, -1, -1 - b) - across

    pairs = combinations(range(model.dimensions), 2)
    return all(bool((np.abs((flux(a, b) + 0.5) % 1 - 0.5) < 1e-9).all()) for a, b in pairs)


def no_stiffness(model: Model, shape: Sequence[int] = ()) -> str:
    """Why a model has no helicity modulus; empty if it has.

    It is the second derivative of the free energy by a twist of the boundary, at no twist: of the sum of all charges'
    dipoles where a twist can be spread over the lattice, and where no current flows without one.
    """
    if not model.rotation:
        return "turning all spins changes its energy, so that a twist cannot be spread over the lattice"
    return "" if model.reflection else "its phases drive a mean current, which the definition leaves out of account"


def no_length(model: Model, shape: Sequence[int] = ()) -> str:
    """Why the decay of the magnetisation's correlations says nothing about a model's order; empty if it does."""
    if model.turns == 1:
        return "a field gives the spins a mean direction, which its definition would take for an infinite length"
    wanted = [bond(model, offset) for offset in _bond_offsets(model)]
    present = [each for each in wanted if each.present is not False]
    if not present:
        return "it has no bonds of charges 1 and -1"
    apart = all(np.all((np.abs(each.turns) > 0.25) | np.logical_not(each.present)) for each in present)
    if apart or frustrated_plaquettes(model, shape):
        return "its bonds do not order all spins alike, so that the magnetisation is not its order"
    return ""


def no_clock(model: Model, shape: Sequence[int] = ()) -> str:
    """Why a model has no clock order; empty if it has."""
    return "" if model.turns > 1 else "it does not single out two or more directions at equal angles"


@lru_cache(maxsize=64)
def periods(model: Model, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shifts along each axis, 0 for x, by multiples of which couplings and phases stay as they are."""

    def period(axis: int, side: int) -> int:
        shifts = (shift for shift in range(1, side) if side % shift == 0)
        kept = (s for s in shifts if all((np.roll(each, s, -1 - axis) == each).all() for each in _arrays(model)))
        return next(kept, side)

    return tuple(period(axis, side) for axis, side in enumerate(reversed(shape)))


def _arrays(model: Model) -> list[np.ndarray]:
    return [value for term in model.terms for value in (term.coupling, term.phase) if isinstance(value, np.ndarray)]


@lru_cache(maxsize=64)
def disordered(model: Model, shape: tuple[int, ...]) -> bool:
    """Whether couplings or phases vary all over the lattice without a period; a seam or an open side does not count."""
    if periods(model, shape) != tuple(reversed(shape)):
        return False

    def changes(axis: int) -> int:
        """Layers that differ from the next one."""
        differs = [
            (each != np.roll(each, -1, -1 - axis)).any(tuple(k for k in range(each.ndim) if k != each.ndim - 1 - axis))
            for each in _arrays(model)
        ]
        return int(np.any(differs, 0).sum())

    return bool(_arrays(model)) and all(changes(axis) > 2 for axis in range(len(shape)))


def _bond_offsets(model: Model) -> set[Offset]:
    """Along which there are bonds, up to their direction."""
    found = {bond_offset(term) for term in model.terms if term.scale}
    return {max(offset, tuple(-step for step in offset)) for offset in found if offset is not None}


def _half(turns: Any) -> bool:
    """Whether all are half a turn, up to whole ones."""
    return bool((np.abs(np.asarray(turns) % 1 - 0.5) < 1e-9).all())


def _over(turns: Any, shape: Sequence[int]) -> np.ndarray:
    return np.broadcast_to(np.asarray(turns, np.float64), shape)


def _whole(found: Sequence[Bond]) -> bool:
    return all(each.present is True for each in found)


def frustrated_triangles(model: Model, shape: Sequence[int]) -> bool:
    """Whether the bonds form a triangular lattice, laid out as a square one, of which no triangle is satisfied."""
    if model.dimensions != 2 or _bond_offsets(model) != {RIGHT, BELOW, DIAGONAL}:
        return False
    found = [bond(model, offset) for offset in (RIGHT, BELOW, DIAGONAL)]
    if not _whole(found):
        return False
    right, below, diagonal = (_over(each.turns, shape) for each in found)
    return _half(right + shifted(below, RIGHT) - diagonal) and _half(below + shifted(right, BELOW) - diagonal)


def frustrated_plaquettes(model: Model, shape: Sequence[int]) -> bool:
    """Whether the bonds form a square lattice of which no plaquette is satisfied."""
    if model.dimensions != 2 or _bond_offsets(model) != {RIGHT, BELOW} or not _whole(bonds(model)):
        return False
    right, below = (_over(each.turns, shape) for each in bonds(model))
    return _half(right + shifted(below, RIGHT) - shifted(right, BELOW) - below)


class Chirality(NamedTuple):
    """The order that breaks reflection, as a weighted mean of the currents of bonds.

    With s(d, i) the sine of theta(i + d) - theta(i) less what the bond wants, the chirality of a configuration is
    sum_d w_d mean_i [(-1)^(x + y)] s(d, i).
    """

    weights: Mapping[Offset, float]
    """w_d by offset."""
    staggered: bool
    """Whether the sign alternates as on a chessboard."""


def chirality(model: Model, shape: Sequence[int]) -> Chirality | None:
    """How the chirality of a model is made; None for a model without one.

    Of a triangular lattice without a satisfied triangle it is the mean over triangles of 2 / (3 sqrt 3) times the sum
    of the three sines round them, upward ones less downward ones; of a square one without a satisfied plaquette the
    staggered mean over plaquettes of 1 / (2 sqrt 2) times the four sines: both are +-1 in the ground states. With
    negative ring exchange it is the staggered mean of the sines of all bonds, +-sin arccos(J / 2 abs(K)) there. Sums
    over faces are written as sums over bonds, each of which belongs to two.
    """
    if frustrated_triangles(model, shape):
        w = 2 / (3 * math.sqrt(3))
        return Chirality({RIGHT: w, BELOW: w, DIAGONAL: -w}, False)
    if any(side % 2 for side in shape):
        return None
    if frustrated_plaquettes(model, shape):
        w = 1 / math.sqrt(2)
        return Chirality({RIGHT: w, BELOW: -w}, True)
    if model.square and model.square.J and model.square.K < 0:
        return Chirality({RIGHT: 0.5, BELOW: 0.5}, True)
    return None


def no_chirality(model: Model, shape: Sequence[int]) -> str:
    """Why a model has no chirality; empty if it has."""
    if model.dimensions == 3:
        return "chirality is measured on lattices of two axes alone: take a layer and the model of its bonds"
    if chirality(model, shape):
        return ""
    return (
        "its bonds leave no sign open: chirality is of fully frustrated square and triangular lattices and of negative "
        "ring exchange, on square ones with even sides"
    )


def no_stripes(model: Model, shape: Sequence[int]) -> str:
    """Why a model does not order in stripes; empty if it may.

    Diagonal bonds that want opposite spins order every other row against the next, or every other column, once they
    are stronger than half of those along the axes.
    """
    expected = {RIGHT, BELOW, DIAGONAL, (1, -1)}
    diagonal = model.dimensions == 2 and _bond_offsets(model) == expected and not any(side % 2 for side in shape)
    if diagonal and all(bond(model, offset) == Bond(-0.5, True) for offset in (DIAGONAL, (1, -1))):
        return ""
    return "stripes are of square lattices with even sides whose bonds along both diagonals want opposite spins"


def alike_along_axes(model: Model) -> bool:
    """Whether exchanging the axes of a lattice of two leaves the bonds as they are, all couplings being numbers."""
    total = dict[Offset, complex]()
    for term in model.terms:
        offset = bond_offset(term)
        if offset is None or isinstance(term.coupling, np.ndarray) or isinstance(term.phase, np.ndarray):
            return False
        total[offset] = total.get(offset, 0.0) + term.coupling * complex(np.exp(1j * term.phase))
    # Along an offset or against it is the same bond, with the opposite phase.
    found = dict[Offset, complex]()
    for offset, J in total.items():
        forwards = max(offset, tuple(-step for step in offset))
        found[forwards] = found.get(forwards, 0.0) + (J if offset == forwards else J.conjugate())
    swapped = dict[Offset, complex]()
    for offset, J in found.items():
        other = offset[::-1]
        forwards = max(other, tuple(-step for step in other))
        swapped[forwards] = J if other == forwards else J.conjugate()
    return found.keys() == swapped.keys() and all(abs(found[each] - swapped[each]) < 1e-12 for each in found)


@lru_cache(maxsize=64)
def sublattices(model: Model, shape: tuple[int, ...]) -> np.ndarray | None:
    """Number of each site's sublattice in the model's ordered state, 0, 1, ..., int of ``shape``; None if it has one.

    Two, by rows, columns or as a chessboard, where bonds along some axes want opposite spins, and for negative ring
    exchange; three on the triangular antiferromagnet; the four of a 2x2 tile for fully frustrated plaquettes.

    Example:
        >>> from mcmc.models.presets import antiferromagnet
        >>> sublattices(antiferromagnet(), (2, 4)).tolist()
        [[0, 1, 0, 1], [1, 0, 1, 0]]
    """
    places = np.indices(shape)[::-1]  # x first
    if frustrated_triangles(model, shape):
        found = [bond(model, offset).turns for offset in (RIGHT, BELOW, DIAGONAL)]
        return places.sum(0) % 3 if found == [-0.5] * 3 and not any(side % 3 for side in shape) else None
    if frustrated_plaquettes(model, shape):
        tiled = all(side % 2 == 0 for side in shape) and all(2 % period == 0 for period in periods(model, shape))
        return places[0] % 2 + 2 * (places[1] % 2) if tiled else None
    found = [each.turns if isinstance(each.turns, float) else math.nan for each in bonds(model)]
    axes = [axis for axis, turns in enumerate(found) if turns == -0.5]
    alike = _whole(bonds(model)) and all(turns in (0.0, -0.5) for turns in found)
    if alike and len(_bond_offsets(model)) == model.dimensions:
        if not axes and model.square and model.square.K < 0:
            axes = [0, 1]
        if axes and not any(shape[-1 - axis] % 2 for axis in axes):
            return sum(places[axis] for axis in axes) % 2
    return None


def no_sublattices(model: Model, shape: Sequence[int], number: int | None = None) -> str:
    """Why a model's order does not divide the lattice into sublattices (of that number); empty if it does."""
    found = sublattices(model, tuple(shape))
    if found is not None and number in (None, int(found.max()) + 1):
        return ""
    return f"its bonds do not order {'sublattices' if number is None else f'{number} sublattices'} on these sides"
