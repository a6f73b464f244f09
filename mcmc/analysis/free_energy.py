"""Absolute free energies: from importance weights, by a bridge between two ensembles, by integration of the energy.

Z is the integral of exp(-E / T) over all N angles, f = -T ln Z / N, s = (e - f) / T; f and s are per site. A log weight
is log w = -E / T - log q, where q is a normalised density that could be drawn from; its draws give ln Z = ln <w>_q.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcmc.analysis.statistics import Estimate, derived, estimate
from mcmc.errors import InputError


def log_partition(log_weight: Any) -> Estimate:
    """ln Z from the log weights of independent draws of q.

    The error is that of the mean weight, and like it too small where the draws miss a part of the ensemble; `bridge`
    would show it.

    Args:
        log_weight: (chains, draws) or (draws,); -inf for a draw of zero weight.

    Raises:
        InputError: NaN, +inf, or no draw with any weight.
    """
    w, top = _scaled(log_weight)
    return derived(lambda mean: math.log(mean) + top, w)


def from_weights(log_weight: Any, energy: Any, sites: int, temperature: float) -> dict[str, Estimate]:
    """Free energy and entropy per site of neural chains.

    Args:
        log_weight: of the proposals, (chains, draws).
        energy: per site, of the chains that they drove, (chains, draws); its correlation with the weights is
            accounted for.
        sites: N.
        temperature: in units of J / k_B.

    Returns:
        Estimates of ``free_energy`` and ``entropy``.
    """
    w, top = _scaled(log_weight)
    T = temperature
    return {
        "free_energy": derived(lambda mean: -T / sites * (math.log(mean) + top), w),
        "entropy": derived(lambda mean, e: e / T + (math.log(mean) + top) / sites, w, energy),
    }


def weighted_entropy(log_weight: Any, energy: Any, sites: int, temperature: float) -> Estimate:
    """Entropy per site from independent weighted draws.

    Args:
        log_weight: float64 (n,).
        energy: per site, of the same draws, (n,).
        sites: N.
        temperature: in units of J / k_B.
    """
    w, top = _scaled(log_weight)
    return derived(lambda mean, product: product / mean / temperature + (math.log(mean) + top) / sites, w, w * energy)


def _scaled(log_weight: Any) -> tuple[np.ndarray, float]:
    log_weight = np.asarray(log_weight, np.float64)
    top = float(log_weight.max())
    if not math.isfinite(top):
        raise InputError("log weights hold NaN, +inf, or only -inf: the flow does not cover the model")
    return np.exp(log_weight - top), top


def bridge(flow_log_weight: Any, ensemble_log_weight: Any) -> Estimate:
    """ln Z from draws of both q and the ensemble, by the acceptance ratio of least variance.

    With x = log w - ln Z + ln(n_p / n_q) it solves sum_q sigma(x) = sum_p sigma(-x), sigma(x) = 1 / (1 + exp(-x)).

    Args:
        flow_log_weight: of n_q independent draws of q, any shape.
        ensemble_log_weight: of n_p draws of the ensemble, (chains, draws) or (draws,), correlated or not; +inf where
            q is zero.

    Returns:
        The estimate; its error is infinite where the two have nothing in common.

    References:
        C. H. Bennett, J. Comput. Phys. 22, 245 (1976), doi:10.1016/0021-9991(76)90078-4.
    """
    q, p = np.ravel(flow_log_weight).astype(np.float64), np.atleast_2d(np.asarray(ensemble_log_weight, np.float64))
    offset = math.log(p.size / q.size)
    finite = np.concatenate([values[np.isfinite(values)] for values in (q, p.ravel())])
    if not finite.size:
        return Estimate(math.nan, math.inf, math.nan, math.nan, q.size + p.size)
    low, high = float(finite.min()) - 50 - abs(offset), float(finite.max()) + 50 + abs(offset)
    for _ in range(100):
        middle = (low + high) / 2
        surplus = _sigmoid(q - middle + offset).sum() - _sigmoid(middle - offset - p).sum()
        low, high = (middle, high) if surplus > 0 else (low, middle)
    from_q, from_p = _sigmoid(q - middle + offset), _sigmoid(middle - offset - p)
    slope = sum(float((s * (1 - s)).sum()) for s in (from_q, from_p))
    mean_p = estimate(from_p)
    variance = q.size * float(from_q.var()) + (p.size * mean_p.error) ** 2
    error = math.sqrt(variance) / slope if from_p.any() else math.inf
    return Estimate(middle, error, mean_p.tau_int, mean_p.tau_int_error, q.size + p.size, mean_p.missing)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # By tanh, which takes any argument without overflow.
    return 0.5 * (1 + np.tanh(0.5 * x))


def integrate(temperatures: Any, energy: Any, specific_heat: Any) -> np.ndarray:
    """ln Z(T_k) / N - ln Z(T_0) / N by thermodynamic integration, of fourth order in the spacing of the grid.

    d ln Z / d ln T = E / T, integrated by the trapezoidal rule with its derivative correction; the energy of the lowest
    temperature is split off, so that the integrand stays level where the system freezes.

    Args:
        temperatures: ascending, (K,).
        energy: per site, (K,).
        specific_heat: per site, (K,).

    Raises:
        InputError: temperatures that do not ascend.
    """
    T, e, c = (np.asarray(values, np.float64) for values in (temperatures, energy, specific_heat))
    if (np.diff(T) <= 0).any():
        raise InputError("thermodynamic integration needs ascending temperatures, each once")
    ground = e[0]
    # y = (e - ground) / T over x = ln T: dy/dx = c - y.
    y, h = (e - ground) / T, np.diff(np.log(T))
    slope = c - y
    steps = h / 2 * (y[1:] + y[:-1]) - h**2 / 12 * (slope[1:] - slope[:-1])
    return np.append(0.0, np.cumsum(steps)) - ground * (1 / T - 1 / T[0])
