"""Commands that tests start, wait for and signal: no wait is without an end."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mcmc.storage.ensemble import Ensemble

LATTICEFLOW = [sys.executable, "-m", "latticeflow"]
ROOT = Path(__file__).parents[1]
STARTED: list[subprocess.Popen] = []
"""What a test started; conftest ends whatever a failed one leaves behind."""


def start_generate(path, *words, **options) -> subprocess.Popen:
    """A run of 4x4 that goes on for minutes, draws slowly and asks for little of the disk."""
    run = [*LATTICEFLOW, "generate", "--size", "4", "--temperatures", "0.5,1", "--draws", "100000", "--thin", "2000"]
    run += ["--thermalise", "4", *words, "--out", path]
    how = {"stderr": subprocess.PIPE, **options}
    process = subprocess.Popen(run, cwd=ROOT, **how)
    STARTED.append(process)
    return process


def wait_until(ready: Callable[[], object], process: subprocess.Popen, seconds: float = 60.0) -> None:
    """Return when ``ready`` says so; fail when the process has ended before, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"not ready within {seconds} s: {process.communicate()}")
        time.sleep(0.001)


def wait_for_draws(path: Path, process: subprocess.Popen, draws: int = 1) -> None:
    """Wait until a file holds so many draws a chain."""

    def has_draws() -> bool:
        if not path.exists():
            return False
        with Ensemble.open(path) as ensemble:
            return ensemble.draws >= draws

    wait_until(has_draws, process)
