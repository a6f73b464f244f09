"""Metropolis: turn one spin by a uniform angle of at most ``pi * step``; the step is tuned for each replica."""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import centred, exponential, sine_cosine, uniform
from mcmc.kernels.field import draw_words, local_field, normalised
from mcmc.kernels.lanes import load, pointer, store, where

F = np.float32


@njit(cache=True, forceinline=True)
def turn(hx, hy, x, y, beta, step, word0, word1):
    """Update unit vectors (x, y) in the field h; returns them with a 0/1 of acceptance, all lanes."""
    # The change of the spin from half the angle: exact for small steps.
    s, c = sine_cosine(centred(word0) * step)
    s2, sc = F(-2.0) * s * s, F(2.0) * s * c
    dx, dy = s2 * x - sc * y, s2 * y + sc * x
    accept = uniform(word1) < exponential(beta * (hx * dx + hy * dy))
    new_x, new_y = normalised(x + dx, y + dy)
    return where(accept, new_x, x), where(accept, new_y, y), where(accept, F(1.0), F(0.0))


@njit(cache=True, forceinline=True)
def _site(x, y, beta, step, neighbours, J, K, i, W, v, word0, word1, accepted):
    hx, hy = local_field(x, y, neighbours, i, W, v, J, K)
    k = i * W + v
    a, b, hit = turn(hx, hy, load(x, k), load(y, k), load(beta, v), load(step, v), word0, word1)
    store(x, k, a)
    store(y, k, b)
    store(accepted, v, load(accepted, v) + hit)


@njit(cache=True, nogil=True)
def metropolis(x, y, beta, step, keys, neighbours, J, K, move, accepted):
    """One sweep of every replica of a block, in place; ``step``: float32 (W,) in (0, 1], else see `mcmc.kernels`."""
    N, W = len(neighbours), len(beta)
    x, y, beta, step, keys, neighbours, accepted = (
        pointer(x),
        pointer(y),
        pointer(beta),
        pointer(step),
        pointer(keys),
        pointer(neighbours),
        pointer(accepted),
    )
    # Words first, then one site of all replicas, then the next: vectors of replicas need not wait for one another.
    words_array = np.empty(4 * W, np.uint32)
    buffer = pointer(words_array)
    for i in range(0, N, 2):
        draw_words(buffer, keys, W, move, i)
        for v in range(0, W, 16):
            _site(x, y, beta, step, neighbours, J, K, i, W, v, load(buffer, v), load(buffer, W + v), accepted)
        if i + 1 < N:
            for v in range(0, W, 16):
                a, b = load(buffer, 2 * W + v), load(buffer, 3 * W + v)
                _site(x, y, beta, step, neighbours, J, K, i + 1, W, v, a, b, accepted)
    # Pointers do not keep the array alive.
    words_array[0] = 0
