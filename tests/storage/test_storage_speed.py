"""What storing and reading cost: `pytest -m slow tests/storage/test_storage_speed.py -s` prints the figures."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from mcmc import XY, Lattice
from mcmc.bench.time_shares import TimedSimulation
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import Stop
from mcmc.sampling.generate import fill
from mcmc.sampling.settings import Settings
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.loader import Loader

GIGABYTE = 10**9


@pytest.mark.slow
@pytest.mark.parametrize("L", [16, 32, 64, 128, 256])
def test_storing_costs_less_than_a_tenth_of_sampling(tmp_path, L):
    temperatures = tuple(np.linspace(0.05, 2.05, 32).tolist())
    run = Settings(model=XY(), lattice=Lattice(L, L), temperatures=temperatures, thermalise=10, seed=1)
    source = TimedSimulation(run)
    options = {"model": run.model, "lattice": run.lattice, "temperatures": temperatures, "draws": 100_000}
    with Ensemble.create(tmp_path / "a.h5", **options) as ensemble, Progress("sampling", 1) as progress:
        fill(ensemble, source, 1, Stop(), progress)  # compiles
        source.seconds, start, first = 0.0, time.monotonic(), ensemble.draws
        fill(ensemble, source, 100_000, Stop(max_minutes=0.4), progress)
        whole = time.monotonic() - start
        megabytes = (ensemble.draws - first) * ensemble.draw_bytes / 1e6
    share = whole / source.seconds - 1
    print(f"\nL = {L}: sampling {source.seconds:.1f} s, storing {megabytes:.0f} MB {100 * share:.1f} % of that")
    assert share < 0.1


def write_a_gigabyte(path) -> None:
    shape = (32, 1, 1000, 16, 16)
    rng = np.random.default_rng(0)
    options = {"model": XY(), "lattice": Lattice(16, 16), "temperatures": np.linspace(0.05, 2.05, 32)}
    with Ensemble.create(path, series=["energy"], draws=30_000, **options) as ensemble:
        while ensemble.draws * ensemble.draw_bytes < GIGABYTE:
            theta = rng.random(shape, np.float32)
            ensemble.append(Block(theta, {"energy": np.zeros(shape[:3])}))


def peak_memory() -> int:
    """The largest resident size of this process in bytes (getrusage would count its parent's as well)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def measure(path, how: str, answer) -> None:
    """Seconds and bytes of memory that reading takes, beyond what the imports took."""
    with Ensemble.open(path) as ensemble:
        before, start = peak_memory(), time.monotonic()
        if how == "blocks":
            size = sum(block.theta.nbytes for block in ensemble.blocks(max_bytes=2**26))
        else:
            loader = Loader(ensemble, np.random.default_rng(0), max_bytes=2**27)
            size = sum(loader.sample(256).nbytes for _ in range(ensemble.draws // 256))
        seconds = time.monotonic() - start
        answer.send((size, seconds, peak_memory() - before))


@pytest.mark.slow
def test_a_gigabyte_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "a.h5"
    write_a_gigabyte(path)
    context = multiprocessing.get_context("spawn")
    for how, most in (("blocks", 4 * 2**26), ("random draws", 3 * 2**27)):
        listen, tell = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(path, how, tell))
        process.start()
        size, seconds, memory = listen.recv()
        process.join()
        speed = size / seconds / 1e6
        print(f"\n{how}: {size / 1e9:.2f} GB in {seconds:.1f} s ({speed:.0f} MB/s), {memory / 1e6:.0f} MB of memory")
        assert size > 0.98 * GIGABYTE
        assert memory < most
