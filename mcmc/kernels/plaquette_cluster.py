"""Clusters for EXY: bonds as Swendsen and Wang draw them, ring exchange frozen or deleted as a whole.

With a random mirror line, each bond and each plaquette has a weight w of the reflections of its own spins (2 patterns
for a bond, 8 for a plaquette, not counting all turned at once). It is deleted with probability min(w) / w, else its
spins keep their relation: they join one cluster (Kandel and Domany, Phys. Rev. B 43, 8539, 1991,
doi:10.1103/PhysRevB.43.8539). Clusters are then flipped with probability one half. Exact, but plaquettes join four
sites at a time: clusters percolate where K / T is not small.

Mean share of a 16x16 lattice in its largest cluster (J = 1):

    T          0.3   0.6   0.9   1.2   1.6   2.0   3.0
    K = 0.1    0.88  0.81  0.72  0.51  0.16  0.09  0.05
    K = 0.25   0.94  0.90  0.87  0.77  0.39  0.17  0.07
    K = 0.5    0.98  0.97  0.95  0.92  0.80  0.50  0.14
    K = 1      0.99  0.99  0.98  0.98  0.96  0.92  0.52

Where the share exceeds 0.8 the update does not shorten the autocorrelation of heat bath; `mcmc.kernels.lines` does,
everywhere.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mcmc.kernels.lanes import pointer
from mcmc.kernels.reflection import F, fraction, join, mirror, put, root, scalar_words, take


@njit(cache=True)
def _ring(ax, ay, bx, by, cx, cy, dx, dy):
    """cos(t_a - t_b + t_c - t_d)."""
    px, py = ax * bx + ay * by, ay * bx - ax * by
    qx, qy = cx * dx + cy * dy, cy * dx - cx * dy
    return px * qx - py * qy


@njit(cache=True)
def _frozen(px, py, a, b, c, d, rx, ry, strength, u):
    """Whether the plaquette a, b, c, d (going round) keeps its relation; ``strength`` is beta K, u uniform."""
    now = _ring(px[a], py[a], px[b], py[b], px[c], py[c], px[d], py[d])
    energy, highest = -strength * now, -strength * now
    for pattern in range(1, 8):
        sb = F(2.0) * (px[b] * rx + py[b] * ry) * F(pattern & 1)
        sc = F(2.0) * (px[c] * rx + py[c] * ry) * F((pattern >> 1) & 1)
        sd = F(2.0) * (px[d] * rx + py[d] * ry) * F((pattern >> 2) & 1)
        other = _ring(
            px[a],
            py[a],
            px[b] - sb * rx,
            py[b] - sb * ry,
            px[c] - sc * rx,
            py[c] - sc * ry,
            px[d] - sd * rx,
            py[d] - sd * ry,
        )
        highest = max(highest, -strength * other)
    return u > math.exp(energy - highest)


@njit(cache=True, nogil=True)
def plaquette_cluster(
    x, y, beta, keys, neighbours, J, K, replicas, strips, step, steps, numbers_per_step, number, largest
):
    """Make ``steps`` steps of every replica, in place; ``largest`` (W,) receives the size of each largest cluster.

    For the other arguments see `mcmc.kernels` and `mcmc.kernels.wolff`.
    """
    N, W = len(neighbours), len(beta)
    px, py = np.empty(N, F), np.empty(N, F)
    parent, sizes = np.empty(N, np.int32), np.empty(N, np.int32)
    for r in range(replicas):
        lane = r * strips
        key = keys.reshape(4, W)[:, lane].astype(np.uint64)
        take(pointer(x), pointer(y), W, r, pointer(px), pointer(py), strips, N // strips, N // strips, strips)
        for n in range(step, step + steps):
            move = np.uint64(n * numbers_per_step + number)
            rx, ry = mirror(scalar_words(key, move, 0)[0])
            for i in range(N):
                parent[i], sizes[i] = i, 0
            for i in range(N):
                e, s, se = neighbours[i, 0], neighbours[i, 2], neighbours[i, 4]
                w0, w1, w2, _ = scalar_words(key, move + np.uint64(1), i)
                own = F(2.0) * beta[lane] * J * (px[i] * rx + py[i] * ry)
                if fraction(w0) < -math.expm1(-own * (px[e] * rx + py[e] * ry)):
                    join(parent, i, e)
                if fraction(w1) < -math.expm1(-own * (px[s] * rx + py[s] * ry)):
                    join(parent, i, s)
                if _frozen(px, py, i, e, se, s, rx, ry, beta[lane] * K, fraction(w2)):
                    join(parent, i, e)
                    join(parent, i, s)
                    join(parent, i, se)
            for i in range(N):
                k = root(parent, i)
                sizes[k] += 1
                if scalar_words(key, move + np.uint64(2), k)[0] & np.uint64(1):
                    s2 = F(2.0) * (px[i] * rx + py[i] * ry)
                    px[i] -= s2 * rx
                    py[i] -= s2 * ry
            largest[lane] += sizes.max()
        put(pointer(x), pointer(y), W, r, pointer(px), pointer(py), strips, N // strips, N // strips, strips)
