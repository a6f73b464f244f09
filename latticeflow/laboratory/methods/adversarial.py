"""What all adversarial baselines share: training a generator against a critic, and the sampler that results."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latticeflow.laboratory.methods.method_registry import DivergedError, Effort, Method, Report, Sampler, seeded
from latticeflow.laboratory.methods.networks import (
    Batch,
    Coordinates,
    Pool,
    Scale,
    Untouched,
    join,
    noise_size,
    perceptron,
)
from latticeflow.laboratory.targets import Target
from latticeflow.laboratory.targets.target import device_of
from latticeflow.training.critic import critic_loss


class AdversarialNetworks(nn.Module):
    """The networks of one adversarial training; all see the density through its `Coordinates`.

    Args:
        generator: (noise, condition) -> x.
        critic: (a pack of draws, their condition) -> one logit, high for the target's draws.
        auxiliary: trained with the generator, where there is one: an encoder (x, fresh noise, condition) -> noise.
        noise: size of the generator's input.
        packing: draws that the critic sees together.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        auxiliary: nn.Module | None = None,
        *,
        noise: int,
        packing: int = 1,
    ):
        super().__init__()
        self.generator, self.critic, self.auxiliary = generator, critic, auxiliary
        self.noise, self.packing = noise, packing

    def draw_noise(self, like: Batch, generator: torch.Generator) -> Tensor:
        """Standard normal numbers for each draw of a batch, (n, noise)."""
        return torch.randn(len(like.x), self.noise, generator=generator, device=like.x.device)

    def generate(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Draws of the generator, (n, d)."""
        return self.generator(join(z, condition))

    def encode(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Noise that could have made these draws, (n, noise), itself random."""
        assert self.auxiliary is not None
        return self.auxiliary(join(batch.x, self.draw_noise(batch, generator), batch.condition))

    def pack(self, x: Tensor, condition: Tensor | None, z: Tensor | None = None) -> Tensor:
        """The critic's input, (n / packing, packing * (d + noise of z) + condition_size)."""
        together = join(x, z).reshape(len(x) // self.packing, -1)
        return join(together, None if condition is None else condition[:: self.packing])

    def logits(self, x: Tensor, condition: Tensor | None, z: Tensor | None = None) -> Tensor:
        """Logits, (n / packing,)."""
        return self.critic(self.pack(x, condition, z))[:, 0]


class GeneratorSampler(Sampler):
    """Draws of a generator; it knows no density.

    Args:
        networks: trained.
        coordinates: in which they see draws.
    """

    def __init__(self, networks: AdversarialNetworks, coordinates: Coordinates):
        self.networks, self.coordinates = networks.eval(), coordinates

    @torch.no_grad()
    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        z = torch.randn(n, self.networks.noise, generator=generator, device=device_of(generator))
        return self.coordinates.stretch(self.networks.generate(z, condition), generator)


@dataclass(frozen=True)
class Adversarial(Method):
    """A generator against a critic, one update of each in turn.

    Every network has two hidden layers of rectified units, as in the experiments of VEEGAN (arXiv:1705.07761) and of
    Metz et al. (arXiv:1611.02163, appendix A), with batch normalisation in generator and encoder as in those of PacGAN
    (arXiv:1712.04086); all are trained by Adam.

    Args:
        name, title, source, pace: see `Method`.
        packing: draws that the critic sees together.
        critic_updates: in each step.
        rate, critic_rate: learning rates.
        betas: of Adam.
        fall: share of the steps, at the end, over which the rates fall to zero.
        joint: whether the critic sees draws with their noise, and there is an encoder.
        normalise: whether generator and encoder have batch normalisation.
        scale: whether the networks see draws of mean 0 and variance 1, or as they are.
        noise: bounds of the size of the generator's input, see `noise_size`.
        batch, width: in place of the effort's.
    """

    name: str
    title: str
    source: str
    pace: float = 5.0
    packing: int = 1
    critic_updates: int = 1
    rate: float = 1e-3
    critic_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    fall: float = 0.5
    joint: bool = False
    normalise: bool = True
    scale: bool = True
    noise: tuple[int, int] = (2, 254)
    batch: int | None = None
    width: int | None = None
    group: str = "baseline"

    def build(self, target: Target, effort: Effort) -> AdversarialNetworks:
        """Untrained networks."""
        d, c, k = target.dimension, target.condition_size, noise_size(target, *self.noise)
        seen = self.packing * (d + k * self.joint) + c
        return AdversarialNetworks(
            perceptron(k + c, d, width=effort.width, normalise=self.normalise),
            perceptron(seen, 1, width=effort.width),
            perceptron(d + k + c, k, width=effort.width, normalise=self.normalise) if self.joint else None,
            noise=k,
            packing=self.packing,
        )

    def coordinates(self, x: Tensor) -> Coordinates:
        """What the networks see of draws like these, (n, d)."""
        return Scale(x) if self.scale else Untouched()

    def critic_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """What the critic minimises: by default the logistic loss."""
        z = networks.draw_noise(batch, generator)
        with torch.no_grad():
            fake = networks.generate(z, batch.condition)
        return critic_loss(networks.logits(batch.x, batch.condition), networks.logits(fake, batch.condition))

    def generator_objective(self, networks: AdversarialNetworks, batch: Batch, generator: torch.Generator) -> Tensor:
        """What the generator minimises: by default the non-saturating loss of Goodfellow et al., arXiv:1406.2661."""
        fake = networks.generate(networks.draw_noise(batch, generator), batch.condition)
        return softplus(-networks.logits(fake, batch.condition)).mean()

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`."""
        effort = replace(effort, batch=self.batch or effort.batch, width=self.width or effort.width)
        with seeded(seed, effort.device) as generator:
            pool = Pool(target, effort, generator, packing=self.packing)
            coordinates = self.coordinates(pool.x)
            pool.x = coordinates.shrink(pool.x)
            networks = self.build(target, effort).to(effort.device)
            critic = Learner(networks.critic, self.critic_rate, self.betas)
            others = [networks.generator] if networks.auxiliary is None else [networks.generator, networks.auxiliary]
            generating = Learner(nn.ModuleList(others), self.rate, self.betas)
            for fraction in effort.rounds(report):
                for learner in (critic, generating):
                    learner.slow_down(min((1 - fraction) / self.fall, 1.0) if self.fall else 1.0)
                for _ in range(self.critic_updates):
                    critic.learn(self.critic_objective(networks, pool.batch(), generator))
                generating.learn(self.generator_objective(networks, pool.batch(), generator))
            return checked(GeneratorSampler(networks.cpu(), coordinates.cpu()), target)


class Learner:
    """Adam on one network; notices when the loss is no longer a number.

    Args:
        network: trained.
        rate: learning rate.
        betas: of Adam.
    """

    def __init__(self, network: nn.Module, rate: float, betas: tuple[float, float]):
        self.parameters, self.rate = list(network.parameters()), rate
        self.optimiser = torch.optim.Adam(self.parameters, rate, betas=betas, fused=True)

    def slow_down(self, factor: float) -> None:
        """Set the learning rate to a fraction of its peak."""
        self.optimiser.param_groups[0]["lr"] = self.rate * factor

    def learn(self, loss: Tensor) -> None:
        """One step down the gradient.

        Raises:
            DivergedError: the loss is not finite.
        """
        if not torch.isfinite(loss):
            raise DivergedError(
                f"training diverged: loss {float(loss.detach())}; lower the learning rate ({self.rate:g})"
            )
        # Only this network's gradients: those of the others, through which the loss passes, are not even computed.
        for parameter, gradient in zip(self.parameters, torch.autograd.grad(loss, self.parameters), strict=True):
            parameter.grad = gradient
        self.optimiser.step()


def checked(sampler: Sampler, target: Target) -> Sampler:
    """The sampler, if its draws are numbers.

    Raises:
        DivergedError: they are not.
    """
    generator = torch.Generator().manual_seed(0)
    condition = target.sample_conditions(64, generator)
    if not torch.isfinite(sampler.sample(64, condition=condition, generator=generator)).all():
        raise DivergedError("training diverged: draws are no longer finite; lower the learning rate")
    return sampler
