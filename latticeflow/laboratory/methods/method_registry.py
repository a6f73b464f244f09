"""The contract of every method that learns to draw from a density, and the registry of methods."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from latticeflow.laboratory.targets import Target
from mcmc import InputError

Report = Callable[[float], None]
"""Called now and then with the fraction of the training that is done."""


class DivergedError(InputError):
    """A training whose loss, gradient or draws are no longer numbers."""


@dataclass(frozen=True)
class Effort:
    """The budget of one run: the same for every method.

    Args:
        steps: updates of the generator (or flow); other networks are trained in between at the method's own ratio.
        batch: draws in one update.
        width: units of each hidden layer.
        seconds: stop earlier after this wall time; None sets no limit.
        device: where to train.

    Raises:
        InputError: a number that is not positive.
    """

    steps: int = 2000
    batch: int = 256
    width: int = 64
    seconds: float | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse budgets that cannot train."""
        for name in ("steps", "batch", "width", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} = {value} must be positive")

    def rounds(self, report: Report = lambda fraction: None) -> Iterator[float]:
        """Iterate over the steps, yielding the fraction that is done, 0 <= f < 1; stops when the budget is spent."""
        started = time.monotonic()
        for step in range(self.steps):
            fraction = step / self.steps
            if self.seconds is not None:
                fraction = max(fraction, (time.monotonic() - started) / self.seconds)
                if fraction >= 1:
                    break
            if step % 50 == 0:
                report(fraction)
            yield fraction
        report(1.0)


class Sampler(ABC):
    """What a method has learned: draws, and their log density where the method knows it."""

    has_density = False
    """Whether `log_prob` exists."""

    @abstractmethod
    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw without gradient, float32 (n, d); arguments as of `Target.sample`."""

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log density with respect to dx, without gradient, float64 (n,), at points (n, d).

        Raises:
            InputError: the method knows no density.
        """
        raise InputError(f"{type(self).__name__} has no density: evaluate it by its draws")


class Method(ABC):
    """A way to learn to draw from a target.

    Attributes:
        name: in the registry and in tables.
        title: in words, for tables and figures.
        group: "flow", "objective", "baseline" or whatever else heads its part of the table.
        source: the paper.
        trained: whether seeds and effort matter.
        pace: updates for each unit of effort in the table, so that methods cost about as much as one another.
    """

    name: str
    title: str
    group: str
    source: str
    trained = True
    pace = 1.0

    @property
    def short_title(self) -> str:
        """For figures with little room."""
        return self.title

    def supports(self, target: Target) -> bool:
        """Whether the method can learn this target, at an affordable cost; all of them by default."""
        return True

    @abstractmethod
    def fit(self, target: Target, effort: Effort, *, seed: int = 0, report: Report = lambda fraction: None) -> Sampler:
        """Learn; a pure function of its arguments (but for a limit of ``seconds``).

        Args:
            target: gives fresh draws by `Target.sample`, and its density where the method wants it.
            effort: the budget.
            seed: of all randomness; wrap the body in `seeded` for initial weights and the generator.
            report: called with the fraction that is done; pass it to `Effort.rounds`.

        Raises:
            DivergedError: numbers are no longer finite.
        """


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[torch.Generator]:
    """Torch's default randomness seeded inside, and restored outside; yields a generator on the device."""
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield torch.Generator(device).manual_seed(seed)


METHODS: dict[str, Method] = {}
"""Every method by name; the tests of the contract run over this registry."""


def register(method: Method) -> Method:
    """Put a method into the table.

    Raises:
        InputError: another method has its name.
    """
    if method.name in METHODS:
        raise InputError(f"a method named {method.name!r} is there already: choose another name")
    METHODS[method.name] = method
    return method


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}, or give module:name")
    return METHODS[name]
