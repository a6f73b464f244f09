"""Apply a random symmetry of the energy to every configuration: a shift, a reversal of all angles, a turn."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mcmc.kernels.lanes import pointer
from mcmc.kernels.reflection import F, put, scalar_words, take


@njit(cache=True, nogil=True)
def symmetry(x, y, W, keys, sides, periods, mirrored, turns, replicas, step, steps, numbers_per_step, number, applied):
    """Apply ``steps`` random symmetries to every replica, in place.

    Args:
        sides: int64 (3,), of the lattice along x, y, z; 1 where there is no such axis.
        periods: int64 (3,), shifts by multiples of these keep the energy.
        mirrored: whether reversing all angles does.
        turns: turning all spins by multiples of 2 pi / turns does; 0 or 1 for none that are needed.

    For the other arguments see `mcmc.kernels` and `mcmc.kernels.wolff`.
    """
    N = len(x) // W
    px, py, qx, qy = np.empty(N, F), np.empty(N, F), np.empty(N, F), np.empty(N, F)
    Lx, Ly, Lz = sides
    for r in range(replicas):
        key = keys.reshape(4, W)[:, r].astype(np.uint64)
        # Symmetries commute with one another or make a group: of many only the product matters, made here in one go.
        sign, angle, dx, dy, dz = F(1.0), np.int64(0), 0, 0, 0
        for n in range(step, step + steps):
            w0, w1, w2, w3 = scalar_words(key, np.uint64(n * numbers_per_step + number), 0)
            if turns > 1:
                angle = (angle + np.int64(w0 >> np.uint64(1)) % turns) % turns
            if mirrored and w0 & np.uint64(1):
                sign, angle = -sign, -angle
            dx += np.int64(w1) % (Lx // periods[0]) * periods[0]
            dy += np.int64(w2) % (Ly // periods[1]) * periods[1]
            dz += np.int64(w3) % (Lz // periods[2]) * periods[2]
        take(pointer(x), pointer(y), W, r, pointer(px), pointer(py), 1, N, N, 1)
        c, s = F(math.cos(2 * math.pi * angle / max(1, turns))), F(math.sin(2 * math.pi * angle / max(1, turns)))
        for i in range(N):
            there = (i % Lx + dx) % Lx + Lx * ((i // Lx % Ly + dy) % Ly + Ly * ((i // (Lx * Ly) + dz) % Lz))
            a, b = px[there], sign * py[there]
            if angle:
                a, b = a * c - b * s, a * s + b * c
            qx[i], qy[i] = a, b
        put(pointer(x), pointer(y), W, r, pointer(qx), pointer(qy), 1, N, N, 1)
        applied[r] += F(steps)
