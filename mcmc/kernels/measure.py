"""Energies, magnetisations and angles of a block."""

from __future__ import annotations

import numpy as np

from mcmc.kernels.arithmetic import arctangent2
from mcmc.kernels.calls import Kernel
from mcmc.kernels.field import powered
from mcmc.kernels.lanes import load, pointer, scratch, store

F = np.float32


@Kernel
def moments(block, total):
    """Find the excess energy and the magnetisation vector.

    The excess over -2 abs(J) - abs(K) per site is a sum of squares: of the differences of neighbouring unit vectors,
    abs(J) (s - s')^2 / 2 (their sum if J < 0), and of what the two halves of a plaquette differ by. So it keeps its
    relative precision where it is cold.

    Args:
        total: float64 (3, W), receives the excess of the total energy, sum of x, sum of y; rows are summed in float32,
            and then in float64.
    """
    (neighbours, J, K), Lx, W = block.interaction, block.Lx, len(block.beta)
    N = len(neighbours)
    bond, ring = F(0.5) * abs(J), F(0.5) * abs(K)
    j, k = F(1.0) if J > 0 else F(-1.0), F(1.0) if K > 0 else F(-1.0)
    x, y, neighbours = pointer(block.x), pointer(block.y), pointer(neighbours)
    total, buffer = pointer(total), scratch(F, 3 * W)
    for v in range(3 * W):
        total[v] = 0.0
    for row in range(0, N, Lx):
        for v in range(0, W, 16):
            zero = load(x, row * W + v) * F(0.0)
            energy, mx, my = zero, zero, zero
            for i in range(row, row + Lx):
                e, s = np.int64(neighbours[8 * i]) * W + v, np.int64(neighbours[8 * i + 2]) * W + v
                a, b = load(x, i * W + v), load(y, i * W + v)
                xe, ye, xs, ys = load(x, e), load(y, e), load(x, s), load(y, s)
                px, py, qx, qy = a - j * xe, b - j * ye, a - j * xs, b - j * ys
                energy = energy + bond * (px * px + py * py + (qx * qx + qy * qy))
                if K:
                    # t_1 - t_2 + t_3 - t_4 by the products s_1 conj(s_2) and conj(s_3) s_4, which agree at its zero.
                    d = np.int64(neighbours[8 * i + 4]) * W + v
                    xd, yd = load(x, d), load(y, d)
                    px = a * xe + b * ye - k * (xd * xs + yd * ys)
                    py = b * xe - a * ye - k * (xd * ys - yd * xs)
                    energy = energy + ring * (px * px + py * py)
                mx, my = mx + a, my + b
            store(buffer, v, energy)
            store(buffer, W + v, mx)
            store(buffer, 2 * W + v, my)
        for v in range(3 * W):
            total[v] += buffer[v]


@Kernel
def term_moments(block, total):
    """Find the excess energy over the sum of all terms at their least, and the magnetisation, of any sum of terms.

    A term of unit amplitude z costs |J| (1 - Re z) = |J| |z - 1|^2 / 2 more than its least.
    ``total`` receives what it does from `moments`.
    """
    owned, row_length, W = block.owned, block.Lx, len(block.beta)
    N, others, terms = len(owned.neighbours), owned.neighbours.shape[1], owned.amplitudes.shape[1]
    x, y, total, buffer = pointer(block.x), pointer(block.y), pointer(total), scratch(F, 3 * W)
    for v in range(3 * W):
        total[v] = 0.0
    program, neighbours, amplitudes = pointer(owned.program), pointer(owned.neighbours), pointer(owned.amplitudes)
    for row in range(0, N, row_length):
        for v in range(0, W, 16):
            zero = load(x, row * W + v) * F(0.0)
            energy, mx, my = zero, zero, zero
            for i in range(row, row + row_length):
                at, other = 0, 0
                for e in range(terms):
                    amplitude = 3 * (i * owned.stride * terms + e)
                    zx, zy = zero + amplitudes[amplitude], zero + amplitudes[amplitude + 1]
                    count = program[at]
                    for k in range(count):
                        j = np.int64(neighbours[i * others + other + k]) * W + v
                        zx, zy = powered(zx, zy, load(x, j), load(y, j), program[at + 1 + k])
                    at, other = at + 1 + count, other + count
                    zx = zx - F(1.0)
                    energy = energy + F(0.5) * amplitudes[amplitude + 2] * (zx * zx + zy * zy)
                mx, my = mx + load(x, i * W + v), my + load(y, i * W + v)
            store(buffer, v, energy)
            store(buffer, W + v, mx)
            store(buffer, 2 * W + v, my)
        for v in range(3 * W):
            total[v] += buffer[v]


@Kernel
def angles(block, out):
    """Write the angles of as many spins as there is room for to ``out``, flat float32, in (-pi, pi)."""
    size = len(out)
    x, y, out = pointer(block.x), pointer(block.y), pointer(out)
    for k in range(0, size, 16):
        store(out, k, arctangent2(load(y, k), load(x, k)))
