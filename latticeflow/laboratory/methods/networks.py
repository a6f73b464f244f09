"""Small networks that the baselines share, and what they see of a density's draws."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from latticeflow.laboratory.methods.method_registry import Effort
from latticeflow.laboratory.targets import Target


def perceptron(inputs: int, outputs: int, *, width: int, depth: int = 2, normalise: bool = False) -> nn.Sequential:
    """A multilayer perceptron of ``depth`` hidden layers of rectified units, with batch normalisation on request."""
    layers: list[nn.Module] = []
    for size in (inputs, *[width] * (depth - 1)):
        layers += [nn.Linear(size, width), *[nn.BatchNorm1d(width)] * normalise, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class Coordinates(nn.Module, ABC):
    """What networks see of a density's draws, and the way back."""

    @abstractmethod
    def shrink(self, x: Tensor) -> Tensor:
        """From the density's coordinates to the networks', (n, d)."""

    @abstractmethod
    def stretch(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Back, (n, d); what `shrink` took out is put in at random."""


class Scale(Coordinates):
    """Centre and width of a density, so that networks see numbers of order 1 wherever it lies.

    The width is one number for all coordinates: the shape of the density stays.

    Args:
        x: its draws, (n, d).
    """

    centre: Tensor
    width: Tensor

    def __init__(self, x: Tensor):
        super().__init__()
        self.register_buffer("centre", x.mean(0))
        self.register_buffer("width", (x - self.centre).square().mean().sqrt())

    def shrink(self, x: Tensor) -> Tensor:
        """See `Coordinates.shrink`."""
        return (x - self.centre) / self.width

    def stretch(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `Coordinates.stretch`; nothing is random here."""
        return self.centre + self.width * x


class Untouched(Coordinates):
    """Draws as they are."""

    def shrink(self, x: Tensor) -> Tensor:
        """See `Coordinates.shrink`."""
        return x

    def stretch(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `Coordinates.stretch`."""
        return x


class Batch(NamedTuple):
    """Draws for one update; those of one pack stand together and share their condition."""

    x: Tensor
    """(n, d)."""
    condition: Tensor | None
    """(n, condition_size)."""


class Pool:
    """Training draws of a target, made once: 100,000 as in VEEGAN and PacGAN, fewer where they are long.

    Args:
        target: the density.
        effort: no more draws are made than it can see.
        generator: of these draws and of all batches.
        packing: draws that stand together.
    """

    def __init__(self, target: Target, effort: Effort, generator: torch.Generator, *, packing: int = 1):
        numbers = 24_000_000
        n = min(100_000, effort.steps * effort.batch, numbers // target.dimension)
        self.groups = max(n // packing, 1)
        self.packing, self.generator = packing, generator
        self.rows = max(effort.batch // packing, 1)
        condition = target.sample_conditions(self.groups, generator)
        if condition is not None:
            condition = condition.repeat_interleave(packing, 0)
        self.condition = condition
        self.x = target.sample(self.groups * packing, condition=condition, generator=generator)

    def batch(self) -> Batch:
        """A random batch."""
        chosen = torch.randint(self.groups, (self.rows,), generator=self.generator, device=self.x.device)
        x, condition = (
            None if values is None else values.view(self.groups, self.packing, -1)[chosen].flatten(0, 1)
            for values in (self.x, self.condition)
        )
        assert x is not None
        return Batch(x, condition)


def join(*parts: Tensor | None) -> Tensor:
    """Parts of an input side by side; what is None is left out."""
    present = [part for part in parts if part is not None]
    return present[0] if len(present) == 1 else torch.cat(present, dim=1)


def noise_size(target: Target, least: int = 2, most: int = 254) -> int:
    """Size of the generator's input, the target's dimension within bounds.

    The bounds are 2 in the plane as in PacGAN, and 254 at most as in VEEGAN's code.
    """
    return min(max(target.dimension, least), most)


def log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of independent Gaussians, summed over the last axis."""
    return -0.5 * ((x - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi)).sum(-1)
