"""Concentric rings: modes without a centre."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from latticeflow.laboratory.targets.target import Assignment, Target, device_of
from mcmc import InputError


class ConcentricRings(Target):
    """p(x) = (1 / Z) sum_i a_i N(|x|; r_i, s^2) in the plane: rings of a Gaussian profile, uniform in angle.

    By the Jacobian r of polar coordinates ring i has the weight a_i Z_i / Z, where Z_i is 2 pi times the
    integral of r N(r; r_i, s^2) over r > 0, r_i Phi(r_i / s) + s phi(r_i / s), with the standard normal phi and Phi.
    A draw is of high quality within 3 s of a ring. The form is that of Kanaujia, Scheurer, Arora, arXiv:2401.15948.

    Args:
        name: in the registry.
        radii: r_i, positive.
        sigma: s.
        amplitudes: a_i; equal unless given.

    Raises:
        InputError: a radius, width or amplitude that is not positive.
    """

    def __init__(self, name: str, radii: Sequence[float], sigma: float, amplitudes: Sequence[float] | None = None):
        super().__init__(name, 2, len(radii))
        self.radii = torch.tensor(radii, dtype=torch.float64)
        self.sigma = sigma
        self.amplitudes = torch.tensor(amplitudes or [1.0] * len(radii), dtype=torch.float64)
        if not (sigma > 0 and bool((self.radii > 0).all()) and bool((self.amplitudes > 0).all())):
            raise InputError(f"rings {name!r}: radii, amplitudes and sigma = {sigma} must be positive")
        z = self.radii / sigma
        density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        self._areas = 2 * math.pi * self.amplitudes * (self.radii * torch.special.ndtr(z) + sigma * density)

    def mode_weights(self, condition: Tensor | None = None) -> Tensor:
        """See `Target.mode_weights`."""
        return (self._areas / self._areas.sum())[None]

    def _sample(self, n: int, condition: Tensor | None, generator: torch.Generator | None) -> Tensor:
        device = device_of(generator)
        ring = torch.multinomial(self.mode_weights()[0].to(device), n, replacement=True, generator=generator)
        centre = self.radii.to(device)[ring]
        radius = torch.full_like(centre, -1.0)
        # The radius of ring i has the density r N(r; r_i, s^2): draw from the Gaussian and keep in proportion to r. No
        # Gaussian number ever lies beyond ten standard deviations, so that the bound is exact in practice.
        while bool((missing := radius < 0).any()):
            proposal = torch.randn(n, generator=generator, device=device, dtype=torch.float64) * self.sigma + centre
            u = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
            radius = torch.where(missing & (u * (centre + 10 * self.sigma) < proposal), proposal, radius)
        angle = 2 * math.pi * torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        return torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)

    def _offsets(self, x: Tensor) -> Tensor:
        # The tiny number keeps the gradient finite at the origin.
        radius = (x.double().square().sum(-1) + 1e-300).sqrt()
        return (radius[:, None] - self.radii.to(x.device)) / self.sigma

    def _log_prob(self, x: Tensor, condition: Tensor | None) -> Tensor:
        logits = self.amplitudes.log().to(x.device) - self._offsets(x) ** 2 / 2
        return logits.logsumexp(-1) - math.log(self.sigma * math.sqrt(2 * math.pi) * float(self._areas.sum()))

    def _assign(self, x: Tensor, condition: Tensor | None) -> Assignment:
        nearest = self._offsets(x).abs().min(-1)
        return Assignment(nearest.indices, nearest.values < 3)


def rings4() -> ConcentricRings:
    """Four rings of radius 1, 2, 3, 4 and width 0.15; these numbers are our choice."""
    return ConcentricRings("rings4", (1.0, 2.0, 3.0, 4.0), 0.15)
