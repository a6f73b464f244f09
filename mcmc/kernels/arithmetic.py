"""Random words and elementary functions on lanes."""

from __future__ import annotations

import numpy as np

from mcmc.kernels.calls import helper
from mcmc.kernels.lanes import as_float, floor, fma, maximum, minimum, signed, where, whole

F = np.float32
U = np.uint32
# Multipliers and Weyl steps of Philox4x32-10: Salmon, Moraes, Dror, Shaw, SC 2011, doi:10.1145/2063384.2063405.
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@helper
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four random 32-bit words from a 128-bit counter c and a 64-bit key k.

    Takes and returns `U64` lanes (or scalar uint64) of which only the lower halves mean anything: so the products
    need no shuffling.
    """
    for _ in range(10):
        p0, p1 = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1, (p0 >> _HALF) ^ c3 ^ k1, p0
        k0, k1 = k0 + _W0, k1 + _W1
    return c0, c1, c2, c3


@helper
def uniform(word):
    """Floats in (0, 1) from the upper 24 bits of random words; never 0 or 1 before rounding."""
    return fma(signed(word >> U(8)), F(2.0**-24), F(2.0**-25))


@helper
def centred(word):
    """Floats in [-0.5, 0.5], symmetric to rounding, from random words."""
    return signed(word) * F(2.0**-32)


@helper
def sine_cosine(turn):
    """Sine and cosine of ``pi * turn`` for -0.5 <= turn <= 0.5; errors below 2e-7."""
    z = turn * turn
    s = fma(z, F(-0.00737043), F(0.08214589))
    s = fma(z, s, F(-0.59926453))
    s = fma(z, s, F(2.55016404))
    s = fma(z, s, F(-5.16771278))
    s = turn * fma(z, s, F(3.14159265))
    c = fma(z, F(0.00192957), F(-0.02580689))
    c = fma(z, c, F(0.23533063))
    c = fma(z, c, F(-1.33526277))
    c = fma(z, c, F(4.05871213))
    c = fma(z, c, F(-4.93480220))
    return s, fma(z, c, F(1.0))


@helper
def exponential(a):
    """exp(a), relative error below 2e-7; arguments are clamped to [-87, 87]. Coefficients: Cephes expf."""
    a = minimum(maximum(a, F(-87.0)), F(87.0))
    n = floor(fma(a, F(1.44269504088896341), F(0.5)))
    r = fma(n, F(2.12194440e-4), fma(n, F(-0.693359375), a))
    p = fma(F(1.9875691500e-4), r, F(1.3981999507e-3))
    p = fma(p, r, F(8.3334519073e-3))
    p = fma(p, r, F(4.1665795894e-2))
    p = fma(p, r, F(1.6666665459e-1))
    p = fma(p, r, F(5.0000001201e-1))
    return fma(p * r, r, r + F(1.0)) * as_float((whole(n) + U(127)) << U(23))


@helper
def arctangent2(y, x):
    """Angles of the directions (x, y) in (-pi, pi); error below 4e-7. Coefficients: Cephes atanf."""
    ax, ay = maximum(x, -x), maximum(y, -y)
    large, small = maximum(ax, ay), minimum(ax, ay)
    # arctan(s / l) = pi/4 + arctan((s - l) / (s + l)) brings the argument below tan(pi/8).
    upper = small > F(0.41421356237) * large
    a = where(upper, small - large, small) / where(upper, small + large, large)
    z = a * a
    p = fma(z, F(8.05374449538e-2), F(-1.38776856032e-1))
    p = fma(z, p, F(1.99777106478e-1))
    p = fma(z, p, F(-3.33329491539e-1))
    angle = fma(p * z, a, a) + where(upper, F(0.78539816339), F(0.0))
    angle = where(ay > ax, F(1.57079632679) - angle, angle)
    angle = where(x < F(0.0), F(3.14159265359) - angle, angle)
    # float32(pi) lies above pi: its neighbour below keeps every angle inside the interval.
    angle = minimum(angle, F(3.1415925))
    return where(y < F(0.0), -angle, angle)
