"""From a trained flow to a lattice several doublings away: the lattices between, and draws to train on there."""

from __future__ import annotations

import math
from dataclasses import replace

from latticeflow.flows import Flow, Multiscale
from latticeflow.training.training_settings import TrainingSettings
from mcmc import Lattice, generate
from mcmc.sampling.rng import key
from mcmc.storage.memory_ensemble import ReadableEnsemble

_CHAINS, _MOST_DRAWS, _MOST_BYTES = 4, 1000, 2**28


def lattices_to(flow: Flow, lattice: Lattice) -> list[Lattice]:
    """Lattices on which to train, one after the other, to lead from a flow to a lattice.

    Every doubling of the flow's own lattice, which is itself left out; the given lattice alone where it is the flow's
    own, or where no doubling leads there.

    Example:
        >>> from latticeflow.flows import build_flow
        >>> from mcmc import XY
        >>> flow = build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0))
        >>> [between.Lx for between in lattices_to(flow, Lattice(32, 32))]
        [8, 16, 32]
    """
    found, last = [], flow.lattice
    while isinstance(flow, Multiscale) and last.Lx < lattice.Lx:
        last = Lattice(*(2 * side for side in last.sides))
        found.append(last)
    return found if last == lattice and found else [lattice]


def shared(settings: TrainingSettings, trainings: int) -> TrainingSettings:
    """Settings of each of several trainings that together last as long.

    What is learnt on a small lattice serves the fine groups of every larger one, and costs less there: none gets more
    of the time than another.
    """
    if settings.steps is not None:
        return replace(settings, steps=math.ceil(settings.steps / trainings))
    assert settings.minutes is not None
    return replace(settings, minutes=settings.minutes / trainings)


def draws_between(ensemble: ReadableEnsemble, lattice: Lattice, *, seed: int, rank: int) -> ReadableEnsemble:
    """An ensemble of the same model and temperatures on another lattice, made by Markov chains, in memory.

    Args:
        ensemble: gives model and temperatures.
        lattice: of the new one.
        seed: of the training.
        rank: of the process, each of which makes its own.
    """
    bytes_a_draw = 4 * lattice.N * len(ensemble.temperatures) * _CHAINS
    return generate(
        ensemble.model,
        size=lattice,
        temperatures=ensemble.temperatures,
        draws=max(10, min(_MOST_DRAWS, _MOST_BYTES // bytes_a_draw)),
        chains=_CHAINS,
        seed=int(key(seed, rank, lattice.N)[0]),
    )
