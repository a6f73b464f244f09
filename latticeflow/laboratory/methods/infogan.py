"""InfoGAN: a generator whose draws must tell a class that it was given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softplus

from latticeflow.laboratory.methods.adversarial import Adversarial, AdversarialNetworks
from latticeflow.laboratory.methods.method_registry import Effort, register
from latticeflow.laboratory.methods.networks import Batch, join, noise_size, perceptron
from latticeflow.laboratory.targets import Target

CLASSES = 10
"""As of the digits in the paper."""


class ClassNetworks(AdversarialNetworks):
    """Networks whose first `CLASSES` noise variables stand for a class: the largest of them, all alike."""

    def generate(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """See `AdversarialNetworks.generate`."""
        chosen = one_hot(z[:, :CLASSES].argmax(1), CLASSES).to(z)
        return self.generator(join(chosen, z[:, CLASSES:], condition))


@dataclass(frozen=True)
class InfoGan(Adversarial):
    """The plain GAN, and a classifier; generator and classifier together raise its log likelihood.

    Args:
        information: weight of that likelihood, a bound of the information between class and draw (Chen et al.,
            arXiv:1606.03657, eq. 6).
    """

    information: float = 1.0

    def build(self, target: Target, effort: Effort) -> AdversarialNetworks:
        """See `Adversarial.build`."""
        d, c = target.dimension, target.condition_size
        noise = CLASSES + noise_size(target, *self.noise)
        return ClassNetworks(
            perceptron(noise + c, d, width=effort.width, normalise=self.normalise),
            perceptron(d + c, 1, width=effort.width),
            perceptron(d + c, CLASSES, width=effort.width, normalise=self.normalise),
            noise=noise,
        )

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The non-saturating loss, and the cross entropy of the class that was given and the one that is read."""
        assert networks.auxiliary is not None
        z = networks.draw_noise(batch, generator)
        fake = networks.generate(z, batch.condition)
        read = networks.auxiliary(join(fake, batch.condition))
        missed = cross_entropy(read, z[:, :CLASSES].argmax(1))
        return softplus(-networks.logits(fake, batch.condition)).mean() + self.information * missed


register(InfoGan("infogan", "InfoGAN", "arXiv:1606.03657"))
