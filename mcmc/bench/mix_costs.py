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
from mcmc.sampling.samplers import SAMPLERS, Sampler
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


def step_times(size: int, chains: int = 16, seconds: float = 0.5) -> tuple[float, float, float]:
    """What `mcmc.sampling.mixes.Costs` begins with, in nanoseconds a site: the best of short windows in turn."""
    r = _replicas(size, (0.9,), chains)
    whole = SAMPLERS["auto_clusters_every_step"]
    samplers = SAMPLERS["auto"], Sampler(whole.updates[:-1]), whole
    best = [np.inf] * len(samplers)
    steps = max(1, int(seconds * 2e7 / r.lattice.N / chains))
    for _ in range(7):
        for k, sampler in enumerate(samplers):
            start = time.process_time()
            r.advance(sampler, steps)
            best[k] = min(best[k], (time.process_time() - start) * 1e9 / steps / r.lattice.N / chains)
    return best[0], best[1], best[2] - best[1]


def main() -> None:
    """Print the table, size by size."""
    for size in sizes(__doc__, (16, 32, 64, 128, 256)):
        print(f"    {size}: Costs(")
        print("".join(f"        {each:.1f},\n" for each in step_times(size)) + "        {")
        for sampler in CANDIDATES:
            taus = [*autocorrelation_times(size, sampler, 1000 + 16 * size, chains=16 if size < 256 else 4)]
            print(f'            "{sampler}": ({", ".join(f"Taus({a:.1f}, {b:.1f})" for a, b in taus)}),')
        print("        },\n    ),", flush=True)


if __name__ == "__main__":
    run_script(main)
