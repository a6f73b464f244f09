"""Swendsen and Wang's many clusters, for XY in Wolff's embedding.

Phys. Rev. Lett. 58, 86 (1987), doi:10.1103/PhysRevLett.58.86. Bonds are drawn for sixteen neighbouring sites at once;
clusters are then joined site by site.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import exponential, philox, uniform
from mcmc.kernels.lanes import count_up, load, narrow, pointer, signed, spread, store, where, widen
from mcmc.kernels.reflection import F, join, mirror, put, root, scalar_words, take


@njit(cache=True)
def _draw_bonds(component, east, south, coupling, key, move, code):
    """Write to ``code`` of each site 1 for a bond east + 2 for a bond south + 4 for a coin's head."""
    component, east, south, out = pointer(component), pointer(east), pointer(south), pointer(code)
    k0, k1 = widen(spread(np.uint32(key[0]))), widen(spread(np.uint32(key[1])))
    k2, k3 = widen(spread(np.uint32(key[2]))), widen(spread(np.uint32(key[3])))
    zero = k0 ^ k0
    high = (move >> np.uint64(32)) << np.uint64(24)
    for i in range(0, len(code), 16):
        site = widen(count_up(spread(np.uint32(i)))) + high
        w0, w1, w2, _ = philox(zero + move, site, k2, k3, k0, k1)
        s = load(component, i) * (-coupling)
        # Bonds between opposite components have a "probability" below zero.
        right = uniform(narrow(w0)) < F(1.0) - exponential(s * load(east, i))
        below = uniform(narrow(w1)) < F(1.0) - exponential(s * load(south, i))
        head = signed(narrow(w2)) < F(0.0)
        nothing = s * F(0.0)
        bonds = where(right, nothing + F(1.0), nothing) + where(below, nothing + F(2.0), nothing)
        store(out, i, bonds + where(head, nothing + F(4.0), nothing))


@njit(cache=True)
def _shift(component, east, south, Lx, N):
    """Components of each site's neighbours to the east and to the south."""
    for row in range(0, N, Lx):
        for i in range(row, row + Lx - 1):
            east[i] = component[i + 1]
        east[row + Lx - 1] = component[row]
    for i in range(N - Lx):
        south[i] = component[i + Lx]
    for i in range(Lx):
        south[N - Lx + i] = component[i]


@njit(cache=True)
def _label(code, parent, Lx, N):
    """Join the sites that bonds connect: first within the rectangle, then across its edges.

    Hoshen and Kopelman, Phys. Rev. B 14, 3438 (1976), doi:10.1103/PhysRevB.14.3438.
    """
    for i in range(N):
        west = i % Lx > 0 and np.int32(code[i - 1]) & 1
        north = i >= Lx and np.int32(code[i - Lx]) & 2
        if west:
            a = root(parent, i - 1)
            parent[i] = a
            if north:
                b = root(parent, i - Lx)
                parent[max(a, b)] = min(a, b)
                parent[i] = min(a, b)
        elif north:
            parent[i] = root(parent, i - Lx)
        else:
            parent[i] = i
    for i in range(Lx - 1, N, Lx):
        if np.int32(code[i]) & 1:
            join(parent, i, i - Lx + 1)
    for i in range(N - Lx, N):
        if np.int32(code[i]) & 2:
            join(parent, i, i - N + Lx)


@njit(cache=True, nogil=True)
def swendsen_wang(x, y, beta, keys, J, Lx, replicas, step, steps, numbers_per_step, number, flipped):
    """Make ``steps`` steps of every replica, in place.

    For the arguments see `mcmc.kernels` and `mcmc.kernels.wolff`.
    """
    W = len(beta)
    N = len(x) // W
    padded = (N + 15) // 16 * 16
    px, py, component = np.empty(N, F), np.empty(N, F), np.zeros(padded, F)
    east, south, code = np.zeros(padded, F), np.zeros(padded, F), np.empty(padded, F)
    parent = np.empty(N, np.int32)
    for r in range(replicas):
        key = keys.reshape(4, W)[:, r].astype(np.uint64)
        take(x, y, W, r, px, py)
        for n in range(step, step + steps):
            move = np.uint64(n * numbers_per_step + number)
            rx, ry = mirror(scalar_words(key, move, 0)[0])
            for i in range(N):
                component[i] = px[i] * rx + py[i] * ry
            _shift(component, east, south, Lx, N)
            _draw_bonds(component, east, south, F(2.0) * beta[r] * J, key, move + np.uint64(1), code)
            _label(code, parent, Lx, N)
            total = np.int64(0)
            for i in range(N):
                # A cluster's lowest site is its root, so every parent is settled when its children come.
                parent[i] = parent[parent[i]]
                turned = (np.int64(code[parent[i]]) >> 2) & 1
                total += turned
                step_length = F(2 * turned) * component[i]
                px[i] -= step_length * rx
                py[i] -= step_length * ry
            flipped[r] += total
        put(x, y, W, r, px, py)
