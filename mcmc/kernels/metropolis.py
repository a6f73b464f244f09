"""Metropolis: turn one spin by a uniform angle of at most ``pi * step``; the step is tuned for each replica."""

from __future__ import annotations

import numpy as np

from mcmc.kernels.arithmetic import centred, exponential, sine_cosine, uniform
from mcmc.kernels.calls import Kernel, helper
from mcmc.kernels.field import draw_words, energy_gain, normalised, opened
from mcmc.kernels.lanes import load, pointer, scratch, store, where

F = np.float32


@helper
def proposed(step, word0):
    """Cosine less 1, and sine, of a random turn; from half the angle, which is exact for small steps."""
    s, c = sine_cosine(centred(word0) * step)
    return F(-2.0) * s * s, F(2.0) * s * c


@helper
def decided(a, b, dc, ds, gain, word1):
    """The unit vector (a, b), turned if the test says so; ``gain`` is beta times the fall of the energy.

    Returns:
        The vector and a 0/1 of acceptance, all lanes.
    """
    accept = uniform(word1) < exponential(gain)
    new_a, new_b = normalised(a + (dc * a - ds * b), b + (dc * b + ds * a))
    return where(accept, new_a, a), where(accept, new_b, b), where(accept, F(1.0), F(0.0))


@helper
def _site(x, y, beta, step, interaction, i, W, v, word0, word1, accepted):
    k = i * W + v
    a, b = load(x, k), load(y, k)
    dc, ds = proposed(load(step, v), word0)
    gain = load(beta, v) * energy_gain(x, y, interaction, i, W, v, a, b, dc, ds)
    a, b, hit = decided(a, b, dc, ds, gain, word1)
    store(x, k, a)
    store(y, k, b)
    store(accepted, v, load(accepted, v) + hit)


@Kernel
def metropolis(block, width, axis, move, accepted, order, room):
    """One sweep of every replica of a block, in place; see `mcmc.kernels.steps` for the arguments."""
    W, interaction = len(block.beta), opened(block.interaction)
    x, y, beta, keys = pointer(block.x), pointer(block.y), pointer(block.beta), pointer(block.keys)
    step, accepted = pointer(width), pointer(accepted)
    # Words first, then one site of all replicas, then the next: vectors of replicas need not wait for one another.
    buffer = scratch(np.uint32, 4 * W)
    first, last, length, stride, pitch = order
    for start in range(first, last, pitch):
        for offset in range(stride):
            for i in range(start + offset, start + length, 2 * stride):
                draw_words(buffer, keys, W, move, i)
                for v in range(0, W, 16):
                    a, b = load(buffer, v), load(buffer, W + v)
                    _site(x, y, beta, step, interaction, i, W, v, a, b, accepted)
                if i + stride < start + length:
                    for v in range(0, W, 16):
                        a, b = load(buffer, 2 * W + v), load(buffer, 3 * W + v)
                        _site(x, y, beta, step, interaction, i + stride, W, v, a, b, accepted)
