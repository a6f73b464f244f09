"""One chain at one temperature beside a peer: ``python -m mcmc.bench.peers``.

The peer is `spinmc` 0.3.0 (https://pypi.org/project/spinmc), which samples XY by Metropolis and by Wolff's clusters;
install it to compare. Its runs and ours alternate, and medians are reported. It returns averages alone: what an
independent value costs it follows from how much the averages of independent runs scatter, t var(mean) / var, with the
variance of our own series. Ours is 2 tau times the time of a draw, where draws are two steps apart.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcmc.analysis.statistics import estimate
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY
from mcmc.runtime.stop import run_script
from mcmc.sampling import rng
from mcmc.sampling.mixes import cheapest
from mcmc.sampling.moves import Metropolis
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler
from mcmc.sampling.strip_layout import choose_strips

TEMPERATURE = 0.9
_THIN = 2
_SETTINGS = """
[grid]
dimensions = [{size}, {size}, 1]
sublattices = 1
spin_magnitudes = [1.0]
periodic_boundary = [true, true, false]
[simulation]
initial_state = "x"
model = "xy"
boltzmann_constant = 1.0
equilibration_steps = {rest}
measurement_steps = {steps}
algorithm = "{algorithm}"
num_threads = 1
temperatures = [{temperatures}]
[output]
savefile = "{path}"
stats_interval = {interval}
energy = true
magnetization_abs = true
[[exchange]]
from_sublattice = 0
to_sublattice = 0
offsets = [[0, -1, 0], [0, 1, 0], [-1, 0, 0], [1, 0, 0]]
strength = 1.0
"""


class Comparison(NamedTuple):
    """One quantity, ours and the peer's."""

    size: int
    quantity: str
    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        """How much better ours is."""
        return self.ours / self.peer if "updates" in self.quantity else self.peer / self.ours


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what compiled code prints to nowhere."""
    saved = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, own in zip((1, 2), saved, strict=True):
            os.dup2(own, number)
            os.close(own)
        os.close(nowhere)


def peer_run(
    size: int, algorithm: str, steps: int, runs: int, rest: int, interval: int = 1
) -> tuple[float, np.ndarray]:
    """Independent runs of spinmc at `TEMPERATURE`.

    Args:
        size: side of the square lattice.
        algorithm: ``metropolis`` or ``wolff``.
        steps: measured steps of each run.
        runs: how many.
        rest: steps before, of each run.
        interval: steps between measurements.

    Returns:
        Seconds for a run's steps, those before included; and mean energy per site and abs(m) of each run, (runs, 2).

    Raises:
        InputError: spinmc is not installed.
    """
    try:
        from spinmc._spinmc import run_from_py
    except ImportError:
        raise InputError("spinmc is not installed: pip install spinmc==0.3.0") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.txt"
        text = _SETTINGS.format(
            size=size,
            algorithm=algorithm,
            steps=steps,
            rest=rest,
            interval=interval,
            path=path,
            temperatures=", ".join([str(TEMPERATURE)] * runs),
        )
        with _silence():
            start = time.perf_counter()
            run_from_py(text)
            spent = time.perf_counter() - start
        return spent / runs, np.loadtxt(path, ndmin=2)[:, 1:3]


def _own(size: int) -> Replicas:
    lattice = Lattice(size, size)
    keys, strips = rng.key(1, size)[None], choose_strips(lattice, 1)
    r = Replicas(XY(), lattice, np.array([1 / TEMPERATURE]), keys, strips=strips)
    r.tuned = {Metropolis.name: np.array([0.45])}
    return r


def _own_series(size: int, sampler: Sampler, draws: int) -> tuple[float, np.ndarray]:
    """Seconds a draw, steps between and measurement; energy per site and abs(m), (2, draws)."""
    r = _own(size)
    r.advance(sampler, 50 + size)
    start = time.perf_counter()
    energy, mx, my = r.run(sampler, draws, _THIN)
    spent = (time.perf_counter() - start) / draws
    return spent, np.stack([energy[0], np.hypot(mx, my)[0]]) / size**2


def updates(size: int, seconds: float = 1.0, rounds: int = 5) -> Comparison:
    """Million Metropolis updates a second of one chain, measured once at the end."""
    sweeps = max(10, int(seconds * 2e7 / size**2))
    ours, peer = [], []
    sampler, r = Sampler((Metropolis(),)), _own(size)
    r.advance(sampler, 10)
    for _ in range(rounds):
        peer.append(size**2 * 1e-6 * (sweeps + 10) / peer_run(size, "metropolis", sweeps, 1, 10, interval=sweeps)[0])
        start = time.perf_counter()
        r.advance(sampler, 5 * sweeps)
        ours.append(size**2 * 1e-6 * 5 * sweeps / (time.perf_counter() - start))
    return Comparison(size, "Metropolis, million updates a second", float(np.median(ours)), float(np.median(peer)))


def costs(size: int, seconds: float = 10.0, runs: int = 24) -> Iterator[Comparison]:
    """Microseconds for an independent value of the energy and of abs(m), by what `auto` is and by the peer's Wolff."""
    sampler = SAMPLERS[cheapest(size, [TEMPERATURE])]
    spent, _ = _own_series(size, sampler, 100)
    spent, series = _own_series(size, sampler, max(2000, int(seconds / spent)))
    rate, _ = peer_run(size, "wolff", 200, 1, 200)
    steps = max(300, int(seconds / runs / rate * 400))
    time_of_run, means = peer_run(size, "wolff", steps, runs, steps // 10)
    time_of_run *= 10 / 11
    for k, name in enumerate(("energy", "abs(m)")):
        own = 2e6 * spent * float(np.mean(estimate(series[k]).tau_int))
        peer = 1e6 * time_of_run * float(means[:, k].var(ddof=1) / series[k].var())
        yield Comparison(size, f"microseconds for an independent {name}, auto and Wolff", own, peer)


def main() -> None:
    """Print the table."""
    for size in (int(word) for word in sys.argv[1:] or ("16", "64", "256")):
        for found in (updates(size), *costs(size)):
            values = f"{found.ours:.4g}, spinmc {found.peer:.4g}; {found.ratio:.2f} times"
            print(f"L = {found.size:4}  {found.quantity}: {values}")


if __name__ == "__main__":
    run_script(main)
