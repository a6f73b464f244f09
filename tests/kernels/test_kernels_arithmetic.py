"""Generators against published answers, elementary functions against numpy, single-spin moves against quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from mcmc.kernels import arithmetic, field, heat_bath, lanes, metropolis
from mcmc.kernels.reflection import scalar_words
from mcmc.sampling import rng

F = np.float32
# Known answers of Random123 for philox4x32-10: counter, key, output.
ONES, PI = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


def each(function):
    """The lanes' function as one of arrays whose size is a multiple of 16."""

    @njit
    def apply(a, out):
        p, q = lanes.pointer(a), lanes.pointer(out)
        for k in range(0, len(a), 16):
            lanes.store(q, k, function(lanes.load(p, k)))

    def call(a):
        out = np.empty(len(a), F)
        apply(a, out)
        return out.astype(np.float64)

    return call


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter, key, answer):
    # A move's lower half is the first word of the counter, the site the second; the stream's key fills the rest.
    words = [np.uint64(w) for w in (*counter, *key)]
    scalar = njit(lambda a, b, c, d, k, m: arithmetic.philox(a, b, c, d, k, m))(*words)
    assert tuple(int(w) & ONES for w in scalar) == answer


def test_lanes_and_scalars_draw_the_same_words():
    @njit
    def vector_words(keys, move, site, out):
        words = field.words(lanes.pointer(keys), 16, 0, move, site)
        p = lanes.pointer(out)
        for k in range(4):
            lanes.store(p, 16 * k, words[k])

    drawn = njit(lambda key, move, site: scalar_words(key, move, site))
    streams = np.array([rng.key(3, 1, c) for c in range(16)])
    for move, site in ((5, 7), (2**32 + 5, 7), (5, 2**20)):
        out = np.empty(64, np.uint32)
        vector_words(streams.T.ravel().copy(), np.uint64(move), site, out)
        scalar = [drawn(k.astype(np.uint64), np.uint64(move), site) for k in streams]
        assert (np.array(scalar) == out.reshape(4, 16).T).all()


def test_neighbouring_streams_share_nothing():
    paths = [(seed, t, c) for seed in (0, 1, 2**32) for t in range(8) for c in range(8)]
    streams = np.array([rng.key(seed, t, c) for seed, t, c in paths]).astype(np.uint64)
    drawn = njit(lambda key, move, site: scalar_words(key, move, site))
    words = [w for k in streams for move in range(8) for site in range(8) for w in drawn(k, np.uint64(move), site)]
    # 49,152 words of 32 bits: 0.28 chance pairs are expected; streams that overlap would share hundreds.
    assert len(words) - len(set(words)) <= 6
    bits = np.unpackbits(np.array(words, np.uint32).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_functions():
    turn = np.linspace(-0.5, 0.5, 4096).astype(F)
    sine = each(njit(lambda a: arithmetic.sine_cosine(a)[0]))(turn)
    cosine = each(njit(lambda a: arithmetic.sine_cosine(a)[1]))(turn)
    assert np.abs(sine - np.sin(np.pi * turn.astype(float))).max() < 2e-7
    assert np.abs(cosine - np.cos(np.pi * turn.astype(float))).max() < 2e-7
    a = np.linspace(-87, 87, 65536).astype(F)
    assert np.abs(each(arithmetic.exponential)(a) / np.exp(a.astype(float)) - 1).max() < 2e-7
    assert each(arithmetic.exponential)(np.full(16, -1e9, F)).max() < 1e-37
    theta = np.linspace(-np.pi, np.pi, 65536)
    y, x = np.sin(theta).astype(F), np.cos(theta).astype(F)

    @njit
    def angles(x, y, out):
        p, q, o = lanes.pointer(x), lanes.pointer(y), lanes.pointer(out)
        for k in range(0, len(x), 16):
            lanes.store(o, k, arithmetic.arctangent2(lanes.load(q, k), lanes.load(p, k)))

    out = np.empty(len(x), F)
    angles(x, y, out)
    error = np.abs(np.exp(1j * out) - np.exp(1j * np.arctan2(y.astype(float), x.astype(float))))
    assert error.max() < 5e-7
    assert np.abs(out.astype(float)).max() < np.pi


def test_uniform_stays_inside_the_unit_interval():
    words = np.array([0, 255, 256, 2**31, 2**32 - 1] + [77] * 11, np.uint32)
    out = np.empty(16, F)

    @njit
    def apply(words, out):
        lanes.store(lanes.pointer(out), 0, arithmetic.uniform(lanes.load(lanes.pointer(words), 0)))

    apply(words, out)
    assert out.min() > 0
    assert out.max() <= 1


@njit
def _always(hx, hy, x, y, beta, word0, word1):
    """A negative control: takes every proposal of the heat bath."""
    return heat_bath.draw(hx, hy, x, y, beta, word0, word1 & np.uint32(0))


@njit
def _metropolis(hx, hy, x, y, beta, word0, word1):
    dc, ds = metropolis.proposed(np.float32(0.7), word0)
    gain = beta * (hx * (dc * x - ds * y) + hy * (dc * y + ds * x))
    return metropolis.decided(x, y, dc, ds, gain, word1)


@njit
def _reluctant(hx, hy, x, y, beta, word0, word1):
    """A negative control: tests for half of the energy."""
    return _metropolis(hx, hy, x, y, beta * np.float32(0.5), word0, word1)


def stationarity(move, kappa, points=64):
    """Largest change that one move makes to the moments <cos k theta> of the exact density, by quadrature.

    The compiled move is applied to every combination of old angle, proposal and threshold on a grid.
    """

    @njit
    def apply(x, y, word0, word1, kappa, hits):
        px, py, h = lanes.pointer(x), lanes.pointer(y), lanes.pointer(hits)
        p0, p1 = lanes.pointer(word0), lanes.pointer(word1)
        for k in range(0, len(x), 16):
            a = lanes.load(px, k)
            zero = a - a
            one = zero + np.float32(1.0)
            w0, w1 = lanes.load(p0, k), lanes.load(p1, k)
            a, b, hit = move(one, zero, a, lanes.load(py, k), zero + kappa, w0, w1)
            lanes.store(px, k, a)
            lanes.store(py, k, b)
            lanes.store(h, k, hit)

    theta = 2 * np.pi * (np.arange(points) + 0.5) / points
    weight = np.exp(kappa * (np.cos(theta) - 1))
    weight /= weight.sum()
    grid = ((np.arange(4 * points) + 0.5) / (4 * points) * 2**32).astype(np.uint32)
    old, w0, w1 = (a.ravel() for a in np.meshgrid(theta, grid, grid, indexing="ij"))
    x, y, hits = np.cos(old).astype(F), np.sin(old).astype(F), np.empty(old.size, F)
    apply(x, y, w0.astype(np.uint32), w1.astype(np.uint32), F(kappa), hits)
    new = (x + 1j * y).reshape(points, -1)
    changes = [abs((weight * ((new**k).mean(1).real - np.cos(k * theta))).sum()) for k in (1, 2, 3)]
    return max(changes), hits.mean()


@pytest.mark.parametrize("kappa", [0.0, 0.3, 2.0, 20.0])
def test_single_spin_moves_leave_the_density_alone(kappa):
    change, hits = stationarity(heat_bath.draw, kappa)
    assert change < 2e-4
    assert hits > 0.6
    assert stationarity(_metropolis, kappa)[0] < 2e-4
    if kappa > 0.1:
        assert stationarity(_always, kappa)[0] > 5e-3
        assert stationarity(_reluctant, kappa)[0] > 5e-3


def test_a_square_of_numbers_is_transposed():
    from numba import njit

    @njit
    def transposed(a, b):
        lanes.transpose(lanes.pointer(a), 3, 17, lanes.pointer(b), 5, 19)

    a, b = np.arange(300, dtype=np.float32), np.full(320, -1, np.float32)
    expected = b.copy()
    for k in range(16):
        expected[5 + k :][: 16 * 19 : 19] = a[3 + 17 * k :][:16]
    transposed(a, b)
    np.testing.assert_array_equal(b, expected)


def test_lanes_by_index_and_mask():
    from numba import njit

    @njit
    def everything(table, index, joined, found):
        p, out = lanes.pointer(table), lanes.pointer(found)
        i = lanes.load(lanes.pointer(index), 0)
        values = lanes.gather(p, i)
        small = values < np.uint32(50)
        lanes.store(out, 0, lanes.compress(small, i))
        lanes.store(out, 16, lanes.run_starts(values, joined, i))
        lanes.store(out, 32, lanes.where(lanes.mask_of(joined), values, i))
        lanes.scatter(p, i, values + values)
        return lanes.bits(small), lanes.count_ones(lanes.bits(small))

    rng = np.random.default_rng(6)
    for joined in [0, 0xFFFF, 0xFFFE, *rng.integers(0, 2**16, 50)]:
        table, found = rng.integers(0, 100, 40).astype(np.uint32), np.zeros(48, np.uint32)
        index = rng.permutation(40)[:16].astype(np.uint32)
        expected, values, bits = table.copy(), table[index], joined >> np.arange(16) & 1
        expected[index] *= 2
        mask, count = everything(table, index, np.int64(joined), found)
        small = values < 50
        np.testing.assert_array_equal(table, expected)
        assert (mask, count) == ((small << np.arange(16)).sum(), small.sum())
        np.testing.assert_array_equal(found[:count], index[small])
        starts = [index[-1]]
        for k in range(16):
            starts.append(starts[-1] if bits[k] else values[k])
        np.testing.assert_array_equal(found[16:32], starts[1:])
        np.testing.assert_array_equal(found[32:], np.where(bits, values, index))
