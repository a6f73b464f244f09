"""Several flows, trained alike from different seeds, as one density: the simplest remedy against lost modes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from latticeflow.laboratory.methods.flow_methods import FlowMethod
from latticeflow.laboratory.methods.method_registry import Effort, Method, Report, Sampler, register
from latticeflow.laboratory.targets import Target
from latticeflow.laboratory.targets.target import device_of


class MixtureSampler(Sampler):
    """q(x) = (1 / K) sum_k q_k(x), exactly.

    Args:
        parts: with densities.
    """

    has_density = True

    def __init__(self, parts: list[Sampler]):
        self.parts = parts

    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        chosen = torch.randint(len(self.parts), (n,), generator=generator, device=device_of(generator))
        drawn = torch.stack([part.sample(n, condition=condition, generator=generator) for part in self.parts])
        return drawn[chosen, torch.arange(n, device=drawn.device)]

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `Sampler.log_prob`."""
        each = torch.stack([part.log_prob(x, condition) for part in self.parts])
        return each.logsumexp(0) - math.log(len(self.parts))


class FlowMixture(Method):
    """Flows of one architecture and objective, each with its share of the budget.

    Args:
        architecture, objective: see `FlowMethod`.
        count: K.
    """

    group = "objective"

    def __init__(self, architecture: str, objective: str, count: int):
        self.part, self.count = FlowMethod(architecture, objective), count
        self.name, self.title = f"{self.part.name}_mixture{count}", f"{count} x {self.part.title}"
        self.source, self.pace = self.part.source, self.part.pace

    def supports(self, target: Target) -> bool:
        """See `Method.supports`."""
        return self.part.supports(target)

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`."""
        share = replace(effort, steps=max(1, effort.steps // self.count))
        parts = []
        for k in range(self.count):
            parts.append(self.part.fit(target, share, seed=1000 * seed + k))
            report((k + 1) / self.count)
        return MixtureSampler(parts)


for _architecture in ("realnvp", "spline"):
    register(FlowMixture(_architecture, "reverse_kl", 8))
