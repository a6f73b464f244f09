"""Mixtures of isotropic Gaussians in the plane, with or without a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latticeflow.targets.base import Assignment, Target, device_of
from mcmc import InputError


class GaussianMixture(Target):
    """sum_k w_k N(x; mu_k, s^2 I).

    A draw is of high quality within 3 s of the nearest centre (Srivastava et al., VEEGAN, arXiv:1705.07761).

    Args:
        name: in the registry.
        means: centres, (modes, d).
        sigma: standard deviation of each mode.
        weights: of the modes; equal unless given.

    Raises:
        InputError: widths or weights that are no mixture.
    """

    def __init__(self, name: str, means: Tensor, sigma: float, weights: Tensor | None = None, condition_size: int = 0):
        modes, dimension = means.shape
        super().__init__(name, dimension, modes, condition_size)
        self.means, self.sigma = means.double(), sigma
        weights = torch.ones(modes, dtype=torch.float64) if weights is None else weights.double()
        if not (sigma > 0 and weights.shape == (modes,) and bool((weights > 0).all())):
            raise InputError(f"mixture {name!r}: sigma = {sigma} and all {modes} weights must be positive")
        self.weights = weights / weights.sum()

    def mode_weights(self, condition: Tensor | None = None) -> Tensor:
        """See `Target.mode_weights`."""
        return self.weights.expand(1 if condition is None else len(condition), -1)

    def width(self, condition: Tensor | None) -> Tensor:
        """Standard deviation of the modes at each condition, float64 (n, 1) or (1, 1)."""
        return torch.full((1, 1), self.sigma, dtype=torch.float64)

    def _sample(self, n: int, condition: Tensor | None, generator: torch.Generator | None) -> Tensor:
        device = device_of(generator)
        weights = self.mode_weights(condition).to(device).expand(n, -1)
        mode = torch.multinomial(weights, 1, replacement=True, generator=generator)[:, 0]
        noise = torch.randn(n, self.dimension, generator=generator, device=device, dtype=torch.float64)
        return self.means.to(device)[mode] + self.width(condition).to(device) * noise

    def _squared_distances(self, x: Tensor) -> Tensor:
        return (x.double()[:, None, :] - self.means.to(x.device)).square().sum(-1)

    def _log_prob(self, x: Tensor, condition: Tensor | None) -> Tensor:
        width, weights = self.width(condition).to(x.device), self.mode_weights(condition).to(x.device)
        logits = weights.log() - self._squared_distances(x) / (2 * width**2)
        return logits.logsumexp(-1) - self.dimension * (width[:, 0].log() + math.log(2 * math.pi) / 2)

    def _assign(self, x: Tensor, condition: Tensor | None) -> Assignment:
        nearest = self._squared_distances(x).min(-1)
        return Assignment(nearest.indices, nearest.values.sqrt() < 3 * self.width(condition).to(x.device)[:, 0])


def ring8() -> GaussianMixture:
    """Eight Gaussians of width 0.01 on the unit circle (VEEGAN and PacGAN, arXiv:1712.04086)."""
    return GaussianMixture("ring8", circle(8, 1.0), 0.01)


def circle(modes: int, radius: float) -> Tensor:
    """Centres equally spaced on a circle, float64 (modes, 2)."""
    angle = 2 * math.pi * torch.arange(modes, dtype=torch.float64) / modes
    return radius * torch.stack((angle.cos(), angle.sin()), dim=1)
