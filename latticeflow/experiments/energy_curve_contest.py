"""Energy and specific heat along a curve at equal wall time: Markov chains alone, and with a flow's free energies.

Alone, the chains of all temperatures are combined by the multistate acceptance ratio (`mcmc.analysis.mbar`). With a
flow they get half of the time; in the other half the flow draws at the same temperatures, and its free energies are
control variates (`mcmc.analysis.control_variates`). Training is not counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.chains.neural_mcmc import propose, unit_size
from latticeflow.experiments.head_to_head import system_name
from latticeflow.flows import Flow
from latticeflow.flows.checkpoint import open_flow
from mcmc import InputError
from mcmc.analysis.control_variates import with_known_free_energies
from mcmc.analysis.free_energy import log_partition
from mcmc.analysis.free_energy_ladder import energy_scale, thermodynamic_length
from mcmc.analysis.mbar import Mbar
from mcmc.analysis.statistics import Estimate
from mcmc.runtime.text import columns
from mcmc.sampling.rng import key
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

CHAINS = 4
FLOW_SHARE = 0.5
"""Share of the time in which the flow draws."""


class CurveGain(NamedTuple):
    """Errors per site at one temperature of the curve, all temperatures together having taken the same time."""

    system: str
    temperature: float
    energy: float
    """By Markov chains and the flow."""
    energy_error: float
    energy_error_alone: float
    """By Markov chains alone."""
    energy_gain: float
    """Time of the chains alone over that of both, for the same error."""
    specific_heat: float
    specific_heat_error: float
    specific_heat_error_alone: float
    specific_heat_gain: float
    pull: float
    """Difference of the two energies, in standard deviations."""
    seconds: float
    """Wall time of either way, all temperatures together."""


def grid_of_overlapping_energies(flow: Flow, low: float, high: float) -> list[float]:
    """Temperatures one standard deviation of the energy apart, ends included."""
    beta, length = thermodynamic_length(flow.model, flow.lattice, [low, high])
    near, far = (float(np.interp(1 / T, beta, length)) for T in (high, low))
    inner = np.interp(np.linspace(near, far, math.ceil(far - near) + 1), length, beta)[1:-1]
    return [low, *(1 / inner[::-1]).tolist(), high]


def curve_contest(
    flow: Flow | str | Path,
    *,
    temperatures: Sequence[float] | None = None,
    seconds: float = 10.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda method: None,
) -> list[CurveGain]:
    """Measure the curve both ways.

    Thermalisation counts; compilation and the analysis of the draws do not.

    Args:
        flow: a flow, or the path or name of one.
        temperatures: of the curve, so close that energies overlap; None takes them from 0.4 energy scales on, as far as
            the flow's range goes, one standard deviation of the energy apart.
        seconds: for each way.
        seed: root of the random streams.
        device: where the flow computes; Markov chains use as many threads as torch has.
        report: called with the name of each way when it is done.

    Raises:
        InputError: the flow cannot be used, no time is given, or energies that do not overlap.
    """
    if not seconds > 0:
        raise InputError(f"seconds = {seconds} must be positive")
    flow = open_flow(flow, device)
    N = flow.lattice.N
    low = max(flow.temperatures[0], 0.4 * energy_scale(flow.model, flow.lattice))
    T = sorted(set(temperatures or grid_of_overlapping_energies(flow, low, flow.temperatures[1])))
    _chain_energies(flow, T, 0.0, seed)  # whatever happens once
    energies = _chain_energies(flow, T, seconds, int(key(seed, 0)[0]))
    alone = Mbar(energies, 1 / np.array(T))
    report("Markov chains")
    both = _chain_energies(flow, T, (1 - FLOW_SHARE) * seconds, int(key(seed, 1)[0]))
    ln_z = _log_partitions(flow, T, FLOW_SHARE * seconds, seed)
    report("with the flow")
    rows = []
    for t, found in zip(T, with_known_free_energies(both, T, ln_z, N), strict=True):
        u = alone.mean(1 / t, energies / N).estimate()
        c = alone.mean(1 / t, (energies - N * u.value) ** 2 / (N * t**2)).estimate()
        e, heat = found["energy"], found["specific_heat"]
        rows.append(
            CurveGain(
                system=system_name(flow.model, flow.lattice),
                temperature=t,
                energy=e.value,
                energy_error=e.error,
                energy_error_alone=u.error,
                energy_gain=(u.error / e.error) ** 2,
                specific_heat=heat.value,
                specific_heat_error=heat.error,
                specific_heat_error_alone=c.error,
                specific_heat_gain=(c.error / heat.error) ** 2,
                pull=(e.value - u.value) / float(np.hypot(e.error, u.error)),
                seconds=seconds,
            )
        )
    return rows


def _chain_energies(flow: Flow, temperatures: Sequence[float], seconds: float, seed: int) -> np.ndarray:
    """Total energies (T, chains, draws) of as many draws as fit into the time."""
    start = time.perf_counter()
    settings = Settings(flow.model, flow.lattice, tuple(temperatures), chains=CHAINS, seed=seed)
    simulation = Simulation(settings, threads=torch.get_num_threads())
    energies: list[np.ndarray] = []
    while sum(each.shape[2] for each in energies) < 3 * len(temperatures) or time.perf_counter() - start < seconds:
        energies.append(flow.lattice.N * simulation.block(8).series["energy"])
    return np.concatenate(energies, axis=2)


def _log_partitions(flow: Flow, temperatures: Sequence[float], seconds: float, seed: int) -> list[Estimate]:
    """ln Z at each temperature, from the draws that fit into an equal share of the time."""
    generator = torch.Generator(flow.device).manual_seed(int(key(seed, 2)[0]))
    propose(flow, temperatures[0], unit_size(flow), generator=generator)  # whatever happens once
    found = []
    for T in temperatures:
        log_weight: list[np.ndarray] = []
        start = time.perf_counter()
        while not log_weight or time.perf_counter() - start < seconds / len(temperatures):
            log_weight.append(propose(flow, T, unit_size(flow), generator=generator).log_weight)
        found.append(log_partition(np.concatenate(log_weight)))
    return found


def curve_text(rows: Sequence[CurveGain]) -> str:
    """The measurement for a terminal."""
    head = ["T", "u with flow", "u alone", "gain", "c with flow", "c alone", "gain", "pull"]
    lines = []
    for system in dict.fromkeys(row.system for row in rows):
        cells = [
            [
                f"{row.temperature:.3f}",
                *(f"{error:.2g}" for error in (row.energy_error, row.energy_error_alone)),
                f"{row.energy_gain:.3g}",
                *(f"{error:.2g}" for error in (row.specific_heat_error, row.specific_heat_error_alone)),
                f"{row.specific_heat_gain:.3g}",
                f"{row.pull:.1f}",
            ]
            for row in rows
            if row.system == system
        ]
        lines += [f"{system}: errors of energy u and specific heat c per site", columns(head, cells)]
    lines.append("gain: time of Markov chains alone over that with a flow, for the same error")
    return "\n".join(lines)


def as_json(rows: Sequence[CurveGain]) -> list[dict[str, Any]]:
    """The measurement in JSON's types."""
    return [row._asdict() for row in rows]
