"""What kernels are told of a model on a lattice: arrays that follow from its terms."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mcmc.kernels.conventions import OFFSETS, Bonds, Interaction, Owned, Square, Table
from mcmc.models.lattice import Lattice
from mcmc.models.terms import Model, Relation, Term, relations


def interaction_of(model: Model, lattice: Lattice) -> Interaction:
    """The tables from which kernels compute local fields.

    Bonds and plaquettes of a rectangle need neighbours only; charges +-1 in pairs and fields a table of bonds; all
    others the table of terms.
    """
    if square := model.square:
        return Square(lattice.neighbours(*OFFSETS), np.float32(square.J), np.float32(square.K))
    if all(_linear(relation) for _, relation in _relations(model, lattice)):
        return bonds_of(model, lattice)
    return table_of(model, lattice)


def bonds_of(model: Model, lattice: Lattice) -> Bonds:
    """The table of bonds; of models whose charges are +-1, in pairs or alone."""
    found = _relations(model, lattice)
    pairs = [(term, relation) for term, relation in found if relation.charges]
    amplitudes = [relation.amplitude(term) for term, relation in pairs]
    fields = [relation.amplitude(term) for term, relation in found if not relation.charges]
    stride = int(any(np.ndim(value) for value in [*amplitudes, *fields]))
    field: Any = np.sum([_parts(value, lattice, stride) for value in fields], axis=0) if fields else 0.0
    rows = lattice.N if stride else 1
    table = np.zeros((rows, len(pairs), 2), np.float32)
    for z, value in enumerate(amplitudes):
        table[:, z] = _parts(value, lattice, stride)
    return Bonds(
        lattice.neighbours(*(relation.offsets[0] for _, relation in pairs)),
        table,
        (np.zeros((rows, 2)) + field).astype(np.float32),
        stride,
        not table[..., 1].any(),
    )


def table_of(model: Model, lattice: Lattice) -> Table:
    """The table of terms; of any model."""
    found = sorted(_relations(model, lattice), key=lambda each: each[1].harmonic)
    values = [relation.amplitude(term) for term, relation in found]
    stride = int(any(np.ndim(value) for value in values))
    table = np.zeros((lattice.N if stride else 1, len(found), 2), np.float32)
    for e, value in enumerate(values):
        table[:, e] = _parts(value, lattice, stride)
    program = [
        number for _, relation in found for number in (relation.harmonic, len(relation.charges), *relation.charges)
    ]
    others = [offset for _, relation in found for offset in relation.offsets]
    return Table(np.array(program, np.int32), lattice.neighbours(*others), table, stride)


def owned_by(model: Model, lattice: Lattice) -> Owned:
    """The terms that every site owns, for the energy of any model."""
    terms = [(term, *term.on(lattice.shape)) for term in model.terms]
    stride = int(any(not term.uniform for term in model.terms))
    table = np.zeros((lattice.N if stride else 1, len(terms), 3), np.float32)
    for e, (term, _, _) in enumerate(terms):
        unit = np.where(np.asarray(term.coupling) < 0, -1.0, 1.0) * np.exp(-1j * np.asarray(term.phase))
        table[:, e, :2] = _parts(unit if np.ndim(unit) else complex(unit), lattice, stride)
        table[:, e, 2] = _parts(np.abs(term.coupling), lattice, stride)[:, 0]
    program = [number for _, charges, _ in terms for number in (len(charges), *charges)]
    offsets = [offset for _, _, steps in terms for offset in steps]
    return Owned(np.array(program, np.int32), lattice.neighbours(*offsets), table, stride)


@lru_cache(maxsize=16)
def pairs_of(model: Model, lattice: Lattice) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Bonds from every site for cluster moves; of models whose terms join pairs of charges (q, -q) without phases.

    Returns:
        Partners, int32 (N, Z); couplings, float32 (N or 1, Z); 1 where these depend on the site, else 0; and the
        charges q, int32 (Z,).
    """
    found = _relations(model, lattice)
    values = [np.real(relation.amplitude(term)) for term, relation in found]
    stride = int(any(np.ndim(value) for value in values))
    strengths = np.stack([_parts(value, lattice, stride)[:, 0] for value in values], -1).astype(np.float32)
    charges = np.array([relation.harmonic for _, relation in found], np.int32)
    return lattice.neighbours(*(relation.offsets[0] for _, relation in found)), strengths, stride, charges


def _relations(model: Model, lattice: Lattice) -> list[tuple[Term, Relation]]:
    return [(term, relation) for term in model.terms if term.scale for relation in relations(term, lattice.shape)]


def _linear(relation: Relation) -> bool:
    return relation.harmonic == 1 and relation.charges in ((), (1,))


def _parts(value: Any, lattice: Lattice, stride: int) -> np.ndarray:
    """Real and imaginary part of an amplitude, for each site or once for all, (N or 1, 2)."""
    flat = np.asarray(value, np.complex128)
    flat = np.broadcast_to(flat, lattice.shape if stride else (1,)).reshape(-1)
    return np.stack([flat.real, flat.imag], -1)
