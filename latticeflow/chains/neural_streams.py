"""Which random stream neural chains use where.

A stream is named by the seed, by the flow, by the temperature itself and by its purpose, as in `mcmc.sampling.streams`:
runs with other flows or at other temperatures have no random number in common, also with the same seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from latticeflow.flows import Flow
from latticeflow.flows.checkpoint import fingerprint
from mcmc.sampling.rng import key, temperature_words

DESCRIPTION = (
    "numpy SeedSequence(seed, spawn_key=(CRC-32 of the flow's fingerprint, low and high word of the temperature's "
    "float64, number)); see latticeflow.chains.neural_streams"
)
"""What a file says of its streams. Files of earlier releases say nothing: theirs had the index of the temperature."""
_LOCAL = 1


class NeuralStreams(NamedTuple):
    """The tree of random streams below one seed and one flow."""

    seed: int
    flow: int
    """CRC-32 of its fingerprint."""

    @classmethod
    def of(cls, flow: Flow, seed: int) -> Self:
        """Those of a flow as it is now."""
        return cls(seed, zlib.crc32(fingerprint(flow).encode()))

    def proposals(self, temperature: float, number: int) -> np.ndarray:
        """Key of a unit of proposals, uint32 (4,)."""
        return key(self.seed, self.flow, *temperature_words(temperature), number)

    def sweeps(self, temperature: float, chain: int) -> np.ndarray:
        """Key of the local sweeps of a chain, uint32 (4,)."""
        return key(self.seed, self.flow, *temperature_words(temperature), chain, _LOCAL)

    def redraws(self, temperatures: Sequence[float] | np.ndarray, number: int) -> np.ndarray:
        """Key of a redraw of all chains at these temperatures together, uint32 (4,)."""
        grid = zlib.crc32(np.asarray(temperatures, np.float64).tobytes())
        return key(self.seed, self.flow, grid, number)
