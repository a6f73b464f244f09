"""The contract of flows on R^d: draws through which gradients pass, and the log density of any point."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latticeflow.laboratory.methods.method_registry import Sampler
from latticeflow.laboratory.targets import Target
from latticeflow.laboratory.targets.target import device_of


class DensityFlow(nn.Module, ABC):
    """A density on R^d, perhaps conditional, that is a standard normal one carried over by a bijection.

    Subclasses carry points between the data, scaled to mean 0 and variance 1, and the noise. Where the target lives in
    an interval, a sigmoid comes last, so that no mass falls outside.

    Args:
        dimension: d.
        condition_size: features of the condition; 0 for none.
    """

    has_density = True
    """Whether `log_prob` is the log density, and not only a bound of it."""

    location: Tensor
    scale: Tensor

    def __init__(self, dimension: int, condition_size: int = 0):
        super().__init__()
        self.dimension, self.condition_size = dimension, condition_size
        self.bounds: tuple[float, float] | None = None
        self.register_buffer("location", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))

    @torch.no_grad()
    def prepare(self, target: Target, x: Tensor, condition: Tensor | None) -> None:
        """Take location and scale from draws (n, d), and the interval from the target."""
        self.bounds = target.bounds
        if self.bounds is None:
            self.location.copy_(x.mean(0))
            self.scale.copy_(x.std(0) + 1e-6)
        self._prepare(self._inside(x)[0], condition)

    def _prepare(self, u: Tensor, condition: Tensor | None) -> None:
        """Begin from scaled draws; nothing by default."""

    def _inside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled coordinates of points, and log |du / dx|, (n,)."""
        if self.bounds is None:
            return (x - self.location) / self.scale, -self.scale.log().sum()
        low, high = self.bounds
        u = torch.logit((x - low) / (high - low), eps=torch.finfo(x.dtype).eps)
        return u, (softplus(u) + softplus(-u)).sum(-1) - self.dimension * math.log(high - low)

    def _outside(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Points of scaled coordinates, and log |du / dx|, (n,)."""
        if self.bounds is None:
            return u * self.scale + self.location, -self.scale.log().sum()
        low, high = self.bounds
        slope = (softplus(u) + softplus(-u)).sum(-1) - self.dimension * math.log(high - low)
        return low + (high - low) * torch.sigmoid(u), slope

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log density, float64 (n,), at points (n, d); differentiable."""
        u, slope = self._inside(x)
        z, log_det = self.to_noise(u, condition)
        return normal_log_prob(z) + (log_det + slope).double()

    def rsample(
        self, n: int, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draws, (n, d), and their log density, float64 (n,); gradients pass through both."""
        z = torch.randn(
            n, self.noise_dimension, generator=generator, device=device_of(generator), dtype=self.scale.dtype
        )
        u, log_det = self.to_data(z, condition)
        x, slope = self._outside(u)
        return x, normal_log_prob(z) + (log_det + slope).double()

    def loss(self, x: Tensor, condition: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """What training on draws (n, d) minimises; the forward KL divergence by default.

        Args:
            x: draws of the target.
            condition: theirs.
            generator: of random numbers that the loss may need.
        """
        return -self.log_prob(x, condition).mean()

    @property
    def noise_dimension(self) -> int:
        """Number of normal numbers behind one draw."""
        return self.dimension

    @abstractmethod
    def to_noise(self, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scaled coordinates (n, d) to noise, and log |dz / du|, (n,)."""

    @abstractmethod
    def to_data(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Noise to scaled coordinates, and log |dz / du|, (n,): the inverse of `to_noise`."""


class FlowSampler(Sampler):
    """A trained flow."""

    def __init__(self, flow: DensityFlow):
        self.flow, self.has_density = flow.eval(), flow.has_density

    @torch.no_grad()
    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        return self.flow.rsample(n, condition, generator)[0].float()

    @torch.no_grad()
    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `Sampler.log_prob`."""
        if not self.has_density:
            return super().log_prob(x, condition)
        return self.flow.log_prob(x.to(self.flow.scale.dtype), condition)


def normal_log_prob(z: Tensor) -> Tensor:
    """Log density of the standard normal distribution, float64 (n,), at (n, d)."""
    return -(z.double().square() + math.log(2 * math.pi)).sum(-1) / 2
