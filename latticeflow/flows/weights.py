"""What log weights say of a flow: acceptance, effective sample sizes, autocorrelation, the share it covers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


def normalise(log_w: Any) -> np.ndarray:
    """Weights that sum to 1 along the last axis, float64, from unnormalised log weights of any offset."""
    log_w = np.asarray(log_w, np.float64)
    w = np.exp(log_w - log_w.max(-1, keepdims=True))
    return w / w.sum(-1, keepdims=True)


def acceptance_of_weights(log_w: Any) -> np.ndarray:
    """Expected acceptance of the stationary independence chain, from the flow's own draws.

    sum_i p_i (1 / (n - 1)) sum_{j != i} min(1, w_j / w_i), with p the normalised weights, i the state of the chain and
    j the proposal. A flow that misses part of the ensemble looks better here than it is: compare with `ess_forward`.

    Args:
        log_w: log weights of n draws from the flow, (..., n).

    Returns:
        float64 (...).
    """
    p = np.sort(normalise(log_w), axis=-1)[..., ::-1]
    n = p.shape[-1]
    # Of n^2 ordered pairs 2k have the k-th largest weight as the smaller one, k = 0, 1, ...
    return (2 * np.arange(n) * p).sum(-1) / (n - 1)


def ess_reverse(log_w: Any) -> np.ndarray:
    """Effective sample size as a fraction, from draws of the flow: (sum w)^2 / (n sum w^2); ``(..., n) -> (...)``."""
    p = normalise(log_w)
    return 1 / (p.shape[-1] * (p**2).sum(-1))


def ess_forward(log_w: Any) -> np.ndarray:
    """Effective sample size as a fraction, from draws of the ensemble: 1 / (mean w * mean 1/w); ``(..., n) -> (...)``.

    Unlike `ess_reverse` it sees the modes that the flow misses (Nicoli et al., arXiv:2302.14082, eq. 13); it is 0 where
    the flow cannot make a draw at all (log w = +inf).
    """
    log_w = np.asarray(log_w, np.float64)
    missed = np.isposinf(log_w).any(-1)
    log_w = np.where(np.isposinf(log_w), 0.0, log_w)
    top, bottom = log_w.max(-1, keepdims=True), log_w.min(-1, keepdims=True)
    log_product = np.log(np.exp(log_w - top).mean(-1)) + np.log(np.exp(bottom - log_w).mean(-1))
    return np.where(missed, 0.0, np.exp(-log_product - (top - bottom)[..., 0]))


LEAST_EFFECTIVE = 5
"""Effective draws below which a mean of weights is what a few draws happen to be."""


class Coverage(NamedTuple):
    """The share of the ensemble that the flow's draws reach."""

    value: float
    """About 1 for a flow that reaches all of it; NaN where the weights do not tell."""
    error: float
    """One standard deviation; NaN with the value."""


def coverage(flow_log_w: Any, ensemble_log_w: Any) -> Coverage:
    """The share of the ensemble that draws of the flow reach: mean of w over these times mean of 1/w over that.

    If the flow's draws stay in a region that holds the share c of the ensemble, the first mean is c Z and the second
    1 / Z. However smooth the flow's own weights are, c shows what they cannot know.

    Weights that spread over hundreds of units of log w make each mean a matter of its largest term, and their product
    any number at all, 1e300 as well as 1e-40. So the share is unknown, NaN, where fewer than `LEAST_EFFECTIVE` draws
    carry the first mean, or where they carry the second and the product exceeds 1, which no share does.

    Args:
        flow_log_w: log weights of draws of the flow, (n,).
        ensemble_log_w: log weights of draws of the ensemble, (m,).

    Example:
        >>> coverage(np.zeros(1000), np.append(np.zeros(250), np.full(750, 80.0))).value
        0.25
        >>> coverage(np.array([300.0, *np.zeros(99)]), np.zeros(100))
        Coverage(value=nan, error=nan)
    """
    means, relative, effective = [], [], []
    for log_w in (np.asarray(flow_log_w, np.float64), -np.asarray(ensemble_log_w, np.float64)):
        top = log_w.max()
        if top == -np.inf:  # the flow can make none of the ensemble's draws
            return Coverage(0.0, 0.0)
        w = np.exp(log_w - top)
        means.append(top + math.log(w.mean()))
        relative.append(float(w.var()) / float(w.mean()) ** 2 / len(w))
        effective.append(float(w.sum()) ** 2 / float((w**2).sum()))
    value = math.exp(min(sum(means), 700.0))
    if effective[0] < LEAST_EFFECTIVE or (effective[1] < LEAST_EFFECTIVE and value > 1):
        return Coverage(math.nan, math.nan)
    return Coverage(value, value * math.sqrt(sum(relative)))


def acceptance_from(states: Any, proposals: Any) -> np.ndarray:
    """Probability to leave each state of the independence chain: mean over proposals of min(1, w / w_state).

    Args:
        states: log weights of the states, (m,).
        proposals: log weights of draws of the flow, (n,).

    Returns:
        float64 (m,); 0 for a state of infinite weight.
    """
    states, ordered = np.asarray(states, np.float64), np.sort(np.asarray(proposals, np.float64))
    smaller = np.searchsorted(ordered, states)
    log_sums = np.append(-np.inf, np.logaddexp.accumulate(ordered))  # of the 0, 1, 2, ... smallest weights
    with np.errstate(invalid="ignore"):  # -inf less -inf, where nothing is smaller
        falls = np.exp(np.where(smaller > 0, log_sums[smaller] - states, -np.inf))
    return (falls + len(ordered) - smaller) / len(ordered)


def predicted_tau_int(states: Any, proposals: Any, weights: Any = None) -> float:
    """Autocorrelation time of the independence chain, for an observable that is independent of the weights.

    A state that is left with probability a stays for t steps with probability (1 - a)^t, and a move forgets it. So
    rho(t) = <(1 - a)^t> and tau_int = <1 / a> - 1/2, in steps, averaged over the ensemble.

    Args:
        states: log weights of draws of the ensemble; or of the flow, with their `normalise` d ``weights``, (m,).
        proposals: log weights of draws of the flow, (n,).
        weights: of the states, summing to 1; None for equal ones.

    Returns:
        tau_int, infinite where the chain could never leave a state; its eigenvalues are those of Liu, Statistics and
        Computing 6, 113 (1996), doi:10.1007/BF00162521.
    """
    a = acceptance_from(states, proposals)
    if not a.all():
        return math.inf
    return float(np.average(1 / a, weights=weights)) - 0.5


def longest_run(accepted: Any) -> int:
    """Longest run of rejected proposals in a series of 0 and 1, (n,)."""
    moves = np.flatnonzero(np.concatenate(([1], np.asarray(accepted), [1])))
    return int(np.diff(moves).max() - 1)


def overlap(a: Any, b: Any, bins: int, limits: tuple[float, float]) -> float:
    """Overlap of two histograms in per cent, sum_k min(p_k, q_k).

    Args:
        a, b: samples, (n,) and (m,).
        bins: of equal width.
        limits: lower and upper end; what lies outside counts in the last bins.
    """
    p, q = (np.histogram(np.clip(x, *limits), bins, limits)[0] / len(x) for x in (a, b))
    return float(100 * np.minimum(p, q).sum())
