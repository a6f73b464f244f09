"""Adversarial training on pairs of a draw and its noise: ALI, and VEEGAN with its reconstructor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from latticeflow.laboratory.methods.adversarial import Adversarial, AdversarialNetworks
from latticeflow.laboratory.methods.method_registry import register
from latticeflow.laboratory.methods.networks import Batch
from latticeflow.training.critic import critic_loss


class AdversariallyLearnedInference(Adversarial):
    """The critic tells (x, encoder's noise) from (generator's draw, noise); both other networks deceive it.

    At the optimum the encoder inverts the generator, so that each draw has a noise that makes it.
    """

    def pairs(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Logits of the target's pairs and of the generator's."""
        z = networks.draw_noise(batch, generator)
        real = networks.logits(batch.x, batch.condition, networks.encode(batch, generator))
        return real, networks.logits(networks.generate(z, batch.condition), batch.condition, z)

    def critic_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The logistic loss of pairs."""
        return critic_loss(*self.pairs(networks, batch, generator))

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The same with the labels exchanged, for generator and encoder together."""
        real, fake = self.pairs(networks, batch, generator)
        return softplus(real).mean() + softplus(-fake).mean()


class Veegan(AdversariallyLearnedInference):
    """As ALI, but the encoder only learns to reconstruct the noise of the generator's draws.

    A generator that maps different noise to one mode cannot be inverted; and where the target has a mode that the
    generator misses, the encoder has never learned to make its noise normal, which the critic sees.

    Every noise variable must be legible in the draws to within its own width, so many of them are visible as noise:
    with as many as the published 254 nothing in 64 or more dimensions looks like the target (recipe `veegan_noise254`).
    """

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """-logit + |z - encoder(generator(z))|^2 / 2, the paper's algorithm 1 (there the logit has the other sign)."""
        z = networks.draw_noise(batch, generator)
        fake = networks.generate(z, batch.condition)
        reconstructed = networks.encode(Batch(fake, batch.condition), generator)
        return reconstruction(z, reconstructed) - networks.logits(fake, batch.condition, z).mean()


def reconstruction(z: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean of |z - reconstructed|^2 / 2, the log density of z under a unit Gaussian but for a constant."""
    return 0.5 * (z - reconstructed).square().sum(1).mean()


register(AdversariallyLearnedInference("ali", "ALI", "arXiv:1606.00704", joint=True))
VEEGAN = Veegan("veegan", "VEEGAN", "arXiv:1705.07761", joint=True, noise=(2, 8))
register(VEEGAN)
