"""Wolff's and Swendsen and Wang's clusters for any sum of pairs: every axis and diagonal, every bond its own coupling.

Reflecting both spins of a pair of charges (q, -q) keeps its energy, and reflecting one of them changes its bond from
J cos(q a) to J cos(q b), with J [cos(q a) - cos(q b)] = 2 J (s_i^q . r_q) (s_j^q . r_q), r_q the mirror's normal turned
for the q-th powers. So the embedding of `mcmc.kernels.reflection` is exact, whatever the signs of the couplings; where
these are frustrated, clusters grow too large to be of use.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mcmc.kernels.lanes import pointer
from mcmc.kernels.reflection import F, fraction, join, put, root, scalar_words, take


@njit(cache=True)
def _strength(px, py, i, j, z, table, strengths, stride, charges, angle):
    """2 J (s_i^q . r_q) (s_j^q . r_q) of bond z of site i, for the mirror with its normal at ``angle``."""
    q = charges[z]
    J = strengths[i * stride, z]
    if q == 1:
        c, s = math.cos(angle), math.sin(angle)
        return F(2.0) * J * F((px[i] * c + py[i] * s) * (px[j] * c + py[j] * s))
    # A spin at a is reflected to 2 (angle + pi / 2) - a: q times its angle is reflected about q (angle + pi / 2).
    axis = q * (angle + 0.5 * math.pi)
    a, b = q * math.atan2(py[i], px[i]) - axis, q * math.atan2(py[j], px[j]) - axis
    return F(2.0) * J * F(math.sin(a) * math.sin(b))


@njit(cache=True)
def _reflect(px, py, i, c, s):
    along = F(2.0) * (px[i] * c + py[i] * s)
    px[i] -= along * c
    py[i] -= along * s


@njit(cache=True, nogil=True)
def pair_wolff(
    x,
    y,
    beta,
    clusters,
    keys,
    table,
    strengths,
    stride,
    charges,
    replicas,
    step,
    steps,
    numbers_per_step,
    number,
    flipped,
):
    """Flip ``clusters[r]`` clusters a step, in place; see `mcmc.kernels.wolff.wolff`.

    Args:
        table: int32 (N, Z), partners.
        strengths: float32 (N or 1, Z), couplings.
        stride: 1 where these depend on the site.
        charges: int32 (Z,), q.

    For the other arguments see `mcmc.kernels.wolff.wolff`.
    """
    N, W = len(table), len(beta)
    Z = table.shape[1]
    px, py = np.empty(N, F), np.empty(N, F)
    members, joined, cluster = np.empty(N, np.int32), np.zeros(N, np.int64), 0
    for r in range(replicas):
        key = keys.reshape(4, W)[:, r].astype(np.uint64)
        take(pointer(x), pointer(y), W, r, pointer(px), pointer(py), 1, N, N, 1)
        for n in range(step, step + steps):
            move = np.uint64(n * numbers_per_step + number)
            used, total = 0, 0
            for _ in range(np.int64(clusters[r])):
                cluster += 1
                w0, w1, _, _ = scalar_words(key, move, used)
                used += 1
                angle = 2 * math.pi * fraction(w0)
                c, s = F(math.cos(angle)), F(math.sin(angle))
                seed = np.int64((w1 * np.uint64(N)) >> np.uint64(32))
                members[0], joined[seed], size, asked = seed, cluster, 1, 0
                while asked < size:
                    i = members[asked]
                    asked += 1
                    words = scalar_words(key, move, used)
                    used += 1
                    for z in range(Z):
                        if z and z % 4 == 0:
                            words = scalar_words(key, move, used)
                            used += 1
                        j = table[i, z]
                        if joined[j] != cluster:
                            strength = beta[r] * _strength(px, py, i, j, z, table, strengths, stride, charges, angle)
                            if strength > 0 and fraction(words[z % 4]) < -math.expm1(-strength):
                                members[size], joined[j] = j, cluster
                                size += 1
                for k in range(size):
                    _reflect(px, py, members[k], c, s)
                total += size
            flipped[r] += total
        put(pointer(x), pointer(y), W, r, pointer(px), pointer(py), 1, N, N, 1)


@njit(cache=True, nogil=True)
def pair_swendsen_wang(
    x, y, beta, keys, table, strengths, stride, charges, replicas, step, steps, numbers_per_step, number, flipped
):
    """Make ``steps`` steps of every replica, in place; for the arguments see `pair_wolff`.

    Every bond is met from both of its ends, at each with half of its strength: together they join with the right
    probability, 1 - exp(-strength).
    """
    N, W = len(table), len(beta)
    Z = table.shape[1]
    px, py, parent = np.empty(N, F), np.empty(N, F), np.empty(N, np.int32)
    for r in range(replicas):
        key = keys.reshape(4, W)[:, r].astype(np.uint64)
        take(pointer(x), pointer(y), W, r, pointer(px), pointer(py), 1, N, N, 1)
        for n in range(step, step + steps):
            move = np.uint64(n * numbers_per_step + number)
            angle = 2 * math.pi * fraction(scalar_words(key, move, 0)[0])
            c, s = F(math.cos(angle)), F(math.sin(angle))
            for i in range(N):
                parent[i] = i
            for i in range(N):
                words = scalar_words(key, move + np.uint64(1), i)
                for z in range(Z):
                    if z and z % 4 == 0:
                        words = scalar_words(key, move + np.uint64(1), i + N * (z // 4))
                    j = table[i, z]
                    half = F(0.5) * beta[r] * _strength(px, py, i, j, z, table, strengths, stride, charges, angle)
                    if half > 0 and fraction(words[z % 4]) < -math.expm1(-half):
                        join(parent, i, j)
            total = 0
            for i in range(N):
                k = root(parent, i)
                if scalar_words(key, move + np.uint64(2), k)[0] & np.uint64(1):
                    _reflect(px, py, i, c, s)
                    total += 1
            flipped[r] += total
        put(pointer(x), pointer(y), W, r, pointer(px), pointer(py), 1, N, N, 1)
