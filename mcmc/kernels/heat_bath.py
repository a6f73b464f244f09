"""One-shot Metropolised heat bath: the von Mises conditional by one proposal and one test, without tuning."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


@njit(cache=True, inline="always")
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 (Salmon et al. 2011): four 32-bit words of a 128-bit counter under a 64-bit key."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ k0,
            p1 & _LOW,
            (p0 >> np.uint64(32)) ^ c3 ^ k1,
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(cache=True, inline="always")
def field(x, y, neighbours, J, K, i, r):
    """Local field of site i in replica r; neighbours are E, W, S, N, SE, NE, SW, NW."""
    e, w, s, n = neighbours[i, 0], neighbours[i, 1], neighbours[i, 2], neighbours[i, 3]
    hx = J * (x[e, r] + x[w, r] + x[s, r] + x[n, r])
    hy = J * (y[e, r] + y[w, r] + y[s, r] + y[n, r])
    if K != 0.0:
        for side in range(2):
            a = neighbours[i, side]
            for end in range(2):
                b, d = neighbours[i, 2 + end], neighbours[i, 4 + 2 * side + end]
                px, py = x[a, r] * x[b, r] - y[a, r] * y[b, r], x[a, r] * y[b, r] + y[a, r] * x[b, r]
                hx += K * (px * x[d, r] + py * y[d, r])
                hy += K * (py * x[d, r] - px * y[d, r])
    return hx, hy


@njit(cache=True, parallel=True)
def sweep(x, y, beta, keys, neighbours, J, K, step, over_relaxations):
    """One heat-bath sweep and then ``over_relaxations`` microcanonical sweeps of every replica, in place.

    Args:
        x, y: unit vectors, float32 (N, R).
        beta: inverse temperatures, float64 (R,).
        keys: stream keys, uint32 (R, 4).
        neighbours: int32 (N, 8): E, W, S, N, SE, NE, SW, NW.
        J, K: couplings.
        step: number of the sweep since the start of the run; never used twice in a run.
        over_relaxations: how many over-relaxation sweeps follow.

    Returns:
        Accepted heat-bath moves, int64 (R,).
    """
    N, R = x.shape
    accepted = np.zeros(R, np.int64)
    for r in prange(R):
        k0, k1 = np.uint64(keys[r, 0]), np.uint64(keys[r, 1])
        c2, c3 = np.uint64(keys[r, 2]), np.uint64(keys[r, 3])
        for i in range(N):
            a, b, _, _ = philox(np.uint64(i), np.uint64(step), c2, c3, k0, k1)
            phi = 2 * np.pi * (a + 0.5) / 4294967296.0
            u = (b + 0.5) / 4294967296.0
            hx, hy = field(x, y, neighbours, J, K, i, r)
            h = np.sqrt(hx * hx + hy * hy)
            if h > 0:
                hx, hy = hx / h, hy / h
            else:
                hx, hy = 1.0, 0.0
            kappa = beta[r] * h
            t = 1 + np.sqrt(1 + 4 * kappa * kappa)
            D = t + 2 * kappa * np.cos(phi)
            cos, sin = (2 * kappa + t * np.cos(phi)) / D, np.sqrt(2 * t) * np.sin(phi) / D
            c_old = t / 2 - kappa * (hx * x[i, r] + hy * y[i, r])
            c_new = t / 2 - kappa * cos
            if u * c_old < c_new * np.exp(c_old - c_new):
                x[i, r], y[i, r] = hx * cos - hy * sin, hx * sin + hy * cos
                accepted[r] += 1
        for _ in range(over_relaxations):
            for i in range(N):
                hx, hy = field(x, y, neighbours, J, K, i, r)
                h2 = hx * hx + hy * hy
                if h2 > 0:
                    p = 2 * (hx * x[i, r] + hy * y[i, r]) / h2
                    x_new, y_new = p * hx - x[i, r], p * hy - y[i, r]
                    norm = np.sqrt(x_new * x_new + y_new * y_new)
                    x[i, r], y[i, r] = x_new / norm, y_new / norm
    return accepted
