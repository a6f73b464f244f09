"""What an independent draw of the XY model costs in three dimensions: ``python -m mcmc.bench.cube_costs 8 16 32``.

It prints the table in `mcmc.sampling.samplers`: processor microseconds of one thread, vectors full, for an independent
energy, m^2 and second-moment correlation length of one chain, near the transition and below it.
"""

from __future__ import annotations

import time

import numpy as np

from mcmc.analysis.statistics import estimate
from mcmc.bench.sizes import sizes
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY
from mcmc.runtime.stop import run_script
from mcmc.sampling import rng
from mcmc.sampling.moves import HeatBath, OverRelaxation, Wolff
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler, Update

LOCAL = (HeatBath(), Update(OverRelaxation(), times=3))
MIXES = {
    "alone": Sampler(LOCAL),
    "every fourth": Sampler((*LOCAL, Update(Wolff(), every=4))),
    "every one": Sampler((*LOCAL, Wolff())),
}
CHAINS = 16


def draw_costs(L: int, T: float, sampler: Sampler, steps: int) -> tuple[float, float, float]:
    """Processor microseconds for an independent energy, m^2 and correlation length.

    Args:
        L: side of the cube.
        T: temperature, in units of J / k_B.
        sampler: what a step does.
        steps: of each of `CHAINS` chains, after a quarter as many for the start.
    """
    lattice = Lattice(L, L, L)
    chains = Replicas(
        XY(dimensions=3), lattice, np.full(CHAINS, 1 / T), np.array([rng.key(7, L, k) for k in range(CHAINS)])
    )
    chains.advance(sampler, 4)  # compiles what there is to compile
    start = time.process_time()
    chains.advance(sampler, steps // 4)
    step = (time.process_time() - start) / (steps // 4) / CHAINS
    wave, energies, squares, waves = np.exp(2j * np.pi * np.arange(L) / L), [], [], []
    for _ in range(steps):  # one by one: a long series of large cubes does not fit into memory
        theta = np.empty((CHAINS, 1, lattice.N), np.float32)
        energies.append(chains.run(sampler, 1, 1, theta)[0][:, 0])
        layers = np.exp(1j * theta.reshape(CHAINS, L, L, L)).mean((1, 2))
        squares.append(np.abs(layers.mean(-1)) ** 2)
        waves.append(np.abs((layers * wave).mean(-1)) ** 2)
    m2, s1 = np.array(squares).T, np.array(waves).T
    # To first order the length fluctuates as the ratio of the two.
    series = (np.array(energies).T, m2, m2 / m2.mean() - s1 / s1.mean())
    energy, square, length = (2 * step * 1e6 * estimate(each).tau_int for each in series)
    return energy, square, length


def main() -> None:
    """Print the table."""
    wanted = sizes(__doc__, (8, 16, 32))
    for T in (2.2, 1.2):
        for L in wanted:
            for name, sampler in MIXES.items():
                energy, square, length = draw_costs(L, T, sampler, max(200, 40000 // L))
                print(f"T = {T}  L = {L:2}  {name:13} {energy:7.0f} / {square:.0f} / {length:.0f}", flush=True)


if __name__ == "__main__":
    run_script(main)
