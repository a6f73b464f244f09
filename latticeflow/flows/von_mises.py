"""The von Mises law on the circle: stable log density and exact draws, for torch tensors."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def log_i0e(kappa: Tensor) -> Tensor:
    """log(exp(-kappa) I0(kappa)), stable for any kappa >= 0; differentiable."""
    return torch.log(torch.special.i0e(kappa))


def log_prob(delta: Tensor, kappa: Tensor) -> Tensor:
    """Log density at an angle ``delta`` (radians) from the mean: kappa cos(delta) - log(2 pi I0(kappa)).

    Arranged so that nothing large cancels.
    """
    return -2 * kappa * torch.sin(delta / 2) ** 2 - LOG_2PI - log_i0e(kappa)


def moments(kappa: Tensor, M: int) -> Tensor:
    """Means of cos delta, ..., cos M delta: the ratios I_m(kappa) / I_0(kappa), (...) -> (..., M).

    By the recurrence I_{m+1} = I_{m-1} - (2 m / kappa) I_m in float64, which loses (2 / kappa)^M / M! of its 16 digits:
    right to 1e-6 for M up to 4, and concentrations below 0.01 are taken for that.

    Example:
        >>> moments(torch.tensor([0.5, 100.0]), 2)[:, 0].numpy().round(3).tolist()
        [0.242, 0.995]
    """
    kappa = kappa.double().clamp(min=0.01)
    found = [torch.ones_like(kappa), torch.special.i1e(kappa) / torch.special.i0e(kappa)]
    for m in range(1, M):
        found.append(found[m - 1] - 2 * m / kappa * found[m])
    return torch.stack(found[1:], -1).clamp(-1, 1)


def sample(kappa: Tensor, *, generator: torch.Generator | None = None, rounds: int | None = None) -> Tensor:
    """Draw angles about the mean 0 by rejection from a wrapped Cauchy law (Best and Fisher 1979).

    Args:
        kappa: concentrations >= 0, any shape.
        generator: source of randomness on the device of ``kappa``.
        rounds: None repeats until every draw is accepted; on a GPU the host then waits for each round. A number
            makes that many proposals for every draw without waiting. A proposal is accepted with probability
            0.657 at least, so 24 rounds leave a draw unaccepted with probability 1e-11.

    Returns:
        Angles in [-pi, pi], of the shape and dtype of ``kappa``.
    """
    flat = kappa.reshape(-1)
    if rounds is not None:
        delta, done = _propose(flat, generator)
        for _ in range(rounds - 1):
            proposal, accepted = _propose(flat, generator)
            delta = torch.where(done, delta, proposal)
            done = done | accepted
        return delta.reshape(kappa.shape)
    delta, done = _propose(flat, generator)
    pending = torch.nonzero(~done).flatten()
    while pending.numel():
        proposal, accepted = _propose(flat[pending], generator)
        delta[pending] = proposal  # what was not accepted is overwritten in the next round
        pending = pending[~accepted]
    return delta.reshape(kappa.shape)


class _Moving(torch.autograd.Function):
    """Draws as functions of their concentration, by d delta / d kappa = -(dF / d kappa) / q with F the distribution.

    With A = I1 / I0 and F(0) = 1/2 that is the integral of (A - cos t) exp(kappa (cos t - cos delta)) from 0 to delta,
    smooth and without cancellation of large numbers; Gauss-Legendre quadrature in float64 (Figurnov, Mohamed, Mnih,
    arXiv:1805.08498).
    """

    @staticmethod
    def forward(ctx, kappa: Tensor, delta: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """The draws, unchanged."""
        ctx.save_for_backward(kappa, delta)
        return delta.clone()

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        """Gradient with respect to the concentration."""
        (gradient,) = gradients
        kappa, delta = (saved.double()[..., None] for saved in ctx.saved_tensors)
        nodes, weights = _gauss_legendre(delta.device)
        t = delta * nodes
        mean_cosine = torch.special.i1e(kappa) / torch.special.i0e(kappa)
        # cos t - cos delta as a product: for large kappa both are near 1.
        rise = 2 * torch.sin((delta + t) / 2) * torch.sin((delta - t) / 2)
        slope = delta[..., 0] * ((mean_cosine - t.cos()) * torch.exp(kappa * rise) * weights).sum(-1)
        return (slope * gradient).to(gradient.dtype), None


@lru_cache
def _gauss_legendre(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1], float64 (32,)."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    return torch.tensor((nodes + 1) / 2, device=device), torch.tensor(weights / 2, device=device)


def rsample(kappa: Tensor, *, generator: torch.Generator | None = None, rounds: int | None = None) -> Tensor:
    """Draw as `sample` does; gradients with respect to ``kappa`` flow through the draws.

    Args:
        kappa, generator, rounds: see `sample`.
    """
    with torch.no_grad():
        delta = sample(kappa, generator=generator, rounds=rounds)
    moving: Tensor = _Moving.apply(kappa, delta)
    return moving


def _propose(kappa: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    u = torch.rand((2, *kappa.shape), dtype=kappa.dtype, device=kappa.device, generator=generator)
    phi = 2 * math.pi * u[0]
    t = 1 + torch.sqrt(1 + 4 * kappa**2)
    # The wrapped Cauchy quantile by sine and cosine: an arccos near 1 would lose half of the digits.
    x = 2 * kappa + t * torch.cos(phi)
    delta = torch.atan2(torch.sqrt(2 * t) * torch.sin(phi), x)
    c = t / 2 - kappa * x / (t + 2 * kappa * torch.cos(phi))
    # Not "less than": where kappa is NaN nothing would ever be accepted, and the angle is to be NaN too.
    return delta, ~(u[1] >= c * torch.exp(1 - c))
