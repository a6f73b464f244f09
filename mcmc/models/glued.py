"""Two replicas of a model that share some of their columns: what Renyi entropies of a part need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice, Size, as_lattice
from mcmc.models.terms import Model, Term


def glued(model: Model, size: Size, columns: Sequence[int]) -> tuple[Model, Lattice]:
    """Two replicas with the same spins in some columns and spins of their own in the others.

    The energy is the sum of the two replicas' energies, so that terms within the shared columns count twice: at inverse
    temperature beta they are at 2 beta, as in A. Iaconis, S. Inglis, A. B. Kallin, R. G. Melko, arXiv:1210.2403.

    Args:
        model: on a lattice with two axes.
        size: of one replica.
        columns: numbers x of the shared columns.

    Returns:
        The model and its lattice, which holds the shared columns, then the first replica's others, then the second's,
        each in ascending order.

    Raises:
        InputError: the lattice has three axes, or a column is not in it or stands there twice, or none or all of them
            are shared.

    Example:
        >>> from mcmc import XY
        >>> both, lattice = glued(XY(), 4, [0, 1])
        >>> lattice, float(both.energy(np.zeros((4, 6)))), 2 * float(XY().energy(np.zeros((4, 4))))
        (Lattice(Lx=6, Ly=4), -64.0, -64.0)
    """
    lattice = as_lattice(size)
    if lattice.dimensions != 2:
        raise InputError(f"replicas are glued along columns of a lattice with two axes, not of {lattice}")
    model.check(lattice.shape)
    Lx, Ly = lattice.sides
    whole = all(isinstance(x, int | np.integer) for x in columns)
    shared = sorted({int(x) for x in columns}) if whole else []
    if len(shared) != len(columns) or not 0 < len(shared) < Lx or shared[0] < 0 or shared[-1] >= Lx:
        raise InputError(f"columns = {[*columns]} must be some, not all, of 0 to {Lx - 1}, none of them twice")
    others = [x for x in range(Lx) if x not in shared]
    width = len(shared) + 2 * len(others)
    terms: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
    for number, term in enumerate(model.terms):
        charges, offsets = term.on(lattice.shape)
        J, A = (np.broadcast_to(value, lattice.shape) for value in (term.coupling, term.phase))
        for replica in (0, 1):
            place = {x: k for k, x in enumerate(shared)}
            place |= {x: len(shared) + replica * len(others) + k for k, x in enumerate(others)}
            for x in range(Lx):
                moved = tuple(((place[(x + dx) % Lx] - place[x]) % width, dy) for dx, dy in offsets)
                found = terms.setdefault((number, charges, moved), (np.zeros((Ly, width)), np.zeros((Ly, width))))
                found[0][:, place[x]] += J[:, x]
                found[1][:, place[x]] = A[:, x]
    made = [Term(charges, moved, J, A, model.terms[number].name) for (number, charges, moved), (J, A) in terms.items()]
    return Model(tuple(made), f"glued_{model.name}"), Lattice(width, Ly)
