"""The critic of the adversarial term: tells ensemble draws from the flow's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Convolutional classifier of configurations at a temperature, translation invariant on the torus.

    Each spin enters as (cos, sin), padded periodically, beside the temperature. What the model does not distinguish the
    critic must not learn either: every configuration is turned by a random global angle and, half of the time,
    reflected. ``packing`` configurations of one temperature are judged together, which lets the critic see a lack of
    diversity (Lin et al., PacGAN, arXiv:1712.04086).

    Args:
        channels: of the two hidden convolutions.
        packing: configurations judged together.
        normalise: bound the Lipschitz constant by spectral normalisation (Miyato et al., arXiv:1802.05957).
    """

    def __init__(self, channels: int = 32, *, packing: int = 2, normalise: bool = True):
        super().__init__()
        bound = spectral_norm if normalise else lambda layer: layer
        self.packing = packing
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
            temperature: (temperatures, n), the same along a row.
            generator: of the random symmetry operations.

        Returns:
            (temperatures, n), equal for configurations judged together.
        """
        T, n, Ly, Lx = theta.shape
        u = torch.rand(2, T, n, 1, 1, generator=generator, device=theta.device, dtype=theta.dtype)
        turned = torch.where(u[0] < 0.5, -theta, theta) + 2 * math.pi * u[1]
        spins = torch.stack((turned.cos(), turned.sin()), dim=2).view(-1, 2 * self.packing, Ly, Lx)
        beta = temperature[:, :: self.packing].reshape(-1, 1, 1, 1).expand(-1, 1, Ly, Lx)
        features = self.layers(torch.cat((spins, beta, 1 / (1 + beta)), dim=1)).mean((-2, -1))
        return self.head(features).view(T, n // self.packing).repeat_interleave(self.packing, dim=1)


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of the logits of ensemble draws and of the flow's draws (Goodfellow et al., arXiv:1406.2661)."""
    return softplus(-real).mean() + softplus(fake).mean()
