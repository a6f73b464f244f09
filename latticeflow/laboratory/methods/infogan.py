"""InfoGAN: a generator whose draws must tell a class that it was given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softplus

from latticeflow.laboratory.methods.adversarial import Adversarial, Players
from latticeflow.laboratory.methods.method_registry import Effort, register
from latticeflow.laboratory.methods.networks import Batch, join, noise_size, perceptron
from latticeflow.laboratory.targets import Target

CLASSES = 10
"""As of the digits in the paper."""


class ClassPlayers(Players):
    """Networks of a game whose first `CLASSES` noise variables stand for a class: the largest of them, all alike."""

    def generate(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """See `Players.generate`."""
        chosen = one_hot(z[:, :CLASSES].argmax(1), CLASSES).to(z)
        return self.generator(join(chosen, z[:, CLASSES:], condition))


@dataclass(frozen=True)
class InfoGan(Adversarial):
    """The plain game, and a reader of the class; generator and reader together raise its log likelihood.

    Args:
        information: weight of that likelihood, a bound of the information between class and draw (Chen et al.,
            arXiv:1606.03657, eq. 6).
    """

    information: float = 1.0

    def build(self, target: Target, effort: Effort) -> Players:
        """See `Adversarial.build`."""
        d, c = target.dimension, target.condition_size
        noise = CLASSES + noise_size(target, *self.noise)
        return ClassPlayers(
            perceptron(noise + c, d, width=effort.width, normalise=self.normalise),
            perceptron(d + c, 1, width=effort.width),
            perceptron(d + c, CLASSES, width=effort.width, normalise=self.normalise),
            noise=noise,
        )

    def generator_objective(self, players: Players, batch: Batch, generator: torch.Generator) -> Tensor:
        """The non-saturating loss, and the cross entropy of the class that was given and the one that is read."""
        assert players.partner is not None
        z = players.draw_noise(batch, generator)
        fake = players.generate(z, batch.condition)
        read = players.partner(join(fake, batch.condition))
        missed = cross_entropy(read, z[:, :CLASSES].argmax(1))
        return softplus(-players.judge(fake, batch.condition)).mean() + self.information * missed


register(InfoGan("infogan", "InfoGAN", "arXiv:1606.03657"))
