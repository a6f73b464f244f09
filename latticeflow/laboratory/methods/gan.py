"""Adversarial networks that look at draws alone: the plain GAN, packed, and with the Wasserstein distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latticeflow.laboratory.methods.adversarial import Adversarial, AdversarialNetworks
from latticeflow.laboratory.methods.method_registry import register
from latticeflow.laboratory.methods.networks import Batch


@dataclass(frozen=True)
class Wasserstein(Adversarial):
    """The critic estimates the earth mover's distance; its slope is held at 1 by a penalty.

    Args:
        penalty: weight of (|slope| - 1)^2 on lines between draws of the two.
    """

    penalty: float = 0.1

    def critic_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean output of the critic at the generator's draws less that at the target's, with the penalty."""
        with torch.no_grad():
            fake = networks.generate(networks.draw_noise(batch, generator), batch.condition)
        gap = networks.logits(fake, batch.condition).mean() - networks.logits(batch.x, batch.condition).mean()
        u = torch.rand(len(fake), 1, generator=generator, device=fake.device)
        return gap + self.penalty * slope_penalty(networks, torch.lerp(fake, batch.x, u), batch.condition)

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The critic's mean output at the generator's draws, with its sign turned."""
        fake = networks.generate(networks.draw_noise(batch, generator), batch.condition)
        return -networks.logits(fake, batch.condition).mean()


def slope_penalty(networks: AdversarialNetworks, x: Tensor, condition: Tensor | None) -> Tensor:
    """Mean of (|d critic / dx| - 1)^2 at points (n, d)."""
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(networks.logits(x, condition).sum(), x, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


GAN = Adversarial("gan", "GAN", "arXiv:1406.2661")
register(GAN)
for packing in (2, 3, 4):
    register(Adversarial(f"pacgan{packing}", f"PacGAN {packing}", "arXiv:1712.04086", packing=packing))
register(Wasserstein("wgan_gp", "WGAN-GP", "arXiv:1704.00028", pace=1.5, critic_updates=5, betas=(0.5, 0.9)))
