"""Controls: the exact sampler, which no method can beat, and one Gaussian, which any method should."""

from __future__ import annotations

import torch
from torch import Tensor

from latticeflow.laboratory.methods.method_registry import Effort, Method, Report, Sampler, register, seeded
from latticeflow.laboratory.targets import Target
from latticeflow.laboratory.targets.target import device_of


class GaussianSampler(Sampler):
    """A Gaussian; it ignores the condition.

    Args:
        x: draws to match, (n, d).
    """

    has_density = True

    def __init__(self, x: Tensor):
        self.mean, d = x.double().mean(0), x.shape[1]
        covariance = x.double().T.cov() if d > 1 else x.double().var(0)[None]
        self.factor = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(d, dtype=torch.float64, device=x.device))

    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        device = device_of(generator)
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64, device=device)
        return (self.mean.to(device) + noise @ self.factor.T.to(device)).float()

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `Sampler.log_prob`."""
        normal = torch.distributions.MultivariateNormal(self.mean, scale_tril=self.factor)
        return normal.log_prob(x.double())


class ExactSampler(Sampler):
    """The target's own draws and density."""

    def __init__(self, target: Target):
        self.target, self.has_density = target, target.has_density and target.normalised

    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        return self.target.sample(n, condition=condition, generator=generator)

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `Sampler.log_prob`."""
        return self.target.log_prob(x, condition) if self.has_density else super().log_prob(x, condition)


class Exact(Method):
    """The truth: what every measure says of perfect draws."""

    name = "exact"
    title = "exact draws"
    group = "control"
    source = "the target"
    trained = False

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`; learns nothing."""
        report(1.0)
        return ExactSampler(target)


class Moments(Method):
    """One Gaussian of the same mean and covariance: reaches every mode and resolves none."""

    name = "gaussian"
    title = "one Gaussian"
    group = "control"
    source = "moments"

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`; draws ``steps * batch`` at most 100,000 points."""
        n = min(effort.steps * effort.batch, 100_000)
        with seeded(seed, effort.device) as generator:
            condition = target.sample_conditions(n, generator)
            sampler = GaussianSampler(target.sample(n, condition=condition, generator=generator))
        report(1.0)
        return sampler


register(Exact())
register(Moments())
