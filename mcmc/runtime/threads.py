"""How many threads a process may use."""

from __future__ import annotations

import os


def available_threads() -> int:
    """Processors this process may use, or NUMBA_NUM_THREADS where that is set."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(os.environ.get("NUMBA_NUM_THREADS", 0)) or allowed or 1
