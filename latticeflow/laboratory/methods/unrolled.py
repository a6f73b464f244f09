"""Unrolled GAN: the generator foresees how the critic will answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from latticeflow.laboratory.methods.adversarial import Adversarial, AdversarialNetworks
from latticeflow.laboratory.methods.method_registry import register
from latticeflow.laboratory.methods.networks import Batch
from latticeflow.training.critic import critic_loss


@dataclass(frozen=True)
class Unrolled(Adversarial):
    """The generator's loss is that of the critic after a few more updates, and its gradient passes through them.

    As in the authors' code the updates are Adam's, here from its state at rest.

    Args:
        unrolling: updates of the critic that the generator foresees.
    """

    unrolling: int = 5

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The non-saturating loss under the critic-to-be."""
        fake = networks.generate(networks.draw_noise(batch, generator), batch.condition)
        real = networks.pack(batch.x, batch.condition)
        return self.foresee(networks.critic, real, networks.pack(fake, batch.condition))

    def foresee(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of inputs ``fake`` of the critic, (m, inputs), after its updates on them and on ``real``."""
        names, values = zip(*critic.named_parameters(), strict=True)
        inputs = torch.cat((real, fake))

        def logits(weights: Tensor, x: Tensor) -> Tensor:
            parts = weights.split([value.numel() for value in values])
            shaped = {name: part.view_as(value) for name, part, value in zip(names, parts, values, strict=True)}
            return functional_call(critic, shaped, x)

        # All weights in one row: a step is then a handful of operations.
        weights = torch.cat([value.detach().flatten() for value in values]).requires_grad_()
        first, second = torch.zeros_like(weights), torch.zeros_like(weights)
        beta1, beta2 = self.betas
        for step in range(1, self.unrolling + 1):
            loss = critic_loss(*logits(weights, inputs).split(len(real)))
            (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
            first, second = beta1 * first + (1 - beta1) * gradient, beta2 * second + (1 - beta2) * gradient**2
            # The small number stands inside the root, whose slope would be infinite at zero.
            root = (second / (1 - beta2**step) + 1e-16).sqrt()
            weights = weights - self.critic_rate / (1 - beta1**step) * first / root
        return softplus(-logits(weights, fake)).mean()


register(Unrolled("unrolled_gan", "unrolled GAN", "arXiv:1611.02163", pace=1.5))
