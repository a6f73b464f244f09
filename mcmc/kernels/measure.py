"""Energies, magnetisations and angles of a block."""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import arctangent2
from mcmc.kernels.lanes import load, pointer, store

F = np.float32


@njit(cache=True, nogil=True)
def moments(x, y, W, neighbours, J, K, Lx):
    """Energy and magnetisation vector.

    Returns:
        float64 (3, W): total energy, sum of x, sum of y; rows are summed in float32, and then in float64.
    """
    N = len(neighbours)
    sums, total = np.empty((3, W), F), np.zeros((3, W))
    x, y, neighbours, buffer = pointer(x), pointer(y), pointer(neighbours), pointer(sums)
    for row in range(0, N, Lx):
        for v in range(0, W, 16):
            zero = load(x, row * W + v) * F(0.0)
            energy, mx, my = zero, zero, zero
            for i in range(row, row + Lx):
                e, s = np.int64(neighbours[8 * i]) * W + v, np.int64(neighbours[8 * i + 2]) * W + v
                a, b = load(x, i * W + v), load(y, i * W + v)
                xe, ye, xs, ys = load(x, e), load(y, e), load(x, s), load(y, s)
                right, below = a * xe + b * ye, a * xs + b * ys
                energy = energy - J * (right + below)
                if K:
                    # cos(t_1 - t_2 + t_3 - t_4) from the products s_1 conj(s_2) and s_3 conj(s_4).
                    d = np.int64(neighbours[8 * i + 4]) * W + v
                    xd, yd = load(x, d), load(y, d)
                    energy = energy - K * (right * (xd * xs + yd * ys) - (b * xe - a * ye) * (yd * xs - xd * ys))
                mx, my = mx + a, my + b
            store(buffer, v, energy)
            store(buffer, W + v, mx)
            store(buffer, 2 * W + v, my)
        total += sums
    return total


@njit(cache=True, nogil=True)
def angles(x, y, out):
    """Write the angles of every spin to ``out``, float32 of the shape of x, in (-pi, pi)."""
    size = len(x)
    x, y, out = pointer(x), pointer(y), pointer(out)
    for k in range(0, size, 16):
        store(out, k, arctangent2(load(y, k), load(x, k)))
