"""One-shot Metropolised heat bath: the von Mises conditional by one proposal and one test, without tuning.

With concentration kappa = beta |h| and t = 1 + sqrt(1 + 4 kappa^2) the proposal is the wrapped Cauchy density
proportional to 1 / (t/2 - kappa cos theta) about h, the envelope of Best and Fisher (Applied Statistics 28, 152, 1979,
doi:10.2307/2346732), here as an independence proposal: where their rejection sampler would draw again, the spin
stays. At least 0.70 of the proposals are accepted at any kappa.
"""

from __future__ import annotations

import numpy as np

from mcmc.kernels.arithmetic import centred, exponential, sine_cosine, uniform
from mcmc.kernels.calls import Kernel, helper
from mcmc.kernels.field import draw_words, local_field, opened
from mcmc.kernels.lanes import load, pointer, scratch, sqrt, store, where

F = np.float32


@helper
def draw(hx, hy, x, y, beta, word0, word1):
    """Update unit vectors (x, y) in the field h; returns them with a 0/1 of acceptance, all lanes."""
    h2 = hx * hx + hy * hy
    # The least square that float32 divides by; in units of the couplings a field so weak turns no spin.
    defined = h2 > F(1e-36)
    h = sqrt(where(defined, h2, F(1.0)))
    # Without a field every direction serves as reference, and kappa = 0.
    h2, kappa = where(defined, h2, F(0.0)), where(defined, beta * h, F(0.0))
    # Half angles: tan(theta / 2) = tan(phi / 2) / q with uniform phi and q^2 = sqrt(1 + 4 kappa^2) + 2 kappa has no
    # cancellation. What follows waits for one root of the three, which run side by side.
    q2 = sqrt(F(1.0) + F(4.0) * (beta * beta) * h2) + F(2.0) * kappa
    s, c = sine_cosine(centred(word0))
    s2, c2 = s * s, q2 * (c * c)
    norm = s2 + c2
    # One division serves both quotients.
    inverse = F(1.0) / (h * norm)
    to_unit, inverse = inverse * norm, inverse * h
    ux, uy = where(defined, hx * to_unit, F(1.0)), where(defined, hy * to_unit, F(0.0))
    sine, cosine = F(2.0) * s * c * sqrt(q2) * inverse, (c2 - s2) * inverse
    # 1 - cos of the old and the new angle to the field.
    dx, dy = x - ux, y - uy
    v_old, v_new = F(0.5) * (dx * dx + dy * dy), F(2.0) * s2 * inverse
    # The envelope falls as t / 2 - kappa cos theta, which is (q^2 + 1) / (2 q^2) + kappa (1 - cos theta).
    least, slope = q2 + F(1.0), F(2.0) * kappa * q2
    accept = uniform(word1) * (least + slope * v_old) < (least + slope * v_new) * exponential(kappa * (v_old - v_new))
    return (
        where(accept, ux * cosine - uy * sine, x),
        where(accept, ux * sine + uy * cosine, y),
        where(accept, F(1.0), F(0.0)),
    )


@helper
def _site(x, y, beta, interaction, i, W, v, word0, word1, accepted):
    hx, hy = local_field(x, y, interaction, i, W, v)
    k = i * W + v
    a, b, hit = draw(hx, hy, load(x, k), load(y, k), load(beta, v), word0, word1)
    store(x, k, a)
    store(y, k, b)
    store(accepted, v, load(accepted, v) + hit)


@Kernel
def heat_bath(block, width, axis, move, accepted, order, room):
    """One sweep of every replica of a block, in place; see `mcmc.kernels.steps` for the arguments."""
    W, interaction = len(block.beta), opened(block.interaction)
    x, y, beta, keys = pointer(block.x), pointer(block.y), pointer(block.beta), pointer(block.keys)
    accepted = pointer(accepted)
    # Words first, then one site of all replicas, then the next: vectors of replicas need not wait for one another.
    buffer = scratch(np.uint32, 4 * W)
    first, last, length, stride, pitch = order
    for start in range(first, last, pitch):
        for offset in range(stride):
            for i in range(start + offset, start + length, 2 * stride):
                draw_words(buffer, keys, W, move, i)
                for v in range(0, W, 16):
                    a, b = load(buffer, v), load(buffer, W + v)
                    _site(x, y, beta, interaction, i, W, v, a, b, accepted)
                if i + stride < start + length:
                    for v in range(0, W, 16):
                        a, b = load(buffer, 2 * W + v), load(buffer, 3 * W + v)
                        _site(x, y, beta, interaction, i + stride, W, v, a, b, accepted)
