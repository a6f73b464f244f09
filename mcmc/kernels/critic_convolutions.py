"""The convolutions of `latticeflow.training.critic.PublishedCritic`, fused, for single precision on a CPU.

Two periodic ones, a maximum over blocks of 2x2, and one inside of these blocks, each followed by tanh. Sixteen
configurations make a block; planes and weights are those of `mcmc.kernels.convolutions`.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.arithmetic import exponential
from mcmc.kernels.calls import entry, helper
from mcmc.kernels.conventions import WIDTH
from mcmc.kernels.convolutions import GROUP, add_sites, convolve, correlate, fill, reduce
from mcmc.kernels.lanes import load, maximum, pointer, spread, store, where

F = np.float32


@helper
def _tanh(p, start, end):
    for i in range(start, end, WIDTH):
        x = load(p, i)
        store(p, i, F(1.0) - F(2.0) / (exponential(x + x) + F(1.0)))


@helper
def _back_through_tanh(g, at_g, h, at_h, size):
    for i in range(0, size, WIDTH):
        tanh = load(h, at_h + i)
        store(g, at_g + i, load(g, at_g + i) * (F(1.0) - tanh * tanh))


@entry
def forward(first, last, x, sizes, rows, quarters, inner, bias, weights, seen, out):
    """What the convolutions make of blocks ``first`` to ``last``.

    Args:
        first, last: blocks of 16 columns.
        x: (channels, N, B).
        sizes: channels c of x, features f (a multiple of 4), sites N, and sites M of the last layer. N / 4 and M are
            even.
        rows: where in a plane neighbours are, and then those sites that one is a neighbour of, int64 (2, N, 9).
        quarters: where in a plane the sites of the blocks of 2x2 are, int64 (N / 4, 4).
        inner: where in a plane of these blocks neighbours are, of those with all of them, int64 (M, 9).
        bias: of the first layer, (f, B).
        weights: of three layers, and biases of the second and third, (9 c f + 18 f f + 2 f,).
        seen: result, what each layer made, for `backward`, (B / 16, c N + 2 f N + f N / 4 + f M, 16).
        out: result, (f, M, B).
    """
    c, f, N, M = sizes
    B, P, groups = x.shape[2], N // 4, f // GROUP
    px, pb, pw, p, po = pointer(x), pointer(bias), pointer(weights), pointer(seen), pointer(out)
    pr, pq, pi = pointer(rows), pointer(quarters), pointer(inner)
    plane, coarse, inside = N * WIDTH, P * WIDTH, M * WIDTH
    w2 = 9 * c * f
    w3 = w2 + 9 * f * f
    b2 = w3 + 9 * f * f
    for block in range(first, last):
        column = block * WIDTH
        x0 = block * (c * plane + f * (2 * plane + coarse + inside))
        h1 = x0 + c * plane
        h2 = h1 + f * plane
        h3 = h2 + f * plane
        h4 = h3 + f * coarse
        for s in range(c * N):
            store(p, x0 + s * WIDTH, load(px, s * B + column))
        for i in range(f):
            fill(p, h1 + i * plane, h1 + (i + 1) * plane, load(pb, i * B + column))
            fill(p, h2 + i * plane, h2 + (i + 1) * plane, spread(pw[b2 + i]))
            fill(p, h4 + i * inside, h4 + (i + 1) * inside, spread(pw[b2 + f + i]))
        convolve(pw, 0, c, p, x0, plane, pr, 0, N, p, h1, plane, groups)
        _tanh(p, h1, h2)
        convolve(pw, w2, f, p, h1, plane, pr, 0, N, p, h2, plane, groups)
        _tanh(p, h2, h3)
        for i in range(f):
            at = h2 + i * plane
            for s in range(P):
                high = maximum(load(p, at + pq[4 * s]), load(p, at + pq[4 * s + 1]))
                low = maximum(load(p, at + pq[4 * s + 2]), load(p, at + pq[4 * s + 3]))
                store(p, h3 + i * coarse + s * WIDTH, maximum(high, low))
        convolve(pw, w3, f, p, h3, coarse, pi, 0, M, p, h4, inside, groups)
        _tanh(p, h4, h4 + f * inside)
        for s in range(f * M):
            store(po, s * B + column, load(p, h4 + s * WIDTH))


@entry
def backward(first, last, g, sizes, rows, quarters, inner, back, turned, seen, wanted, g_x, g_bias, g_weights, room):
    """Take gradients back to what `forward` was given.

    Args:
        first, last, sizes, rows, quarters, inner, seen: see `forward`.
        g: gradient with respect to ``out``.
        back: where in a plane with one vector more those of the last layer are that a block of 2x2 is a neighbour of,
            int64 (N / 4, 9).
        turned: weights of the layers as of convolutions from what they make to what they see, the third's, second's and
            first's, (18 f f + 9 f (c, up to a multiple of 4),).
        wanted: whether gradients with respect to weights and bias, and whether those with respect to x are.
        g_x, g_bias, g_weights: results, like ``x``, ``bias`` and ``weights``.
        room: for the gradients of all layers, and a vector for each weight.
    """
    c, f, N, M = sizes
    of_weights, of_x = wanted
    B, P, groups, size = g.shape[2], N // 4, f // GROUP, len(g_weights)
    few = (c + GROUP - 1) // GROUP
    pg, pt, p, h, px, pb = pointer(g), pointer(turned), pointer(room), pointer(seen), pointer(g_x), pointer(g_bias)
    pr, pq, pi, pk = pointer(rows), pointer(quarters), pointer(inner), pointer(back)
    plane, coarse, inside = N * WIDTH, P * WIDTH, M * WIDTH
    pitch, zero = inside + WIDTH, spread(F(0.0))
    g4 = 0
    g3 = g4 + f * pitch
    g2 = g3 + f * coarse
    g1 = g2 + f * plane
    g0 = g1 + f * plane
    w1 = g0 + few * GROUP * plane
    w2 = w1 + 9 * c * f * WIDTH
    w3 = w2 + 9 * f * f * WIDTH
    b2 = w3 + 9 * f * f * WIDTH
    b3 = b2 + f * WIDTH
    fill(p, w1, w1 + size * WIDTH, zero)
    for block in range(first, last):
        column = block * WIDTH
        x0 = block * (c * plane + f * (2 * plane + coarse + inside))
        h1 = x0 + c * plane
        h2 = h1 + f * plane
        h3 = h2 + f * plane
        h4 = h3 + f * coarse
        fill(p, g4, w1, zero)
        for i in range(f):
            for s in range(M):
                store(p, g4 + i * pitch + s * WIDTH, load(pg, (i * M + s) * B + column))
            _back_through_tanh(p, g4 + i * pitch, h, h4 + i * inside, inside)
        convolve(pt, 0, f, p, g4, pitch, pk, 0, P, p, g3, coarse, groups)
        for i in range(f):
            at = i * plane
            for s in range(P):
                top, of_top = load(h, h3 + i * coarse + s * WIDTH), load(p, g3 + i * coarse + s * WIDTH)
                for k in range(4):
                    q = at + pq[4 * s + k]
                    store(p, g2 + q, where(load(h, h2 + q) < top, zero, of_top))
        _back_through_tanh(p, g2, h, h2, f * plane)
        convolve(pt, 9 * f * f, f, p, g2, plane, pr, 9 * N, N, p, g1, plane, groups)
        _back_through_tanh(p, g1, h, h1, f * plane)
        if of_weights:
            correlate(p, g4, pitch, groups, h, h3, coarse, f, pi, 0, M, p, w3)
            correlate(p, g2, plane, groups, h, h1, plane, f, pr, 0, N, p, w2)
            correlate(p, g1, plane, groups, h, x0, plane, c, pr, 0, N, p, w1)
            for i in range(f):
                to = i * WIDTH
                store(p, b2 + to, add_sites(p, g2 + i * plane, N, load(p, b2 + to)))
                store(p, b3 + to, add_sites(p, g4 + i * pitch, M, load(p, b3 + to)))
                store(pb, i * B + column, add_sites(p, g1 + i * plane, N, zero))
        if of_x:
            convolve(pt, 18 * f * f, f, p, g1, plane, pr, 9 * N, N, p, g0, plane, few)
            for s in range(c * N):
                store(px, s * B + column, load(p, g0 + s * WIDTH))
    reduce(p, w1, size, pointer(g_weights), 0)
