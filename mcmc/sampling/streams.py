"""Which random stream each chain of a run has.

Version 2: a stream is named by the seed, by all settings that determine the draws, by the temperature itself (the bits
of its float64), and by the number of the chain. So runs that differ in any setting or temperature have no random number
in common, also with the same seed, and a run's draws at one temperature do not depend on its other temperatures (unless
they exchange configurations).

Version 1, of files made earlier: a stream is named by seed, index of the temperature and chain. There, runs with one
seed at other temperatures or with other settings used the same random numbers.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import numpy as np

from mcmc.models.terms import Model
from mcmc.sampling.rng import key, temperature_words

if TYPE_CHECKING:
    from mcmc.sampling.settings import Settings

LATEST = 2
DESCRIPTIONS = {
    1: "numpy SeedSequence(seed, spawn_key=(temperature index, chain number)); see mcmc.sampling.streams",
    2: "numpy SeedSequence(seed, spawn_key=(CRC-32 of the settings, low and high word of the temperature's float64, "
    "chain number)); see mcmc.sampling.streams",
}
"""What a file says of its streams, by version."""
_APART = 2**31  # numbers no chain has; from here on streams serve other purposes


def chain_keys(settings: Settings) -> np.ndarray:
    """Keys of the chains, uint32 (T * C, 4), chains of one temperature together."""
    chains = _numbers(settings)
    return np.array([key(settings.seed, *branch, c) for branch in _branches(settings) for c in chains])


def probe_keys(settings: Settings, count: int) -> np.ndarray:
    """Keys of ``count`` chains at each temperature that only check the start, uint32 (T * count, 4)."""
    numbers = range(_APART, _APART + count)
    return np.array([key(settings.seed, *branch, p) for branch in _branches(settings) for p in numbers])


def exchange_keys(settings: Settings) -> np.ndarray:
    """Keys by which the replicas of each chain exchange temperatures, uint32 (C, 4)."""
    chains = _numbers(settings)
    if _version(settings) == 1:
        return np.array([key(settings.seed, _APART, c) for c in chains])
    grid = zlib.crc32(np.array(settings.temperatures).tobytes())
    return np.array([key(settings.seed, _origin(settings), grid, c, _APART) for c in chains])


def _numbers(settings: Settings) -> range:
    """Numbers of the run's chains."""
    return range(settings.first_chain, settings.first_chain + settings.shape[1])


def _version(settings: Settings) -> int:
    return LATEST if settings.streams is None else settings.streams


def _branches(settings: Settings) -> list[tuple[int, ...]]:
    """Where in the tree of streams each temperature stands."""
    if _version(settings) == 1:
        first = settings.first_temperature
        return [(first + t,) for t in range(len(settings.temperatures))]
    origin = _origin(settings)
    return [(origin, *temperature_words(T)) for T in settings.temperatures]


def _words(model: Model) -> list[str]:
    """What tells models apart: their terms, without the names."""
    if square := model.square:
        # As when there were these models only.
        return ["exy" if len(model.terms) > 2 else "xy", f"J={square.J.hex()}", f"K={square.K.hex()}"]
    return [json.dumps([{**term, "name": ""} for term in model.as_json()["terms"]])]


def _origin(settings: Settings) -> int:
    """A number for everything that determines the draws, but temperatures, chains and seed."""
    run = settings.resolved()
    words = [*_words(run.model), str(run.lattice), run.sampler, f"{run.thermalise}", f"{run.thin}", f"{run.tempering}"]
    if run.strips != 1:
        words.append(f"strips={run.strips}")
    return zlib.crc32("|".join(words).encode())
