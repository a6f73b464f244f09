"""Rational-quadratic splines on the circle: monotone, invertible in closed form, with no seam."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

LEAST_BIN = 1e-2
"""Least width and height of a bin, as a fraction of the circle."""
LEAST_SLOPE = 1e-2
_UNIT_SLOPE = math.log(math.expm1(1 - LEAST_SLOPE))


def knot_parameters(bins: int) -> tuple[int, int]:
    """How many parameters of a spline are even and odd under reflection; see `mirrored`."""
    return 3 * bins // 2 + 1, 3 * bins // 2 - 1


def mirrored(even: Tensor, odd: Tensor) -> Tensor:
    """Parameters of a spline that turns into -f(-x) when the odd numbers change sign.

    Args:
        even: (..., 3 bins / 2 + 1).
        odd: (..., 3 bins / 2 - 1).

    Returns:
        (..., 3 bins): logits of widths and of heights, then raw slopes at the knots, from -pi upwards.
    """
    half = (even.shape[-1] - 1) // 3
    widths, heights, ends, slopes = torch.split(even, [half, half, 2, half - 1], dim=-1)
    odd_widths, odd_heights, odd_slopes = torch.split(odd, [half, half, half - 1], dim=-1)
    parts = [ends[..., :1], (slopes - odd_slopes).flip(-1), ends[..., 1:], slopes + odd_slopes]
    pairs = ((widths, odd_widths), (heights, odd_heights))
    return torch.cat([part for a, b in pairs for part in ((a - b).flip(-1), a + b)] + parts, dim=-1)


def circular_spline(x: Tensor, parameters: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Map angles by a monotone spline f with f(+-pi) = +-pi and the same slope at both ends.

    Rational-quadratic between knots (Durkan et al., arXiv:1906.04032), closed to a circle (Rezende et al.,
    arXiv:2002.02428). Parameters of zero give the identity.

    Args:
        x: angles in radians, in [-pi, pi].
        parameters: unbounded, (*x.shape, 3 bins), from `mirrored`.
        inverse: map by the inverse of f, in the form of the quadratic's root in which nothing cancels.

    Returns:
        f(x), or its inverse at x, in [-pi, pi]; and the logarithm of the slope of f, both of the shape of ``x``. Where
        ``inverse``, that slope is taken at the result.
    """
    logits, raw_slopes = parameters.split([2 * parameters.shape[-1] // 3, parameters.shape[-1] // 3], dim=-1)
    sizes = logits.unflatten(-1, (2, -1)).softmax(-1)
    bins = sizes.shape[-1]
    sizes = 2 * math.pi * (LEAST_BIN + (1 - bins * LEAST_BIN) * sizes)
    starts = sizes.cumsum(-1) - sizes - math.pi
    slopes = LEAST_SLOPE + softplus(raw_slopes + _UNIT_SLOPE)
    per_bin = torch.stack((*starts.unbind(-2), *sizes.unbind(-2), slopes, slopes.roll(-1, -1)), dim=-2)
    k = (starts[..., int(inverse), 1:] <= x[..., None]).sum(-1)[..., None, None]
    x0, y0, width, height, left, right = torch.take_along_dim(per_bin, k, dim=-1).squeeze(-1).unbind(-1)

    mean = height / width
    bend = left + right - 2 * mean
    if inverse:
        rise = x - y0
        b = height * left - rise * bend
        root = (b**2 + 4 * height * (mean - left) * mean * rise + 4 * rise**2 * bend * mean).clamp_min(0).sqrt()
        s = (2 * mean * rise / (b + root)).clamp(0, 1)
        y = x0 + s * width
    else:
        s = ((x - x0) / width).clamp(0, 1)
        y = y0 + height * s * (mean * s + left * (1 - s)) / (mean + bend * s * (1 - s))
    numerator = right * s**2 + 2 * mean * s * (1 - s) + left * (1 - s) ** 2
    log_slope = 2 * (mean / (mean + bend * s * (1 - s))).log() + numerator.log()
    return y.clamp(-math.pi, math.pi), log_slope


def stretch(x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Blow up the surroundings of 0, a Moebius map of the circle: tan(y / 2) = factor tan(x / 2).

    Args:
        x: angles in radians, in [-pi, pi].
        factor: positive, of a shape that broadcasts; the slope at 0. Its reciprocal gives the inverse map.

    Returns:
        y, in [-pi, pi], and the logarithm of its slope *without* log(factor), which cancels against the way back.
    """
    sine, cosine = factor * torch.sin(x / 2), torch.cos(x / 2)
    return 2 * torch.atan2(sine, cosine), -torch.log(sine**2 + cosine**2)
