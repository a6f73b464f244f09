"""Variational autoencoder with a Gaussian encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latticeflow.laboratory.methods.adversarial import Learner, checked
from latticeflow.laboratory.methods.method_registry import Effort, Method, Report, Sampler, register, seeded
from latticeflow.laboratory.methods.networks import (
    Batch,
    Coordinates,
    Pool,
    Scale,
    join,
    log_normal,
    noise_size,
    perceptron,
)
from latticeflow.laboratory.targets import Target
from latticeflow.laboratory.targets.target import device_of


class Autoencoder(nn.Module):
    """Encoder q(z | x) and decoder p(x | z), both Gaussian with a mean and variance for each coordinate."""

    def __init__(self, target: Target, width: int):
        super().__init__()
        d, c, self.noise = target.dimension, target.condition_size, noise_size(target)
        self.encoder: nn.Module = perceptron(d + c, 2 * self.noise, width=width)
        self.decoder: nn.Module = perceptron(self.noise + c, 2 * d, width=width)

    def decode(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of x, (n, d) each."""
        mean, log_variance = self.decoder(join(z, condition)).chunk(2, dim=1)
        return mean, log_variance.clamp(-14, 6)

    def bound(self, batch: Batch, epsilon: Tensor) -> Tensor:
        """Lower bound of log p(x), (n,): E_q log p(x | z) - KL[q(z | x) || N(0, 1)]; ``epsilon`` are normal, (n, k)."""
        mean, log_variance = self.encoder(join(batch.x, batch.condition)).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * epsilon
        return log_normal(batch.x, *self.decode(z, batch.condition)) - divergence(mean, log_variance)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of independent Gaussians from standard normal ones, (n, k) -> (n,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class DecoderSampler(Sampler):
    """Draws of a decoder with its noise; the density of its draws is an integral that it does not know.

    Args:
        autoencoder: trained.
        coordinates: that it lives in.
    """

    def __init__(self, autoencoder: Autoencoder, coordinates: Coordinates):
        self.autoencoder, self.coordinates = autoencoder.eval(), coordinates

    @torch.no_grad()
    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        device = device_of(generator)
        z = torch.randn(n, self.autoencoder.noise, generator=generator, device=device)
        mean, log_variance = self.autoencoder.decode(z, condition)
        epsilon = torch.randn(mean.shape, generator=generator, device=device)
        return self.coordinates.stretch(mean + (0.5 * log_variance).exp() * epsilon, generator)


@dataclass(frozen=True)
class VariationalAutoencoder(Method):
    """Maximise the lower bound of the log likelihood.

    Args:
        rate: of Adam at its peak; it falls to zero along a line.
    """

    rate: float = 2e-3
    name = "vae"
    title = "VAE"
    group = "baseline"
    source = "arXiv:1312.6114"
    pace = 5.0

    def build(self, target: Target, effort: Effort) -> Autoencoder:
        """An untrained autoencoder."""
        return Autoencoder(target, effort.width)

    def coordinates(self, x: Tensor) -> Coordinates:
        """What the networks see of draws like these, (n, d)."""
        return Scale(x)

    def objective(self, autoencoder: Autoencoder, batch: Batch, generator: torch.Generator) -> Tensor:
        """What is minimised."""
        device = batch.x.device
        epsilon = torch.randn(len(batch.x), autoencoder.noise, generator=generator, device=device)
        return -autoencoder.bound(batch, epsilon).mean()

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`."""
        with seeded(seed, effort.device) as generator:
            pool = Pool(target, effort, generator)
            coordinates = self.coordinates(pool.x)
            pool.x = coordinates.shrink(pool.x)
            autoencoder = self.build(target, effort).to(effort.device)
            learner = Learner(autoencoder, self.rate, (0.9, 0.999))
            for fraction in effort.rounds(report):
                learner.slow_down(1 - fraction)
                learner.learn(self.objective(autoencoder, pool.batch(), generator))
            return checked(DecoderSampler(autoencoder.cpu(), coordinates.cpu()), target)


register(VariationalAutoencoder())
