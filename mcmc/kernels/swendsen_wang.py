"""Swendsen and Wang's many clusters, for XY in Wolff's embedding.

Phys. Rev. Lett. 58, 86 (1987), doi:10.1103/PhysRevLett.58.86. Everything but the union of clusters that meet takes
sixteen sites of a row at once: rows are padded to whole vectors, and bonds are bits, those of a vector in one number.
Clusters are first followed from row to row, as by Hoshen and Kopelman, Phys. Rev. B 14, 3438 (1976),
doi:10.1103/PhysRevB.14.3438: a run of sites that bonds join takes the label of the cluster above its first site. Only
where other sites of the run have another cluster above, about once in 12 sites, labels are joined one by one.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.arithmetic import exponential, philox, uniform
from mcmc.kernels.calls import Kernel, entry, helper, part
from mcmc.kernels.lanes import (
    any_lane,
    bits,
    compress,
    count_ones,
    count_up,
    gather,
    load,
    mask_of,
    narrow,
    pointer,
    run_starts,
    scatter,
    section,
    spread,
    store,
    where,
    widen,
)
from mcmc.kernels.reflection import F, join, mirror, put, scalar_words, take

U = np.uint32


@helper
def _columns(left):
    """The bits of a vector's sites, where so many are left in their row."""
    return (np.int64(1) << left) - 1 if left < 16 else np.int64(0xFFFF)


@helper
def _bonded(component, here, beyond, word, coupling):
    """Bits of the sites at ``here`` that a bond joins to those at ``beyond``."""
    # Bonds between opposite components have a "probability" below zero.
    strength = load(component, here) * load(component, beyond) * coupling
    return bits(uniform(narrow(word)) < F(1.0) - exponential(-strength))


@part
def _draw_bonds(component, coupling, key, move, right, below, coins, Lx, Ly):
    """Draw bonds and coins.

    Args:
        component: float32, rows that start every ``16 * vectors + 16``, their first number repeated at the end.
        key: uint64 (4,), the replica's.
        right, below: int64 (Ly * vectors,), receive the bits of bonds to the east and to the south.
        coins: uint32 (16 * Ly * vectors,), whose lowest bits are drawn for every site.
    """
    vectors = (Lx + 15) // 16
    pitch = 16 * vectors + 16
    k0, k1 = widen(spread(U(key[0]))), widen(spread(U(key[1])))
    k2, k3 = widen(spread(U(key[2]))), widen(spread(U(key[3])))
    zero = k0 ^ k0
    high = (move >> np.uint64(32)) << np.uint64(24)
    c, row, south = 0, 0, pitch if Ly > 1 else 0
    for t in range(0, Ly * vectors, 2):
        # Four words serve two sites; the lowest eight bits of a word do not enter `uniform`.
        w0, w1, w2, w3 = philox(zero + move, widen(count_up(spread(U(8 * t)))) + high, k2, k3, k0, k1)
        for _ in range(2):
            here = row + 16 * c
            used = _columns(Lx - 16 * c)
            right[t] = _bonded(component, here, here + 1, w0, coupling) & used
            below[t] = _bonded(component, here, south + 16 * c, w1, coupling) & used
            store(coins, 16 * t, narrow(w0))
            t, c, w0, w1 = t + 1, c + 1, w2, w3
            if c == vectors:
                c, row = 0, row + pitch
                south = south + pitch if south + pitch < Ly * pitch else 0
            if t == Ly * vectors:
                break


@part
def _follow(right, below, west, label, upper, Lx, Ly):
    """Label clusters from row to row, and find the bonds to the north that join others.

    Args:
        right, below: bonds as `_draw_bonds` writes them.
        west: int64, receives the bits of bonds to the west, but for those across the boundary.
        label: uint32, receives a site of the same cluster, itself or an earlier one that has its own number.
        upper: uint32, receives the sites whose bonds to the north are left.

    Returns:
        How many there are in ``upper``.
    """
    vectors = (Lx + 15) // 16
    count = np.int64(0)
    for y in range(Ly):
        before, bond, norths = spread(U(0)), np.int64(0), np.int64(0)
        for c in range(vectors):
            t = y * vectors + c
            joined = ((right[t] << 1) & 0xFFFF) | bond
            if c == vectors - 1 and Lx & 15:
                joined &= _columns(Lx & 15)
            bond = (right[t] >> 15) & 1
            west[t] = joined
            site = count_up(spread(U(16 * t)))
            if y == 0:
                before = run_starts(site, joined, before)
                store(label, 16 * t, before)
            else:
                north, above = below[t - vectors], load(label, 16 * (t - vectors))
                before = run_starts(where(mask_of(north), above, site), joined, before)
                store(label, 16 * t, before)
                # A square of bonds needs three of them only.
                square = ((north << 1) | norths) & west[t - vectors]
                left = mask_of(north & joined & ~square) & (above != before)
                norths = (north >> 15) & 1
                store(upper, count, compress(left, site))
                count += count_ones(bits(left))
    return count


@part
def _join_rest(right, below, label, gone, count, Lx, Ly):
    """Join the clusters that `_follow` left apart; then the label of a site's label is its cluster's number.

    Args:
        right, below, label: as there.
        gone: the sites whose bonds to the north are left; receives the numbers that clusters have no longer.
        count: how many there are.
    """
    vectors = (Lx + 15) // 16
    pitch = 16 * vectors
    for k in range(count):
        i = np.int64(gone[k])
        gone[k] = join(label, i, i - pitch)
    for y in range(Ly):
        if right[(y + 1) * vectors - 1] >> ((Lx - 1) & 15) & 1:
            gone[count] = join(label, y * pitch, y * pitch + Lx - 1)
            count += 1
    last = (Ly - 1) * pitch
    for x in range(Lx):
        if below[(Ly - 1) * vectors + x // 16] >> (x & 15) & 1:
            gone[count] = join(label, x, last + x)
            count += 1
    store(gone, count, spread(U(0)))
    for k in range(0, count, 16):
        old = load(gone, k)
        new = gather(label, old)
        further = gather(label, new)
        while any_lane(further != new):
            new, further = further, gather(label, further)
        scatter(label, old, new)


@helper
def _turn(label, coins, px, py, component, rx, ry, Lx, Ly):
    """Reflect the clusters whose coins show 1; returns the number of their spins."""
    vectors = (Lx + 15) // 16
    total = np.int64(0)
    for y in range(Ly):
        for c in range(vectors):
            i = 16 * (y * vectors + c)
            turned = (gather(coins, gather(label, load(label, i))) << U(31)) != U(0)
            s = where(turned, F(2.0) * load(component, i + 16 * y), F(0.0))
            store(px, i, load(px, i) - s * rx)
            store(py, i, load(py, i) - s * ry)
            total += count_ones(bits(turned) & _columns(Lx - 16 * c))
    return total


@helper
def _project(px, py, component, rx, ry, Lx, Ly):
    """Components along (rx, ry), in the layout that `_draw_bonds` takes."""
    vectors = (Lx + 15) // 16
    for y in range(Ly):
        row = y * (16 * vectors + 16)
        for c in range(0, 16 * vectors, 16):
            i = 16 * vectors * y + c
            store(component, row + c, load(px, i) * rx + load(py, i) * ry)
        component[row + Lx] = component[row]


def room_for(Lx: int, Ly: int) -> int:
    """How many numbers of 32 bits `clusters` and `swendsen_wang` need for their arrays."""
    vectors = Ly * ((Lx + 15) // 16)
    return (102 * vectors + 17 * Ly + Lx + 47) & ~15


@part
def _advance(x, y, beta, keys, J, Lx, Ly, replicas, strips, first, stride, steps, flipped, room):
    """Make ``steps`` updates of every replica, which use the random moves ``first``, ``first + stride``, ..."""
    W = len(beta)
    vectors = Ly * ((Lx + 15) // 16)
    size = 16 * vectors
    x, y, beta, keys, room = pointer(x), pointer(y), pointer(beta), pointer(keys), pointer(room)
    px, py = section(room, 0, F), section(room, size, F)
    coins, label = section(room, 2 * size, U), section(room, 3 * size, U)
    component, upper = section(room, 4 * size, F), section(room, 5 * size + 16 * Ly, U)
    room = section(room, (6 * size + 17 * Ly + Lx + 24) & ~7, np.int64)
    key = section(room, 0, np.uint64)
    right, below = section(room, 4, np.int64), section(room, 4 + vectors, np.int64)
    west = section(room, 4 + 2 * vectors, np.int64)
    for i in range(0, size, 16):
        store(px, i, spread(F(0.0)))
        store(py, i, spread(F(0.0)))
    for r in range(replicas):
        lane = r * strips
        for k in range(4):
            key[k] = keys[k * W + lane]
        take(x, y, W, r, px, py, strips, Lx, size // Ly, Ly)
        for n in range(steps):
            move = first + np.uint64(n * stride)
            rx, ry = mirror(scalar_words(key, move, 0)[0])
            _project(px, py, component, rx, ry, Lx, Ly)
            _draw_bonds(component, F(2.0) * beta[lane] * J, key, move + np.uint64(1), right, below, coins, Lx, Ly)
            count = _follow(right, below, west, label, upper, Lx, Ly)
            _join_rest(right, below, label, upper, count, Lx, Ly)
            flipped[lane] += _turn(label, coins, px, py, component, rx, ry, Lx, Ly)
        put(x, y, W, r, px, py, strips, Lx, size // Ly, Ly)


@entry
def swendsen_wang(x, y, beta, keys, J, Lx, Ly, replicas, strips, step, steps, numbers_per_step, number, flipped, room):
    """Make ``steps`` steps of every replica, in place.

    For the arguments see `mcmc.kernels`, `mcmc.kernels.wolff` and `room_for`.
    """
    first = np.uint64(step * numbers_per_step + number)
    _advance(x, y, beta, keys, J, Lx, Ly, replicas, strips, first, numbers_per_step, steps, flipped, room)


@Kernel
def clusters(block, width, axis, move, accepted, order, room):
    """Update all clusters once, in place, in a step with other moves; for the arguments see `mcmc.kernels.steps`."""
    Lx, strips, J = block.Lx, block.strips, block.interaction.J
    Ly = len(block.interaction.neighbours) * strips // Lx
    _advance(block.x, block.y, block.beta, block.keys, J, Lx, Ly, block.replicas, strips, move, 1, 1, accepted, room)
