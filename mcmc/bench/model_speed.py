"""Speed of the sweeps of other models beside XY, whose kernels are its own: ``python -m mcmc.bench.model_speed``.

Models of charges +-1 go through a table of bonds, all others through the general table of terms. XY itself goes through
either once a vanishing field, or a vanishing anisotropy, is added to it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY, ExtendedXY, anisotropy, field, fully_frustrated, triangular
from mcmc.models.terms import Model
from mcmc.runtime.stop import run_script
from mcmc.sampling import rng
from mcmc.sampling.moves import HeatBath, Metropolis, Move, OverRelaxation
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler

REPLICAS = 64
VANISHING = 1e-20
"""Coupling of terms that change how XY is computed, and nothing else."""


class Case(NamedTuple):
    """A model to time."""

    name: str
    model: Model
    lattice: Lattice
    moves: tuple[Move, ...] = (Metropolis(), HeatBath(), OverRelaxation())


def cases() -> tuple[Case, ...]:
    """XY first, then what is compared with it."""
    square = Lattice(64, 64)
    return (
        Case("XY", XY(), square),
        Case("XY by the table of bonds", XY() + field(VANISHING), square),
        Case("XY by the general table", XY() + anisotropy(2, VANISHING), square, (Metropolis(),)),
        Case("EXY", ExtendedXY(), square),
        Case("triangular", triangular(), square),
        Case("fully frustrated", fully_frustrated(64), square),
        Case("XY, 16x16x16", XY(dimensions=3), Lattice(16, 16, 16)),
    )


def _nanoseconds(r: Replicas, sampler: Sampler, steps: int) -> float:
    start = time.perf_counter()
    r.advance(sampler, steps)
    return (time.perf_counter() - start) * 1e9 / steps / r.lattice.N / REPLICAS


def measure(seconds: float = 0.1, rounds: int = 9) -> Iterator[tuple[str, dict[str, float]]]:
    """Million updates a second of XY by move, and of the other models the ratio to it.

    Args:
        seconds: of each window; those of XY and of the other model take turns.
        rounds: of which the median is taken.
    """
    keys = np.array([rng.key(1, 0, c) for c in range(REPLICAS)])
    base, *others = cases()
    held = Replicas(base.model, base.lattice, np.full(REPLICAS, 1.1), keys)
    speeds = {}
    for move in base.moves:
        sampler = Sampler((move,))
        _nanoseconds(held, sampler, 2)
        speeds[move.name] = 1e3 / statistics.median(_nanoseconds(held, sampler, 20) for _ in range(rounds))
    yield base.name, speeds
    for case in others:
        r = Replicas(case.model, case.lattice, np.full(REPLICAS, 1.1), keys)
        ratios = {}
        for move in case.moves:
            sampler = Sampler((move,))
            _nanoseconds(r, sampler, 2)
            steps = max(2, int(seconds * 1e9 / _nanoseconds(r, sampler, 2) / r.lattice.N / REPLICAS))
            turns = [(_nanoseconds(held, sampler, steps), _nanoseconds(r, sampler, steps)) for _ in range(rounds)]
            ratios[move.name] = statistics.median(own / other for own, other in turns)
        yield case.name, ratios


def main() -> None:
    """Print a table."""
    for name, values in measure():
        unit = " million updates a second and thread" if name == "XY" else " of that"
        shown = ", ".join(f"{move} {value:.3g}" for move, value in values.items())
        print(f"{name}: {shown}{unit}", flush=True)


if __name__ == "__main__":
    run_script(main)
