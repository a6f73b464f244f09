"""What the training of a flow on R^d minimises; gradients pass through its draws.

The terms and their weights are those of `latticeflow.training.objectives`: ``nll`` is the flow's own loss on draws of
the target, forward KL for all but flow matching; ``model`` the reverse KL, the mean of log q - log p over the flow's
draws; ``adversarial`` a critic that tells the flow's draws from the target's. ``jensen_shannon`` is the logistic critic
of a GAN, with the non-saturating loss of the generator (Goodfellow et al., arXiv:1406.2661), ``wasserstein`` bounds its
gradient by a penalty (Gulrajani et al., arXiv:1704.00028). One more term is known here:

- ``fisher``: the mean of |grad log q - grad log p|^2 / d over draws of the target (score matching, Hyvarinen 2005, with
  the score known), in the scaled coordinates of the flow.

AdvNF is a KL divergence, or both, with the logistic critic (Kanaujia, Scheurer, Arora, arXiv:2401.15948).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from latticeflow.laboratory.methods.density_flow import DensityFlow
from latticeflow.laboratory.methods.layers import joined
from latticeflow.laboratory.methods.method_registry import DivergedError, Effort, Report
from latticeflow.laboratory.targets import Target
from latticeflow.training.critic import clip_weights
from latticeflow.training.objectives import OBJECTIVES as TERMS
from latticeflow.training.objectives import Objective
from latticeflow.training.training_settings import CriticSettings
from latticeflow.training.weight_schedule import WeightSchedule, weighted_sum
from mcmc import InputError

CLIP_NORM = 5.0
HOTTEST = 0.02
"""Power of the target's density where tempering begins; modes 7 standard deviations apart are then one."""
PLAIN_CRITIC = CriticSettings(channels=128, packing=1, spectral_norm=False, augment=False)
"""The critic on R^d: leaky units and nothing that bounds it."""


@dataclass(frozen=True)
class DensityObjective:
    """What to minimise, and how.

    Args:
        title: in tables.
        terms: weights; see the module.
        fisher: weight of that term.
        distance: what the critic measures, ``jensen_shannon`` or ``wasserstein``.
        schedules: of the weights of some terms, by the names of `Objective`.
        tempering: how the logarithm of the power of the target's density in the reverse KL rises, from that of
            `HOTTEST` to 0; None keeps the power 1.
        critic: its settings; its ``augment`` does not count.
        critic_updates: before each of the flow.
        learning_rate: of the flow.

    Raises:
        InputError: a term that needs a lattice.
    """

    title: str
    terms: Objective = field(default_factory=Objective)
    fisher: float = 0.0
    distance: str = "jensen_shannon"
    schedules: Mapping[str, WeightSchedule] = field(default_factory=dict)
    tempering: WeightSchedule | None = None
    critic: CriticSettings = PLAIN_CRITIC
    critic_updates: int = 1
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        """Refuse what cannot be learned here."""
        if self.terms.ensemble:
            raise InputError("the variance of log weights over the ensemble is a term of lattice flows alone")

    @property
    def needs_density(self) -> bool:
        """Whether the target's density enters."""
        return bool(self.terms.model or self.fisher)

    def varied(self, title: str, **changes: float) -> DensityObjective:
        """The same with other weights of its terms."""
        return replace(self, title=title, terms=replace(self.terms, **changes))


RAMP = WeightSchedule("rise", 0.2, 0.8)
"""No reverse KL in the first fifth, while the critic spreads the flow over all modes; all of it in the last."""

OBJECTIVES = {
    "forward_kl": DensityObjective("FKL", TERMS["forward_kl"]),
    "reverse_kl": DensityObjective("RKL", TERMS["reverse_kl"]),
    "forward_reverse_kl": DensityObjective("FKL + RKL", TERMS["forward_reverse_kl"]),
    "advnf_forward": DensityObjective("AdvNF (FKL)", TERMS["advnf_forward"]),
    "advnf_reverse": DensityObjective("AdvNF (RKL)", TERMS["advnf_reverse"]),
    "advnf": DensityObjective("AdvNF (FKL + RKL)", TERMS["advnf"]),
    "jensen_shannon": DensityObjective("JS critic", Objective(adversarial=1.0)),
    "wasserstein": DensityObjective(
        "Wasserstein critic", Objective(adversarial=1.0), distance="wasserstein", learning_rate=5e-4, critic_updates=3
    ),
    "fisher": DensityObjective("Fisher divergence", fisher=1.0),
}
"""By name; those that lattices know too have the weights of `latticeflow.training.objectives`."""


class DensityCritic(nn.Module):
    """Tells draws of the target from the flow's; angles enter as (cos, sin).

    Args:
        target: whose draws it sees.
        location, scale: of the draws, (d,).
        settings: its two hidden layers have ``channels`` units, leaky or, if ``published``, of tanh.
    """

    def __init__(self, target: Target, location: Tensor, scale: Tensor, settings: CriticSettings = PLAIN_CRITIC):
        super().__init__()
        self.register_buffer("location", location.clone())
        self.register_buffer("scale", scale.clone())
        self.periodic, self.packing = target.bounds is not None, settings.packing
        bound = spectral_norm if settings.spectral_norm else lambda layer: layer
        inputs = settings.packing * target.dimension * (1 + self.periodic) + target.condition_size
        layers: list[nn.Module] = []
        for size in (inputs, settings.channels):
            unit = nn.Tanh() if settings.kind == "published" else nn.LeakyReLU(0.2)
            layers += [bound(nn.Linear(size, settings.channels)), unit]
        self.net = nn.Sequential(*layers, bound(nn.Linear(settings.channels, 1)))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Logit of "drawn from the target", (n / packing,); draws of a pack share the first one's condition."""
        if self.periodic:
            x = torch.cat((x.cos(), x.sin()), dim=1)
        else:
            x = (x - self.get_buffer("location")) / self.get_buffer("scale")
        together = x.reshape(len(x) // self.packing, -1)
        return self.net(joined(together, None if condition is None else condition[:: self.packing]))[:, 0]


def critic_loss(
    critic: DensityCritic, distance: str, real: Tensor, fake: Tensor, condition: Tensor | None, penalty: float = 0.0
) -> Tensor:
    """Loss of the critic on draws of the target and of the flow, (n, d) each, at the same conditions.

    Args:
        critic: to be trained.
        distance: see `DensityObjective`.
        real, fake, condition: the draws.
        penalty: weight of R1, the mean square of the logit's slope at ``real``, in units of the target's scale.
    """
    if distance == "jensen_shannon":
        real = real.detach().requires_grad_(penalty > 0)
        logits = critic(real, condition)
        loss = softplus(-logits).mean() + softplus(critic(fake, condition)).mean()
        if penalty:
            (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            loss = loss + penalty * (slope * critic.get_buffer("scale")).square().sum(1).mean()
        return loss
    mix = torch.rand(len(real), 1, device=real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, condition).sum(), between, create_graph=True)
    norm = slope.square().sum(1).add(1e-12).sqrt() * critic.get_buffer("scale").mean()
    return critic(fake, condition).mean() - critic(real, condition).mean() + 10 * (norm - 1).square().mean()


def train(
    flow: DensityFlow,
    target: Target,
    objective: DensityObjective,
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
        effort: the budget; its batch is rounded to whole packs of the critic's.
        generator: of the draws; weights and the critic take torch's default randomness.
        report: see `Effort.rounds`.

    Raises:
        DivergedError: the loss or the gradient is no longer finite.
    """
    condition = target.sample_conditions(2048, generator)
    flow.prepare(target, _reference(target, condition, 2048, generator), condition)
    flow.train()
    weights, how = objective.terms, objective.critic
    # Against a critic that changes all the time, a long memory overshoots.
    betas = (0.5, 0.9) if weights.adversarial and not weights.nll else (0.9, 0.99)
    optimiser = torch.optim.Adam(flow.parameters(), objective.learning_rate, betas=betas, fused=True)
    critic = critic_optimiser = None
    if weights.adversarial:
        critic = DensityCritic(target, flow.location, flow.scale, how).to(generator.device)
        critic_optimiser = torch.optim.Adam(critic.parameters(), how.learning_rate, betas=(0.5, 0.9), fused=True)
    packing = how.packing if weights.adversarial else 1
    batch = max(1, effort.batch // packing) * packing

    def conditions() -> Tensor | None:
        drawn = target.sample_conditions(batch // packing, generator)
        return None if drawn is None else drawn.repeat_interleave(packing, 0)

    for step, fraction in enumerate(effort.rounds(report)):
        rate = min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * fraction))
        optimiser.param_groups[0]["lr"] = objective.learning_rate * rate
        condition = conditions()
        terms: dict[str, Tensor] = {}
        real = _reference(target, condition, batch, generator)
        if weights.nll:
            terms["nll"] = flow.loss(real, condition, generator)
        if objective.fisher:
            terms["fisher"] = fisher_divergence(flow, target, real, condition)
        if weights.model or critic is not None:
            fake, log_q = flow.rsample(batch, condition, generator)
            if weights.model:
                power = 1.0
                if objective.tempering is not None:
                    power = HOTTEST ** (1 - objective.tempering.factor(fraction))
                terms["model"] = (log_q - power * target.log_prob(fake, condition)).mean()
            if critic is not None:
                assert critic_optimiser is not None
                for update in range(objective.critic_updates):
                    drawn = fake.detach()
                    if update:
                        real = _reference(target, condition, batch, generator)
                        with torch.no_grad():
                            drawn, _ = flow.rsample(batch, condition, generator)
                    of_critic = critic_loss(critic, objective.distance, real, drawn, condition, how.gradient_penalty)
                    critic_optimiser.zero_grad()
                    of_critic.backward()
                    critic_optimiser.step()
                    clip_weights(critic, how.weight_clip)
                logits = critic(fake, condition)
                terms["adversarial"] = (-logits if objective.distance == "wasserstein" else softplus(-logits)).mean()
        now = {**vars(weights), "fisher": objective.fisher}
        loss = weighted_sum(terms, now, objective.schedules, fraction=fraction, parameters=flow.parameters())
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
