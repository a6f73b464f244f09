"""Swap the temperatures of neighbouring replicas."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mcmc.kernels.reflection import fraction, scalar_words


@njit(cache=True, nogil=True)
def exchange(replica, energy, beta, keys, round_number, tried, swapped):
    """Propose to swap every other pair of neighbouring temperatures of every chain: even pairs in even rounds.

    Args:
        replica: int64 (T, C), the replica that is at each temperature; permuted in place.
        energy: float64 (T, C), of the replicas, by replica.
        beta: float64 (T,), inverse temperatures.
        keys: uint64 (C, 4), a stream for each chain.
        round_number: how many rounds there were before.
        tried, swapped: int64 (T, C), counts of the pairs (t, t + 1).
    """
    T, C = replica.shape
    for c in range(C):
        for t in range(round_number % 2, T - 1, 2):
            a, b = replica[t, c], replica[t + 1, c]
            gain = (beta[t] - beta[t + 1]) * (energy[a, c] - energy[b, c])
            tried[t, c] += 1
            if gain >= 0 or fraction(scalar_words(keys[c], np.uint64(round_number), t)[0]) < math.exp(gain):
                replica[t, c], replica[t + 1, c] = b, a
                swapped[t, c] += 1
