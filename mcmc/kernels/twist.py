"""Change the winding number of a whole configuration by one.

The proposal adds the angle +-2 pi k / L to column (or row) k. It costs about 2 pi^2 Y times the aspect ratio:
hopeless for equilibrium windings of a cold square lattice, whose weight is nil, but it frees configurations trapped
in a winding state at once, and lets elongated lattices, whose windings do have weight, change them.
"""

from __future__ import annotations

import math

import numpy as np

from mcmc.kernels.arithmetic import exponential, uniform
from mcmc.kernels.calls import Kernel
from mcmc.kernels.field import normalised, words
from mcmc.kernels.lanes import any_lane, group_sum, load, pointer, scratch, signed, store, where

F = np.float32


@Kernel
def twist(block, width, axis, move, accepted, order, room):
    """Propose one twist along x (axis 0) or y, in place; see `mcmc.kernels.steps` for the arguments."""
    N, W, Lx, strips = len(block.interaction.neighbours), len(block.beta), block.Lx, block.strips
    J, columns = block.interaction.J, axis == 0
    side, length = (0, Lx) if columns else (2, N // Lx * strips)
    delta = 2 * math.pi / length
    cost, slope, share = F(math.cos(delta) - 1), F(math.sin(delta)), F(1.0) / F(strips)
    # Where each lane's strip begins: along y its angles start from there.
    origin = scratch(F, 32)
    for lane in range(16):
        angle = 0.0 if columns else delta * (N // Lx) * (lane % strips)
        origin[lane], origin[16 + lane] = math.cos(angle), math.sin(angle)
    # The lanes of a replica draw together.
    x, y, beta, keys = pointer(block.x), pointer(block.y), pointer(block.beta), pointer(block.shared)
    neighbours, accepted = pointer(block.interaction.neighbours), pointer(accepted)
    c_start, s_start = load(origin, 0), load(origin, 16)
    for v in range(0, W, 16):
        zero = load(beta, v) * F(0.0)
        cosines, sines = zero, zero
        for row in range(0, N, Lx):
            # Row by row, so that float32 sums stay exact enough on large lattices.
            c, s = zero, zero
            for i in range(row, row + Lx):
                j = np.int64(neighbours[8 * i + side]) * W + v
                a, b = load(x, i * W + v), load(y, i * W + v)
                a_next, b_next = load(x, j), load(y, j)
                c, s = c + (a * a_next + b * b_next), s + (a * b_next - b * a_next)
            cosines, sines = cosines + c, sines + s
        cosines, sines = group_sum(cosines, strips), group_sum(sines, strips)
        w0, w1, _, _ = words(keys, W, v, move, np.int64(0))
        sign = where(signed(w0) < F(0.0), zero - F(1.0), zero + F(1.0))
        accept = uniform(w1) < exponential(load(beta, v) * J * (cost * cosines - slope * (sign * sines)))
        if any_lane(accept):
            store(accepted, v, load(accepted, v) + where(accept, zero + share, zero))
            for i in range(N):
                k = i % Lx if columns else i // Lx
                c_row, s_row = F(math.cos(delta * k)), F(math.sin(delta * k))
                c, s = c_row * c_start - s_row * s_start, sign * (s_row * c_start + c_row * s_start)
                a, b = load(x, i * W + v), load(y, i * W + v)
                a_new, b_new = normalised(a * c - b * s, a * s + b * c)
                store(x, i * W + v, where(accept, a_new, a))
                store(y, i * W + v, where(accept, b_new, b))
