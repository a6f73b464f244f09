"""The local field of a site, the random words it may use, and norms."""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import philox
from mcmc.kernels.lanes import load, narrow, store, widen

F = np.float32


@njit(cache=True, forceinline=True)
def local_field(x, y, neighbours, i, W, v, J, K):
    """Field h of site i, for which its energy is -Re(conj(h) s); lanes v to v + 16. See `XY.field`."""
    e, w = np.int64(neighbours[8 * i + 0]) * W + v, np.int64(neighbours[8 * i + 1]) * W + v
    s, n = np.int64(neighbours[8 * i + 2]) * W + v, np.int64(neighbours[8 * i + 3]) * W + v
    xe, ye, xw, yw = load(x, e), load(y, e), load(x, w), load(y, w)
    xs, ys, xn, yn = load(x, s), load(y, s), load(x, n), load(y, n)
    hx, hy = J * (xe + xw + xs + xn), J * (ye + yw + ys + yn)
    if K:
        # K [ E (N conj(NE) + S conj(SE)) + W (N conj(NW) + S conj(SW)) ] in complex unit vectors.
        se, ne = np.int64(neighbours[8 * i + 4]) * W + v, np.int64(neighbours[8 * i + 5]) * W + v
        sw, nw = np.int64(neighbours[8 * i + 6]) * W + v, np.int64(neighbours[8 * i + 7]) * W + v
        ax, ay, bx, by = load(x, ne), load(y, ne), load(x, se), load(y, se)
        px = xn * ax + yn * ay + (xs * bx + ys * by)
        py = yn * ax - xn * ay + (ys * bx - xs * by)
        ax, ay, bx, by = load(x, nw), load(y, nw), load(x, sw), load(y, sw)
        qx = xn * ax + yn * ay + (xs * bx + ys * by)
        qy = yn * ax - xn * ay + (ys * bx - xs * by)
        hx = hx + K * (xe * px - ye * py + (xw * qx - yw * qy))
        hy = hy + K * (xe * py + ye * px + (xw * qy + yw * qx))
    return hx, hy


@njit(cache=True, forceinline=True)
def words(keys, W, v, move, site):
    """Four random words (lanes) of replicas v to v + 16 for one site of one move."""
    # Two words of the key are the cipher's key, two sit in the counter: 128 bits in all.
    k0, k1 = widen(load(keys, v)), widen(load(keys, W + v))
    k2, k3 = widen(load(keys, 2 * W + v)), widen(load(keys, 3 * W + v))
    zero = k2 ^ k2
    # Philox reads the lower half of each word; the upper half of the move shares a word with the site.
    where = np.uint64(site) + ((move >> np.uint64(32)) << np.uint64(24))
    w0, w1, w2, w3 = philox(zero + move, zero + where, k2, k3, k0, k1)
    return narrow(w0), narrow(w1), narrow(w2), narrow(w3)


@njit(cache=True, forceinline=True)
def draw_words(buffer, keys, W, move, site):
    """Write four random words of every replica for one site of one move to ``buffer``, word by word."""
    for v in range(0, W, 16):
        w0, w1, w2, w3 = words(keys, W, v, move, site)
        store(buffer, v, w0)
        store(buffer, W + v, w1)
        store(buffer, 2 * W + v, w2)
        store(buffer, 3 * W + v, w3)


@njit(cache=True, forceinline=True)
def normalised(x, y):
    """The vectors with their length's rounding error removed to first order: float32 norms must not drift."""
    scale = F(1.5) - F(0.5) * (x * x + y * y)
    return x * scale, y * scale
