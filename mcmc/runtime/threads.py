"""How many threads a process may use."""

from __future__ import annotations

import os

from mcmc.errors import InputError


def available_threads() -> int:
    """Processors this process may use, or NUMBA_NUM_THREADS where that is set and not empty.

    Raises:
        InputError: NUMBA_NUM_THREADS is not a positive integer.
    """
    asked = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    if asked:
        if not (asked.isdecimal() and int(asked)):
            raise InputError(f"NUMBA_NUM_THREADS = {asked!r} must be a positive integer: set it so, or unset it")
        return int(asked)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1
