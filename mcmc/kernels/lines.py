"""Turn whole rows and columns: the soft modes of ring exchange.

A plaquette meets a column in two neighbouring sites, which enter its angle with opposite signs: turning a column as a
whole leaves every ring term alone, and costs only the bonds that leave the column. The common angle of a column is
thus an XY spin in a known field, G = J sum_j conj(s_j) (s_east + s_west), and takes a heat-bath draw. Strong ring
exchange stiffens everything else, so local moves take long over just these angles.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.calls import Kernel
from mcmc.kernels.field import normalised, words
from mcmc.kernels.heat_bath import draw
from mcmc.kernels.lanes import group_sum, load, pointer, store

F = np.float32


@Kernel
def lines(block, width, axis, move, accepted, order, room):
    """Turn every column (axis 0) or row of those that ``order`` visits, in place.

    Each of the lanes of a replica holds a part of a column, and draws the same angle for it. For the arguments see
    `mcmc.kernels.steps`; sites of ``order`` are those of the first row where columns are turned.
    """
    N, W, Lx, J, columns = len(block.interaction.neighbours), len(block.beta), block.Lx, block.interaction.J, axis == 0
    length = N // Lx if columns else Lx
    across, along, side = (1, Lx, 0) if columns else (Lx, 1, 2)
    first, last = (order[0], order[0] + order[2]) if columns else (order[0] // Lx, order[1] // Lx)
    group = block.strips if columns else 1
    share = F(1.0) / F(group)
    x, y, beta, keys = pointer(block.x), pointer(block.y), pointer(block.beta), pointer(block.keys)
    if columns:
        keys = pointer(block.shared)
    neighbours, accepted = pointer(block.interaction.neighbours), pointer(accepted)
    for k in range(first, last):
        for v in range(0, W, 16):
            zero = load(beta, v) * F(0.0)
            gx, gy = zero, zero
            for j in range(length):
                i = k * across + j * along
                before = np.int64(neighbours[8 * i + side]) * W + v
                after = np.int64(neighbours[8 * i + side + 1]) * W + v
                hx, hy = load(x, before) + load(x, after), load(y, before) + load(y, after)
                a, b = load(x, i * W + v), load(y, i * W + v)
                gx, gy = gx + J * (hx * a + hy * b), gy + J * (hy * a - hx * b)
            gx, gy = group_sum(gx, group), group_sum(gy, group)
            w0, w1, _, _ = words(keys, W, v, move, k)
            c, s, hit = draw(gx, gy, zero + F(1.0), zero, load(beta, v), w0, w1)
            store(accepted, v, load(accepted, v) + share * hit)
            for j in range(length):
                i = (k * across + j * along) * W + v
                a, b = load(x, i), load(y, i)
                a, b = normalised(a * c - b * s, a * s + b * c)
                store(x, i, a)
                store(y, i, b)
