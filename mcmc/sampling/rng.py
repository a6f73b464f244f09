"""The tree of random streams.

Every random number of a simulation is a pure function of (seed, stream, step, site): a counter-based generator
needs no state, so results do not depend on threads, blocks or restarts.
"""

from __future__ import annotations

import struct

import numpy as np

from mcmc.errors import InputError


def key(seed: int, *path: int) -> np.ndarray:
    """128 bits of key for the stream at ``path`` below ``seed``.

    Args:
        seed: non-negative integer, the root of the tree.
        path: non-negative integers naming the branch, such as (temperature index, chain).

    Returns:
        uint32 array of shape (4,), well mixed: neighbouring seeds and paths share nothing.

    Raises:
        InputError: ``seed`` is not an integer, or negative.
    """
    if not isinstance(seed, int | np.integer):
        raise InputError(f"seed = {seed!r} must be an integer")
    if seed < 0:
        raise InputError(f"seed = {seed} must not be negative")
    return np.random.SeedSequence(seed, spawn_key=path).generate_state(4, np.uint32)


def temperature_words(temperature: float) -> tuple[int, int]:
    """A temperature as part of a stream's path: the low and the high word of its float64.

    Example:
        >>> temperature_words(1.0)
        (0, 1072693248)
    """
    low, high = struct.unpack("<II", struct.pack("<d", temperature))
    return low, high


def lane_keys(keys: np.ndarray, strips: int) -> np.ndarray:
    """Keys of the lanes of lattices that are cut into strips, see `mcmc.kernels.strips`.

    Args:
        keys: uint32 (R, 4), of the replicas.
        strips: lanes of each replica.

    Returns:
        uint32 (4, R * strips): the fourth word counts up along the strips. Two of 128-bit keys are that close to one
        another by chance once in 10^36.
    """
    lanes = np.repeat(keys.T, strips, axis=1)
    lanes[3] += np.tile(np.arange(strips, dtype=np.uint32), len(keys))
    return lanes
