"""Known free energies as control variates: energies and specific heats of Markov chains with less variance.

Draws at several temperatures give, by the multistate acceptance ratio (`mcmc.analysis.mbar`), the energy at each of
them, and also the free energies. If the latter are known better from elsewhere, as from the weights of a flow, the
difference d between both says by how much the draws happen to be off, and the energy is corrected:

    u* = u - a . d,     a = (C + D)^-1 c.

C is the covariance of the free energies from the draws, D that of the known ones, and c the covariance of u with the
former. It is the linear combination of least variance, and never worse than u alone.

References:
    A. Owen, Y. Zhou, *Safe and effective importance sampling*, J. Am. Stat. Assoc. 95, 135 (2000),
    doi:10.1080/01621459.2000.10473909 (control variates in a mixture of densities).
    Z. Tan, *On a likelihood approach for Monte Carlo integration*, J. Am. Stat. Assoc. 99, 1027 (2004),
    doi:10.1198/016214504000001664.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcmc.analysis.mbar import Linearised, Mbar
from mcmc.analysis.statistics import Estimate, estimate
from mcmc.errors import InputError


def with_known_free_energies(
    energies: np.ndarray, temperatures: Sequence[float] | np.ndarray, log_partition: Sequence[Estimate], sites: int
) -> list[dict[str, Estimate]]:
    """Energy, specific heat and entropy per site at every temperature, from draws and known free energies.

    Args:
        energies: total energies, (T, chains, draws).
        temperatures: in units of J / k_B, (T,), at least two, close enough for neighbouring energies to overlap.
        log_partition: ln Z at each of them, with independent errors; `mcmc.analysis.free_energy.log_partition`.
        sites: N.

    Returns:
        For each temperature estimates of ``energy``, ``specific_heat`` and ``entropy``. ``tau_int`` is that of what the
        correction leaves.

    Raises:
        InputError: shapes that do not fit, fewer draws than are needed to know C, or energies that do not overlap.
    """
    T = np.asarray(temperatures, np.float64)
    if len(log_partition) != len(T) or len(T) < 2:
        raise InputError(f"{len(log_partition)} values of ln Z do not fit {len(T)} temperatures, of at least two")
    mbar = Mbar(energies, 1 / T)
    if mbar.draws < 10 * len(T):
        raise InputError(f"{mbar.draws} draws a temperature are too few for {len(T)} control variates: draw more")
    drawn = mbar.at_drawn()
    ln_z, variance = np.array([z.value for z in log_partition]), np.array([z.error for z in log_partition]) ** 2
    # Only differences are known from the draws: all relative to the first temperature.
    excess = mbar.free_energies[1:] + ln_z[1:] - ln_z[0]
    shifts = np.stack([each.shifts.ravel() for each in drawn[1:]])
    total = shifts @ shifts.T / mbar.draws**2 + np.diag(variance[1:]) + variance[0]

    def corrected(found: Linearised, weight: float = 1.0, own: np.ndarray | None = None) -> Estimate:
        """``found`` times ``weight``, less what the control variates explain, plus ``own`` . ln Z."""
        a = np.linalg.solve(total, shifts @ found.shifts.ravel() / mbar.draws**2)
        rest = estimate(weight * (found.value - a @ excess + found.shifts - (a @ shifts).reshape(found.shifts.shape)))
        # Derivatives with respect to the known ln Z.
        slope = weight * np.append(a.sum(), -a)
        own = np.zeros_like(slope) if own is None else own
        error = math.sqrt(rest.error**2 + (slope + own) ** 2 @ variance)
        return replace(rest, value=rest.value + float(own @ ln_z), error=error)

    rows = []
    for k, t in enumerate(T):
        mean = mbar.mean(1 / t, mbar.energies)
        square = mbar.mean(1 / t, (mbar.energies - mean.value) ** 2)  # its shifts hold those of the mean to first order
        rows.append(
            {
                "energy": corrected(mean, 1 / sites) + mbar.reference / sites,
                "specific_heat": corrected(square, 1 / (sites * t**2)),
                "entropy": corrected(mean, 1 / (sites * t), np.eye(len(T))[k] / sites) + mbar.reference / (sites * t),
            }
        )
    return rows
