"""The coarse-to-fine order in which the multiscale flow draws the sites of a lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from latticeflow.flows.last_colour import exact_colours
from mcmc import Lattice
from mcmc.models.presets import Model

Site = tuple[int, ...]

SEEN = {2: 36, 3: 64}
"""How many already drawn sites one site sees, by the number of axes."""


@dataclass(frozen=True)
class Group:
    """Sites that are drawn together, each from the same surroundings of sites already drawn.

    Args:
        sites: int64 (n_sites,), numbers of the sites.
        table: int64 (n_sites, n_seen), the already drawn sites that each of them sees, nearest first; a column
            holds the same offset for every site.
        spacing: lattice spacing of the sites known when the group's level began.
        half_level: 0 for the coarse grid, then of every halving one for the centres, in three dimensions one for the
            faces, and one for the edges.
    """

    sites: np.ndarray
    table: np.ndarray
    spacing: int
    half_level: int

    def place(self, lattice: Lattice) -> Site:
        """Coordinates (x, y) or (x, y, z) of the first site."""
        return tuple(int(axis[self.sites[0]]) for axis in lattice.places())

    def offsets(self, lattice: Lattice) -> np.ndarray:
        """Where a site finds what it sees: int64 (n_seen, axes) of (dx, dy) or (dx, dy, dz), the short way round."""
        return _short(
            np.stack(
                [axis[self.table[0]] - x for axis, x in zip(lattice.places(), self.place(lattice), strict=True)], 1
            ),
            lattice,
        )


@dataclass(frozen=True)
class Schedule:
    """Site 0 (uniform; in a field the first group), ``groups`` in order, the sites ``last`` from their exact law."""

    groups: tuple[Group, ...]
    last: np.ndarray


def coarse_to_fine(lattice: Lattice, model: Model, *, seen: int | None = None, finer: bool = False) -> Schedule:
    """Order the sites: a coarse grid site by site, then one halving of the spacing after the other.

    A halving first draws the sites at the centres of the cells, in groups by parity of which in two dimensions the
    first two are halved again, then those at the middles of the faces, in three dimensions, then those at the middles
    of the edges, in groups by parity for each direction (two on 2x2 cells). The sites of a group are drawn
    independently, which costs what their correlation is worth: in the harmonic limit of a 16x16 lattice it bounds the
    acceptance by 0.974 (XY) and 0.966 (EXY, K = 1); without the finer groups by 0.951 and 0.804. Of the last halving as
    many sites as do not interact with each other are left to their exact conditional: for XY one checkerboard colour,
    which are all middles of edges (in three dimensions those and the centres), for EXY the edges of one direction (one
    of the four colours of a 2x2 tile). Where nothing can be halved it is the last site alone.

    A lattice halves as often as its sides have a common factor 2. What is left of it, a coarse grid of n sites, takes a
    net and a step for each of them: n is 1 for 64x64, 25 for 10x10 and 49 for 7x7.

    Couplings that repeat after two sites make four kinds of sites, which may point four ways: the cells of 2x2 sites
    are then drawn coarse to fine, of each cell one site after the other, and the sites of the exact colour of all cells
    at the end. An order that relates the sites of a cell, such as a chirality, is then decided on the coarsest grid.

    Args:
        lattice: any rectangle or cuboid.
        model: decides which sites come last.
        seen: the most already drawn sites that one site sees; None takes `SEEN`.
        finer: draw edges of a grid of 2x2 cells one by one, and with ring exchange all centres of the last halving in
            four groups more, where independence costs most.
    """
    seen = SEEN[lattice.dimensions] if seen is None else seen
    if max(model.period) > 1:
        order, exact = _cell_by_cell(lattice, model)
    else:
        order = _order(lattice.sides, model if finer else None)[1:]
        exact = [a == 2 and _is_exact(sites[0], model) for sites, a, _ in order]
        if not any(exact):
            exact[-1] = True
    drawn, groups = np.zeros(lattice.N, bool), list[Group]()
    if not model.rotation:
        groups.append(Group(np.array([0]), np.zeros((1, 0), np.int64), order[0][1], 0))
    drawn[0] = True
    for (sites, a, half), is_last in zip(order, exact, strict=True):
        if is_last:
            continue
        places = np.array(sites).T[:, :, None]
        offsets = _nearest(drawn, sites[0], lattice, seen).T
        groups.append(Group(lattice.site(*places)[:, 0], lattice.site(*(places + offsets[:, None])), a, half))
        drawn[groups[-1].sites] = True
    last = [sites for (sites, _, _), is_last in zip(order, exact, strict=True) if is_last]
    return Schedule(tuple(groups), np.concatenate([lattice.site(*np.array(sites).T) for sites in last]))


def _order(sides: Sequence[int], finer: Model | None = None) -> list[tuple[list[Site], int, int]]:
    """Groups of sites, the spacing of what is known when their level begins, and half-levels; the origin is first."""
    common = int(np.gcd.reduce(sides))
    spacing = common & -common
    cells = [range(side // spacing) for side in reversed(sides)]
    order = [([tuple(spacing * n for n in reversed(cell))], spacing, 0) for cell in product(*cells)]
    half_level = 0
    while spacing > 1:
        for groups_of_half in _halve(sides, spacing, finer):
            half_level += 1
            order += [(sites, spacing, half_level) for sites in groups_of_half]
        spacing //= 2
    return order


def _cell_by_cell(lattice: Lattice, model: Model) -> tuple[list[tuple[list[Site], int, int]], list[bool]]:
    """`_order` of cells of two sites along every axis but for the origin, and which groups are of the exact colour."""
    corners = [(*reversed(corner),) for corner in product(range(2), repeat=lattice.dimensions)]
    order, last = list[tuple[list[Site], int, int]](), list[tuple[list[Site], int, int]]()
    for cells, spacing, half_level in _order([side // 2 for side in lattice.sides]):
        for corner in corners:
            sites = [tuple(2 * n + x for n, x in zip(cell, corner, strict=True)) for cell in cells]
            (last if _is_exact(corner, model) else order).append((sites, 2 * spacing, half_level))
    return order[1:] + last, [False] * (len(order) - 1) + [True] * len(last)


def _halve(sides: Sequence[int], spacing: int, finer: Model | None) -> list[list[list[Site]]]:
    """Groups at the centres, faces and edges, in order; all sites of a group see the same offsets to what is drawn."""
    cells, dimensions = [side // spacing for side in sides], len(sides)
    # Parity closes around an even number of cells only; an odd number makes every cell a class of its own.
    periods = [n if n % 2 else 2 for n in cells]
    halved = dimensions == 2 and all(n % 4 == 0 for n in cells)
    merged = dimensions == 2 and min(cells) == 2 and all(n % 2 == 0 for n in cells) and finer is None
    quartered = halved and spacing == 2 and finer is not None and exact_colours(finer) == 4

    def kind(cell: Site, axes: Sequence[int]) -> tuple[int, ...]:
        parities = tuple(i % p for i, p in zip(cell, periods, strict=True))
        # Opposite corners of a cell first, so that the later groups lie between known sites.
        opposite = sum(parities) % 2
        if len(axes) == dimensions:
            return opposite, *parities, sum(i // 2 for i in cell) % 2 if quartered or (halved and not opposite) else 0
        return (opposite,) if merged else (opposite, *parities)

    def groups(axes: Sequence[int]) -> list[list[Site]]:
        """Of the sites half a spacing along some axes from a corner of their cell."""
        classes: dict[tuple[int, ...], list[Site]] = {}
        for cell in product(*(range(n) for n in cells)):
            place = tuple(spacing * i + (spacing // 2 if axis in axes else 0) for axis, i in enumerate(cell))
            classes.setdefault(kind(cell, axes), []).append(place)
        return [classes[each] for each in sorted(classes)]

    every = range(dimensions)
    return [
        [group for axes in combinations(every, many) for group in groups(axes)]
        for many in reversed(range(1, len(every) + 1))
    ]


def _is_exact(site: Site, model: Model) -> bool:
    colours = exact_colours(model)
    if colours == 2:
        return sum(site) % 2 == 1
    return colours > 0 and tuple(x % 2 for x in site) == (0,) * (len(site) - 1) + (1,)


def _nearest(drawn: np.ndarray, site: Site, lattice: Lattice, most: int) -> np.ndarray:
    """Offsets from ``site`` to the nearest drawn sites, the short way round, in a fixed order; (n, axes)."""
    found = np.stack([axis[drawn] - x for axis, x in zip(lattice.places(), site, strict=True)], 1)
    found = _short(found, lattice)
    return found[np.lexsort((*found.T[::-1], (found**2).sum(1)))[:most]]


def _short(offsets: np.ndarray, lattice: Lattice) -> np.ndarray:
    sides = np.array(lattice.sides)
    return (offsets + sides // 2) % sides - sides // 2
