"""Absolute free energies by classical chains alone: a ladder of temperatures down from infinity, where Z is known.

At T = infinity all angles are free and ln Z = N ln 2 pi. From there ln Z is carried down rung by rung, by the
multistate acceptance ratio (`mcmc.analysis.reweighting.solve`) or by integrating the energy. Either error grows with
the thermodynamic length of the way, the integral of the energy's standard deviation over beta, in which the rungs are
evenly spaced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcmc.analysis.reweighting import solve
from mcmc.analysis.statistics import jackknife
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

INFINITE = 1e6
"""A temperature, in units of J / k_B, where ln Z differs from N ln 2 pi by N (J^2 + K^2 / 2) / 2 T^2: by nothing."""
BLOCKS = 32
"""Jackknife blocks, about; they must be much longer than the autocorrelation time."""


class Absolute(NamedTuple):
    """What a ladder says of its rungs; all arrays (rungs,), the first rung being T = infinity."""

    log_partition: np.ndarray
    """ln Z by the multistate acceptance ratio."""
    log_partition_error: np.ndarray
    """One standard deviation."""
    integrated: np.ndarray
    """ln Z by thermodynamic integration."""
    integrated_error: np.ndarray
    """One standard deviation; the rule's own error is of fourth order in the spacing."""
    entropy: np.ndarray
    """Per site: e / T + ln Z / N, by the multistate acceptance ratio."""
    entropy_error: np.ndarray
    """One standard deviation."""


def rungs(model: Model, lattice: Lattice, temperatures: Sequence[float], *, seed: int = 0) -> tuple[float, ...]:
    """Temperatures from `INFINITE` down to the lowest that is asked for, one standard deviation of the energy apart.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: rungs that are wanted, in any order.
        seed: of short chains that measure the fluctuations of the energy.

    Returns:
        Descending, the wanted ones among them.
    """
    wanted = sorted(temperatures, reverse=True)
    pilot = (INFINITE, *np.geomspace(max(20.0, 1.1 * wanted[0]), wanted[-1], 24).tolist())
    energy = Simulation(Settings(model, lattice, pilot, chains=2, seed=seed)).block(50).series["energy"]
    beta, deviation = 1 / np.array(pilot), lattice.N * energy.reshape(len(pilot), -1).std(1)
    length = np.append(0.0, np.cumsum(np.diff(beta) * (deviation[1:] + deviation[:-1]) / 2))
    even = np.interp(np.linspace(0, length[-1], math.ceil(length[-1]) + 1), length, beta)[1:-1]
    places = np.interp(even, beta, length)
    asked = np.interp(1 / np.array(wanted), beta, length)
    free = [1 / b for b, place in zip(even.tolist(), places, strict=True) if abs(place - asked).min() > 0.4]
    return (INFINITE, *sorted([*wanted, *free], reverse=True))


def absolute(energies: np.ndarray, temperatures: Sequence[float], sites: int) -> Absolute:
    """Free energies and entropies of all rungs.

    Args:
        energies: total energies, (rungs, chains, draws).
        temperatures: of the rungs, the first `INFINITE`.
        sites: N.

    Raises:
        InputError: the energies of neighbouring rungs do not overlap, or there are fewer than two blocks of draws.
    """
    K, C, n = energies.shape
    beta = 1 / np.asarray(temperatures, np.float64)
    free = sites * math.log(2 * math.pi)
    per_chain = max(1, min(-(-BLOCKS // C), n))
    used = n // per_chain * per_chain
    cut = energies[:, :, n - used :].reshape(K, C * per_chain, -1)  # (rungs, blocks, draws of a block)

    # ln Z of all draws, and with one block left out by one Newton step from there.
    f = solve(list(cut.reshape(K, -1)), beta)
    counts = np.full(K, cut[0].size)
    expected, covariance = np.zeros((cut.shape[1], K)), np.zeros((cut.shape[1], K, K))
    for b in range(cut.shape[1]):
        for piece in np.array_split(cut[:, b].ravel(), 1 + cut[:, b].size // 20000):
            log_p = np.log(counts) + f - np.multiply.outer(piece, beta)
            p = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))
            expected[b] += p.sum(0)
            covariance[b] += p.T @ p

    def without(b: int) -> np.ndarray:
        kept = 1 - 1 / cut.shape[1]
        rest, square = expected.sum(0) - expected[b], covariance.sum(0) - covariance[b]
        hessian = np.diag(rest) - square
        step = np.linalg.lstsq(hessian[1:, 1:], (kept * counts - rest)[1:], rcond=1e-13)[0]
        return -(f + np.append(0.0, step))

    left_out = np.array([without(b) for b in range(cut.shape[1])])
    means = cut.mean(-1)  # (rungs, blocks)
    mean_without = (means.sum(1, keepdims=True) - means).T / (cut.shape[1] - 1)
    entropies = (beta * mean_without + left_out) / sites
    factor = math.sqrt(cut.shape[1] - 1)

    moments = np.stack([means, (cut**2).mean(-1)], -1).swapaxes(0, 1)
    integrated, integrated_error = jackknife(lambda mean: integrate_down(beta, mean[:, 0], mean[:, 1]), moments)
    return Absolute(
        log_partition=free - f,
        log_partition_error=factor * left_out.std(0),
        integrated=free + integrated,
        integrated_error=integrated_error,
        entropy=(free - f + beta * means.mean(1)) / sites,
        entropy_error=factor * entropies.std(0),
    )


def integrate_down(beta: np.ndarray, energy: np.ndarray, square: np.ndarray) -> np.ndarray:
    """ln Z(beta_k) - ln Z(beta_0) from mean and mean square of the total energy: trapezoids and their correction.

    d ln Z / d beta = -<E>, whose slope is <E^2> - <E>^2; all arrays (rungs,).
    """
    h, slope = np.diff(beta), square - energy**2
    steps = -h / 2 * (energy[1:] + energy[:-1]) - h**2 / 12 * (slope[1:] - slope[:-1])
    return np.append(0.0, np.cumsum(steps))
