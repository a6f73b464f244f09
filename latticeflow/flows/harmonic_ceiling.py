"""How good a flow that draws a group's sites independently can be: exactly, in the harmonic limit, by group.

Known sites and groups repeat with a small period (`schedule.coarse_to_fine`), so that every matrix falls apart into
one of at most a few dozen rows for each wave vector, and a lattice of any size takes a moment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import InputError, Lattice
from mcmc.models.presets import Model


class GroupLoss(NamedTuple):
    """What the independent draws of one group cost."""

    spacing: int
    """Lattice spacing of the sites known when the group's level began."""
    sites: int
    kl: float
    """Kullback-Leibler divergence of the group's joint law from its independent draws, each given all known sites."""
    kl_seen: float
    """The same where each is drawn given only the sites that it sees."""
    variance: float
    """What the group adds to the variance of log w, each site drawn given all known ones."""


class Ceiling(NamedTuple):
    """The best that a schedule allows in the harmonic limit, which XY and EXY reach for T -> 0."""

    groups: tuple[GroupLoss, ...]

    @property
    def variance(self) -> float:
        """Variance of log w over the ensemble."""
        return sum(group.variance for group in self.groups)

    @property
    def acceptance(self) -> float:
        """Acceptance of the independence chain, log w taken as Gaussian: erfc(sqrt(variance) / 2)."""
        return math.erfc(math.sqrt(self.variance) / 2)

    @property
    def acceptance_seen(self) -> float:
        """The same where a site is drawn given what it sees, of variance 2 KL."""
        return math.erfc(math.sqrt(2 * sum(group.kl_seen for group in self.groups)) / 2)


def harmonic_ceiling(model: Model, lattice: Lattice, *, seen: int | None = None, finer: bool = False) -> Ceiling:
    """The ceiling of `schedule.coarse_to_fine` on a lattice.

    With S the covariance of a group given all that is known before it and v_i the variance of site i as it is drawn,
    KL = (sum_i log v_i - log det S) / 2. Residuals of different groups are uncorrelated where all known sites are used,
    and the variance of log w is the sum over pairs i < j of a group of their squared correlations.

    Args:
        model, lattice: the system.
        seen, finer: see `schedule.coarse_to_fine`.

    Raises:
        InputError: the ferromagnetic state is not a minimum of the energy, around which to expand; or a field pins it.

    Example:
        >>> from mcmc import XY
        >>> round(harmonic_ceiling(XY(), Lattice(16, 16)).acceptance, 3)
        0.974
    """
    waves = SpinWaves(model, lattice)
    if not model.rotation:
        raise InputError(f"{model} is in a field: its ceiling is not known here")
    if not waves.stable:
        raise InputError(f"{model} has no spin waves: its ferromagnetic state is not a minimum of the energy")
    known, losses = np.zeros(lattice.shape, bool), []
    known.flat[0] = True
    for group in coarse_to_fine(lattice, model, seen=seen, finer=finer).groups:
        drawn = np.zeros(lattice.shape, bool)
        drawn.ravel()[group.sites] = True
        covariances = _conditional(waves.green, known, drawn)  # one for each wave vector
        in_cell, n = covariances.shape[-1], len(group.sites)
        # Site i of a cell with site j at any distance: what Fourier transforms give, wave vectors summed.
        mean = covariances.mean(0).real
        v = np.diag(mean)
        log_det = float(np.linalg.slogdet(covariances)[1].sum())
        correlations = covariances / np.sqrt(np.outer(v, v))
        squares = float((np.abs(correlations) ** 2).sum())
        v_seen = 1 / waves.regression(group.sites[0], group.table[0])[1]
        independent = float(np.log(v).sum()) * n / in_cell
        losses.append(
            GroupLoss(
                spacing=group.spacing,
                sites=n,
                kl=max(0.0, (independent - log_det) / 2),
                kl_seen=max(0.0, (n * math.log(v_seen) - log_det) / 2),
                variance=max(0.0, (squares - n) / 2),
            )
        )
        known |= drawn
    return Ceiling(tuple(losses))


def _conditional(green: np.ndarray, known: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Covariance over T of the sites ``drawn`` given those ``known``, by wave vector of the cell in which both repeat.

    Args:
        green: G(r), of the lattice's shape.
        known, drawn: bool, of the same.

    Returns:
        complex128 (wave vectors, n, n) for n sites in a cell.
    """
    d = green.ndim
    periods = [_period(known, drawn, axis) for axis in range(d)]
    corner = tuple(slice(p) for p in periods)
    in_cell = [np.stack(np.nonzero(mask[corner])) for mask in (known, drawn)]
    m, places = in_cell[0].shape[1], np.concatenate(in_cell, axis=1)
    cells = np.meshgrid(*(np.arange(0, side, p) for side, p in zip(green.shape, periods, strict=True)), indexing="ij")
    steps = (
        ((x[:, None] - x).reshape(*(2 * [len(x)]), *(1,) * d) + cell) % side
        for x, cell, side in zip(places, cells, green.shape, strict=True)
    )
    blocks = np.fft.fftn(green[tuple(steps)], axes=tuple(range(2, 2 + d)))
    C = np.moveaxis(blocks.reshape(*blocks.shape[:2], -1), -1, 0)
    # G is known up to a constant only, which acts at wave vector 0 and cancels below; a large one keeps C positive.
    C[0] += len(C) * green.flat[0]
    C_kk, C_kd, C_dd = C[:, :m, :m], C[:, :m, m:], C[:, m:, m:]
    weights = np.linalg.solve(C_kk, C_kd)
    S = C_dd - C_kd.conj().swapaxes(-1, -2) @ weights
    ones = np.linalg.solve(C_kk[0], np.ones(m))
    rest = 1 - C_kd[0].conj().T @ ones
    S[0] += np.outer(rest, rest.conj()) / ones.sum()  # ordinary kriging: the constant is fitted too
    return S


def _period(known: np.ndarray, drawn: np.ndarray, axis: int) -> int:
    """Smallest shift along an axis that changes neither of two masks."""
    side = known.shape[axis]
    return next(
        p
        for p in range(1, side + 1)
        if side % p == 0 and all((np.roll(mask, p, axis) == mask).all() for mask in (known, drawn))
    )
