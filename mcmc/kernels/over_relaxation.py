"""Over-relaxation: reflect every spin about its local field; microcanonical, so it needs a thermal partner.

Creutz, Phys. Rev. D 36, 515 (1987), doi:10.1103/PhysRevD.36.515. The energy of a spin is linear in its unit vector
for EXY too, so the reflection is exact there.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.calls import Kernel
from mcmc.kernels.field import local_field, opened
from mcmc.kernels.lanes import load, pointer, store

F = np.float32


@Kernel
def over_relaxation(block, width, axis, move, accepted, order, room):
    """One sweep of every replica of a block, in place; see `mcmc.kernels.steps` for the arguments."""
    W, interaction = len(block.beta), opened(block.interaction)
    x, y = pointer(block.x), pointer(block.y)
    first, last, length, stride, pitch = order
    for start in range(first, last, pitch):
        for offset in range(stride):
            for i in range(start + offset, start + length, stride):
                for v in range(0, W, 16):
                    hx, hy = local_field(x, y, interaction, i, W, v)
                    k = i * W + v
                    a, b = load(x, k), load(y, k)
                    # The tiny number turns the spin round where there is no field, which keeps the energy as well.
                    p = F(2.0) * (hx * a + hy * b) / (hx * hx + hy * hy + F(1e-30))
                    store(x, k, p * hx - a)
                    store(y, k, p * hy - b)
