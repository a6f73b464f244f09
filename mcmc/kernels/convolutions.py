"""Small periodic convolutions of sixteen configurations at a time, and their gradients.

A plane is one vector for each site, sixteen numbers of as many configurations, and may end with a vector of zeros that
stands for sites that are not there. Networks of some filters are far too small for matrix products: in torch most of
the time goes into gathers, copies and calls. Weights stand as (groups, channels, 9, 4), four features to a group,
padded with zeros where a layer has fewer.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.calls import helper, part
from mcmc.kernels.conventions import WIDTH
from mcmc.kernels.lanes import fma, group_sum, load, spread, store

F = np.float32
GROUP = 4
"""Features whose weights stand together."""


@helper
def _load(p, at, pitch):
    return load(p, at), load(p, at + pitch), load(p, at + 2 * pitch), load(p, at + 3 * pitch)


@helper
def _store(p, at, pitch, a, b, c, d):
    store(p, at, a)
    store(p, at + pitch, b)
    store(p, at + 2 * pitch, c)
    store(p, at + 3 * pitch, d)


@helper
def _add(x, w0, w1, w2, w3, a, b, c, d):
    return fma(w0, x, a), fma(w1, x, b), fma(w2, x, c), fma(w3, x, d)


@part
def convolve(w, at_w, channels, x, at_x, pitch_x, rows, at_rows, sites, y, at_y, pitch_y, groups):
    """Add the convolution of planes x to planes y.

    Args:
        w, at_w: weights from there on, (groups, channels, 9, 4).
        x, at_x, pitch_x: planes, and numbers from one to the next.
        rows, at_rows: from there on where in a plane of x each site's neighbours are, (sites, 9).
        sites: of y, an even number.
        y, at_y, pitch_y: 4 ``groups`` planes.
    """
    for g in range(groups):
        for site in range(0, sites, 2):
            to = at_y + GROUP * g * pitch_y + site * WIDTH
            a0, a1, a2, a3 = _load(y, to, pitch_y)
            b0, b1, b2, b3 = _load(y, to + WIDTH, pitch_y)
            of, row = at_w + g * channels * 9 * GROUP, at_rows + 9 * site
            for c in range(channels):
                plane = at_x + c * pitch_x
                for k in range(9):
                    a, b = load(x, plane + rows[row + k]), load(x, plane + rows[row + 9 + k])
                    w0, w1, w2, w3 = spread(w[of]), spread(w[of + 1]), spread(w[of + 2]), spread(w[of + 3])
                    a0, a1, a2, a3 = _add(a, w0, w1, w2, w3, a0, a1, a2, a3)
                    b0, b1, b2, b3 = _add(b, w0, w1, w2, w3, b0, b1, b2, b3)
                    of += GROUP
            _store(y, to, pitch_y, a0, a1, a2, a3)
            _store(y, to + WIDTH, pitch_y, b0, b1, b2, b3)


@part
def correlate(g, at_g, pitch_g, groups, x, at_x, pitch_x, channels, rows, at_rows, sites, w, at_w):
    """Add the gradient with respect to the weights of a convolution, a vector for each weight.

    Args:
        g, at_g, pitch_g: gradients with respect to the 4 ``groups`` planes that it made of ``sites``.
        x, at_x, pitch_x, channels, rows, at_rows: what it made them of, see `convolve`.
        w, at_w: result, (groups, channels, 9, 4) vectors.
    """
    for group in range(groups):
        for c in range(channels):
            plane = at_x + c * pitch_x
            for k in range(0, 9, 3):
                first = at_w + ((group * channels + c) * 9 + k) * GROUP * WIDTH
                second, third = first + GROUP * WIDTH, first + 2 * GROUP * WIDTH
                a0, a1, a2, a3 = _load(w, first, WIDTH)
                b0, b1, b2, b3 = _load(w, second, WIDTH)
                c0, c1, c2, c3 = _load(w, third, WIDTH)
                for site in range(sites):
                    row = at_rows + 9 * site + k
                    a, b, d = load(x, plane + rows[row]), load(x, plane + rows[row + 1]), load(x, plane + rows[row + 2])
                    g0, g1, g2, g3 = _load(g, at_g + GROUP * group * pitch_g + site * WIDTH, pitch_g)
                    a0, a1, a2, a3 = _add(a, g0, g1, g2, g3, a0, a1, a2, a3)
                    b0, b1, b2, b3 = _add(b, g0, g1, g2, g3, b0, b1, b2, b3)
                    c0, c1, c2, c3 = _add(d, g0, g1, g2, g3, c0, c1, c2, c3)
                _store(w, first, WIDTH, a0, a1, a2, a3)
                _store(w, second, WIDTH, b0, b1, b2, b3)
                _store(w, third, WIDTH, c0, c1, c2, c3)


@helper
def fill(p, start, end, value):
    """Set vectors to a value."""
    for i in range(start, end, WIDTH):
        store(p, i, value)


@helper
def add_sites(p, at, sites, total):
    """The sum of a plane over sites, added to a vector."""
    for s in range(sites):
        total = total + load(p, at + s * WIDTH)
    return total


@helper
def reduce(p, at, size, total, to):
    """Sums over the lanes of so many vectors."""
    for i in range(size):
        store(p, at + i * WIDTH, group_sum(load(p, at + i * WIDTH), WIDTH))
        total[to + i] = p[at + i * WIDTH]
