"""Where the time of `mcmc.generate` goes: `python -m mcmc.bench.time_shares [SIZE ...]` prints a table.

A file of XY by ``auto``, four temperatures and as many chains as cost nothing, on all cores. Compilation and
thermalisation are not counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcmc.bench.sizes import sizes
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import Stop, run_script
from mcmc.runtime.threads import available_threads
from mcmc.sampling import rng
from mcmc.sampling.generate import fill
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import find_sampler
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble

TEMPERATURES = (0.7, 0.9, 1.1, 1.3)


class Shares(NamedTuple):
    """Shares of the time of a run, which sum to 1."""

    size: int
    """Side of the square lattice."""
    steps: float
    """Monte Carlo steps."""
    measuring: float
    """Energies, magnetisations and angles."""
    storing: float
    """Checksums, writing, waiting for the disk."""
    megabytes: float
    """Stored in a second."""


class TimedSimulation:
    """A simulation that notes how long its blocks take, in ``seconds``."""

    def __init__(self, settings: Settings):
        self.simulation, self.seconds = Simulation(settings), 0.0
        self.state, self.report = self.simulation.state, self.simulation.report

    def block(self, draws: int) -> Block:
        """See `Simulation.block`."""
        start = time.perf_counter()
        block = self.simulation.block(draws)
        self.seconds += time.perf_counter() - start
        return block


def _share_of_steps(run: Settings, simulation: Simulation, draws: int) -> float:
    """Time that steps take by themselves, over that of sampling ``draws`` draws, best of alternating tries."""
    beta, chains = 1 / np.array(TEMPERATURES), run.shape[1]
    keys = np.array([rng.key(1, 0, k) for k in range(len(beta) * chains)])
    r = Replicas(
        run.model, run.lattice, np.repeat(beta, chains), keys, threads=available_threads(), strips=run.strips or 1
    )
    sampler, thin = find_sampler(run.sampler, run.model, run.lattice), run.thin or 1
    r.advance(sampler, thin)
    alone, whole, spent = [], [], 0.0
    while spent < 5:
        times = [time.perf_counter()]
        for work in (lambda: r.advance(sampler, draws * thin), lambda: simulation.block(draws)):
            work()
            times.append(time.perf_counter())
        alone.append(times[1] - times[0])
        whole.append(times[2] - times[1])
        spent += times[2] - times[0]
    return min(1.0, min(alone) / min(whole))


def time_shares(size: int, seconds: float = 10.0, folder: str | Path | None = None) -> Shares:
    """Measure the shares of one size.

    Args:
        size: side of the square lattice.
        seconds: how long to sample, about; one draw at least is made.
        folder: where the file is written, and deleted; None takes the folder of temporary files.
    """
    run = Settings(model=XY(), lattice=Lattice(size, size), temperatures=TEMPERATURES, thermalise=10).resolved()
    source = TimedSimulation(run)
    options: dict[str, Any] = {"model": run.model, "lattice": run.lattice, "temperatures": TEMPERATURES}
    with (
        tempfile.TemporaryDirectory(dir=folder) as where,
        Progress("sampling", 1) as progress,
        Ensemble.create(Path(where) / "a.h5", chains=run.shape[1], draws=10**6, **options) as ensemble,
    ):
        fill(ensemble, source, 1, Stop(), progress)
        started, source.seconds, draws = time.perf_counter(), 0.0, 0
        while time.perf_counter() - started < seconds or not draws:
            made = ensemble.draws
            fill(ensemble, source, made + (10**5 if draws else 1), Stop(seconds / 60 if draws else None), progress)
            if ensemble.draws == made:
                break  # no time for another block
            draws += ensemble.draws - made
        whole = time.perf_counter() - started
        megabytes = draws * ensemble.draw_bytes / 1e6
    sampling = source.seconds / whole
    steps = sampling * _share_of_steps(run, source.simulation, max(1, draws // 50))
    return Shares(size, steps, sampling - steps, 1 - sampling, megabytes / whole)


def main() -> None:
    """Print the table, size by size."""
    wanted = sizes(__doc__, (16, 64, 256, 1024))
    print("    L   steps  measuring  storing   MB/s")
    for size in wanted:
        _, steps, measuring, storing, megabytes = time_shares(size)
        print(f"{size:5}  {steps:6.1%}  {measuring:9.1%}  {storing:7.1%}  {megabytes:5.1f}", flush=True)


if __name__ == "__main__":
    run_script(main)
