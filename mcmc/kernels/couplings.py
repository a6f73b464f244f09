"""The chain of affine couplings of `latticeflow.flows.realnvp.RealNVP`, fused, for single precision on a CPU.

Sixteen configurations make a block; planes and weights are those of `mcmc.kernels.convolutions`.
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
def _rectify(p, start, end):
    for i in range(start, end, WIDTH):
        store(p, i, maximum(load(p, i), spread(F(0.0))))


@helper
def _mask(p, at_p, h, at_h, size):
    """Nothing passes where a rectified value is zero."""
    for i in range(0, size, WIDTH):
        zero = spread(F(0.0))
        store(p, at_p + i, where(load(h, at_h + i) > zero, load(p, at_p + i), zero))


@entry
def forward(first, last, x, log_det, sizes, rows, bias, weights, keep, hidden, small):
    """Send blocks ``first`` to ``last`` through all couplings.

    Args:
        first, last: blocks of 16 columns.
        x: (N, B), the sites of one colour after those of the other; replaced.
        log_det: (N, B), from which the logarithms of the scales are subtracted.
        sizes: couplings K, filters f (a multiple of 4), sites N, and 1 if drawing, y = x exp(s) + t, or -1 if going
            back, y = (x - t) exp(-s) from the last coupling to the first. Even couplings leave the first colour alone.
        rows: for each of the two colours that stay, where in a plane the neighbours are: at all sites of that colour's
            plane, at all of all, and at those that move of all, int64 (2, 9 (2 N + N / 2)).
        bias: of the first layer, (K, f, B).
        weights: of the three layers, and biases of the second and third, (K, 9 f + 9 f f + 36 f + f + 4).
        keep: 1 if `backward` follows, which needs all that is written to ``hidden`` and ``small``, else 0.
        hidden: room for both hidden layers, (K, B / 16, 2, f, N, 16), or of one block, (2, f, N, 16).
        small: room for planes of what was seen, scale, slope in s, and slope of the tanh, (K, B / 16, 5, N / 2 + 1,
            16), or of one block.
    """
    K, f, N, way = sizes
    n, B = N // 2, x.shape[1]
    blocks, groups, half = B // WIDTH, f // GROUP, n * WIDTH
    plane, layer, size, width = half + WIDTH, f * N * WIDTH, weights.shape[1], N * WIDTH
    px, pd, ph, ps = pointer(x), pointer(log_det), pointer(hidden), pointer(small)
    pr, pb, pw = pointer(rows), pointer(bias), pointer(weights)
    for block in range(first, last):
        column = block * WIDTH
        for j in range(K):
            k = j if way > 0 else K - 1 - j
            colour, moving, at = k % 2, 1 - k % 2, k * size
            place = keep * (k * blocks + block)
            seen = place * 5 * plane
            scales, slopes, tanhs = seen + plane, seen + 2 * plane, seen + 3 * plane
            h1 = place * 2 * layer
            h2, near = h1 + layer, colour * rows.shape[1]
            b2 = at + 9 * f + 9 * f * f + 9 * f * GROUP
            for s in range(n):
                store(ps, seen + s * WIDTH, load(px, (colour * n + s) * B + column))
            store(ps, seen + half, spread(F(0.0)))
            for i in range(f):
                fill(ph, h1 + i * width, h1 + (i + 1) * width, load(pb, (k * f + i) * B + column))
                fill(ph, h2 + i * width, h2 + (i + 1) * width, spread(pw[b2 + i]))
            for i in range(GROUP):
                fill(ps, scales + i * plane, scales + (i + 1) * plane, spread(pw[b2 + f + i]))
            convolve(pw, at, 1, ps, seen, plane, pr, near, N, ph, h1, width, groups)
            _rectify(ph, h1, h2)
            at, near = at + 9 * f, near + 9 * N
            convolve(pw, at, f, ph, h1, width, pr, near, N, ph, h2, width, groups)
            _rectify(ph, h2, h2 + layer)
            at, near = at + 9 * f * f, near + 9 * N
            convolve(pw, at, f, ph, h2, width, pr, near, n, ps, scales, plane, 1)
            for s in range(0, half, WIDTH):
                a, t = load(ps, scales + s), load(ps, slopes + s)
                tanh = F(1.0) - F(2.0) / (exponential(a + a) + F(1.0))
                place = (moving * n + s // WIDTH) * B + column
                store(pd, place, load(pd, place) - tanh)
                value = load(px, place)
                if way > 0:
                    scale = exponential(tanh)
                    slope = value * scale
                    store(px, place, slope + t)
                else:
                    scale = exponential(-tanh)
                    slope = (t - value) * scale
                    store(px, place, -slope)
                store(ps, scales + s, scale)
                store(ps, slopes + s, slope)
                store(ps, tanhs + s, F(1.0) - tanh * tanh)


@entry
def backward(first, last, g, g_det, sizes, rows, back, turned, hidden, small, g_bias, g_weights, room):
    """Take gradients back from what `forward` made of blocks ``first`` to ``last`` to what it was given.

    Args:
        first, last, sizes, rows, hidden, small: see `forward`.
        g: gradient with respect to y, (N, B); replaced by that with respect to x.
        g_det: with respect to the subtracted log scales, (N, B).
        back: for each of the two colours that stay, where in a plane those are that a site is a neighbour of: at all
            sites of the plane that moves, at all of all, and at those that stay of all, int64 (2, 9 (2 N + N / 2)).
        turned: weights of the layers as of convolutions from what they make to what they see, the third's, second's and
            first's, (K, 18 f + 9 f f + 36 f).
        g_bias: result, like ``bias``.
        g_weights: result, like ``weights``.
        room: for 8 planes, two hidden layers, and a vector for each weight of a coupling.
    """
    K, f, N, way = sizes
    n, B = N // 2, g.shape[1]
    blocks, groups, half = B // WIDTH, f // GROUP, n * WIDTH
    plane, layer, size, width = half + WIDTH, f * N * WIDTH, g_weights.shape[1], N * WIDTH
    pg, pd, ph, ps, p = pointer(g), pointer(g_det), pointer(hidden), pointer(small), pointer(room)
    pr, pk, pt, pb = pointer(rows), pointer(back), pointer(turned), pointer(g_bias)
    out, frozen, g2 = 0, 4 * plane, 8 * plane
    g1 = g2 + layer
    w1 = g1 + layer
    w2 = w1 + 9 * f * WIDTH
    w3 = w2 + 9 * f * f * WIDTH
    b2 = w3 + 9 * f * GROUP * WIDTH
    b3 = b2 + f * WIDTH
    zero = spread(F(0.0))
    for j in range(K):
        k = K - 1 - j if way > 0 else j
        colour, moving = k % 2, 1 - k % 2
        near = colour * rows.shape[1]
        fill(p, w1, w1 + size * WIDTH, zero)
        for block in range(first, last):
            column = block * WIDTH
            seen = (k * blocks + block) * 5 * plane
            h1 = (k * blocks + block) * 2 * layer
            h2 = h1 + layer
            fill(p, out, g1 + layer, zero)
            for s in range(0, half, WIDTH):
                place = (moving * n + s // WIDTH) * B + column
                of_y, scale = load(pg, place), load(ps, seen + plane + s)
                of_s = of_y * load(ps, seen + 2 * plane + s) - load(pd, place)
                of_x = of_y * scale
                store(pg, place, of_x)
                store(p, out + s, of_s * load(ps, seen + 3 * plane + s))
                if way > 0:
                    store(p, out + plane + s, of_y)
                else:
                    store(p, out + plane + s, -of_x)
            at = k * turned.shape[1]
            correlate(p, out, plane, 1, ph, h2, width, f, pr, near + 18 * N, n, p, w3)
            for i in range(2):
                store(p, b3 + i * WIDTH, add_sites(p, out + i * plane, n, load(p, b3 + i * WIDTH)))
            convolve(pt, at, 2, p, out, plane, pk, near, N, p, g2, width, groups)
            _mask(p, g2, ph, h2, layer)
            correlate(p, g2, width, groups, ph, h1, width, f, pr, near + 9 * N, N, p, w2)
            for i in range(f):
                store(p, b2 + i * WIDTH, add_sites(p, g2 + i * width, N, load(p, b2 + i * WIDTH)))
            convolve(pt, at + 18 * f, f, p, g2, width, pk, near + 9 * N, N, p, g1, width, groups)
            _mask(p, g1, ph, h1, layer)
            correlate(p, g1, width, groups, ps, seen, plane, 1, pr, near, N, p, w1)
            for i in range(f):
                store(pb, (k * f + i) * B + column, add_sites(p, g1 + i * width, N, zero))
            at += 18 * f + 9 * f * f
            convolve(pt, at, f, p, g1, width, pk, near + 18 * N, n, p, frozen, plane, 1)
            for s in range(0, half, WIDTH):
                place = (colour * n + s // WIDTH) * B + column
                store(pg, place, load(pg, place) + load(p, frozen + s))
        reduce(p, w1, size, pointer(g_weights), k * size)
