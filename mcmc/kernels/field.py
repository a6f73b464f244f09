"""The local field of a site, the random words it may use, and norms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from mcmc.kernels.arithmetic import philox
from mcmc.kernels.calls import INLINED, helper
from mcmc.kernels.conventions import Bonds, Square, Table
from mcmc.kernels.lanes import load, narrow, pointer, store, widen

F = np.float32


def sites(interaction):
    """Number of sites."""


def opened(interaction):
    """The interaction with pointers in place of its arrays, as the functions below take it."""


@helper
def local_field(x, y, interaction, i, W, v):
    """Field h of site i, for which its energy is -Re(conj(h) s); lanes v to v + 16. See `Model.field`.

    The interaction's type decides: bonds and plaquettes of a rectangle are written out, all others read a table. Of a
    table with several harmonics it is that of the first.
    """
    return _field(x, y, interaction, i, W, v)


def _field(x, y, interaction, i, W, v):
    """As `local_field`, which is compiled once for all callers."""


def energy_gain(x, y, interaction, i, W, v, a, b, dc, ds):
    """By how much the energy falls when spin (a, b) of site i is multiplied by (1 + dc) + i ds."""


def _kind(interaction):
    return getattr(interaction, "instance_class", None)


@overload(sites, jit_options=INLINED)
def _sites(interaction):
    if _kind(interaction) in (Square, Bonds, Table):
        return lambda interaction: len(interaction.neighbours)
    return None


@overload(opened, jit_options=INLINED)
def _opened(interaction):
    kind = _kind(interaction)
    if kind is Square:
        return lambda interaction: Square(pointer(interaction.neighbours), interaction.J, interaction.K)
    if kind is Bonds:

        def open_bonds(interaction):
            table, amplitudes, fields = interaction.neighbours, interaction.amplitudes, interaction.fields
            numbers = (table.shape[1], interaction.stride, interaction.real)
            return OpenBonds(pointer(table), pointer(amplitudes), pointer(fields), *numbers)

        return open_bonds
    if kind is Table:

        def open_table(interaction):
            program, table, amplitudes = interaction.program, interaction.neighbours, interaction.amplitudes
            numbers = (table.shape[1], amplitudes.shape[1], interaction.stride)
            return OpenTable(pointer(program), pointer(table), pointer(amplitudes), *numbers)

        return open_table
    return None


class OpenBonds(NamedTuple):
    """`Bonds` as kernels read it."""

    neighbours: Any
    amplitudes: Any
    fields: Any
    bonds: int
    stride: int
    real: bool


class OpenTable(NamedTuple):
    """`Table` as kernels read it."""

    program: Any
    neighbours: Any
    amplitudes: Any
    others: int
    relations: int
    stride: int


@overload(_field, jit_options=INLINED)
def _field_of(x, y, interaction, i, W, v):
    kind = _kind(interaction)
    return {Square: _square_field, OpenBonds: _bonds_field, OpenTable: _table_field}.get(kind)


def _square_field(x, y, interaction, i, W, v):
    neighbours, J, K = interaction
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


def _bonds_field(x, y, interaction, i, W, v):
    neighbours, amplitudes, fields, count, stride, real = interaction
    zero = load(x, np.int64(i) * W + v) * F(0.0)
    at = np.int64(i) * stride
    hx, hy = zero + fields[2 * at], zero + fields[2 * at + 1]
    at, first = 2 * at * count, np.int64(i) * count
    if real:
        for z in range(count):
            j = np.int64(neighbours[first + z]) * W + v
            a = amplitudes[at + 2 * z]
            hx, hy = hx + a * load(x, j), hy + a * load(y, j)
    else:
        for z in range(count):
            j = np.int64(neighbours[first + z]) * W + v
            a, b = amplitudes[at + 2 * z], amplitudes[at + 2 * z + 1]
            px, py = load(x, j), load(y, j)
            hx, hy = hx + (a * px - b * py), hy + (a * py + b * px)
    return hx, hy


@helper
def powered(zx, zy, px, py, charge):
    """(zx, zy) times (px, py) to the power of a whole number, which may be negative."""
    if charge < 0:
        py, charge = -py, -charge
    for _ in range(charge):
        zx, zy = zx * px - zy * py, zx * py + zy * px
    return zx, zy


@helper
def relation(x, y, interaction, zero, i, W, v, e, at, other):
    """Part e of the table's field at site i; ``at`` is where its program stands, ``other`` its first neighbour."""
    amplitude = 2 * (np.int64(i) * interaction.stride * interaction.relations + e)
    zx, zy = zero + interaction.amplitudes[amplitude], zero + interaction.amplitudes[amplitude + 1]
    for k in range(interaction.program[at + 1]):
        j = np.int64(interaction.neighbours[np.int64(i) * interaction.others + other + k]) * W + v
        zx, zy = powered(zx, zy, load(x, j), load(y, j), interaction.program[at + 2 + k])
    return zx, zy


def _table_field(x, y, interaction, i, W, v):
    zero = load(x, np.int64(i) * W + v) * F(0.0)
    hx, hy, at, other = zero, zero, 0, 0
    for e in range(interaction.relations):
        if interaction.program[at] == 1:
            zx, zy = relation(x, y, interaction, zero, i, W, v, e, at, other)
            hx, hy = hx + zx, hy + zy
        count = interaction.program[at + 1]
        at, other = at + 2 + count, other + count
    return hx, hy


@overload(energy_gain, jit_options=INLINED)
def _energy_gain(x, y, interaction, i, W, v, a, b, dc, ds):
    if _kind(interaction) is OpenTable:
        return _table_gain
    return _linear_gain


def _linear_gain(x, y, interaction, i, W, v, a, b, dc, ds):
    hx, hy = local_field(x, y, interaction, i, W, v)
    return hx * (dc * a - ds * b) + hy * (dc * b + ds * a)


def _table_gain(x, y, interaction, i, W, v, a, b, dc, ds):
    # The change of the m-th power of the spin, s^m ((1 + d)^m - 1), from that of the one before: exact for small d.
    zero = a * F(0.0)
    px, py, cx, cy, m = a, b, dc, ds, 1
    gain, at, other = zero, 0, 0
    for e in range(interaction.relations):
        while m < interaction.program[at]:
            px, py = px * a - py * b, px * b + py * a
            cx, cy = cx * (F(1.0) + dc) - cy * ds + dc, cx * ds + cy * (F(1.0) + dc) + ds
            m += 1
        hx, hy = relation(x, y, interaction, zero, i, W, v, e, at, other)
        gain = gain + (hx * (cx * px - cy * py) + hy * (cx * py + cy * px))
        count = interaction.program[at + 1]
        at, other = at + 2 + count, other + count
    return gain


@helper
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


@helper
def draw_words(buffer, keys, W, move, site):
    """Write four random words of every replica for one site of one move to ``buffer``, word by word."""
    for v in range(0, W, 16):
        w0, w1, w2, w3 = words(keys, W, v, move, site)
        store(buffer, v, w0)
        store(buffer, W + v, w1)
        store(buffer, 2 * W + v, w2)
        store(buffer, 3 * W + v, w3)


@helper
def normalised(x, y):
    """The vectors with their length's rounding error removed to first order: float32 norms must not drift."""
    scale = F(1.5) - F(0.5) * (x * x + y * y)
    return x * scale, y * scale
