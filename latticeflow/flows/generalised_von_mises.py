"""Laws on the circle whose log density is a trigonometric polynomial: density and draws, for torch tensors.

    q(theta) ~ exp Re sum_m conj(c_m) exp(i m theta),    m = 1, ..., M,

the generalised von Mises law of order M (Gatto and Jammalamadaka, Stat. Methodol. 4, 341, 2007); M = 1 is von Mises.

A draw is one of n equally spaced angles that begin at a random offset, chosen with probability proportional to q. Its
density, of the offset and the choice together, is n q(theta) / (2 pi sum_j q(theta + 2 pi j / n)): that is what
both functions return. It is normalised exactly for every n, and since the trapezoidal rule of a smooth periodic
function converges faster than any power of 1/n, it is the law itself once n resolves it: an error of exp(-2 pi^2
s^2 / h^2) at a spacing h for a peak of width s.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


def nodes_for(kappa: float) -> int:
    """Nodes that resolve a von Mises law of concentration ``kappa`` to about 1e-8, a multiple of 8."""
    return max(32, 8 * math.ceil(0.75 * math.sqrt(kappa)))


def log_prob(c: Tensor, u: Tensor, *, nodes: int, moments: Tensor | None = None) -> Tensor:
    """Log density at given angles, or its mean over others.

    Args:
        c: real and imaginary parts of the coefficients, (2, ..., M).
        u: cosines and sines of the angles, (2, ...).
        nodes: number of equally spaced angles by which the law is normalised.
        moments: means of cos m(b - a) with a the given angle, (..., M): the mean of the log density over angles b is
            returned, of a law symmetric about a.

    Returns:
        (...), differentiable.
    """
    cosines, sines = basis(c.shape[-1], nodes, c.dtype, c.device)
    x, y = _turned(c, u)
    # Relative to the density at the angle itself, where the basis is exactly 0: nothing large cancels.
    log_q = math.log(nodes / (2 * math.pi)) - torch.logsumexp(x @ (cosines - 1) + y @ sines, dim=-1)
    return log_q if moments is None else log_q + (x * (moments - 1)).sum(-1)


def sample(c: Tensor, *, nodes: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one angle from each law.

    Args:
        c, nodes: see `log_prob`.
        generator: source of randomness on the device of ``c``.

    Returns:
        Angles in [0, 2 pi), their cosines and sines (2, ...), and their log density, differentiable with respect to
        ``c`` at a given draw.
    """
    cosines, sines = basis(c.shape[-1], nodes, c.dtype, c.device)
    offset, threshold = torch.rand((2, *c.shape[1:-1]), dtype=c.dtype, device=c.device, generator=generator)
    offset = offset * (2 * math.pi / nodes)
    x, y = _turned(c, torch.stack((offset.cos(), offset.sin())))
    log_q = (x @ cosines + y @ sines).log_softmax(-1)
    chosen = (log_q.detach().exp().cumsum(-1) < threshold[..., None]).sum(-1, keepdim=True).clamp(max=nodes - 1)
    theta = offset + chosen.squeeze(-1).to(c.dtype) * (2 * math.pi / nodes)
    log_q = torch.take_along_dim(log_q, chosen, dim=-1).squeeze(-1) + math.log(nodes / (2 * math.pi))
    return theta, torch.stack((theta.cos(), theta.sin())), log_q


def powers(z: Tensor, M: int) -> Tensor:
    """z, z^2, ..., z^M of complex numbers as real and imaginary parts, (2, ...) -> (2, ..., M)."""
    x, y = z
    re, im = [x], [y]
    for _ in range(M - 1):
        re, im = [*re, re[-1] * x - im[-1] * y], [*im, re[-1] * y + im[-1] * x]
    return torch.stack((torch.stack(re, -1), torch.stack(im, -1)))


def _turned(c: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients in a frame in which u is the direction 0: c_m conj(u^m)."""
    p, q = powers(u, c.shape[-1])
    return c[0] * p + c[1] * q, c[1] * p - c[0] * q


@lru_cache
def basis(M: int, nodes: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of m phi_j at the nodes phi_j, (M, nodes) each."""
    phi = torch.arange(nodes, dtype=torch.float64) * (2 * math.pi / nodes)
    angles = torch.arange(1, M + 1, dtype=torch.float64)[:, None] * phi
    return angles.cos().to(device, dtype), angles.sin().to(device, dtype)
