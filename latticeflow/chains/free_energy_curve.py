"""Free energy, entropy, energy and specific heat of a flow's model at any temperatures, from weighted draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from latticeflow.chains.importance import weighted
from latticeflow.chains.neural_mcmc import unit, unit_size
from latticeflow.chains.neural_streams import NeuralStreams
from latticeflow.flows.checkpoint import open_flow
from latticeflow.flows.flow import Flow
from mcmc import InputError
from mcmc.analysis.control_variates import with_known_free_energies
from mcmc.analysis.observable_registry import System
from mcmc.analysis.table import Row, Table
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.choices import strict
from mcmc.sampling.rng import key
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

COLUMNS = ("free_energy", "entropy", "energy", "specific_heat")
"""Columns of the table, all per site."""
GRID = 16
"""Temperatures over the flow's range where none are named."""
CHAINS = 4
"""Markov chains at each temperature."""


@strict
def free_energy(
    flow: Flow | str | Path,
    temperatures: float | Sequence[float] | np.ndarray | None = None,
    *,
    draws: int = 2000,
    classical_draws: int = 0,
    seed: int = 0,
    device: torch.device | str | None = None,
    report: Callable[[int], None] = lambda draws: None,
) -> Table:
    """Absolute free energies f(T) = -T ln Z / N, and s(T), u(T), c(T), from independent draws of a flow.

    With the weights w = exp(-E / T) / q of draws of the flow's density q,

        Z = <w>,   u = <w E> / <w> / N,   s = (u - f) / T,   c = (<w E^2> / <w> - <w E>^2 / <w>^2) / (N T^2).

    Every temperature stands for itself: none is reached through others, and errors at different temperatures are
    independent. The error of f follows from the spread of ln w alone and is far smaller than those of u, s and c, which
    the fluctuations of the energy bound as they do for Markov chains.

    With classical draws, u, s and c are those of Markov chains at the same temperatures, with the flow's free energies
    as control variates (`mcmc.analysis.control_variates`). That takes much less time for the same errors than either
    alone, if the temperatures are so close that neighbouring energies overlap.

    What no draw of the flow reaches is missing from value and error alike: check the flow by `lf.compare` first, or
    check f by `mcmc.analysis.free_energy.bridge`.

    Args:
        flow: a flow, or the path or name of one.
        temperatures: in units of J / k_B, one or many in any order; None takes 16 over the flow's range. It warns
            outside of the range.
        draws: of the flow at each temperature.
        classical_draws: of each of 4 Markov chains at each temperature; 0 for none.
        seed: root of the random streams.
        device: where the flow computes; None leaves a flow where it is, and chooses for a file.
        report: called with the number of draws made since the last call.

    Returns:
        A table with the columns `COLUMNS`, each an `Estimate` with its error; ``tau_int`` is 1 / (2 ESS) of the
        weights.

    Raises:
        InputError: fewer than 2 draws, a temperature that is not positive, a flow that cannot be used, or temperatures
            too far apart for classical draws.

    References:
        K. A. Nicoli et al., *Estimation of thermodynamic observables in lattice field theories with deep generative
        models*, Phys. Rev. Lett. 126, 032001 (2021), arXiv:2007.07115.

    Example:
        >>> table = free_energy("xy8", [0.5, 1.0], draws=512, device="cpu")
        >>> table["free_energy"].values.round(2).tolist()
        [-2.03, -2.45]
    """
    for name, count, least in (("draws", draws, 2), ("classical_draws", classical_draws, 0)):
        if count < least:
            raise InputError(f"{name} = {count} must be at least {least}")
    flow = open_flow(flow, device)
    grid = as_temperatures(np.linspace(*flow.temperatures, GRID) if temperatures is None else temperatures)
    flow.warn_outside(grid)
    size, N = unit_size(flow), flow.lattice.N
    rows = []
    streams = NeuralStreams.of(flow, seed)
    for T in grid:
        log_w, energy = [], []
        for number in range(-(-draws // size)):
            n = min(size, draws - number * size)
            theta, log_weight, _ = unit(flow, T, streams, number)
            log_w.append(log_weight[:n])
            energy.append(flow.model.energy(theta[:n]) / N)
            report(n)
        moments = {"energy": np.concatenate(energy)}
        found = weighted(moments, np.concatenate(log_w), System(flow.model, flow.lattice, T), COLUMNS)
        rows.append(Row(T, found))
    if classical_draws:
        rows = _with_chains(flow, rows, classical_draws, seed)
    return Table(flow.model, flow.lattice, np.array(grid), rows, np.full((len(rows), 2), math.nan), 1)


def _with_chains(flow: Flow, rows: list[Row], draws: int, seed: int) -> list[Row]:
    """The same rows with energy, specific heat and entropy from Markov chains and the rows' free energies."""
    T, N = [row.temperature for row in rows], flow.lattice.N
    settings = Settings(flow.model, flow.lattice, tuple(T), chains=CHAINS, seed=int(key(seed, len(T))[0]))
    energies = N * Simulation(settings, threads=torch.get_num_threads()).block(draws).series["energy"]
    log_partition = [
        replace(row["free_energy"], value=-N / t * row["free_energy"].value, error=N / t * row["free_energy"].error)
        for t, row in zip(T, rows, strict=True)
    ]
    found = with_known_free_energies(energies, T, log_partition, N)
    return [
        Row(t, {name: {**row, **better}[name] for name in COLUMNS})
        for t, row, better in zip(T, rows, found, strict=True)
    ]
