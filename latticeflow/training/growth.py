"""From a trained flow to a lattice several doublings away: the lattices between, what to train there, by what.

The nets of the fine groups of a large lattice come from a smaller one, where they were trained with little noise: the
gradient of every net holds the noise of log w of the whole lattice. To train all nets of a large lattice therefore
makes the fine ones worse (of XY 32x32, from 16x16, four times the variance of log w in the last groups), while the
coarse ones, which had no equal on the small lattice, become better. From `LARGE` sites on only these are trained, by
the variance of log w over ensemble draws.
"""

from __future__ import annotations

import math
from dataclasses import replace

from latticeflow.flows import Flow, Multiscale
from latticeflow.training.training_settings import LARGE, TrainingSettings
from mcmc import Lattice, generate
from mcmc.sampling.rng import key
from mcmc.storage.memory_ensemble import ReadableEnsemble

_CHAINS, _MOST_DRAWS, _MOST_BYTES = 4, 1000, 2**28
_LEARNING_RATE, _AVERAGED = 2e-3, 0.99


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


def grown(settings: TrainingSettings, flow: Flow, lattice: Lattice) -> TrainingSettings:
    """Settings for a lattice that is larger than that of a trained flow, where they leave it open; see the module.

    Args:
        settings: given ones; an objective or a least spacing of theirs is kept.
        flow: trained, of another or the same lattice.
        lattice: to train on.

    Example:
        >>> from latticeflow.flows import build_flow
        >>> from mcmc import XY
        >>> flow = build_flow("multiscale", XY(), Lattice(16, 16), (0.5, 2.0), width=16)
        >>> flow.history["steps"] = 1000
        >>> settings = grown(TrainingSettings(minutes=10), flow, Lattice(32, 32))
        >>> settings.objective, settings.least_spacing, settings.learning_rate
        ('ensemble_variance', 8, 0.002)
    """
    small = lattice.N < LARGE or lattice.N <= flow.lattice.N
    chosen = settings.objective is not None or settings.least_spacing is not None
    if small or chosen or not isinstance(flow, Multiscale) or not flow.history:
        return settings
    return replace(
        settings,
        objective="ensemble_variance",
        least_spacing=min(min(lattice.sides) // 4, max(flow.spacings) * lattice.Lx // flow.lattice.Lx),
        learning_rate=settings.learning_rate or _LEARNING_RATE,
        ema=settings.ema or _AVERAGED,
    )


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
