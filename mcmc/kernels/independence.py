"""The independence chain: Metropolis test of whole-configuration proposals, from their log weights alone."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def walk(log_w, log_u, current):
    """Walk every chain over its proposals.

    A proposal y replaces the state x with probability min(1, w(y) / w(x)), w = p / q, which leaves p invariant
    however bad q is (Tierney 1994, section 2.3.3).

    Args:
        log_w: log weights of the proposals in order, float64 (chains, n); -inf and NaN are never accepted.
        log_u: logarithms of uniform numbers, float64 (chains, n).
        current: log weights of the chains' states before, float64 (chains,); -inf accepts the first proposal.

    Returns:
        For each step the number of the proposal that the chain then holds, -1 for the state before, int64 (chains, n).
    """
    chains, n = log_w.shape
    held = np.empty((chains, n), np.int64)
    for c in range(chains):
        state, index = current[c], -1
        for i in range(n):
            if log_u[c, i] < log_w[c, i] - state:
                state, index = log_w[c, i], i
            held[c, i] = index
    return held
