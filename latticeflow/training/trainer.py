"""The trainer: batches, gradients, schedule, guard against NaN, state for an exact resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from latticeflow.diagnostics import acceptance_of_weights
from latticeflow.flows import Flow
from latticeflow.training.critic import Critic, critic_loss
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.objectives import objective_from_name, score_function
from mcmc import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Args:
        objective: a name of `objectives.OBJECTIVES`.
        steps: optimiser steps; or
        minutes: wall time. Exactly one of the two is given, and the learning rate falls to zero along it.
        temperatures: temperatures in one batch.
        draws: configurations of each of them.
        learning_rate: of Adam, at its peak.
        warmup: steps over which it rises.
        clip_norm: bound of the gradient's norm.
        critic_rate: learning rate of the critic.
        seed: of every random number of the training.

    Raises:
        InputError: naming the value and the remedy.
    """

    objective: str = "advnf"
    steps: int | None = None
    minutes: float | None = None
    temperatures: int = 32
    draws: int = 16
    learning_rate: float = 4e-3
    warmup: int = 50
    clip_norm: float = 1.0
    critic_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        objective_from_name(self.objective)
        if (self.steps is None) == (self.minutes is None):
            raise InputError("give either a number of steps or a number of minutes")
        for name in ("steps", "minutes", "temperatures", "learning_rate", "clip_norm", "critic_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} = {value} must be positive")
        if self.draws < 2 or self.draws % 2:
            raise InputError(f"draws = {self.draws} per temperature must be an even number of at least 2")


class Metrics(NamedTuple):
    """What one step shows; means over the batch."""

    step: int
    seconds: float
    loss: float
    log_weight_variance: float
    """Of the flow's own draws, mean over temperatures; NaN where the objective makes none."""
    acceptance: float
    """Expected acceptance of the independence chain, from the same weights."""
    gradient_norm: float
    critic_loss: float


class TrainingDivergedError(InputError):
    """The loss or its gradient is no longer a number."""


class Trainer:
    """Train a flow; resumable bit for bit on one device and number of threads when trained by steps.

    Args:
        flow: trained in place.
        settings: how.
        reference: ensemble draws; None where the objective needs none.

    Raises:
        InputError: the objective needs ensemble draws and there are none.
    """

    def __init__(self, flow: Flow, settings: TrainingSettings, reference: ReferenceDraws | None = None):
        self.flow, self.settings, self.reference = flow, settings, reference
        self.objective = objective_from_name(settings.objective)
        if self.objective.needs_ensemble and reference is None:
            raise InputError(f"objective {settings.objective!r} needs an ensemble: give one, or use reverse_kl")
        self.optimiser = torch.optim.Adam(flow.parameters(), settings.learning_rate, betas=(0.9, 0.99))
        self.generator = torch.Generator(flow.device).manual_seed(settings.seed)
        self.picker = torch.Generator().manual_seed(settings.seed + 1)
        self.critic: Critic | None = None
        if self.objective.adversarial:
            self.critic = Critic().to(flow.device)
            self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), settings.critic_rate, betas=(0.5, 0.9))
        self.step_number, self.seconds = 0, 0.0

    @property
    def fraction(self) -> float:
        """How much of the training is done, 0 to 1."""
        if self.settings.steps is not None:
            return min(self.step_number / self.settings.steps, 1.0)
        return min(self.seconds / (60 * (self.settings.minutes or 1)), 1.0)

    def run(self, report: Callable[[Metrics], None] | None = None) -> None:
        """Train to the end, calling ``report`` after every step.

        Raises:
            TrainingDivergedError: at the first step whose gradient is not finite; the flow is as it was before it.
        """
        while self.fraction < 1:
            metrics = self.step()
            if report is not None:
                report(metrics)

    def step(self) -> Metrics:
        """One step of the flow, and of the critic where there is one."""
        started = time.monotonic()
        rate = min(1.0, (self.step_number + 1) / self.settings.warmup)
        rate *= 0.5 * (1 + math.cos(math.pi * self.fraction))
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate
        loss = torch.zeros((), device=self.flow.device)
        judged = log_w = None
        if self.objective.needs_draws:
            T = self._random_temperatures()
            theta, log_q = self.flow.sample(T.numel(), T.flatten(), generator=self.generator)
            drawn, log_q, log_w = self._weigh(theta, log_q, T)
            loss = loss + self.objective.model * score_function(log_q, log_w)
        if self.reference is not None and self.objective.needs_ensemble:
            real, real_T = self.reference.batch(self.settings.draws, self.picker)
            if self.objective.nll or self.objective.ensemble:
                theta = real.flatten(0, 1)
                real, real_log_q, real_log_w = self._weigh(theta, self.flow.log_prob(theta, real_T.flatten()), real_T)
                loss = loss - self.objective.nll * real_log_q.mean()
                loss = loss + self.objective.ensemble * score_function(real_log_q, real_log_w)
            if self.critic is not None:
                judged = self._train_critic(real, real_T, drawn, T)
                reward = self.objective.adversarial * self.critic(drawn, T.to(drawn.dtype), self.generator)
                loss = loss + score_function(log_q, reward)
        self.optimiser.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.flow.parameters(), self.settings.clip_norm))
        if not math.isfinite(norm):
            raise TrainingDivergedError(
                f"training diverged at step {self.step_number}: gradient norm {norm}; lower the learning rate "
                f"({self.settings.learning_rate:g}) or check the ensemble with 'latticeflow verify'"
            )
        self.optimiser.step()
        self.step_number += 1
        self.seconds += time.monotonic() - started
        return Metrics(
            step=self.step_number,
            seconds=self.seconds,
            loss=float(loss.detach()),
            log_weight_variance=math.nan if log_w is None else float(log_w.var(1).mean()),
            acceptance=math.nan if log_w is None else float(acceptance_of_weights(log_w.cpu().numpy()).mean()),
            gradient_norm=norm,
            critic_loss=math.nan if judged is None else judged,
        )

    def _random_temperatures(self) -> Tensor:
        """One temperature from each of equal strata of the flow's range, repeated for its draws; (T, n)."""
        low, high = self.flow.temperatures
        count = self.settings.temperatures
        u = torch.rand(count, generator=self.generator, device=self.flow.device)
        # Strata reach the ends of the range more often than its inside, where neighbours help.
        T = low + (high - low) * ((torch.arange(count, device=u.device) + 1.1 * u - 0.05) / count).clamp(0, 1)
        return T[:, None].expand(count, self.settings.draws)

    def _weigh(self, theta: Tensor, log_q: Tensor, T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Configurations, log q and log weights by temperature: (T, n, Ly, Lx), (T, n), (T, n)."""
        log_w = -self.flow.model.energy(theta) / T.flatten() - log_q.detach()
        return theta.unflatten(0, T.shape), log_q.view(T.shape), log_w.view(T.shape)

    def _train_critic(self, real: Tensor, real_T: Tensor, fake: Tensor, fake_T: Tensor) -> float:
        assert self.critic is not None
        loss = critic_loss(
            self.critic(real, real_T, self.generator), self.critic(fake, fake_T.to(fake.dtype), self.generator)
        )
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """All but the flow itself that `load_state_dict` needs to go on exactly."""
        state = {
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "picker": self.picker.get_state(),
            "step": self.step_number,
            "seconds": self.seconds,
        }
        if self.critic is not None:
            state["critic"] = self.critic.state_dict()
            state["critic_optimiser"] = self.critic_optimiser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; the flow's parameters are loaded separately."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.picker.set_state(state["picker"].cpu())
        self.step_number, self.seconds = state["step"], state["seconds"]
        if self.reference is not None and self.objective.needs_ensemble:
            self.reference.skip(self.step_number, self.settings.draws)
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])
