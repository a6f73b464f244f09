"""The contract of every test density: exact draws, exact density, and modes that can be counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from mcmc import InputError


class Assignment(NamedTuple):
    """Which mode each draw belongs to."""

    mode: Tensor
    """Index of the nearest mode, int64 (n,)."""
    high_quality: Tensor
    """Whether the draw lies close enough to that mode to count, bool (n,)."""


class Target(ABC):
    """A density on R^d, perhaps conditional, whose truth is known.

    Subclasses implement `_sample`, `_assign` and, where there is a density, `_log_prob`; shapes are checked here. Draws
    are made on the device of the generator, and everything else on that of its input.

    Args:
        name: in the registry and in tables.
        dimension: d.
        mode_count: number of modes.
        condition_size: features of the condition; 0 for a density without condition.
    """

    has_density = True
    """Whether `log_prob` exists."""
    normalised = True
    """Whether `log_prob` includes the normalising constant."""
    bounds: tuple[float, float] | None = None
    """Interval that holds every coordinate; None for the whole line."""
    draws = 2500
    """Number of draws in which the published protocol counts modes."""
    blur = 0.0
    """Deviation of the normal noise that flows need on draws without a density, lest their own diverge."""

    def __init__(self, name: str, dimension: int, mode_count: int, condition_size: int = 0):
        self.name, self.dimension, self.mode_count = name, dimension, mode_count
        self.condition_size = condition_size

    def sample(self, n: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Independent exact draws.

        Args:
            n: number of draws.
            condition: float32 (n, condition_size), one for each draw; None where ``condition_size`` is 0.
            generator: source of randomness; the draws lie on its device.

        Returns:
            float32 (n, d).
        """
        self._check_condition(n, condition)
        return self._sample(n, condition, generator).float()

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log density, float64 (n,), at points (n, d); differentiable with respect to ``x``.

        Raises:
            InputError: the target has no density, or the shape of ``x`` or ``condition`` is another one.
        """
        if not self.has_density:
            raise InputError(f"target {self.name!r} has no density: evaluate samplers by their draws")
        self._check(x, condition)
        return self._log_prob(x, condition)

    def assign(self, x: Tensor, condition: Tensor | None = None) -> Assignment:
        """Sort points (n, d) by mode, and say which of them are of high quality."""
        self._check(x, condition)
        return self._assign(x, condition)

    def mode_weights(self, condition: Tensor | None = None) -> Tensor:
        """Exact probability of each mode, float64 (n, modes), or (1, modes) without condition; equal by default."""
        n = 1 if condition is None else len(condition)
        return torch.full((n, self.mode_count), 1 / self.mode_count, dtype=torch.float64)

    def sample_conditions(self, n: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Random conditions, float32 (n, condition_size), uniform in [0, 1]; None where there is no condition."""
        if not self.condition_size:
            return None
        return torch.rand(n, self.condition_size, generator=generator, device=device_of(generator))

    def conditions(self) -> Tensor | None:
        """A few conditions at which samplers are evaluated, float32 (k, condition_size); None without condition."""
        if not self.condition_size:
            return None
        return torch.tensor([0.125, 0.375, 0.625, 0.875])[:, None].expand(-1, self.condition_size)

    def _check(self, x: Tensor, condition: Tensor | None) -> None:
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise InputError(
                f"target {self.name!r} expects points of shape (n, {self.dimension}); got {tuple(x.shape)}"
            )
        self._check_condition(len(x), condition)

    def _check_condition(self, n: int, condition: Tensor | None) -> None:
        if not self.condition_size:
            if condition is not None:
                raise InputError(f"target {self.name!r} takes no condition")
        elif condition is None or condition.shape != (n, self.condition_size):
            got = None if condition is None else tuple(condition.shape)
            raise InputError(
                f"target {self.name!r} expects a condition of shape ({n}, {self.condition_size}); got {got}"
            )

    @abstractmethod
    def _sample(self, n: int, condition: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Draws (n, d)."""

    def _log_prob(self, x: Tensor, condition: Tensor | None) -> Tensor:
        raise NotImplementedError  # where has_density is False, log_prob never comes here

    @abstractmethod
    def _assign(self, x: Tensor, condition: Tensor | None) -> Assignment:
        """Mode and quality of points (n, d)."""


def device_of(generator: torch.Generator | None) -> torch.device:
    """Where a generator draws; the CPU without one."""
    return torch.device("cpu") if generator is None else generator.device
