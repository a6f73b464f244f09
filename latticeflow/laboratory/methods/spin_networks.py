"""The baselines of the AdvNF paper on the lattice: C-GAN, implicit GAN and C-HG-VAE (arXiv:2401.15948).

Networks have the sizes that the paper's code gives them on 8x8 spins, whatever the effort's width; they see the
temperature scaled to [0, 1]. Unlike there, networks see spins as (cos, sin), differences of angles are wrapped, and
C-GAN has the critic of the implicit GAN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latticeflow.laboratory.methods.adversarial import Adversarial, AdversarialNetworks
from latticeflow.laboratory.methods.method_registry import Effort, register
from latticeflow.laboratory.methods.networks import Batch, Coordinates, Untouched, join, log_normal
from latticeflow.laboratory.methods.vae import Autoencoder, VariationalAutoencoder, divergence
from latticeflow.laboratory.targets import Target, XYLattice
from mcmc import wrap


class Angles(Untouched):
    """Angles as they are, wrapped on the way back."""

    def stretch(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `Coordinates.stretch`."""
        return wrap(x)


class Aligned(Angles):
    """Configurations turned until their magnetisation points along x; drawn ones are turned and reflected at random."""

    def shrink(self, x: Tensor) -> Tensor:
        """See `Coordinates.shrink`."""
        return wrap(x - torch.atan2(x.sin().sum(1), x.cos().sum(1))[:, None])

    def stretch(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `Coordinates.stretch`."""
        u = torch.rand(2, len(x), 1, generator=generator, device=x.device)
        return wrap(torch.where(u[0] < 0.5, -x, x) + 2 * math.pi * u[1])


class SpinReader(nn.Module):
    """Convolutions over (cos, sin) and further channels, the first of them periodic; then two dense layers.

    Args:
        side: L, 8 or more.
        outputs: numbers read off.
        condition_size: of the condition that stands behind the angles of the input and becomes channels; 0 for none.
    """

    def __init__(self, side: int, outputs: int, condition_size: int):
        super().__init__()
        self.side = side
        self.layers = nn.Sequential(
            nn.Conv2d(2 + condition_size, 8, 3, padding=1, padding_mode="circular"),
            nn.Tanh(),
            nn.Conv2d(8, 10, 3),
            nn.Tanh(),
            nn.Conv2d(10, 16, 3),
            nn.Tanh(),
            nn.Conv2d(16, 32, 3),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(32 * (side - 6) ** 2, 16),
            nn.Tanh(),
            nn.Linear(16, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, L^2 + condition_size) -> (n, outputs)."""
        shape = (len(x), -1, self.side, self.side)
        theta, condition = x[:, : self.side**2], x[:, self.side**2 :]
        channels = [theta.cos().view(shape), theta.sin().view(shape), condition[..., None, None].expand(shape)]
        return self.layers(torch.cat(channels, dim=1))


class SpinPainter(nn.Module):
    """Dense layers, then transposed convolutions to a mean and a log variance for each site.

    Args:
        side: L, 8 or more.
        inputs: numbers it starts from.
        hidden: units of the first layer.
        channels: of the hidden image.
    """

    def __init__(self, side: int, inputs: int, *, hidden: int, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 8 * (side - 4) ** 2),
            nn.Tanh(),
            nn.Unflatten(1, (8, side - 4, side - 4)),
            nn.ConvTranspose2d(8, channels, 3),
            nn.Tanh(),
            nn.ConvTranspose2d(channels, 2, 3),
            nn.Flatten(2),
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(n, inputs) -> (n, L^2) twice."""
        mean, log_variance = self.layers(z).unbind(1)
        return mean, log_variance


class GaussianPainter(nn.Module):
    """C-GAN's generator: Gaussian angles about a mean, the noise of each site being part of the input.

    Args:
        side: L.
        latent: numbers from which the mean and the variance are made.
    """

    def __init__(self, side: int, latent: int):
        super().__init__()
        self.sites, self.latent = side**2, latent
        self.painter = SpinPainter(side, latent + 1, hidden=32, channels=20)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent + L^2 + 1), the last being the condition -> (n, L^2)."""
        latent, epsilon, condition = z.tensor_split((self.latent, self.latent + self.sites), dim=1)
        mean, log_variance = self.painter(join(latent, condition))
        return mean + (2.5 * log_variance).exp() * epsilon  # the code's exp(5 s) is the variance


class SiteGenerator(nn.Module):
    """The implicit GAN's generator: noise at each site and the temperature, convolved periodically to unit vectors.

    Args:
        side: L.
    """

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        sizes = ((2, 8, 5), (8, 16, 5), (16, 32, 3), (32, 2, 3))
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in sizes:
            layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="circular"), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor) -> Tensor:
        """(n, L^2 + 1), the last being the condition -> angles (n, L^2)."""
        shape = (len(z), 1, self.side, self.side)
        vectors = self.layers(torch.cat((z[:, :-1].view(shape), z[:, -1, None, None, None].expand(shape)), dim=1))
        return torch.atan2(vectors[:, 1], vectors[:, 0]).flatten(1)


@dataclass(frozen=True)
class ConditionalGan(Adversarial):
    """A plain GAN of configurations, with Gaussian angles about a mean made from six numbers and the temperature.

    Args:
        latent: these numbers.
    """

    latent: int = 6

    def supports(self, target: Target) -> bool:
        """Lattices of side 8 or more."""
        return isinstance(target, XYLattice) and min(target.lattice.shape) >= 8

    def build(self, target: Target, effort: Effort) -> AdversarialNetworks:
        """See `Adversarial.build`."""
        side = math.isqrt(target.dimension)
        critic = SpinReader(side, 1, target.condition_size)
        return AdversarialNetworks(GaussianPainter(side, self.latent), critic, noise=self.latent + target.dimension)

    def coordinates(self, x: Tensor) -> Coordinates:
        """See `Adversarial.coordinates`."""
        return Angles()


@dataclass(frozen=True)
class ImplicitGan(ConditionalGan):
    """A GAN whose draws must tell their temperature, with noise at each site (Singh, Scheurer, Arora).

    A thermometer network reads a Gaussian estimate of the temperature off configurations, of the ensemble and of the
    generator; its log likelihood bounds the information that draws hold about the temperature, and generator and
    thermometer raise it together. Configurations are aligned, and a magnetisation across is penalised.

    Args:
        information: weight of the thermometer's loss.
        alignment: weight of the squared magnetisation across.
    """

    information: float = 1.0
    alignment: float = 10.0

    def build(self, target: Target, effort: Effort) -> AdversarialNetworks:
        """See `Adversarial.build`."""
        side = math.isqrt(target.dimension)
        critic, thermometer = SpinReader(side, 1, target.condition_size), SpinReader(side, 2, 0)
        return AdversarialNetworks(SiteGenerator(side), critic, thermometer, noise=target.dimension)

    def coordinates(self, x: Tensor) -> Coordinates:
        """See `Adversarial.coordinates`."""
        return Aligned()

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The non-saturating loss with the terms above."""
        assert networks.auxiliary is not None
        assert batch.condition is not None
        fake = networks.generate(networks.draw_noise(batch, generator), batch.condition)
        loss = nn.functional.softplus(-networks.logits(fake, batch.condition)).mean()
        read = networks.auxiliary(torch.cat((batch.x, fake)))
        loss = loss + self.information * temperature_loss(read, batch.condition.repeat(2, 1))
        return loss + self.alignment * fake.sin().mean(1).square().mean()


def temperature_loss(read: Tensor, condition: Tensor) -> Tensor:
    """Mean of -log N(condition; mean, variance) for means and log variances read off configurations, (n, 2)."""
    mean, log_variance = read.chunk(2, dim=1)
    return -log_normal(condition, mean, log_variance.clamp(-14, 6)).mean()


class SpinAutoencoder(Autoencoder):
    """Gaussian encoder and decoder of configurations; the encoder's latent has 12 numbers."""

    def __init__(self, target: Target):
        nn.Module.__init__(self)
        side, self.noise = math.isqrt(target.dimension), 12
        self.encoder = SpinReader(side, 2 * self.noise, target.condition_size)
        self.decoder = SpinPainter(side, self.noise + target.condition_size, hidden=40, channels=10)

    def decode(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Autoencoder.decode`."""
        mean, log_variance = self.decoder(join(z, condition))
        return mean, log_variance.clamp(-14, 6)


@dataclass(frozen=True)
class HamiltonianVae(VariationalAutoencoder):
    """C-HG-VAE: a VAE whose decoder is Gaussian at each site and whose draws keep the energy of each site.

    After Cristoforetti et al., arXiv:1705.09524, made conditional. The loss is the negative lower bound, with wrapped
    differences of angles, and the mean squared difference of the sites' energies between a configuration and its
    reconstruction.

    Args:
        energy: weight of that difference.
    """

    rate: float = 1e-3
    energy: float = 20.0
    name = "c_hg_vae"
    title = "C-HG-VAE"
    source = "arXiv:2401.15948"
    pace = 3.0

    def supports(self, target: Target) -> bool:
        """Lattices of side 8 or more."""
        return isinstance(target, XYLattice) and min(target.lattice.shape) >= 8

    def build(self, target: Target, effort: Effort) -> Autoencoder:
        """See `VariationalAutoencoder.build`."""
        return SpinAutoencoder(target)

    def coordinates(self, x: Tensor) -> Coordinates:
        """See `VariationalAutoencoder.coordinates`."""
        return Angles()

    def objective(self, autoencoder: Autoencoder, batch: Batch, generator: torch.Generator) -> Tensor:
        """See the class."""
        (n, sites), device = batch.x.shape, batch.x.device
        epsilon = torch.randn(n, autoencoder.noise + sites, generator=generator, device=device)
        mean, log_variance = autoencoder.encoder(join(batch.x, batch.condition)).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * epsilon[:, : autoencoder.noise]
        centre, spread = autoencoder.decode(z, batch.condition)
        likelihood = log_normal(wrap(batch.x - centre), torch.zeros_like(centre), spread)
        drawn = centre + (0.5 * spread).exp() * epsilon[:, autoencoder.noise :]
        missed = (site_energies(drawn) - site_energies(batch.x)).square().mean(1)
        return (divergence(mean, log_variance) - likelihood + self.energy * missed).mean()


def site_energies(theta: Tensor) -> Tensor:
    """Half the energy of each site's bonds of the XY model with J = 1, (n, L^2) -> (n, L^2); they sum to E."""
    side = math.isqrt(theta.shape[1])
    grid = theta.view(-1, side, side)
    bonds = [(grid - grid.roll(shift, axis)).cos() for axis in (1, 2) for shift in (1, -1)]
    return -0.5 * torch.stack(bonds).sum(0).flatten(1)


ADVNF_PAPER = "arXiv:2401.15948"
register(ConditionalGan("c_gan", "C-GAN", ADVNF_PAPER, pace=2.0))
register(ImplicitGan("implicit_gan", "implicit GAN", "arXiv:2006.11868", pace=1.0))
register(HamiltonianVae())
