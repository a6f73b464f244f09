"""Spin waves: the harmonic model that XY and EXY become at low temperature, as a first guess for every flow."""

from __future__ import annotations

import numpy as np

from mcmc import Lattice
from mcmc.models.presets import ExtendedXY, Model


def stiffness(model: Model, lattice: Lattice) -> np.ndarray:
    """Hessian of the energy at the ferromagnetic state, float64 (N, N): E = E_0 + theta^T Q theta / 2 + ..."""
    unit = np.eye(lattice.N).reshape(lattice.N, *lattice.shape)
    terms = [(model.J, bond) for bond in model.bonds(unit)]
    if isinstance(model, ExtendedXY):
        terms.append((model.K, model.plaquettes(unit)))
    rows = [(coupling, term.reshape(lattice.N, -1)) for coupling, term in terms]
    return sum(coupling * row @ row.T for coupling, row in rows)


def regression(Q: np.ndarray, site: int, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """The harmonic conditional of one site given others, every further site integrated out.

    Args:
        Q: stiffness, (N, N).
        site: the site.
        seen: int (n,), the sites that are given.

    Returns:
        Weights, float64 (n,), of the given angles in the mean (they sum to 1 by rotation symmetry), and the precision
        times temperature: the conditional has variance T / precision. Where the ferromagnetic state is no
        minimum of the energy: zeros, a uniform law.
    """
    kept = np.append(seen, site)
    integrated = np.setdiff1d(np.arange(len(Q)), kept)
    S = Q[np.ix_(kept, kept)]
    if integrated.size:
        block = Q[np.ix_(integrated, integrated)]
        if np.linalg.eigvalsh(block)[0] <= 0:
            return np.zeros(len(seen)), 0.0
        S = S - Q[np.ix_(kept, integrated)] @ np.linalg.solve(block, Q[np.ix_(integrated, kept)])
    precision = float(S[-1, -1])
    if precision <= 0:
        return np.zeros(len(seen)), 0.0
    return -S[-1, :-1] / precision, precision
