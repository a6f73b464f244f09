"""What the cluster kernels share: one replica in its own arrays, random mirror lines, union-find.

Wolff's embedding (Phys. Rev. Lett. 62, 361, 1989, doi:10.1103/PhysRevLett.62.361): with a random unit vector r each
spin is reflected or not, s -> s - 2 (s.r) r, which makes the spins Ising variables in couplings that depend on the
rest.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import philox
from mcmc.kernels.lanes import pointer, transpose

F = np.float32
_LOW = np.uint64(0xFFFFFFFF)


@njit(cache=True)
def scalar_words(key, move, site):
    """Four random 32-bit words of one replica, uint64; ``key`` is uint64 (4,). The lanes' words are the same ones."""
    where = np.uint64(site) + ((move >> np.uint64(32)) << np.uint64(24))
    a, b, c, d = philox(move, where, key[2], key[3], key[0], key[1])
    return a & _LOW, b & _LOW, c & _LOW, d & _LOW


@njit(cache=True)
def fraction(word):
    """A float64 in (0, 1) from a random word."""
    return (np.float64(word) + 0.5) * 2.0**-32


@njit(cache=True)
def mirror(word):
    """A uniformly random unit vector, float32."""
    angle = 2 * math.pi * fraction(word)
    return F(math.cos(angle)), F(math.sin(angle))


@njit(cache=True)
def take(x, y, W, r, px, py, strips, length, pitch):
    """Copy replica r of a block, in ``strips`` lanes, to px, py; rows of ``length`` sites start every ``pitch``."""
    rows = len(px) // (pitch * strips)
    for row in range(rows):
        first, i = row * length * W + r * strips, 0
        if strips == 16:
            for i in range(0, length - 15, 16):
                transpose(pointer(x), first + i * W, W, pointer(px), row * pitch + i, rows * pitch)
                transpose(pointer(y), first + i * W, W, pointer(py), row * pitch + i, rows * pitch)
            i = length // 16 * 16
        for s in range(strips):
            k, j = first + s, (s * rows + row) * pitch
            for c in range(i, length):
                px[j + c], py[j + c] = x[k + c * W], y[k + c * W]


@njit(cache=True)
def put(x, y, W, r, px, py, strips, length, pitch):
    """Copy px, py back as `take` brought them, with lengths made one again, in px, py as well."""
    rows = len(px) // (pitch * strips)
    for i in range(len(px)):
        scale = F(1.5) - F(0.5) * (px[i] * px[i] + py[i] * py[i])
        px[i], py[i] = px[i] * scale, py[i] * scale
    for row in range(rows):
        first, i = row * length * W + r * strips, 0
        if strips == 16:
            for i in range(0, length - 15, 16):
                transpose(pointer(px), row * pitch + i, rows * pitch, pointer(x), first + i * W, W)
                transpose(pointer(py), row * pitch + i, rows * pitch, pointer(y), first + i * W, W)
            i = length // 16 * 16
        for s in range(strips):
            k, j = first + s, (s * rows + row) * pitch
            for c in range(i, length):
                x[k + c * W], y[k + c * W] = px[j + c], py[j + c]


@njit(cache=True)
def root(parent, i):
    """The cluster that site i belongs to; halves the path to it."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def join(parent, i, j):
    """Make one cluster of those of i and j, named after its lowest site; returns the higher of their names."""
    a, b = root(parent, i), root(parent, j)
    if a < b:
        a, b = b, a
    parent[a] = b
    return a
