"""Where the variance of log w of a multiscale flow sits: by group of sites, and whether sites on their own or pairs.

    python -m latticeflow.experiments.variance_by_group xy16 --temperatures 0.5,1,1.5 --draws 500

With x_g the angles of the groups up to number g, log w is a sum of uncorrelated increments E[log w | x_g] -
E[log w | x_{g-1}], to lowest order the error log p(group | before) - log q(group | before) of one group's law. With V_g
half the mean square difference of log w between a draw and one in which group g and all later ones are drawn anew,
group g adds V_g - V_{g+1}. Both redraws use the same random numbers for what they share, which takes most of the noise
away.

The sites of a group are drawn independently, so that its increment is a sum over its sites and over pairs of them
(higher orders left out). Redrawing a random half of S sites gives half of the first part and, of the second,
1 - (S/2 - 1) / (2 (S - 1)). The first is what the law of a site lacks: a better net or more to see helps. The second is
the correlation that independent draws cannot have: smaller groups help. The exact last colour adds nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latticeflow.flows import Multiscale
from latticeflow.flows.checkpoint import load_flow
from latticeflow.flows.schedule import coarse_to_fine
from mcmc import InputError
from mcmc.runtime.stop import run_script


class GroupVariance(NamedTuple):
    """What one group adds to the variance of log w, mean over temperatures, each with one standard deviation."""

    spacing: int
    """Lattice spacing of the sites known when the group's level began."""
    sites: int
    variance: float
    error: float
    pairs: float
    """The part of it that pairs of sites make; NaN for a single site."""
    pairs_error: float


def variance_by_group(
    flow: Multiscale, temperatures: Sequence[float], *, draws: int, seed: int = 0
) -> tuple[float, list[GroupVariance]]:
    """The variance of log w over draws of the flow, and what each group adds to it; see the module.

    Args:
        flow: trained.
        temperatures: in units of J / k_B.
        draws: at each of them.
        seed: of all random numbers.

    Raises:
        InputError: fewer than 2 draws.

    Example:
        >>> from latticeflow.flows import build_flow
        >>> from mcmc import XY, Lattice
        >>> flow = build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), width=8)
        >>> total, groups = variance_by_group(flow, [1.0], draws=200)
        >>> [group.sites for group in groups], total > 0
        ([1, 1, 1, 1, 1, 1, 1], True)
    """
    if draws < 2:
        raise InputError(f"draws = {draws}: a variance needs at least 2")
    if not all(0 < T < math.inf for T in temperatures):
        raise InputError(f"temperatures {list(temperatures)} must be positive and finite")
    T = torch.tensor(np.repeat(temperatures, draws), dtype=flow.dtype, device=flow.device)
    generator = torch.Generator(flow.device)

    def log_w(theta: Tensor) -> np.ndarray:
        found = (-flow.model.energy(theta) / T - flow.log_prob(theta, T)).view(-1, draws).cpu().numpy()
        return found - mean

    def redrawn(first: int, kept: Tensor | None = None) -> np.ndarray:
        drawn = theta
        for number in range(first, flow.depths):
            stream = generator.manual_seed(seed * 2**20 + number + 1)
            drawn = flow.redraw_group(drawn, T, number, stream, kept if number == first else None)
        return (log_w(drawn) - own) ** 2 / 2

    with torch.no_grad():
        theta, _ = flow.sample(len(T), T, generator=generator.manual_seed(seed * 2**20))
        mean = np.zeros((len(T) // draws, 1))
        own = log_w(theta)
        mean = own.mean(1, keepdims=True)
        own = own - mean
        rows, later = list[GroupVariance](), np.zeros_like(own)
        groups = coarse_to_fine(flow.lattice, flow.model, seen=flow.sizes["seen"], finer=flow.sizes["finer"]).groups
        for number in reversed(range(flow.depths)):
            n = len(groups[number].sites)
            whole = redrawn(number)
            variance, pairs = whole - later, np.array([np.nan])
            if n > 1:
                order = torch.rand(len(T), n, generator=generator, device=flow.device).argsort(1)
                half = n // 2
                # Of the first part (n - half) / n is redrawn, of pairs all those of which not both are kept.
                share, of_pairs = 1 - half / n, 1 - half * (half - 1) / (n * (n - 1))
                pairs = (redrawn(number, order < half) - later - share * variance) / (of_pairs - share)
            later = whole
            rows.append(GroupVariance(groups[number].spacing, n, *_mean(variance), *_mean(pairs)))
    return float(own.var(1, ddof=1).mean()), rows[::-1]


def _mean(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / np.sqrt(values.size))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m latticeflow.experiments.variance_by_group", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("flow", help="a multiscale flow, a file or the name of one that is shipped")
    parser.add_argument("--temperatures", default="0.5,1,1.5,2", metavar="T,T", help="(default 0.5,1,1.5,2)")
    parser.add_argument("--draws", type=int, default=500, metavar="N", help="at each temperature (default 500)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    try:
        flow = load_flow(asked.flow)
        if not isinstance(flow, Multiscale):
            raise InputError(f"{asked.flow} is a {flow.name} flow: only multiscale flows draw groups of sites")
        temperatures = [float(each) for each in asked.temperatures.split(",")]
        total, rows = variance_by_group(flow, temperatures, draws=asked.draws, seed=asked.seed)
    except ValueError as error:  # InputError is one
        parser.error(str(error))
    print(f"variance of log w {total:.5f}, mean over {len(temperatures)} temperatures; by group, times 10^4:")
    print(f"{'spacing':>8}{'sites':>6}{'variance':>16}{'of which pairs':>18}")
    for row in rows:
        pairs = "" if row.sites == 1 else f"{1e4 * row.pairs:9.1f} +-{1e4 * row.pairs_error:6.1f}"
        print(f"{row.spacing:8d}{row.sites:6d}{1e4 * row.variance:8.1f} +-{1e4 * row.error:5.1f}{pairs:>18}")
    return 0


if __name__ == "__main__":
    run_script(main)
