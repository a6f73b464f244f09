"""Free energies of sectors: what a vortex pair, or a turn of the spins round the lattice, costs.

A sector is the set of configurations that carry the same whole number, such as the number of their vortex pairs. Within
one model its free energy follows from how often an exact sampler draws it:

    F(k) - F(0) = -T ln( P(k) / P(0) ).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mcmc.analysis.statistics import Estimate, derived
from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.models.presets import XY
from mcmc.models.terms import Model
from mcmc.storage.memory_ensemble import ReadableEnsemble, opened

LEAST_DRAWS = 10
"""Draws of a sector at a temperature, below which its free energy is left out."""


def vortex_pairs(theta: Any, model: Model | None = None) -> np.ndarray:
    """Number of vortex pairs, half of the sum of abs(q) over all plaquettes; ``(..., Ly, Lx) -> (...)``, int64.

    Raises:
        InputError: the lattice has three axes, where vortices are lines.

    Example:
        >>> int(vortex_pairs(np.zeros((4, 4))))
        0
    """
    model = model or XY()
    if model.dimensions != 2:
        raise InputError("vortices come in pairs on lattices of two axes; on three axes they are lines")
    q = np.abs(np.rint(observables.vorticity(np.asarray(theta), model)))
    return np.rint(q.sum((-2, -1)) / 2).astype(np.int64)


def winding(theta: Any, model: Model | None = None, *, axis: int = 0) -> np.ndarray:
    """Turns of the spins round the torus along an axis, 0 for x, to the next whole number where vortices disturb it.

    Raises:
        InputError: the lattice has no such axis.

    Example:
        >>> theta = np.linspace(-np.pi, np.pi, 8, endpoint=False) * np.ones((4, 1))
        >>> int(winding(theta)), int(winding(theta, axis=1))
        (1, 0)
    """
    model = model or XY()
    if axis not in range(model.dimensions):
        raise InputError(f"axis = {axis!r} must be one of 0 to {model.dimensions - 1}")
    return np.rint(observables.winding_numbers(np.asarray(theta), model)[..., axis]).astype(np.int64)


def sector_free_energies(
    ensemble: ReadableEnsemble | str,
    sector: Callable[[np.ndarray, Model], Any] = vortex_pairs,
    *,
    reference: int = 0,
) -> list[dict[int, Estimate]]:
    """Free energies of sectors relative to one of them, in units of energy, at every temperature of an ensemble.

    Args:
        ensemble: of Markov chains or of a flow's exact chain, open for reading, or the path of a file.
        sector: function of configurations (T, C, n, Ly, Lx) and the model, to whole numbers (T, C, n), such as
            `vortex_pairs` or `winding`.
        reference: the sector whose free energy is 0.

    Returns:
        For each temperature, F(k) - F(reference) by sector k, of all others with `LEAST_DRAWS` draws at least.

    Raises:
        InputError: the ensemble keeps no configurations, the function fails, the sectors are not whole numbers of each
            of them, or the reference has too few draws at a temperature.

    Example:
        >>> import mcmc
        >>> ensemble = mcmc.generate("xy", size=4, temperatures=1.0, draws=500, thermalise=100)
        >>> cost = sector_free_energies(ensemble)[0]
        >>> sorted(cost)[:2], cost[1].value > 0
        ([1, 2], True)
    """
    if not callable(sector):
        raise InputError(f"sector must be a function of configurations and the model; got {sector!r}")
    with opened(ensemble) as source:
        temperatures, model = source.temperatures.tolist(), source.model
        shape = (len(temperatures), source.chains)
        parts = []
        for start in range(0, source.draws, n := source.rows_per_chunk("theta")):
            theta = source.theta(slice(start, start + n))
            try:
                found = np.asarray(sector(theta, model))
            except InputError:
                raise
            except Exception as error:
                raise InputError(f"the function of the sectors failed: {type(error).__name__}: {error}") from error
            if found.shape != theta.shape[:3] or found.dtype.kind not in "iu":
                raise InputError(
                    f"sectors of shape {found.shape} and type {found.dtype} must be whole numbers of shape "
                    f"{(*shape, theta.shape[2])}, one for each configuration"
                )
            parts.append(found)
    sectors = np.concatenate(parts, -1)
    return [_relative(each, T, reference) for each, T in zip(sectors, temperatures, strict=True)]


def _relative(sectors: np.ndarray, T: float, reference: int) -> dict[int, Estimate]:
    kinds, counts = np.unique(sectors, return_counts=True)
    held = [int(kind) for kind, count in zip(kinds, counts, strict=True) if count >= LEAST_DRAWS]
    if reference not in held:
        raise InputError(
            f"at T = {T:.6g} fewer than {LEAST_DRAWS} draws are of sector {reference}: take another reference of {held}"
        )
    base = (sectors == reference).astype(np.float64)
    return {
        kind: derived(lambda p, q: -T * math.log(p / q), (sectors == kind).astype(np.float64), base)
        for kind in held
        if kind != reference
    }
