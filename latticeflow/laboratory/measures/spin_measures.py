"""Evaluate a sampler of spins by its energies and magnetisations, as the AdvNF paper does (arXiv:2401.15948)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from latticeflow.flows.weights import overlap
from latticeflow.laboratory.methods.method_registry import Sampler
from latticeflow.laboratory.targets import XYLattice
from mcmc import wrap
from mcmc.models import observables


class SpinRow(NamedTuple):
    """Draws against the ensemble at one temperature; the fields of `comparison.FlowQuality` that need no density."""

    temperature: float
    overlap_energy: float
    """Per cent, 80 bins of the energy per site on [-2 J, 0]."""
    overlap_magnetization: float
    """Per cent, 40 bins on [0, 1]."""
    emd_energy: float
    """Earth mover's distance of energies per site, in units of J."""
    emd_magnetization: float
    """Earth mover's distance of magnetisations."""


def compare_spins(sampler: Sampler, target: XYLattice, *, draws: int = 1000, seed: int = 0) -> list[SpinRow]:
    """Compare a sampler's own draws, to which no Metropolis test has been applied, with as many of the ensemble.

    Args:
        sampler: trained on the target.
        target: the lattice with its temperatures.
        draws: at each temperature.
        seed: of all draws.

    Returns:
        One row for each temperature of the target.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for T, condition in zip(target.temperatures, target.conditions(), strict=True):
        given = condition.expand(draws, -1).contiguous()
        pair = [each.sample(draws, condition=given, generator=generator) for each in (target, sampler)]
        # What learns in R^d may draw angles outside of [-pi, pi).
        spins = [wrap(theta).view(-1, *target.lattice.shape).numpy() for theta in pair]
        e = [np.asarray(target.model.energy(theta)) / target.lattice.N for theta in spins]
        m = [observables.magnetization(theta) for theta in spins]
        rows.append(
            SpinRow(
                temperature=T,
                overlap_energy=overlap(e[0], e[1], 80, (target.model.floor, 0.0)),
                overlap_magnetization=overlap(m[0], m[1], 40, (0.0, 1.0)),
                emd_energy=float(wasserstein_distance(*e)),
                emd_magnetization=float(wasserstein_distance(*m)),
            )
        )
    return rows


def mean_spin_row(rows: Sequence[SpinRow]) -> SpinRow:
    """Means over temperatures, as the paper gives them."""
    return SpinRow(*np.array(rows).mean(0).tolist())
