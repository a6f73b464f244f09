"""The critic of the adversarial term: tells ensemble draws from the flow's."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from latticeflow.training import fused_critic
from mcmc import InputError


class Critic(nn.Module):
    """Convolutional classifier of configurations at a temperature, translation invariant on the torus.

    Each spin enters as (cos, sin), padded periodically, beside the temperature. What the model does not distinguish the
    critic must not learn either: every configuration is turned by a random global angle and, half of the time,
    reflected. ``packing`` configurations of one temperature are seen together, which lets the critic see a lack of
    diversity (Lin et al., PacGAN, arXiv:1712.04086). The paper's critic has none of this; see `PublishedCritic`.

    Args:
        channels: of the two hidden convolutions.
        packing: configurations that the critic sees together.
        normalise: bound the Lipschitz constant by spectral normalisation (Miyato et al., arXiv:1802.05957).
        augment: turn and reflect.
    """

    def __init__(self, channels: int = 32, *, packing: int = 2, normalise: bool = True, augment: bool = True):
        super().__init__()
        bound = spectral_norm if normalise else lambda layer: layer
        self.packing, self.augment = packing, augment
        self.layers = nn.Sequential(
            bound(nn.Conv2d(2 * packing + 2, channels, 3, padding=1, padding_mode="circular")),
            nn.SiLU(),
            bound(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular")),
            nn.SiLU(),
        )
        self.head = nn.Sequential(bound(nn.Linear(channels, channels)), nn.SiLU(), bound(nn.Linear(channels, 1)))

    def forward(self, theta: Tensor, temperature: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Logit of "drawn from the ensemble".

        Args:
            theta: (temperatures, n, Ly, Lx) with n a multiple of ``packing``.
            temperature: (temperatures, n), the same along a row, in the flow's unit (`Flow.unit`).
            generator: of the random symmetry operations.

        Returns:
            (temperatures, n), equal for configurations of one pack.
        """
        T, n, Ly, Lx = theta.shape
        if self.augment:
            u = torch.rand(2, T, n, 1, 1, generator=generator, device=theta.device, dtype=theta.dtype)
            theta = torch.where(u[0] < 0.5, -theta, theta) + 2 * math.pi * u[1]
        spins = torch.stack((theta.cos(), theta.sin()), dim=2).view(-1, 2 * self.packing, Ly, Lx)
        beta = temperature[:, :: self.packing].to(spins.dtype).reshape(-1, 1, 1, 1).expand(-1, 1, Ly, Lx)
        features = self.layers(torch.cat((spins, beta, 1 / (1 + beta)), dim=1)).mean((-2, -1))
        return self.head(features).view(T, n // self.packing).repeat_interleave(self.packing, dim=1)


class PublishedCritic(nn.Module):
    """The critic of the AdvNF paper (arXiv:2401.15948, the authors' notebook): it sees angles, not directions.

    The angles in turns beside the temperature, two periodic 3x3 convolutions, a maximum over blocks of 2x2, one
    convolution without padding, and two layers of 64 and 16 units, all with tanh.

    Args:
        shape: (Ly, Lx), both even and at least 6.
        channels: of the convolutions, published 64.
        packing: configurations that the critic sees together, published 1.
        normalise: bound the Lipschitz constant by spectral normalisation, published without.

    Raises:
        InputError: a lattice that the convolution after the pooling does not fit on.
    """

    def __init__(self, shape: tuple[int, ...], channels: int = 64, *, packing: int = 1, normalise: bool = False):
        super().__init__()
        if min(shape) < 6 or any(side % 2 for side in shape):
            raise InputError(
                f"the published critic needs even sides of at least 6; the lattice is {shape[1]}x{shape[0]}"
            )
        bound = spectral_norm if normalise else lambda layer: layer
        self.packing, self._tables = packing, fused_critic.Tables.of(shape)
        inner = (shape[0] // 2 - 2) * (shape[1] // 2 - 2) * channels
        self.layers = nn.Sequential(
            bound(nn.Conv2d(packing + 1, channels, 3, padding=1, padding_mode="circular")),
            nn.Tanh(),
            bound(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular")),
            nn.Tanh(),
            nn.MaxPool2d(2),
            bound(nn.Conv2d(channels, channels, 3)),
            nn.Tanh(),
            nn.Flatten(),
            bound(nn.Linear(inner, 64)),
            nn.Tanh(),
            bound(nn.Linear(64, 16)),
            nn.Tanh(),
            bound(nn.Linear(16, 1)),
        )

    def forward(self, theta: Tensor, temperature: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Critic.forward`; nothing is random here."""
        T, n, Ly, Lx = theta.shape
        angles = (theta / (2 * math.pi) + 0.5).reshape(-1, self.packing, Ly, Lx)
        given = temperature[:, :: self.packing].to(angles.dtype).reshape(-1)
        convolutions = [cast(nn.Conv2d, self.layers[k]) for k in (0, 2, 5)]
        first, *others = (each.weight for each in convolutions)
        if fused_critic.serves(angles, first, self._tables):
            # The temperature is the same at all sites: its convolution is a bias.
            known, of_temperature = first.split((self.packing, 1), 1)
            bias, *biases = (cast(Tensor, each.bias) for each in convolutions)
            bias = bias[:, None] + of_temperature.sum((1, 2, 3))[:, None] * given
            x = angles.permute(1, 2, 3, 0)
            found = fused_critic.convolutions(x, bias, (known, *others), biases, self._tables)
            logit = self.layers[7:](found.flatten(0, 1).t())
        else:
            logit = self.layers(torch.cat((angles, given[:, None, None, None].expand(-1, 1, Ly, Lx)), dim=1))
        return logit.view(T, n // self.packing).repeat_interleave(self.packing, dim=1)


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of the logits of ensemble draws and of the flow's draws (Goodfellow et al., arXiv:1406.2661)."""
    return softplus(-real).mean() + softplus(fake).mean()


def slope(logit: Tensor, theta: Tensor) -> Tensor:
    """Mean square of the logit's gradient, per configuration: the zero-centred gradient penalty at ensemble draws.

    Mescheder, Geiger, Nowozin, arXiv:1801.04406, eq. 9 (R1), on angles. Configurations of one pack share a logit.

    Args:
        logit: of the critic, (temperatures, n).
        theta: where, requiring a gradient, (temperatures, n, Ly, Lx).
    """
    (gradient,) = torch.autograd.grad(logit.sum(), theta, create_graph=True)
    return (gradient**2).sum((-2, -1)).mean()


@torch.no_grad()
def clip_weights(critic: nn.Module, bound: float) -> None:
    """Keep every parameter within +-``bound``, in place; 0 bounds nothing."""
    if bound:
        for parameter in critic.parameters():
            parameter.clamp_(-bound, bound)


def describe(loss: float) -> str | None:
    """What a critic's mean loss says about the training, if anything; 2 ln 2 if it cannot tell draws apart."""
    blind = 2 * math.log(2)
    if loss < 0.1 * blind:
        return (
            f"the critic is too strong (loss {loss:.3f} of {blind:.3f}): it tells nearly all draws of the flow from "
            f"the ensemble's, and such a critic gives little gradient; train longer without it, or lower its rate"
        )
    if loss > 0.99 * blind:
        return (
            f"the critic is too weak (loss {loss:.3f} of {blind:.3f}): it cannot tell the flow's draws from the "
            f"ensemble's, and adds noise only; drop the adversarial term, or give it more channels"
        )
    return None
