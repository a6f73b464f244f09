"""What an independent draw of XY costs by samplers with and without clusters: ``python -m mcmc.bench.mix_costs``.

It prints the table that `mcmc.sampling.mixes` holds. Autocorrelation times come from 16 chains at each temperature; the
time of a step is processor time of one thread with full vectors, the best of several short windows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from mcmc.analysis.statistics import estimate
from mcmc.bench.sizes import sizes
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY
from mcmc.runtime.stop import run_script
from mcmc.sampling import rng
from mcmc.sampling.mixes import CANDIDATES, TEMPERATURES, Taus
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS
from mcmc.sampling.strip_layout import choose_strips


def _replicas(size: int, temperatures: tuple[float, ...], chains: int) -> Replicas:
    lattice, beta = Lattice(size, size), np.repeat(1 / np.array(temperatures), chains)
    keys = np.array([rng.key(7, size, k) for k in range(len(beta))])
    return Replicas(XY(), lattice, beta, keys, strips=choose_strips(lattice, len(beta)))


def autocorrelation_times(size: int, sampler: str, steps: int, chains: int = 16) -> Iterator[Taus]:
    """Those of the energy and of abs(m) in steps, at every temperature of the table.

    Args:
        size: side of the square lattice.
        sampler: by name.
        steps: of each chain, after a quarter as many for the start.
        chains: at each temperature.
    """
    r = _replicas(size, TEMPERATURES, chains)
    r.advance(SAMPLERS[sampler], steps // 4)
    energy, mx, my = r.run(SAMPLERS[sampler], steps, 1)
    for t in range(len(TEMPERATURES)):
        own = slice(t * chains, (t + 1) * chains)
        taus = [float(np.mean(estimate(series[own]).tau_int)) for series in (energy, np.hypot(mx, my))]
        yield Taus(*taus)


def step_times(size: int, chains: int = 16, seconds: float = 0.5) -> tuple[float, float]:
    """Nanoseconds a site of a step of local moves, and what an update of all clusters adds to it."""
    r = _replicas(size, (0.9,), chains)
    found = []
    for sampler in (SAMPLERS["auto"], SAMPLERS["auto_clusters_every_step"]):
        r.advance(sampler, 2)
        steps, best = max(1, int(seconds * 2e7 / r.lattice.N / chains)), np.inf
        for _ in range(7):
            start = time.process_time()
            r.advance(sampler, steps)
            best = min(best, (time.process_time() - start) / steps)
        found.append(best * 1e9 / r.lattice.N / chains)
    return found[0], found[1] - found[0]


def main() -> None:
    """Print the table, size by size."""
    for size in sizes(__doc__, (16, 32, 64, 128, 256)):
        local, clusters = step_times(size)
        print(f"    {size}: Costs(")
        print(f"        {local:.1f},\n        {clusters:.1f},\n        {{")
        for sampler in CANDIDATES:
            taus = [*autocorrelation_times(size, sampler, 1000 + 16 * size, chains=16 if size < 256 else 4)]
            print(f'            "{sampler}": ({", ".join(f"Taus({a:.1f}, {b:.1f})" for a, b in taus)}),')
        print("        },\n    ),", flush=True)


if __name__ == "__main__":
    run_script(main)
