"""Flows as methods: every architecture by forward KL, and two of them by every objective."""

from __future__ import annotations

from latticeflow.laboratory.methods.architectures import ARCHITECTURES
from latticeflow.laboratory.methods.density_flow import FlowSampler
from latticeflow.laboratory.methods.density_objectives import OBJECTIVES, train
from latticeflow.laboratory.methods.method_registry import Effort, Method, Report, Sampler, register, seeded
from latticeflow.laboratory.targets import Target
from mcmc import InputError


class FlowMethod(Method):
    """A flow of an architecture, trained by an objective.

    Args:
        architecture: a name of `ARCHITECTURES`.
        objective: a name of `OBJECTIVES`.

    Raises:
        InputError: unknown name.
    """

    def __init__(self, architecture: str, objective: str = "forward_kl"):
        for name, choices in ((architecture, ARCHITECTURES), (objective, OBJECTIVES)):
            if name not in choices:
                raise InputError(f"unknown flow or objective {name!r}: choose one of {', '.join(choices)}")
        self.architecture, self.objective = ARCHITECTURES[architecture], OBJECTIVES[objective]
        plain = objective == "forward_kl"
        self.name = architecture if plain else f"{architecture}_{objective}"
        self.title = self.architecture.title if plain else f"{self.architecture.title}, {self.objective.title}"
        self.group = "flow" if plain else "objective"
        self.source, self.pace = self.architecture.source, self.architecture.pace

    def supports(self, target: Target) -> bool:
        """See `Method.supports`."""
        if self.objective.needs_density and not target.has_density:
            return False
        return target.dimension <= self.architecture.largest

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`."""
        with seeded(seed, effort.device) as generator:
            flow = self.architecture.build(target.dimension, target.condition_size, effort.width).to(effort.device)
            train(flow, target, self.objective, effort, generator=generator, report=report)
        return FlowSampler(flow.cpu())


for _name in ARCHITECTURES:
    register(FlowMethod(_name))
for _objective in OBJECTIVES:
    if _objective != "forward_kl":
        register(FlowMethod("realnvp", _objective))
        register(FlowMethod("spline", _objective))
for _objective in ("reverse_kl", "advnf_reverse"):
    register(FlowMethod("realnvp16_relu", _objective))
