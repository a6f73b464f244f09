"""The chain of affine couplings of `latticeflow.flows.realnvp.RealNVP`, fused, for single precision on a CPU.

Sixteen configurations make a block, whose every number is one vector: a plane is one vector for each site, with a last
one of zeros that stands for sites of the other colour. Networks of some filters are far too small for matrix products:
in torch most of the time goes into gathers, copies and calls. Weights stand as (groups, channels, 9, 4), four features
to a group, padded with zeros where a layer has fewer.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.arithmetic import exponential
from mcmc.kernels.calls import entry, helper, part
from mcmc.kernels.lanes import fma, group_sum, load, maximum, pointer, spread, store, where

F = np.float32
_W = 16
_G = 4


@part
def _convolve(w, at_w, channels, x, at_x, pitch_x, rows, at_rows, sites, y, at_y, pitch_y, groups):
    """Add the convolution of planes x to planes y.

    Args:
        w, at_w: weights from there on, (groups, channels, 9, 4).
        x, at_x, pitch_x: planes, and numbers from one to the next.
        rows, at_rows: from there on where in a plane of x each site's neighbours are, (sites, 9).
        sites: of y, an even number.
        y, at_y, pitch_y: 4 ``groups`` planes.
    """
    for g in range(groups):
        y0 = at_y + _G * g * pitch_y
        y1, y2, y3 = y0 + pitch_y, y0 + 2 * pitch_y, y0 + 3 * pitch_y
        for site in range(0, sites, 2):
            s, t = site * _W, (site + 1) * _W
            a0, a1, a2, a3 = load(y, y0 + s), load(y, y1 + s), load(y, y2 + s), load(y, y3 + s)
            b0, b1, b2, b3 = load(y, y0 + t), load(y, y1 + t), load(y, y2 + t), load(y, y3 + t)
            of = at_w + g * channels * 9 * _G
            for c in range(channels):
                plane = at_x + c * pitch_x
                for k in range(9):
                    a = load(x, plane + rows[at_rows + 9 * site + k])
                    b = load(x, plane + rows[at_rows + 9 * site + 9 + k])
                    w0, w1, w2, w3 = spread(w[of]), spread(w[of + 1]), spread(w[of + 2]), spread(w[of + 3])
                    a0, a1, a2, a3 = fma(w0, a, a0), fma(w1, a, a1), fma(w2, a, a2), fma(w3, a, a3)
                    b0, b1, b2, b3 = fma(w0, b, b0), fma(w1, b, b1), fma(w2, b, b2), fma(w3, b, b3)
                    of += _G
            store(y, y0 + s, a0)
            store(y, y1 + s, a1)
            store(y, y2 + s, a2)
            store(y, y3 + s, a3)
            store(y, y0 + t, b0)
            store(y, y1 + t, b1)
            store(y, y2 + t, b2)
            store(y, y3 + t, b3)


@part
def _correlate(g, at_g, pitch_g, groups, x, at_x, pitch_x, channels, rows, at_rows, sites, w, at_w):
    """Add the gradient with respect to the weights of a convolution, a vector for each weight.

    Args:
        g, at_g, pitch_g: gradients with respect to the 4 ``groups`` planes that it made of ``sites``.
        x, at_x, pitch_x, channels, rows, at_rows: what it made them of, see `_convolve`.
        w, at_w: result, (groups, channels, 9, 4) vectors.
    """
    for group in range(groups):
        g0 = at_g + _G * group * pitch_g
        g1, g2, g3 = g0 + pitch_g, g0 + 2 * pitch_g, g0 + 3 * pitch_g
        for c in range(channels):
            plane = at_x + c * pitch_x
            for k in range(0, 9, 3):
                o = at_w + ((group * channels + c) * 9 + k) * _G * _W
                a0, a1, a2, a3 = load(w, o), load(w, o + _W), load(w, o + 2 * _W), load(w, o + 3 * _W)
                b0, b1, b2, b3 = load(w, o + 4 * _W), load(w, o + 5 * _W), load(w, o + 6 * _W), load(w, o + 7 * _W)
                c0, c1, c2, c3 = load(w, o + 8 * _W), load(w, o + 9 * _W), load(w, o + 10 * _W), load(w, o + 11 * _W)
                for site in range(sites):
                    s, row = site * _W, at_rows + 9 * site + k
                    a, b, d = load(x, plane + rows[row]), load(x, plane + rows[row + 1]), load(x, plane + rows[row + 2])
                    w0, w1, w2, w3 = load(g, g0 + s), load(g, g1 + s), load(g, g2 + s), load(g, g3 + s)
                    a0, a1, a2, a3 = fma(w0, a, a0), fma(w1, a, a1), fma(w2, a, a2), fma(w3, a, a3)
                    b0, b1, b2, b3 = fma(w0, b, b0), fma(w1, b, b1), fma(w2, b, b2), fma(w3, b, b3)
                    c0, c1, c2, c3 = fma(w0, d, c0), fma(w1, d, c1), fma(w2, d, c2), fma(w3, d, c3)
                store(w, o, a0)
                store(w, o + _W, a1)
                store(w, o + 2 * _W, a2)
                store(w, o + 3 * _W, a3)
                store(w, o + 4 * _W, b0)
                store(w, o + 5 * _W, b1)
                store(w, o + 6 * _W, b2)
                store(w, o + 7 * _W, b3)
                store(w, o + 8 * _W, c0)
                store(w, o + 9 * _W, c1)
                store(w, o + 10 * _W, c2)
                store(w, o + 11 * _W, c3)


@helper
def _fill(p, start, end, value):
    for i in range(start, end, _W):
        store(p, i, value)


@helper
def _rectify(p, start, end):
    for i in range(start, end, _W):
        store(p, i, maximum(load(p, i), spread(F(0.0))))


@helper
def _add_sites(p, at, sites, total):
    """The sum of a plane over sites, added to a vector."""
    for s in range(sites):
        total = total + load(p, at + s * _W)
    return total


@helper
def _mask(p, at_p, h, at_h, size):
    """Nothing passes where a rectified value is zero."""
    for i in range(0, size, _W):
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
    blocks, groups, half = B // _W, f // _G, n * _W
    plane, layer, size, width = half + _W, f * N * _W, weights.shape[1], N * _W
    px, pd, ph, ps = pointer(x), pointer(log_det), pointer(hidden), pointer(small)
    pr, pb, pw = pointer(rows), pointer(bias), pointer(weights)
    for block in range(first, last):
        column = block * _W
        for j in range(K):
            k = j if way > 0 else K - 1 - j
            colour, moving, at = k % 2, 1 - k % 2, k * size
            place = keep * (k * blocks + block)
            seen = place * 5 * plane
            scales, slopes, tanhs = seen + plane, seen + 2 * plane, seen + 3 * plane
            h1 = place * 2 * layer
            h2, near = h1 + layer, colour * rows.shape[1]
            b2 = at + 9 * f + 9 * f * f + 9 * f * _G
            for s in range(n):
                store(ps, seen + s * _W, load(px, (colour * n + s) * B + column))
            store(ps, seen + half, spread(F(0.0)))
            for i in range(f):
                _fill(ph, h1 + i * width, h1 + (i + 1) * width, load(pb, (k * f + i) * B + column))
                _fill(ph, h2 + i * width, h2 + (i + 1) * width, spread(pw[b2 + i]))
            for i in range(_G):
                _fill(ps, scales + i * plane, scales + (i + 1) * plane, spread(pw[b2 + f + i]))
            _convolve(pw, at, 1, ps, seen, plane, pr, near, N, ph, h1, width, groups)
            _rectify(ph, h1, h2)
            at, near = at + 9 * f, near + 9 * N
            _convolve(pw, at, f, ph, h1, width, pr, near, N, ph, h2, width, groups)
            _rectify(ph, h2, h2 + layer)
            at, near = at + 9 * f * f, near + 9 * N
            _convolve(pw, at, f, ph, h2, width, pr, near, n, ps, scales, plane, 1)
            for s in range(0, half, _W):
                a, t = load(ps, scales + s), load(ps, slopes + s)
                tanh = F(1.0) - F(2.0) / (exponential(a + a) + F(1.0))
                place = (moving * n + s // _W) * B + column
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
    blocks, groups, half = B // _W, f // _G, n * _W
    plane, layer, size, width = half + _W, f * N * _W, g_weights.shape[1], N * _W
    pg, pd, ph, ps, p = pointer(g), pointer(g_det), pointer(hidden), pointer(small), pointer(room)
    pr, pk, pt, pb = pointer(rows), pointer(back), pointer(turned), pointer(g_bias)
    out, frozen, g2 = 0, 4 * plane, 8 * plane
    g1 = g2 + layer
    w1 = g1 + layer
    w2 = w1 + 9 * f * _W
    w3 = w2 + 9 * f * f * _W
    b2 = w3 + 9 * f * _G * _W
    b3 = b2 + f * _W
    zero = spread(F(0.0))
    for j in range(K):
        k = K - 1 - j if way > 0 else j
        colour, moving = k % 2, 1 - k % 2
        near = colour * rows.shape[1]
        _fill(p, w1, w1 + size * _W, zero)
        for block in range(first, last):
            column = block * _W
            seen = (k * blocks + block) * 5 * plane
            h1 = (k * blocks + block) * 2 * layer
            h2 = h1 + layer
            _fill(p, out, g1 + layer, zero)
            for s in range(0, half, _W):
                place = (moving * n + s // _W) * B + column
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
            _correlate(p, out, plane, 1, ph, h2, width, f, pr, near + 18 * N, n, p, w3)
            for i in range(2):
                store(p, b3 + i * _W, _add_sites(p, out + i * plane, n, load(p, b3 + i * _W)))
            _convolve(pt, at, 2, p, out, plane, pk, near, N, p, g2, width, groups)
            _mask(p, g2, ph, h2, layer)
            _correlate(p, g2, width, groups, ph, h1, width, f, pr, near + 9 * N, N, p, w2)
            for i in range(f):
                store(p, b2 + i * _W, _add_sites(p, g2 + i * width, N, load(p, b2 + i * _W)))
            _convolve(pt, at + 18 * f, f, p, g2, width, pk, near + 9 * N, N, p, g1, width, groups)
            _mask(p, g1, ph, h1, layer)
            _correlate(p, g1, width, groups, ps, seen, plane, 1, pr, near, N, p, w1)
            for i in range(f):
                store(pb, (k * f + i) * B + column, _add_sites(p, g1 + i * width, N, zero))
            at += 18 * f + 9 * f * f
            _convolve(pt, at, f, p, g1, width, pk, near + 18 * N, n, p, frozen, plane, 1)
            for s in range(0, half, _W):
                place = (colour * n + s // _W) * B + column
                store(pg, place, load(pg, place) + load(p, frozen + s))
        for i in range(size):
            store(p, w1 + i * _W, group_sum(load(p, w1 + i * _W), _W))
            g_weights[k, i] = p[w1 + i * _W]
