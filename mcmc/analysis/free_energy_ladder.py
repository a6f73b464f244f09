"""Absolute free energies by classical chains alone: a ladder of temperatures down from infinity, where Z is known.

At T = infinity all angles are free and ln Z = N ln 2 pi. From there ln Z is carried down rung by rung, by the
multistate acceptance ratio (`mcmc.analysis.mbar`) or by integrating the energy. Either error grows with
the thermodynamic length of the way, the integral of the energy's standard deviation over beta, in which the rungs are
evenly spaced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcmc.analysis.mbar import Mbar
from mcmc.analysis.statistics import block_means, estimate, jackknife
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

INFINITE = 1e6
"""The temperature that stands for infinity, in units of `energy_scale`: ln Z differs from N ln 2 pi by N / 2 T^2."""
BLOCKS = 32
"""Jackknife blocks, about; they must be much longer than the autocorrelation time."""


class Absolute(NamedTuple):
    """What a ladder says of its rungs; all arrays (rungs,), the last rung being T = infinity."""

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


def energy_scale(model: Model, lattice: Lattice) -> float:
    """Standard deviation of the energy of free angles over the root of N, to the nearest power of ten.

    It is the root of (2 J^2 + K^2) / 2 for the models with ring exchange.
    """
    theta = np.random.default_rng(0).uniform(-math.pi, math.pi, (64, *lattice.shape))
    deviation = float(np.std(model.energy(theta))) / math.sqrt(lattice.N)
    return 10.0 ** round(math.log10(deviation)) if deviation else 1.0


def thermodynamic_length(
    model: Model, lattice: Lattice, temperatures: Sequence[float], *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The way from `INFINITE` to the lowest temperature: integral of the energy's standard deviation over beta.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: in units of J / k_B.
        seed: of short chains that measure the fluctuations of the energy.

    Returns:
        Inverse temperatures, ascending, and the length up to each of them.
    """
    scale = energy_scale(model, lattice)
    grid = (*np.geomspace(min(temperatures), max(20 * scale, 1.1 * max(temperatures)), 24).tolist(), INFINITE * scale)
    energy = Simulation(Settings(model, lattice, grid, chains=2, seed=seed)).block(50).series["energy"]
    beta, deviation = 1 / np.array(grid)[::-1], lattice.N * energy.reshape(len(grid), -1).std(1)[::-1]
    return beta, np.append(0.0, np.cumsum(np.diff(beta) * (deviation[1:] + deviation[:-1]) / 2))


def rungs(model: Model, lattice: Lattice, temperatures: Sequence[float], *, seed: int = 0) -> tuple[float, ...]:
    """Temperatures from `INFINITE` down to the lowest asked for, one standard deviation of the energy apart.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: rungs that are wanted, in any order.
        seed: of short chains that measure the fluctuations of the energy.

    Returns:
        Ascending, the wanted ones among them; the last stands for infinity.
    """
    wanted = sorted(set(temperatures))
    beta, length = thermodynamic_length(model, lattice, temperatures, seed=seed)
    even = np.interp(np.linspace(0, length[-1], math.ceil(length[-1]) + 1), length, beta)[1:-1]
    places = np.interp(even, beta, length)
    asked = np.interp(1 / np.array(wanted), beta, length)
    free = [1 / b for b, place in zip(even.tolist(), places, strict=True) if abs(place - asked).min() > 0.4]
    return (*sorted([*wanted, *free]), 1 / beta[0])


def absolute(energies: np.ndarray, temperatures: Sequence[float], sites: int) -> Absolute:
    """Free energies and entropies of all rungs.

    Args:
        energies: total energies, (rungs, chains, draws).
        temperatures: of the rungs, ascending, the last of them standing for infinity; see `rungs`.
        sites: N.

    Raises:
        InputError: rungs that do not ascend, energies of neighbouring rungs that do not overlap, or fewer than two
            blocks of draws.
    """
    T = np.asarray(temperatures, np.float64)
    if (np.diff(T) <= 0).any():
        raise InputError("the temperatures of a ladder must ascend, each once")
    beta, energies = 1 / T[::-1], energies[::-1]  # down from infinity
    free = sites * math.log(2 * math.pi)
    found = Mbar(energies, beta).at_drawn()
    ln_z = [estimate(free - each.value - each.shifts) for each in found]
    s = [
        estimate((free - each.value - each.shifts + b * E) / sites)
        for b, E, each in zip(beta, energies, found, strict=True)
    ]
    # About the mean of each rung, whose square would cancel most of the digits where it is cold.
    centre = energies.mean((1, 2))
    deviations = energies - centre[:, None, None]
    moments = np.stack([block_means(each.transpose(1, 2, 0), BLOCKS) for each in (deviations, deviations**2)], -1)

    def integral(mean: np.ndarray) -> np.ndarray:
        return integrate_down(beta, centre + mean[:, 0], mean[:, 1] - mean[:, 0] ** 2)

    integrated, integrated_error = jackknife(integral, moments)
    return Absolute(
        log_partition=np.array([each.value for each in ln_z])[::-1],
        log_partition_error=np.array([each.error for each in ln_z])[::-1],
        integrated=free + integrated[::-1],
        integrated_error=integrated_error[::-1],
        entropy=np.array([each.value for each in s])[::-1],
        entropy_error=np.array([each.error for each in s])[::-1],
    )


def integrate_down(beta: np.ndarray, energy: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """ln Z(beta_k) - ln Z(beta_0) from mean and variance of the total energy: trapezoids and their correction.

    d ln Z / d beta = -<E>, whose slope is <E^2> - <E>^2; all arrays (rungs,).
    """
    h, slope = np.diff(beta), variance
    steps = -h / 2 * (energy[1:] + energy[:-1]) - h**2 / 12 * (slope[1:] - slope[:-1])
    return np.append(0.0, np.cumsum(steps))


class Anchored(NamedTuple):
    """What a ladder and values that are known otherwise say together."""

    value: np.ndarray
    """(K,)"""
    covariance: np.ndarray
    """(K, K)"""
    chi_square: float
    """Of the known values against the ladder alone, with as many degrees of freedom as there are known values."""


def anchor(value: np.ndarray, covariance: np.ndarray, known: np.ndarray, known_error: np.ndarray) -> Anchored:
    """Weighted least squares of ln Z on a ladder and of independent values at some of its rungs.

    Errors of a ladder grow from rung to rung, like those of a walk; a value from elsewhere holds it on both sides.

    Args:
        value: ln Z by the ladder, (K,).
        covariance: of these, (K, K).
        known: ln Z by other means, (K,); NaN where there is none.
        known_error: one standard deviation, (K,).

    Example:
        Two steps of a walk with an error of 1 each, and its end known exactly:

        >>> walk = np.array([[1.0, 1.0], [1.0, 2.0]])
        >>> found = anchor(np.array([0.0, 2.0]), walk, np.array([np.nan, 0.0]), np.array([np.nan, 0.0]))
        >>> found.value.tolist(), found.covariance.diagonal().tolist(), found.chi_square
        ([-1.0, 0.0], [0.5, 0.0], 2.0)
    """
    at = np.flatnonzero(np.isfinite(known))
    if not at.size:
        return Anchored(value, covariance, 0.0)
    residual = known[at] - value[at]
    weights = np.linalg.inv(covariance[np.ix_(at, at)] + np.diag(known_error[at] ** 2))
    gain = covariance[:, at] @ weights
    return Anchored(value + gain @ residual, covariance - gain @ covariance[at], float(residual @ weights @ residual))
