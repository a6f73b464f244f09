"""Which sampler ``auto`` is for the XY model: with clusters or without, by measured costs.

An independent value costs 2 tau steps. ``python -m mcmc.bench.mix_costs`` measured the autocorrelation times and the
time of steps below (Intel Xeon with AVX-512, two cores, 2026-11-26 and 27). The times of steps are those of an
otherwise idle machine. Autocorrelation times are of single runs, good to some 20 %: those of the magnetisation at
L = 64, T = 0.9, which scattered between 4.3 and 6.1 from run to run, are means over several runs; L = 256 had 4 or 6
chains a temperature. At L = 32 and T = 0.5 ten over-relaxations bring the longest spin wave back to where it was, and
abs(m) forgets slowly. Between sizes and temperatures logarithms are interpolated, beyond the largest size extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TEMPERATURES = (0.5, 0.9, 1.1, 1.5)
"""Of the table, in units of the coupling."""
CLUSTERS_EVERY = 4
"""Steps of ``auto_clusters`` from one update of all clusters to the next."""
CANDIDATES = ("auto", "auto_over_relaxation", "auto_clusters", "auto_clusters_every_step")
"""Names of samplers that ``auto`` may be; clusters alone do not mix where it is cold, and cost more."""


class Taus(NamedTuple):
    """Integrated autocorrelation times in steps."""

    energy: float
    magnetization: float


class Costs(NamedTuple):
    """What was measured on lattices of one size."""

    local: float
    """Nanoseconds a site of a step of ``auto``'s local moves, vectors full."""
    reflecting: float
    """The same of ``auto_over_relaxation``, and of what else ``auto_clusters_every_step`` does."""
    clusters: float
    """Nanoseconds a site that one update of all clusters adds to a step."""
    taus: dict[str, tuple[Taus, ...]]
    """By sampler, at each of `TEMPERATURES`."""

    def step(self, sampler: str, fill: float) -> float:
        """Nanoseconds a site of a step; for ``fill`` see `costs`."""
        local = self.reflecting if sampler in ("auto_over_relaxation", "auto_clusters_every_step") else self.local
        every = {"auto_clusters": 1 / CLUSTERS_EVERY, "auto_clusters_every_step": 1.0}.get(sampler, 0.0)
        return local / fill + every * self.clusters


COSTS = {
    16: Costs(
        11.6,
        11.3,
        12.3,
        {
            "auto": (Taus(1.1, 1.1), Taus(1.5, 1.4), Taus(3.0, 3.0), Taus(1.3, 0.8)),
            "auto_over_relaxation": (Taus(1.2, 3.8), Taus(1.6, 1.8), Taus(2.7, 2.1), Taus(1.3, 0.7)),
            "auto_clusters": (Taus(1.0, 1.1), Taus(1.4, 1.1), Taus(2.5, 2.5), Taus(1.1, 0.8)),
            "auto_clusters_every_step": (Taus(1.1, 2.0), Taus(1.3, 1.3), Taus(1.9, 1.5), Taus(1.0, 0.6)),
        },
    ),
    32: Costs(
        10.2,
        11.4,
        11.9,
        {
            "auto": (Taus(1.1, 1.0), Taus(1.8, 1.5), Taus(3.3, 5.5), Taus(1.2, 0.7)),
            "auto_over_relaxation": (Taus(1.3, 13.4), Taus(1.7, 2.7), Taus(2.7, 2.2), Taus(1.3, 0.6)),
            "auto_clusters": (Taus(1.1, 1.0), Taus(1.6, 1.5), Taus(2.8, 4.6), Taus(1.2, 0.7)),
            "auto_clusters_every_step": (Taus(1.0, 3.2), Taus(1.3, 1.6), Taus(2.0, 1.5), Taus(1.1, 0.5)),
        },
    ),
    64: Costs(
        9.7,
        11.4,
        7.4,
        {
            "auto": (Taus(1.2, 2.5), Taus(1.9, 4.8), Taus(3.2, 6.6), Taus(1.3, 0.7)),
            "auto_over_relaxation": (Taus(1.1, 1.6), Taus(1.7, 1.5), Taus(2.4, 1.7), Taus(1.3, 0.5)),
            "auto_clusters": (Taus(1.2, 2.1), Taus(1.6, 2.9), Taus(2.7, 3.8), Taus(1.2, 0.7)),
            "auto_clusters_every_step": (Taus(1.0, 1.0), Taus(1.3, 1.0), Taus(1.8, 1.1), Taus(1.0, 0.5)),
        },
    ),
    128: Costs(
        8.6,
        10.2,
        6.2,
        {
            "auto": (Taus(1.1, 8.2), Taus(1.9, 14.1), Taus(2.9, 6.5), Taus(1.3, 0.7)),
            "auto_over_relaxation": (Taus(1.3, 1.6), Taus(1.9, 3.2), Taus(2.4, 1.6), Taus(1.3, 0.5)),
            "auto_clusters": (Taus(1.1, 5.0), Taus(1.8, 5.1), Taus(2.4, 3.3), Taus(1.2, 0.7)),
            "auto_clusters_every_step": (Taus(1.0, 1.2), Taus(1.4, 1.3), Taus(1.7, 0.9), Taus(1.0, 0.5)),
        },
    ),
    256: Costs(
        8.8,
        11.5,
        8.0,
        {
            "auto": (Taus(1.3, 35.0), Taus(1.9, 27.5), Taus(2.9, 7.1), Taus(1.3, 0.7)),
            "auto_over_relaxation": (Taus(1.3, 3.4), Taus(1.8, 11.5), Taus(2.4, 1.5), Taus(1.4, 0.5)),
            "auto_clusters": (Taus(1.2, 9.7), Taus(1.8, 10.1), Taus(2.4, 3.3), Taus(1.2, 0.7)),
            "auto_clusters_every_step": (Taus(1.0, 1.7), Taus(1.3, 1.8), Taus(2.0, 0.9), Taus(0.9, 0.5)),
        },
    ),
}
"""By the side of the lattice."""


MANY_REFLECTIONS_FROM = 48**2
"""Sites from which on ``auto`` is ``auto_over_relaxation`` for ferromagnets with ring exchange."""
LEAST_GAIN = 1.4
"""By how much another sampler must be cheaper to be taken instead of ``auto``'s local moves."""


def costs(sampler: str, size: float, temperature: float, fill: float = 1.0) -> tuple[float, float]:
    """Nanoseconds a site for an independent energy and for an independent abs(m).

    Args:
        sampler: one of `CANDIDATES`.
        size: side of a square of as many sites.
        temperature: in units of the coupling; above the table its last one counts, below it clusters gain nothing.
        fill: share of the vectors' lanes that hold spins: local moves cost as much for empty ones.
    """
    sizes = sorted(COSTS)
    moves = sampler if temperature >= TEMPERATURES[0] else "auto"  # nothing is known of what clusters gain below
    at = np.interp(np.log(temperature), np.log(TEMPERATURES), range(len(TEMPERATURES)))
    low, share = int(at), at - int(at)
    high = min(low + 1, len(TEMPERATURES) - 1)
    logs = []
    for each in sizes:
        taus = np.log(COSTS[each].taus[moves])
        logs.append((1 - share) * taus[low] + share * taus[high])
    below = int(np.clip(np.searchsorted(sizes, size) - 1, 0, len(sizes) - 2))
    # Lines through two sizes, also beyond the largest one; the smallest one stands for smaller ones.
    x = max(0.0, float(np.log(size / sizes[below]) / np.log(sizes[below + 1] / sizes[below])))
    energy, magnetization = 2 * np.exp(logs[below] + x * (logs[below + 1] - logs[below]))
    known = COSTS[min(sizes, key=lambda each: abs(np.log(size / each)))]
    step = known.step(sampler, fill)
    return float(energy * step), float(magnetization * step)


def cheapest(size: float, temperatures: Sequence[float], fill: float = 1.0) -> str:
    """The sampler of an XY ferromagnet by which the dearer of an independent energy and abs(m) costs least.

    Args:
        size: side of a square of as many sites.
        temperatures: of the run, in units of the coupling.
        fill: see `costs`.

    Example:
        >>> cheapest(16, [0.9]), cheapest(128, [0.9])
        ('auto', 'auto_clusters_every_step')
    """
    means = {
        name: float(np.mean([np.log(max(costs(name, size, T, fill))) for T in temperatures])) for name in CANDIDATES
    }
    best = min(CANDIDATES, key=means.__getitem__)
    return best if means["auto"] - means[best] > np.log(LEAST_GAIN) else "auto"
