"""The tree of random streams.

Every random number of a simulation is a pure function of (seed, stream, step, site): a counter-based generator
needs no state, so results do not depend on threads, blocks or restarts.
"""

from __future__ import annotations

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
        InputError: ``seed`` is negative.
    """
    if seed < 0:
        raise InputError(f"seed = {seed} must not be negative")
    return np.random.SeedSequence(seed, spawn_key=path).generate_state(4, np.uint32)
