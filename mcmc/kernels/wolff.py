"""Wolff's single clusters, for XY: Phys. Rev. Lett. 62, 361 (1989), doi:10.1103/PhysRevLett.62.361."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mcmc.kernels.reflection import F, fraction, mirror, put, scalar_words, take


@njit(cache=True)
def _flip(px, py, i, rx, ry):
    """Reflect spin i; returns its component along the mirror's normal before."""
    s = px[i] * rx + py[i] * ry
    px[i] -= F(2.0) * s * rx
    py[i] -= F(2.0) * s * ry
    return s


@njit(cache=True)
def _bonded(u, strength):
    """u < 1 - exp(-strength); bounds decide most cases without an exponential."""
    if u * (1 + strength) < strength:
        return True
    return u < strength and u < -math.expm1(-strength)


@njit(cache=True)
def _grow(px, py, coupling, key, neighbours, move, words_used, stack, components, joined, cluster):
    """Grow and flip one cluster; returns its size and the count of words used.

    ``joined`` (N,) holds for every site the last cluster that it joined; ``cluster`` is the number of this one.
    """
    w0, w1, _, _ = scalar_words(key, move, words_used)
    words_used += 1
    rx, ry = mirror(w0)
    seed = np.int64((w1 * np.uint64(len(px))) >> np.uint64(32))
    components[0], stack[0], joined[seed] = _flip(px, py, seed, rx, ry), seed, cluster
    top, size = 1, 0
    while top > 0:
        top -= 1
        i, s = stack[top], components[top]
        size += 1
        words = scalar_words(key, move, words_used)
        words_used += 1
        for k in range(4):
            j = neighbours[i, k]
            # With J > 0 a flipped spin has the wrong sign to be met again; with J < 0 odd sides lead back to it.
            strength = coupling * s * (px[j] * rx + py[j] * ry)
            if strength > 0 and joined[j] != cluster and _bonded(fraction(words[k]), strength):
                components[top], stack[top], joined[j] = _flip(px, py, j, rx, ry), j, cluster
                top += 1
    return size, words_used


@njit(cache=True, nogil=True)
def wolff(x, y, beta, clusters, keys, neighbours, J, replicas, strips, step, steps, numbers_per_step, number, flipped):
    """Flip ``clusters`` clusters a step, in place; the number must not depend on the run's later course.

    Args:
        clusters: float32 (W,), whole numbers.
        replicas: how many replicas there are.
        strips: lanes of each, see `mcmc.kernels.strips`; parameters and counts are those of its first lane.
        step, steps: number of the first step, and how many.
        numbers_per_step, number: random moves that a step owns, and the first of them that is used.
        flipped: float32 (W,), to which the flipped spins are added.

    For the other arguments see `mcmc.kernels`.
    """
    N, W = len(neighbours), len(beta)
    px, py, components = np.empty(N, F), np.empty(N, F), np.empty(N, F)
    stack, joined, cluster = np.empty(N, np.int32), np.zeros(N, np.int64), 0
    for r in range(replicas):
        lane = r * strips
        key = keys.reshape(4, W)[:, lane].astype(np.uint64)
        take(x, y, W, r, px, py, strips)
        for n in range(step, step + steps):
            words_used, total = 0, 0
            for _ in range(np.int64(clusters[lane])):
                cluster += 1
                size, words_used = _grow(
                    px,
                    py,
                    F(2.0) * beta[lane] * J,
                    key,
                    neighbours,
                    np.uint64(n * numbers_per_step + number),
                    words_used,
                    stack,
                    components,
                    joined,
                    cluster,
                )
                total += size
            flipped[lane] += total
        put(x, y, W, r, px, py, strips)
