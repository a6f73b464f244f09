"""What the log weights of a flow say: acceptance, effective sample size, overlap with the reference ensemble."""

from __future__ import annotations

from typing import Any

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

    Unlike `ess_reverse` it sees the modes that the flow misses (Nicoli et al., arXiv:2302.14082, eq. 13).
    """
    log_w = np.asarray(log_w, np.float64)
    top, bottom = log_w.max(-1, keepdims=True), log_w.min(-1, keepdims=True)
    log_product = np.log(np.exp(log_w - top).mean(-1)) + np.log(np.exp(bottom - log_w).mean(-1))
    return np.exp(-log_product - (top - bottom)[..., 0])


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
