"""Wolff's single clusters, for XY: Phys. Rev. Lett. 62, 361 (1989), doi:10.1103/PhysRevLett.62.361.

A cluster grows in the order in which sites joined it, sixteen at once: their bonds in all directions are drawn by
vectors, which leave a short list of the sites that these reach. One pass over it, without branches, joins those that
are new.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import exponential, philox, uniform
from mcmc.kernels.calls import helper, part
from mcmc.kernels.lanes import (
    bits,
    compress,
    count_ones,
    count_up,
    gather,
    load,
    narrow,
    pointer,
    scatter,
    section,
    spread,
    store,
    where,
    widen,
)
from mcmc.kernels.reflection import F, mirror, put, scalar_words, take

U = np.uint32


@helper
def _attempt(px, py, j, strength, rx, ry, word, reached, count):
    """Draw bonds to the sites j; writes those that they reach to ``reached``, and returns how many there are then.

    Args:
        strength: the couplings times the components of the sites at the other ends.
    """
    s = gather(px, j) * rx + gather(py, j) * ry
    # Bonds between opposite components have a "probability" below zero.
    hit = uniform(narrow(word)) < F(1.0) - exponential(-(strength * s))
    store(reached, count, compress(hit, j))
    return count + count_ones(bits(hit))


@part
def _grow(px, py, joined, members, reached, coupling, key, move, words_used, Lx, Ly, shift, cluster):
    """Grow and flip one cluster; returns its size and the count of words used.

    Args:
        px, py: float32, spins; site (x, y) has the place ``x + (y << shift) + 16``.
        joined: uint32, holds for every place the last cluster that it joined.
        members: uint32 (N + 16,), receives the sites of the cluster.
        reached: uint32 (64,), for sites that bonds reach.
        cluster: number of this one.
    """
    w0, w1, _, _ = scalar_words(key, move, words_used)
    words_used += 1
    rx, ry = mirror(w0)
    seed = np.int64((w1 * np.uint64(Lx * Ly)) >> np.uint64(32))
    seed = seed % Lx + (seed // Lx << shift) + 16
    members[0], joined[seed] = seed, cluster
    px, py, joined, members, reached = pointer(px), pointer(py), pointer(joined), pointer(members), pointer(reached)
    k0, k1 = widen(spread(U(key[0]))), widen(spread(U(key[1])))
    k2, k3 = widen(spread(U(key[2]))), widen(spread(U(key[3])))
    zero = k0 ^ k0
    high = (move >> np.uint64(32)) << np.uint64(24)
    column, row, rows = U((1 << shift) - 1), U(1 << shift), U(Ly << shift)
    asked, size = np.int64(0), np.int64(1)
    while asked < size:
        active = min(size - asked, np.int64(16))
        lane = count_up(spread(U(0)))
        w0, w1, w2, w3 = philox(zero + move, widen(lane + U(words_used)) + high, k2, k3, k0, k1)
        used = lane < spread(U(active))
        place = where(used, load(members, asked), lane)
        a, b = gather(px, place), gather(py, place)
        s = a * rx + b * ry
        strength = where(used, s * coupling, F(0.0))
        i = where(used, place - U(16), U(0))
        x = i & column
        east = where(x < spread(U(Lx - 1)), i + U(17), i - U(Lx - 17))
        west = where(spread(U(0)) < x, i + U(15), i + U(Lx + 15))
        south = where(i + row < spread(rows), i + row, (i + row) - rows) + U(16)
        north = where(i < spread(row), i + (rows - row), i - row) + U(16)
        count = _attempt(px, py, east, strength, rx, ry, w0, reached, np.int64(0))
        count = _attempt(px, py, west, strength, rx, ry, w1, reached, count)
        count = _attempt(px, py, south, strength, rx, ry, w2, reached, count)
        count = _attempt(px, py, north, strength, rx, ry, w3, reached, count)
        s = s + s
        scatter(px, place, a - s * rx)
        scatter(py, place, b - s * ry)
        words_used += active
        asked += active
        for k in range(count):
            j = reached[k]
            members[size] = j
            size += np.int64(joined[j] != cluster)
            joined[j] = cluster
    return size, words_used


@njit(cache=True, nogil=True)
def wolff(x, y, beta, clusters, keys, J, Lx, Ly, replicas, strips, step, steps, numbers_per_step, number, flipped):
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
    W, shift = len(beta), 0
    while 1 << shift < Lx:
        shift += 1
    size = (Ly << shift) + 16
    px, py, joined = np.zeros(size, F), np.zeros(size, F), np.zeros(size, U)
    members, reached, cluster = np.zeros(Lx * Ly + 16, U), np.zeros(64, U), U(0)
    first_x, first_y = section(pointer(px), 16, F), section(pointer(py), 16, F)
    for r in range(replicas):
        lane = r * strips
        key = keys.reshape(4, W)[:, lane].astype(np.uint64)
        take(pointer(x), pointer(y), W, r, first_x, first_y, strips, Lx, 1 << shift, Ly)
        for n in range(step, step + steps):
            words_used, total = np.int64(0), np.int64(0)
            move = np.uint64(n * numbers_per_step + number)
            coupling = F(2.0) * beta[lane] * J
            for _ in range(np.int64(clusters[lane])):
                cluster = U(cluster + U(1))
                grown, words_used = _grow(
                    px, py, joined, members, reached, coupling, key, move, words_used, Lx, Ly, shift, cluster
                )
                total += grown
            flipped[lane] += total
        put(pointer(x), pointer(y), W, r, first_x, first_y, strips, Lx, 1 << shift, Ly)
