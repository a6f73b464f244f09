"""Swendsen and Wang's many clusters, for XY in Wolff's embedding.

Phys. Rev. Lett. 58, 86 (1987), doi:10.1103/PhysRevLett.58.86. Bonds are drawn for sixteen neighbouring sites at once;
clusters are then joined run by run.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import exponential, philox, uniform
from mcmc.kernels.lanes import count_up, load, narrow, ones, pointer, spread, store, widen
from mcmc.kernels.reflection import F, join, mirror, put, scalar_words, take


@njit(cache=True)
def _draw_bonds(component, east, south, coupling, key, move, right, below, heads):
    """Write for each site, 0 or 1, whether it has a bond east and one south, and a coin."""
    size = len(right)
    component, east, south = pointer(component), pointer(east), pointer(south)
    right, below, heads = pointer(right), pointer(below), pointer(heads)
    k0, k1 = widen(spread(np.uint32(key[0]))), widen(spread(np.uint32(key[1])))
    k2, k3 = widen(spread(np.uint32(key[2]))), widen(spread(np.uint32(key[3])))
    zero = k0 ^ k0
    high = (move >> np.uint64(32)) << np.uint64(24)
    for i in range(0, size, 16):
        site = widen(count_up(spread(np.uint32(i)))) + high
        w0, w1, w2, _ = philox(zero + move, site, k2, k3, k0, k1)
        s = load(component, i) * (-coupling)
        # Bonds between opposite components have a "probability" below zero.
        store(right, i, ones(uniform(narrow(w0)) < F(1.0) - exponential(s * load(east, i))))
        store(below, i, ones(uniform(narrow(w1)) < F(1.0) - exponential(s * load(south, i))))
        store(heads, i, narrow(w2) >> np.uint32(31))


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
def _runs(right, below, start, upper, Lx, N):
    """Find the runs of sites along the rows that bonds join, and the bonds that join runs of different rows.

    Without branches, which no processor foresees here. A bond below is left out where it joins the same two runs as the
    one before.

    Args:
        right, below: bonds as `_draw_bonds` writes them.
        start: int32 (N,), receives the first site of each site's run; runs end with the row.
        upper: int32 (N + 1,), receives the sites above the bonds.

    Returns:
        How many there are in ``upper``.
    """
    count = np.int64(0)
    for row in range(0, N, Lx):
        under = row + Lx if row + Lx < N else 0
        first, joined, doubled = np.int64(row), np.int64(0), np.int64(0)
        for x in range(Lx):
            i = np.int64(row + x)
            first = i ^ ((first ^ i) & -joined)
            start[i] = first
            bond = np.int64(below[i])
            upper[count] = i
            count += bond & ~(doubled & joined)
            joined = np.int64(right[i])
            doubled = bond & np.int64(right[under + x])
    return count


@njit(cache=True)
def _label(right, below, start, upper, parent, Lx, N):
    """Join the runs that bonds connect; the parent of a cluster's sites is its lowest site, or leads to it.

    Runs of rows as in Hoshen and Kopelman, Phys. Rev. B 14, 3438 (1976), doi:10.1103/PhysRevB.14.3438.
    """
    count = _runs(right, below, start, upper, Lx, N)
    for i in range(N):
        parent[i] = start[i]
    for k in range(count):
        i = upper[k]
        j = i + Lx if i + Lx < N else i + Lx - N
        join(parent, start[i], start[j])
    for i in range(Lx - 1, N, Lx):
        if right[i]:
            join(parent, start[i], i - Lx + 1)


@njit(cache=True, nogil=True)
def swendsen_wang(x, y, beta, keys, J, Lx, Ly, replicas, strips, step, steps, numbers_per_step, number, flipped):
    """Make ``steps`` steps of every replica, in place.

    For the arguments see `mcmc.kernels` and `mcmc.kernels.wolff`.
    """
    W = len(beta)
    N = Lx * Ly
    padded = (N + 15) // 16 * 16
    px, py, component = np.empty(N, F), np.empty(N, F), np.zeros(padded, F)
    east, south = np.zeros(padded, F), np.zeros(padded, F)
    right, below, heads = np.empty(padded, np.uint32), np.empty(padded, np.uint32), np.empty(padded, np.uint32)
    start, upper, parent = np.empty(N, np.int32), np.empty(N + 1, np.int32), np.empty(N, np.int32)
    for r in range(replicas):
        lane = r * strips
        key = keys.reshape(4, W)[:, lane].astype(np.uint64)
        take(x, y, W, r, px, py, strips)
        for n in range(step, step + steps):
            move = np.uint64(n * numbers_per_step + number)
            rx, ry = mirror(scalar_words(key, move, 0)[0])
            for i in range(N):
                component[i] = px[i] * rx + py[i] * ry
            _shift(component, east, south, Lx, N)
            _draw_bonds(component, east, south, F(2.0) * beta[lane] * J, key, move + np.uint64(1), right, below, heads)
            _label(right, below, start, upper, parent, Lx, N)
            total = np.int64(0)
            for i in range(N):
                # A cluster's lowest site is its root, so every parent is settled when its children come.
                parent[i] = parent[parent[i]]
                turned = heads[parent[i]]
                total += turned
                step_length = F(np.int32(turned << np.uint32(1))) * component[i]
                px[i] -= step_length * rx
                py[i] -= step_length * ry
            flipped[lane] += total
        put(x, y, W, r, px, py, strips)
