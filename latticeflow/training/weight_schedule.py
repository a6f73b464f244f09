"""How the weight of a term of the objective changes along a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mcmc import InputError

KINDS = ("constant", "rise", "fall", "adaptive")
_LARGEST_FACTOR = 1e4


@dataclass(frozen=True)
class WeightSchedule:
    """What multiplies the weight of a term, by the fraction of the training that is done.

    ``constant``: 1. ``rise``: 0 until ``start``, then a straight line to 1 at ``end``; ``fall``: the same from 1 to 0.
    ``adaptive``: the norm of the gradient of all other terms over that of this term, at every step, so that the term's
    weight is its share of the pull (Esser, Rombach, Ommer, arXiv:2012.09841, eq. 7).

    Args:
        kind: of `KINDS`.
        start, end: fractions of the training, 0 <= start < end <= 1.

    Raises:
        InputError: naming the value and the remedy.

    Example:
        >>> ramp = WeightSchedule("rise", 0.2, 0.8)
        >>> [round(ramp.factor(fraction), 2) for fraction in (0.0, 0.5, 1.0)]
        [0.0, 0.5, 1.0]
    """

    kind: str = "constant"
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is not a schedule."""
        if self.kind not in KINDS:
            raise InputError(f"unknown schedule {self.kind!r} of a weight: choose one of {', '.join(KINDS)}")
        if not 0 <= self.start < self.end <= 1:
            raise InputError(
                f"a schedule from {self.start} to {self.end} of the training must have 0 <= start < end <= 1"
            )

    def factor(self, fraction: float) -> float:
        """What multiplies the weight where ``fraction`` of the training is done; 1 for an adaptive one."""
        if self.kind in ("constant", "adaptive"):
            return 1.0
        done = min(max((fraction - self.start) / (self.end - self.start), 0.0), 1.0)
        return done if self.kind == "rise" else 1 - done


def schedule_from_text(text: str) -> WeightSchedule:
    """Parse ``kind`` or ``kind:start:end``.

    Raises:
        InputError: it is neither.

    Example:
        >>> schedule_from_text("rise:0.2:0.8")
        WeightSchedule(kind='rise', start=0.2, end=0.8)
    """
    kind, *limits = text.split(":")
    try:
        numbers = [float(limit) for limit in limits]
    except ValueError:
        numbers = [math.nan]
    if len(numbers) not in (0, 2) or any(math.isnan(number) for number in numbers):
        raise InputError(f"{text!r} is not a schedule: write a kind, such as adaptive, or rise:0.2:0.8")
    return WeightSchedule(kind, *numbers)


def weighted_sum(
    terms: Mapping[str, Tensor],
    weights: Mapping[str, float],
    schedules: Mapping[str, WeightSchedule],
    *,
    fraction: float,
    parameters: Iterable[Tensor],
) -> Tensor:
    """The loss: the sum of the terms, each by its weight at this point of the training.

    Args:
        terms: scalars, by name.
        weights: of at least these.
        schedules: of some of them; the others have constant weights.
        fraction: how much of the training is done, 0 to 1.
        parameters: with respect to which the norms of an adaptive weight are taken.
    """
    now = {name: weights[name] * schedules.get(name, _CONSTANT).factor(fraction) for name in terms}
    adaptive = [name for name in terms if name in schedules and schedules[name].kind == "adaptive" and now[name]]
    given = [now[name] * term for name, term in terms.items() if name not in adaptive and now[name]]
    loss = sum(given[1:], given[0]) if given else None
    if adaptive:
        parameters = list(parameters)
        pull = 1.0 if loss is None else _gradient_norm(loss, parameters)
        for name in adaptive:
            factor = min(pull / max(_gradient_norm(terms[name], parameters), 1e-12), _LARGEST_FACTOR)
            scaled = now[name] * factor * terms[name]
            loss = scaled if loss is None else loss + scaled
    if loss is None:  # every weight is zero at this step; the gradient is then zero, and not missing
        loss = 0.0 * torch.stack([term.double() for term in terms.values()]).sum()
    return loss


_CONSTANT = WeightSchedule()


def _gradient_norm(term: Tensor, parameters: list[Tensor]) -> float:
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None))
