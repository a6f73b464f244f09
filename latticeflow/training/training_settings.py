"""How to train: every choice, with the defaults of each flow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Self

from latticeflow.flows import Flow, Multiscale
from latticeflow.training.objectives import SCHEDULES, Objective, objective_from_name
from latticeflow.training.weight_schedule import WeightSchedule
from mcmc import InputError
from mcmc.runtime.arguments import whole_number
from mcmc.runtime.registry import nearest

CRITICS = ("symmetric", "published")
DECAYS = ("cosine", "constant", "published")
LARGE = 1024
GRADIENTS = ("reparameterised", "score_function")


@dataclass(frozen=True)
class CriticSettings:
    """The critic of the adversarial term.

    Args:
        kind: ``symmetric`` for `critic.Critic`, ``published`` for `critic.PublishedCritic`.
        channels: of each of its convolutions, or units of each of its layers.
        packing: configurations that the critic sees together (Lin et al., PacGAN, arXiv:1712.04086).
        spectral_norm: bound its Lipschitz constant (Miyato et al., arXiv:1802.05957).
        gradient_penalty: weight of the penalty on its slope at ensemble draws, R1 (Mescheder, Geiger, Nowozin,
            arXiv:1801.04406); 0 for none.
        weight_clip: bound of its weights after every step (Arjovsky, Chintala, Bottou, arXiv:1701.07875); 0 for none.
        augment: turn and reflect what it sees at random, which makes it blind to the direction of the magnetisation;
            None does so for flows with these symmetries, as others must learn them. The published critic never does.
        learning_rate: of its Adam.

    Raises:
        InputError: naming the value and the remedy.
    """

    kind: str = "symmetric"
    channels: int = 32
    packing: int = 2
    spectral_norm: bool = True
    gradient_penalty: float = 0.0
    weight_clip: float = 0.0
    augment: bool | None = None
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.kind not in CRITICS:
            raise InputError(f"unknown critic {self.kind!r}: choose one of {', '.join(CRITICS)}")
        for name in ("channels", "packing", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"critic's {name} = {getattr(self, name)} must be positive")
        for name in ("gradient_penalty", "weight_clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"critic's {name} = {getattr(self, name)} must not be negative")


PUBLISHED_CRITIC = CriticSettings("published", channels=64, packing=1, spectral_norm=False, augment=False)
"""The critic of the authors' notebook, but for its learning rate, 5e-5, which no training of minutes can afford."""


_RENAMED = {"temperatures": "batch_temperatures", "draws": "batch_draws"}
"""Names of settings in checkpoints of earlier releases, and what they are called now."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Args:
        objective: a name of `objectives.OBJECTIVES`; None is the flow's default, or ``sites_first`` for a multiscale
            flow of `LARGE` sites or more, on which a step with whole draws takes seconds.
        steps: optimiser steps; or
        minutes: wall time. Exactly one of the two is given.
        batch_temperatures: temperatures in one batch; of ensemble draws not more than the ensemble has.
        batch_draws: configurations of each of them.
        rows: sites of all configurations together that a step of the term ``sites`` evaluates.
        least_spacing: of a multiscale flow, train the nets of groups whose known sites lie at least this far apart, and
            leave the finer ones as they are; see `growth`. 1 trains all; None, too, but on the way to larger lattices.
        learning_rate: of the flow, at its peak; None is the flow's default.
        warmup: steps over which it rises.
        decay: how it falls afterwards: ``cosine`` to zero at the end; ``constant``; or ``published``, by 5 % after
            every 1,250 steps, ten times, as in the AdvNF paper's notebook.
        clip_norm: bound of the gradient's norm.
        ema: decay of the exponential moving average of the parameters, which then is what is served; 0 for none.
        weights: of terms of the objective, by the names of `Objective`, in place of the objective's own.
        schedules: of the weights of some terms, by the same names; the others are constant.
        gradient: how the flow's own draws teach it: ``reparameterised``, through the draws, or ``score_function``; None
            is the flow's default.
        critic: of the adversarial term.
        seed: of every random number of the training.

    Raises:
        InputError: naming the value and the remedy.
    """

    objective: str | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_temperatures: int = 32
    batch_draws: int = 16
    rows: int = 8192
    least_spacing: int | None = None
    learning_rate: float | None = None
    warmup: int = 50
    decay: str = "cosine"
    clip_norm: float = 1.0
    ema: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    schedules: Mapping[str, WeightSchedule] = field(default_factory=dict)
    gradient: str | None = None
    critic: CriticSettings = field(default_factory=CriticSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if self.objective is not None:
            objective_from_name(self.objective)
        if (self.steps is None) == (self.minutes is None):
            raise InputError("give either a number of steps or a number of minutes")
        for name in ("steps", "minutes", "batch_temperatures", "rows", "least_spacing", "learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and float(value) > 0):
                raise InputError(f"{name} = {value!r} must be a positive number")
        for name in ("steps", "batch_temperatures", "batch_draws", "rows", "least_spacing", "warmup", "seed"):
            if (value := getattr(self, name)) is not None:
                whole_number(name, value, 0)
        if self.batch_draws < 2 or self.batch_draws % 2:
            raise InputError(f"batch_draws = {self.batch_draws} per temperature must be an even number of at least 2")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema} must be 0 for no average, or a decay below 1 such as 0.999")
        if self.decay not in DECAYS:
            raise InputError(f"unknown decay {self.decay!r} of the rate: choose one of {', '.join(DECAYS)}")
        if self.gradient is not None and self.gradient not in GRADIENTS:
            raise InputError(f"unknown gradient {self.gradient!r}: choose one of {', '.join(GRADIENTS)}")
        known = [each.name for each in fields(Objective)]
        for name in (*self.weights, *self.schedules):
            if name not in known:
                raise InputError(f"objectives have no term {name!r}: {nearest(name, known)}")
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise InputError(f"weight {name} = {weight} must be finite and not negative")
        if not any({**vars(objective_from_name(self.objective or "advnf")), **self.weights}.values()):
            raise InputError("every term of the objective has weight 0: nothing is left to train on")

    def resolved(self, flow: Flow | type[Flow]) -> Self:
        """The same with the defaults of a flow filled in."""
        large = isinstance(flow, Multiscale) and flow.lattice.N >= LARGE
        objective = self.objective or ("sites_first" if large else flow.objective)
        return replace(
            self,
            objective=objective,
            learning_rate=self.learning_rate or flow.learning_rate,
            gradient=self.gradient or flow.gradient,
            schedules=self.schedules or SCHEDULES.get(objective, {}),
        )

    def rate(self, step: int, fraction: float) -> float:
        """The learning rate at a step, over that at its peak."""
        falling = {
            "cosine": 0.5 * (1 + math.cos(math.pi * fraction)),
            "constant": 1.0,
            "published": 0.95 ** min(step // 1250, 10),
        }
        return min(1.0, (step + 1) / max(self.warmup, 1)) * falling[self.decay]

    def terms(self, flow: Flow | type[Flow]) -> Objective:
        """Weights of the objective for a flow."""
        return replace(objective_from_name(self.resolved(flow).objective or flow.objective), **self.weights)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Settings as a checkpoint holds them, also of releases that knew fewer, or called some otherwise."""
        stored = {_RENAMED.get(name, name): value for name, value in stored.items()}
        if stored.get("gradient") == "auto":  # what None was called
            stored["gradient"] = None
        critic = stored.pop("critic", {})
        if "critic_rate" in stored:
            critic = {"learning_rate": stored.pop("critic_rate")}
        schedules = {name: WeightSchedule(**each) for name, each in stored.pop("schedules", {}).items()}
        return cls(**stored, schedules=schedules, critic=CriticSettings(**critic))
