"""Metropolis: turn one spin by a uniform angle of at most ``pi * step``; the step is tuned for each replica."""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import centred, exponential, sine_cosine, uniform
from mcmc.kernels.field import draw_words, energy_gain, normalised, opened
from mcmc.kernels.lanes import load, pointer, store, where

F = np.float32


@njit(cache=True, forceinline=True)
def proposed(step, word0):
    """Cosine less 1, and sine, of a random turn; from half the angle, which is exact for small steps."""
    s, c = sine_cosine(centred(word0) * step)
    return F(-2.0) * s * s, F(2.0) * s * c


@njit(cache=True, forceinline=True)
def decided(a, b, dc, ds, gain, word1):
    """The unit vector (a, b), turned if the test says so; ``gain`` is beta times the fall of the energy.

    Returns:
        The vector and a 0/1 of acceptance, all lanes.
    """
    accept = uniform(word1) < exponential(gain)
    new_a, new_b = normalised(a + (dc * a - ds * b), b + (dc * b + ds * a))
    return where(accept, new_a, a), where(accept, new_b, b), where(accept, F(1.0), F(0.0))


@njit(cache=True, forceinline=True)
def _site(x, y, beta, step, interaction, i, W, v, word0, word1, accepted):
    k = i * W + v
    a, b = load(x, k), load(y, k)
    dc, ds = proposed(load(step, v), word0)
    gain = load(beta, v) * energy_gain(x, y, interaction, i, W, v, a, b, dc, ds)
    a, b, hit = decided(a, b, dc, ds, gain, word1)
    store(x, k, a)
    store(y, k, b)
    store(accepted, v, load(accepted, v) + hit)


@njit(cache=True, nogil=True)
def metropolis(x, y, beta, step, keys, interaction, move, accepted, order):
    """One sweep of every replica of a block, in place; ``step``: float32 (W,) in (0, 1], else see `mcmc.kernels`."""
    W = len(beta)
    x, y, beta, step, keys, interaction, accepted = (
        pointer(x),
        pointer(y),
        pointer(beta),
        pointer(step),
        pointer(keys),
        opened(interaction),
        pointer(accepted),
    )
    # Words first, then one site of all replicas, then the next: vectors of replicas need not wait for one another.
    words_array = np.empty(4 * W, np.uint32)
    buffer = pointer(words_array)
    first, last, length, stride = order
    for start in range(first, last, length):
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
    # Pointers do not keep the array alive.
    words_array[0] = 0
