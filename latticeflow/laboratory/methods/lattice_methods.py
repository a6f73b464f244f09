"""The flows of the lattice, with their own training, as methods of the laboratory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latticeflow.flows import Flow, build_flow
from latticeflow.laboratory.methods.method_registry import (
    DivergedError,
    Effort,
    Method,
    Report,
    Sampler,
    register,
    seeded,
)
from latticeflow.laboratory.targets import Target, XYLattice
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.trainer import Trainer, TrainingDivergedError, TrainingSettings


class LatticeSampler(Sampler):
    """A flow of lattice configurations.

    Args:
        flow: trained.
        target: whose condition is the temperature.
    """

    has_density = True

    def __init__(self, flow: Flow, target: XYLattice):
        self.flow, self.target = flow.eval(), target

    def _temperature(self, condition: Tensor | None) -> Tensor:
        assert condition is not None
        return self.target.temperature(condition).float()

    @torch.no_grad()
    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """See `Sampler.sample`."""
        return self.flow.sample(n, self._temperature(condition), generator=generator)[0].flatten(1)

    @torch.no_grad()
    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `Sampler.log_prob`."""
        return self.flow.log_prob(x.view(-1, *self.target.lattice.shape), self._temperature(condition))


class LatticeFlowMethod(Method):
    """A flow of `latticeflow.flows` by an objective of `latticeflow.training`; it learns lattices alone.

    Args:
        flow: its name.
        objective: its name.
    """

    group = "lattice flow"
    pace = 0.25

    def __init__(self, flow: str, objective: str):
        self.flow, self.objective = flow, objective
        self.name, self.title = f"{flow}_{objective}", f"{flow}, {objective.replace('_', ' ')}"
        self.source = "latticeflow.flows"

    def supports(self, target: Target) -> bool:
        """See `Method.supports`."""
        return isinstance(target, XYLattice)

    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """See `Method.fit`; the effort's width does not count."""
        assert isinstance(target, XYLattice)
        grid = target.temperatures
        conditions = target.conditions()
        with seeded(seed, effort.device):
            flow = build_flow(self.flow, target.model, target.lattice, (grid[0], grid[-1])).to(effort.device)
            generator = torch.Generator().manual_seed(seed)

            def draw(n: int) -> np.ndarray:
                theta = target.sample(
                    len(grid) * n, condition=conditions.repeat_interleave(n, dim=0), generator=generator
                )
                return theta.view(len(grid), n, *target.lattice.shape).numpy()

            per_temperature = max(2, effort.batch // len(grid) // 2 * 2)
            settings = TrainingSettings(
                self.objective, steps=effort.steps, batch_temperatures=len(grid), batch_draws=per_temperature, seed=seed
            )
            reference = ReferenceDraws(draw, np.array(grid), device=effort.device, model=target.model)
            trainer = Trainer(flow, settings, reference)
            try:
                for _ in effort.rounds(report):
                    trainer.step()
            except TrainingDivergedError as error:
                raise DivergedError(str(error)) from error
        return LatticeSampler(flow.cpu(), target)


register(LatticeFlowMethod("multiscale", "log_variance"))
register(LatticeFlowMethod("multiscale", "reverse_kl"))
