"""What the training of a flow on R^d minimises; gradients pass through its draws.

- ``forward``: weight of the flow's own loss on draws of the target, forward KL for all but flow matching.
- ``reverse``: weight of the reverse KL, the mean of log q - log p over the flow's draws.
- ``critic``: weight of a critic that tells the flow's draws from the target's; ``jensen_shannon`` is the logistic one
  of a GAN, with the non-saturating loss of the generator (Goodfellow et al., arXiv:1406.2661), ``wasserstein`` bounds
  its gradient by a penalty (Gulrajani et al., arXiv:1704.00028).
- ``fisher``: weight of the mean of |grad log q - grad log p|^2 / d over draws of the target (score matching,
  Hyvarinen 2005, with the score known), in the scaled coordinates of the flow.

``critic_updates`` are made before each of the flow.
AdvNF is a KL divergence, or both, with the logistic critic (Kanaujia, Scheurer, Arora, arXiv:2401.15948).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latticeflow.laboratory.methods.density_flow import DensityFlow
from latticeflow.laboratory.methods.layers import joined
from latticeflow.laboratory.methods.method_registry import DivergedError, Effort, Report
from latticeflow.laboratory.targets import Target

CLIP_NORM = 5.0


@dataclass(frozen=True)
class Objective:
    """Weights of the terms; see the module."""

    title: str
    forward: float = 0.0
    reverse: float = 0.0
    critic: float = 0.0
    kind: str = "jensen_shannon"
    fisher: float = 0.0
    learning_rate: float = 2e-3
    critic_updates: int = 1

    @property
    def needs_density(self) -> bool:
        """Whether the target's density enters."""
        return bool(self.reverse or self.fisher)


OBJECTIVES = {
    "forward_kl": Objective("FKL", forward=1.0),
    "reverse_kl": Objective("RKL", reverse=1.0),
    "jeffreys": Objective("FKL + RKL", forward=0.5, reverse=0.5),
    "advnf_forward": Objective("AdvNF (FKL)", forward=1.0, critic=0.5),
    "advnf_reverse": Objective("AdvNF (RKL)", reverse=1.0, critic=0.5),
    "advnf": Objective("AdvNF (FKL + RKL)", forward=0.5, reverse=0.5, critic=0.5),
    "jensen_shannon": Objective("JS critic", critic=1.0),
    "wasserstein": Objective(
        "Wasserstein critic", critic=1.0, kind="wasserstein", learning_rate=5e-4, critic_updates=3
    ),
    "fisher": Objective("Fisher divergence", fisher=1.0),
}


class DensityCritic(nn.Module):
    """Tells draws of the target from the flow's; angles enter as (cos, sin).

    Args:
        target: whose draws it sees.
        location, scale: of the draws, (d,).
        width: of its two hidden layers.
    """

    def __init__(self, target: Target, location: Tensor, scale: Tensor, width: int):
        super().__init__()
        self.register_buffer("location", location.clone())
        self.register_buffer("scale", scale.clone())
        self.periodic = target.bounds is not None
        inputs = target.dimension * (1 + self.periodic) + target.condition_size
        self.net = nn.Sequential(
            nn.Linear(inputs, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Logit of "drawn from the target", (n,)."""
        if self.periodic:
            x = torch.cat((x.cos(), x.sin()), dim=1)
        else:
            x = (x - self.get_buffer("location")) / self.get_buffer("scale")
        return self.net(joined(x, condition))[:, 0]


def critic_loss(critic: DensityCritic, kind: str, real: Tensor, fake: Tensor, condition: Tensor | None) -> Tensor:
    """Loss of the critic on draws of the target and of the flow, (n, d) each, at the same conditions."""
    if kind == "jensen_shannon":
        return softplus(-critic(real, condition)).mean() + softplus(critic(fake, condition)).mean()
    mix = torch.rand(len(real), 1, device=real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, condition).sum(), between, create_graph=True)
    norm = slope.square().sum(1).add(1e-12).sqrt() * critic.get_buffer("scale").mean()
    return critic(fake, condition).mean() - critic(real, condition).mean() + 10 * (norm - 1).square().mean()


def train(
    flow: DensityFlow,
    target: Target,
    objective: Objective,
    effort: Effort,
    *,
    generator: torch.Generator,
    report: Report = lambda fraction: None,
) -> None:
    """Train a flow in place by Adam, with a rate that falls to zero.

    Args:
        flow: on the generator's device.
        target: to learn.
        objective: what to minimise.
        effort: the budget.
        generator: of the draws; weights and the critic take torch's default randomness.
        report: see `Effort.rounds`.

    Raises:
        DivergedError: the loss or the gradient is no longer finite.
    """
    condition = target.sample_conditions(2048, generator)
    flow.prepare(target, _reference(target, condition, 2048, generator), condition)
    flow.train()
    # Against a critic that changes all the time, a long memory overshoots.
    betas = (0.9, 0.99) if objective.forward or objective.reverse or objective.fisher else (0.5, 0.9)
    optimiser = torch.optim.Adam(flow.parameters(), objective.learning_rate, betas=betas, fused=True)
    critic = critic_optimiser = None
    if objective.critic:
        critic = DensityCritic(target, flow.location, flow.scale, 2 * effort.width).to(generator.device)
        critic_optimiser = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.9), fused=True)
    for step, fraction in enumerate(effort.rounds(report)):
        rate = min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * fraction))
        optimiser.param_groups[0]["lr"] = objective.learning_rate * rate
        condition = target.sample_conditions(effort.batch, generator)
        loss = torch.zeros((), dtype=torch.float64, device=generator.device)
        real = None
        if objective.forward or objective.critic or objective.fisher:
            real = _reference(target, condition, effort.batch, generator)
        if objective.forward:
            assert real is not None
            loss = loss + objective.forward * flow.loss(real, condition, generator)
        if objective.fisher:
            assert real is not None
            loss = loss + objective.fisher * fisher_divergence(flow, target, real, condition)
        if objective.reverse or critic is not None:
            fake, log_q = flow.draw(effort.batch, condition, generator)
            if objective.reverse:
                loss = loss + objective.reverse * (log_q - target.log_prob(fake, condition)).mean()
            if critic is not None:
                assert critic_optimiser is not None
                assert real is not None
                for update in range(objective.critic_updates):
                    if update:
                        real = _reference(target, condition, effort.batch, generator)
                        fake, _ = flow.draw(effort.batch, condition, generator)
                    judged = critic_loss(critic, objective.kind, real, fake.detach(), condition)
                    critic_optimiser.zero_grad()
                    judged.backward()
                    critic_optimiser.step()
                logits = critic(fake, condition)
                reward = -logits if objective.kind == "wasserstein" else softplus(-logits)
                loss = loss + objective.critic * reward.mean()
        optimiser.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(flow.parameters(), CLIP_NORM))
        if not norm < float("inf"):
            raise DivergedError(
                f"training diverged at step {step}: loss {float(loss.detach()):g}, gradient norm {norm:g}"
            )
        optimiser.step()


def fisher_divergence(flow: DensityFlow, target: Target, x: Tensor, condition: Tensor | None) -> Tensor:
    """Mean squared difference of the scores of flow and target, a coordinate, at points (n, d); in the flow's units."""
    x = x.detach().requires_grad_()
    (of_target,) = torch.autograd.grad(target.log_prob(x, condition).sum(), x)
    (of_flow,) = torch.autograd.grad(flow.log_prob(x, condition).sum(), x, create_graph=True)
    return ((of_flow - of_target) * flow.scale).square().mean().double()


def _reference(target: Target, condition: Tensor | None, n: int, generator: torch.Generator) -> Tensor:
    """Draws of the target, with the noise that flows need where there is no density."""
    x = target.sample(n, condition=condition, generator=generator)
    if target.blur:
        x = x + target.blur * torch.randn(x.shape, generator=generator, device=x.device)
    return x
