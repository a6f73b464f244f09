"""What the cluster kernels share: one replica in its own arrays, random mirror lines, union-find.

Wolff's embedding (Phys. Rev. Lett. 62, 361, 1989, doi:10.1103/PhysRevLett.62.361): with a random unit vector r each
spin is reflected or not, s -> s - 2 (s.r) r, which makes the spins Ising variables in couplings that depend on the
rest.
"""

from __future__ import annotations

import math

import numpy as np

from mcmc.kernels.arithmetic import philox
from mcmc.kernels.calls import part
from mcmc.kernels.field import normalised
from mcmc.kernels.lanes import load, store, transpose

F = np.float32
_LOW = np.uint64(0xFFFFFFFF)


@part
def scalar_words(key, move, site):
    """Four random 32-bit words of one replica, uint64; ``key`` is uint64 (4,). The lanes' words are the same ones."""
    where = np.uint64(site) + ((move >> np.uint64(32)) << np.uint64(24))
    a, b, c, d = philox(move, where, key[2], key[3], key[0], key[1])
    return a & _LOW, b & _LOW, c & _LOW, d & _LOW


@part
def fraction(word):
    """A float64 in (0, 1) from a random word."""
    return (np.float64(word) + 0.5) * 2.0**-32


@part
def mirror(word):
    """A uniformly random unit vector, float32."""
    angle = 2 * math.pi * fraction(word)
    return F(math.cos(angle)), F(math.sin(angle))


@part
def take(x, y, W, r, px, py, strips, length, pitch, rows):
    """Copy replica r of a block, in ``strips`` lanes, to px, py; its rows of ``length`` sites start every ``pitch``."""
    _take(x, W, r, px, strips, length, pitch, rows // strips)
    _take(y, W, r, py, strips, length, pitch, rows // strips)


@part
def _take(x, W, r, px, strips, length, pitch, rows):
    together = length // 16 * 16 if strips == 16 else 0
    for row in range(rows):
        first = row * length * W + r * strips
        for i in range(0, together, 16):
            transpose(x, first + i * W, W, px, row * pitch + i, rows * pitch)
        for s in range(strips):
            for i in range(together, length):
                px[(s * rows + row) * pitch + i] = x[first + s + i * W]


@part
def put(x, y, W, r, px, py, strips, length, pitch, rows):
    """Copy px, py back as `take` brought them, with lengths made one again, in px, py as well."""
    size = rows * pitch
    for i in range(0, size - 15, 16):
        a, b = normalised(load(px, i), load(py, i))
        store(px, i, a)
        store(py, i, b)
    for i in range(size // 16 * 16, size):
        px[i], py[i] = normalised(px[i], py[i])
    _put(x, W, r, px, strips, length, pitch, rows // strips)
    _put(y, W, r, py, strips, length, pitch, rows // strips)


@part
def _put(x, W, r, px, strips, length, pitch, rows):
    together = length // 16 * 16 if strips == 16 else 0
    for row in range(rows):
        first = row * length * W + r * strips
        for i in range(0, together, 16):
            transpose(px, row * pitch + i, rows * pitch, x, first + i * W, W)
        for s in range(strips):
            for i in range(together, length):
                x[first + s + i * W] = px[(s * rows + row) * pitch + i]


@part
def root(parent, i):
    """The cluster that site i belongs to; halves the path to it."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@part
def join(parent, i, j):
    """Make one cluster of those of i and j, named after its lowest site; returns the higher of their names."""
    a, b = root(parent, i), root(parent, j)
    if a < b:
        a, b = b, a
    parent[a] = b
    return a
