"""Mixtures of isotropic Gaussians, with or without a condition that moves their weights or widths."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latticeflow.laboratory.targets.target import Assignment, Target, device_of
from mcmc import InputError


class GaussianMixture(Target):
    """sum_k w_k N(x; mu_k, s^2 I).

    A draw is of high quality within 3 s of the nearest centre (Srivastava et al., VEEGAN, arXiv:1705.07761).

    Args:
        name: in the registry.
        means: centres, (modes, d).
        sigma: standard deviation of each mode.
        weights: of the modes; equal unless given.
        condition_size: features of the condition, for subclasses that heed one.

    Raises:
        InputError: widths or weights that do not make a mixture.
    """

    def __init__(
        self, name: str, means: Tensor, sigma: float, *, weights: Tensor | None = None, condition_size: int = 0
    ):
        modes, dimension = means.shape
        super().__init__(name, dimension, modes, condition_size)
        self.means, self.sigma = means.double(), sigma
        weights = torch.ones(modes, dtype=torch.float64) if weights is None else weights.double()
        if not (sigma > 0 and weights.shape == (modes,) and bool((weights > 0).all())):
            raise InputError(f"mixture {name!r}: sigma = {sigma} and all {modes} weights must be positive")
        self.weights = weights / weights.sum()

    def mode_weights(self, condition: Tensor | None = None) -> Tensor:
        """See `Target.mode_weights`."""
        if condition is None:
            return self.weights[None]
        return self.weights.to(condition.device).expand(len(condition), -1)

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


class MovingWeights(GaussianMixture):
    """A mixture whose condition c in [0, 1] moves weight between its even and its odd modes.

    The even modes share 0.1 + 0.8 c, the odd ones 0.9 - 0.8 c; no mode ever vanishes.
    """

    def __init__(self, name: str, means: Tensor, sigma: float):
        super().__init__(name, means, sigma, condition_size=1)

    def mode_weights(self, condition: Tensor | None = None) -> Tensor:
        """See `Target.mode_weights`; the mean over conditions where there is none."""
        if condition is None:
            return self.weights[None]
        even = torch.arange(self.mode_count, device=condition.device) % 2 == 0
        share = 0.1 + 0.8 * condition.double()
        return torch.where(even, share / even.sum(), (1 - share) / (~even).sum())


class MovingWidths(GaussianMixture):
    """A mixture whose condition c in [0, 1] sets the width of its modes, sigma (1 + 3 c)."""

    def __init__(self, name: str, means: Tensor, sigma: float):
        super().__init__(name, means, sigma, condition_size=1)

    def width(self, condition: Tensor | None) -> Tensor:
        """See `GaussianMixture.width`."""
        if condition is None:
            return super().width(None)
        return self.sigma * (1 + 3 * condition.double())


def mog4() -> GaussianMixture:
    """MOG-4 of AdvNF (arXiv:2401.15948): four Gaussians at (+-2, +-2); centres and width 0.3 are our choice."""
    return GaussianMixture("mog4", circle(4, math.sqrt(8), 0.5), 0.3)


def mog8() -> GaussianMixture:
    """MOG-8 of AdvNF: eight Gaussians on a circle of radius 4; radius and width 0.3 are our choice."""
    return GaussianMixture("mog8", circle(8, 4.0), 0.3)


def mog4_weights() -> GaussianMixture:
    """MOG-4 whose condition moves the weights, each between 0.05 and 0.45."""
    return MovingWeights("mog4_weights", circle(4, math.sqrt(8), 0.5), 0.3)


def mog8_widths() -> GaussianMixture:
    """MOG-8 whose condition moves the width of the modes between 0.1 and 0.4."""
    return MovingWidths("mog8_widths", circle(8, 4.0), 0.1)


def ring8() -> GaussianMixture:
    """Eight Gaussians of width 0.01 on the unit circle (VEEGAN; numbers of PacGAN's code, arXiv:1712.04086)."""
    return GaussianMixture("ring8", circle(8, 1.0), 0.01)


def grid25() -> GaussianMixture:
    """25 Gaussians of width 0.05 on a square grid of spacing 2 (VEEGAN; numbers of PacGAN's code)."""
    x = torch.arange(-4, 5, 2, dtype=torch.float64)
    return GaussianMixture("grid25", torch.cartesian_prod(x, x), 0.05)


def circle(modes: int, radius: float, offset: float = 0.0) -> Tensor:
    """Centres equally spaced on a circle, the first turned by ``offset`` spacings; float64 (modes, 2)."""
    angle = 2 * math.pi * (torch.arange(modes, dtype=torch.float64) + offset) / modes
    return radius * torch.stack((angle.cos(), angle.sin()), dim=1)
