"""How fast the kernels are, beside a naive sampler, and what an independent draw costs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from mcmc.analysis.statistics import estimate
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY as _XY
from mcmc.models.presets import ExtendedXY, Model
from mcmc.sampling import rng
from mcmc.sampling.moves import (
    HeatBath,
    KernelMove,
    Lines,
    Metropolis,
    OverRelaxation,
    PlaquetteCluster,
    SwendsenWang,
    Wolff,
)
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler, Update
from mcmc.sampling.strip_layout import choose_strips

BETA = 1.1199
"""Inverse temperature of every measurement: the Kosterlitz-Thouless point of XY (Hasenbusch 2005)."""
_TURNS = Sampler((Lines(0), Lines(1)))
KERNELS: tuple[tuple[Model, Sampler], ...] = tuple(
    (model, _TURNS if move == Lines() else Sampler((move,)))
    for model, moves in (
        (_XY(), (Metropolis(), HeatBath(), OverRelaxation(), Lines(), Wolff(), SwendsenWang())),
        (ExtendedXY(), (Metropolis(), HeatBath(), OverRelaxation(), Lines(), PlaquetteCluster())),
    )
    for move in moves
)
"""Every move by itself; lines along both axes."""
CHAINS: tuple[tuple[Model, str], ...] = (
    *(
        (_XY(), name)
        for name in (
            "metropolis",
            "heat_bath",
            "over_relaxation",
            "auto",
            "auto_clusters_every_step",
            "wolff",
            "swendsen_wang",
        )
    ),
    *((ExtendedXY(), name) for name in ("heat_bath", "over_relaxation", "auto", "plaquette_cluster")),
)
"""Samplers whose independent draws are priced."""


class Speed(NamedTuple):
    """Speed of one kernel on one lattice."""

    model: str
    size: int
    kernel: str
    rate: float
    """Million spin updates a second on one core; flipped spins for Wolff."""
    to_naive: float
    """Ratio to `naive_rate` on the same lattice, measured just before."""
    two_cores: float | None
    """Ratio of two threads' rate to one's, on twice as many replicas; None if not measured."""


class Cost(NamedTuple):
    """What an independent draw costs at `BETA`."""

    model: str
    size: int
    sampler: str
    tau_energy: float
    """Integrated autocorrelation time of the energy, in steps."""
    tau_m2: float
    """The same of the squared magnetisation."""
    nanoseconds: float
    """Per site and independent draw of m^2 on one core: 2 tau steps."""


def naive_rate(size: int, seconds: float) -> float:
    """Million updates a second of a textbook Metropolis: one lattice, float64 angles, the C library's cosine."""
    from mcmc.kernels.naive import naive_metropolis

    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (size, size))
    naive_metropolis(theta, BETA, 1.0, 1, 1)
    return _rate(lambda n: naive_metropolis(theta, BETA, 1.0, n, 1), size * size, seconds)


def _rate(advance: Callable[[int], Any], updates: float, seconds: float) -> float:
    """Best of five rounds of about ``seconds`` in all, in million updates a second."""
    n, best = 1, math.inf
    while True:
        start = time.perf_counter()
        advance(n)
        spent = time.perf_counter() - start
        if spent > seconds / 20:
            break
        n *= 2
    for _ in range(5):
        start = time.perf_counter()
        advance(n)
        best = min(best, time.perf_counter() - start)
    return updates * n / best / 1e6


def _replicas(model: Model, size: int, count: int, threads: int, strips: int = 1) -> Replicas:
    keys = np.array([rng.key(1, 0, c) for c in range(count)])
    r = Replicas(model, Lattice(size, size), np.full(count, BETA), keys, threads=threads, strips=strips)
    r.advance(Sampler((HeatBath(), Update(OverRelaxation(), times=2))), 20)
    return r


def _updates(r: Replicas, sampler: Sampler, seconds: float) -> float:
    if Wolff() not in sampler.moves:
        return _rate(lambda n: r.advance(sampler, n), r.size * r.lattice.N, seconds)
    r.tuned = {Wolff.name: np.full(r.size, 3)}
    r.advance(sampler, 1)
    before = r.accepted[Wolff.name].sum()
    r.advance(sampler, 10)
    flips = (r.accepted[Wolff.name].sum() - before) / 10
    return _rate(lambda n: r.advance(sampler, n), flips, seconds)


def speeds(sizes: tuple[int, ...] = (16, 64, 256), *, seconds: float = 1.0, threads: int = 2) -> Iterator[Speed]:
    """Measure every kernel, one after the other.

    Args:
        sizes: sides of the square lattices.
        seconds: to spend on each measurement.
        threads: 2 measures the scaling to two cores too, 1 does not.

    Yields:
        A `Speed` for each model, size and kernel. Rates of one run compare; those of a busy machine do not with others.
    """
    for size in sizes:
        for model, sampler in KERNELS:
            name = sampler.move_names[0]
            naive = naive_rate(size, seconds / 2)
            # Replicas of a large lattice do not fit the cache; fewer measure the same.
            count = 64 if size < 256 else 16
            if not isinstance(sampler.moves[0], KernelMove):
                count = 16  # replicas are taken one by one
            r = _replicas(model, size, count, 1)
            rate = _updates(r, sampler, seconds)
            both = None
            if threads > 1:
                both = _two_cores([_replicas(model, size, count, 1) for _ in range(2)], sampler, seconds) / rate
            yield Speed(model.name, size, name, rate, rate / naive, both)


def _two_cores(pair: list[Replicas], sampler: Sampler, seconds: float) -> float:
    """Million updates a second of two blocks at once."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda r: _updates(r, sampler, seconds), pair))


def costs(sizes: tuple[int, ...] = (16, 64), *, steps: int = 2000, chains: int = 16) -> Iterator[Cost]:
    """Measure autocorrelation times at `BETA`, and what an independent draw costs; lattices are cut as by `generate`.

    Args:
        sizes: sides of the square lattices.
        steps: of each chain.
        chains: independent ones.
    """
    for size in sizes:
        for model, name in CHAINS:
            r = _replicas(model, size, chains, 1, choose_strips(Lattice(size, size), chains))
            r.tuned = {Metropolis.name: np.full(chains, 0.45), Wolff.name: np.full(chains, 3)}
            sampler = SAMPLERS[name]
            r.advance(sampler, steps // 10 + size)
            start = time.perf_counter()
            energy, mx, my = r.run(sampler, steps, 1)
            spent = time.perf_counter() - start
            tau_energy, tau_m2 = estimate(energy).tau_int, estimate(mx**2 + my**2).tau_int
            nanoseconds = 1e9 * spent / (steps * chains * size * size) * 2 * tau_m2
            yield Cost(model.name, size, name, tau_energy, tau_m2, nanoseconds)
