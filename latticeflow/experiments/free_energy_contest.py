"""Free energies at equal wall time: from a flow's weights, and by classical chains down from infinite temperature.

A flow knows its normalisation, so every draw measures ln Z with the spread of log w, at any temperature by itself.
Classical methods must climb down from infinite temperature, and their errors grow with the way: chains on a ladder of
temperatures (`mcmc.analysis.free_energy_ladder`), or walkers that are cooled (`mcmc.analysis.annealing`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.chains.neural_mcmc import log_weights, propose, unit_size
from latticeflow.experiments.head_to_head import system_name
from latticeflow.flows import Flow, checkpoint
from mcmc import InputError
from mcmc.analysis.annealing import Annealed, anneal
from mcmc.analysis.free_energy import bridge, log_partition, weighted_entropy
from mcmc.analysis.free_energy_ladder import Absolute, absolute, rungs
from mcmc.analysis.statistics import estimate
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.runtime.text import columns, wrapped
from mcmc.sampling.rng import key
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

WEIGHTS, BRIDGE = "flow, weights", "flow, bridge"
MBAR, INTEGRATION = "classical, MBAR", "classical, integration"
ANNEALED, POPULATIONS = "classical, annealed importance", "classical, population annealing"
FLOW_METHODS, CLASSICAL_METHODS = (WEIGHTS, BRIDGE), (MBAR, INTEGRATION, ANNEALED, POPULATIONS)
METHODS = FLOW_METHODS + CLASSICAL_METHODS
LADDER_CHAINS = 4
BRIDGE_CHAINS = 8
WALKERS = {ANNEALED: 1, POPULATIONS: 32}
"""Walkers of each population."""
ALL_WALKERS = 1024
CLASSICAL_SHARE = 0.5
"""Share of the bridge's time that classical chains get: their energies go into the entropy."""


class FreeEnergyResult(NamedTuple):
    """One method on one system at one temperature."""

    system: str
    method: str
    """One of `METHODS`."""
    temperature: float
    free_energy: float
    """Per site."""
    free_energy_error: float
    """One standard deviation."""
    entropy: float
    """Per site; of the bridge from the flow's free energy and the classical chains' energy. NaN for integration."""
    entropy_error: float
    """One standard deviation."""
    seconds: float
    """Wall time of all temperatures together."""
    seconds_alone: float
    """Of them, what this temperature alone would have taken: classical methods need all temperatures above it."""


class Gain(NamedTuple):
    """The better flow method against the better classical one at one temperature: ratios of error^2 x time."""

    system: str
    temperature: float
    flow: str
    classical: str
    free_energy: float
    """Time of the classical method over that of the flow for the same error, all temperatures wanted."""
    free_energy_alone: float
    """The same if this temperature alone is wanted."""
    entropy: float
    """The same for the entropy, all temperatures wanted."""
    entropy_alone: float
    pays_below: float
    """Error of f, at all temperatures, below which the flow is faster with its training counted; 0 for never."""
    pull: float
    """Difference of the two free energies, in standard deviations."""


def contest(
    flow_path: str | Path,
    *,
    temperatures: Sequence[float] | None = None,
    seconds: float = 10.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda method: None,
) -> tuple[list[FreeEnergyResult], list[Gain]]:
    """Measure free energies and entropies by every method, each in about the same time.

    Thermalisation counts; compilation, the choice of rungs and of the schedule, and the analysis of draws do not.

    Args:
        flow_path: checkpoint.
        temperatures: where; None takes eight over the flow's range.
        seconds: for each method, all temperatures together.
        seed: root of the random streams.
        device: where the flow computes; classical samplers use as many threads as torch has.
        report: called with the name of each method when it is done.

    Raises:
        InputError: the checkpoint cannot be used, no time is given, or it is too short for the ladder.
    """
    _check(seconds)
    flow, metadata, _ = checkpoint.load(flow_path, device)
    grid = sorted(temperatures or np.linspace(*flow.temperatures, 8).tolist())
    system = system_name(flow.model, flow.lattice)
    rows = _weights(flow, system, grid, seconds, seed)
    report(WEIGHTS)
    rows += _bridge(flow, system, grid, seconds, seed)
    report(BRIDGE)
    rows += classical_results(flow.model, flow.lattice, grid, seconds=seconds, seed=seed, report=report)
    return rows, gains(rows, float(metadata.get("seconds", math.nan)))


def classical_results(
    model: Model,
    lattice: Lattice,
    temperatures: Sequence[float],
    *,
    seconds: float = 10.0,
    seed: int = 0,
    report: Callable[[str], None] = lambda method: None,
) -> list[FreeEnergyResult]:
    """Measure free energies and entropies by the classical methods, as `contest` does beside a flow.

    Args:
        model: the spin model.
        lattice: on which.
        temperatures: in units of J / k_B.
        seconds: for each method, all temperatures together.
        seed: root of the random streams.
        report: called with the name of each method when it is done.

    Raises:
        InputError: no time is given, or it is too short for the ladder.
    """
    _check(seconds)
    system, grid = system_name(model, lattice), sorted(temperatures)
    rows = _ladder(model, lattice, system, grid, seconds, seed)
    report(MBAR)
    for method in WALKERS:
        rows += _annealed(model, lattice, system, grid, seconds, seed, method)
        report(method)
    return rows


def _check(seconds: float) -> None:
    if not seconds > 0:
        raise InputError(f"seconds = {seconds} must be positive")


def _weights(flow: Flow, system: str, grid: Sequence[float], seconds: float, seed: int) -> list[FreeEnergyResult]:
    """Weighted draws of the flow, no chain at all."""
    n, N = unit_size(flow), flow.lattice.N
    generator = torch.Generator(flow.device).manual_seed(int(key(seed, 0)[0]))
    propose(flow, grid[0], n, generator=generator)  # whatever happens once
    rows: list[FreeEnergyResult] = []
    for T in grid:
        log_weight: list[np.ndarray] = []
        energies: list[np.ndarray] = []
        start = time.perf_counter()
        while not energies or time.perf_counter() - start < seconds / len(grid):
            theta, log_w = propose(flow, T, n, generator=generator)
            log_weight.append(log_w)
            energies.append(flow.model.energy(theta) / N)
        spent = time.perf_counter() - start
        log_w = np.concatenate(log_weight)
        ln_z, s = log_partition(log_w), weighted_entropy(log_w, np.concatenate(energies), N, T)
        f, error = -T / N * ln_z.value, T / N * ln_z.error
        rows.append(FreeEnergyResult(system, WEIGHTS, T, f, error, s.value, s.error, 0.0, spent))
    return _with_total(rows)


def _with_total(rows: Sequence[FreeEnergyResult]) -> list[FreeEnergyResult]:
    total = sum(row.seconds_alone for row in rows)
    return [row._replace(seconds=total) for row in rows]


def _bridge(flow: Flow, system: str, grid: Sequence[float], seconds: float, seed: int) -> list[FreeEnergyResult]:
    """Classical chains at all temperatures first, then the flow's draws and its density of the chains' in turn."""
    n, N = unit_size(flow), flow.lattice.N
    generator = torch.Generator(flow.device).manual_seed(int(key(seed, 1)[0]))
    settings = Settings(flow.model, flow.lattice, tuple(grid), chains=BRIDGE_CHAINS, seed=int(key(seed, 2)[0]))
    start = time.perf_counter()
    simulation = Simulation(settings, threads=torch.get_num_threads())
    energies: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    while len(energies) < 2 or time.perf_counter() - start < CLASSICAL_SHARE * seconds:
        block = simulation.block(n // BRIDGE_CHAINS)
        energies.append(block.series["energy"])
        kept = [*kept[-15:], block.theta]
    classical = (time.perf_counter() - start) / len(grid)
    rows = []
    for t, T in enumerate(grid):
        from_flow: list[np.ndarray] = []
        from_chains: list[np.ndarray] = []
        start = time.perf_counter()
        while not from_flow or time.perf_counter() - start < (1 - CLASSICAL_SHARE) * seconds / len(grid):
            from_flow.append(propose(flow, T, n, generator=generator).log_weight)
            if len(from_chains) < len(kept):
                theta = kept[len(from_chains)][t].reshape(-1, *flow.lattice.shape)
                from_chains.append(log_weights(flow, theta, T, batch=n).reshape(BRIDGE_CHAINS, -1))
        alone = classical + time.perf_counter() - start
        ln_z = bridge(np.concatenate(from_flow), np.concatenate(from_chains, axis=1))
        e = estimate(np.concatenate([block[t] for block in energies], axis=1))
        f, error = -T / N * ln_z.value, T / N * ln_z.error
        s, error_s = (e.value - f) / T, math.hypot(e.error, error) / T
        rows.append(FreeEnergyResult(system, BRIDGE, T, f, error, s, error_s, 0.0, alone))
    return _with_total(rows)


def _ladder(
    model: Model, lattice: Lattice, system: str, grid: Sequence[float], seconds: float, seed: int
) -> list[FreeEnergyResult]:
    """Classical chains on all rungs from infinity down."""
    N = lattice.N
    ladder = rungs(model, lattice, grid, seed=seed)
    settings = Settings(model, lattice, ladder, chains=LADDER_CHAINS, seed=seed)
    start = time.perf_counter()
    simulation = Simulation(settings, threads=torch.get_num_threads())
    energies: list[np.ndarray] = []
    while len(energies) < 2 or time.perf_counter() - start < seconds:
        energies.append(N * simulation.block(8).series["energy"])
    spent = time.perf_counter() - start
    found = absolute(np.concatenate(energies, axis=2), ladder, N)
    return [row for T in grid for row in _rung(found, ladder.index(T), system, T, N, spent)]


def _rung(found: Absolute, k: int, system: str, T: float, N: int, spent: float) -> list[FreeEnergyResult]:
    alone = spent * (1 - k / len(found.entropy))
    scale = T / N
    mbar = (-scale * found.log_partition[k], scale * found.log_partition_error[k])
    integral = (-scale * found.integrated[k], scale * found.integrated_error[k])
    s = (float(found.entropy[k]), float(found.entropy_error[k]))
    return [
        FreeEnergyResult(system, MBAR, T, float(mbar[0]), float(mbar[1]), *s, spent, alone),
        FreeEnergyResult(
            system, INTEGRATION, T, float(integral[0]), float(integral[1]), math.nan, math.nan, spent, alone
        ),
    ]


def _annealed(
    model: Model, lattice: Lattice, system: str, grid: Sequence[float], seconds: float, seed: int, method: str
) -> list[FreeEnergyResult]:
    """One run of as many steps as fit into the time: longer runs are worth more than several short ones."""
    walkers, N = WALKERS[method], lattice.N

    def run(steps: int) -> tuple[Annealed, float]:
        ticks: list[float] = []
        found = anneal(
            model,
            lattice,
            grid,
            steps=steps,
            populations=ALL_WALKERS // walkers,
            walkers=walkers,
            seed=int(key(seed, 3)[0]),
            threads=torch.get_num_threads(),
            report=lambda done: ticks.append(time.perf_counter()),
        )
        return found, (ticks[-1] - ticks[0]) / (len(ticks) - 1)

    least = 2 * len(grid) + 10
    run(least)  # whatever happens once
    tried = run(max(least, int(seconds / 10 / run(least)[1])))
    found, per_step = run(max(least, int(seconds / tried[1])))
    rows = []
    of_walkers = zip(found.log_partition(), found.entropy(), found.trusted(), strict=True)
    for T, steps, (ln_z, s, trusted) in zip(found.temperatures, found.steps, of_walkers, strict=True):
        f, alone = -T / N * ln_z.value, float(steps * per_step)
        error = float(T / N * ln_z.error) if trusted else math.inf
        s_error = s.error if math.isfinite(error) else math.inf
        rows.append(FreeEnergyResult(system, method, float(T), float(f), error, s.value, s_error, 0.0, alone))
    total = rows[-1].seconds_alone
    return [row._replace(seconds=total) for row in rows]


def gains(rows: Sequence[FreeEnergyResult], training_seconds: float) -> list[Gain]:
    """The flow's gain at each temperature of one system.

    Args:
        rows: of one system.
        training_seconds: of the flow; NaN if not known.
    """
    found = []
    for T in dict.fromkeys(row.temperature for row in rows):
        here = {row.method: row for row in rows if row.temperature == T}
        flows, chains = ([here[method] for method in each] for each in (FLOW_METHODS, CLASSICAL_METHODS))
        flow, best = (min(each, key=lambda row: row.free_energy_error**2 * row.seconds) for each in (flows, chains))
        cost, cost_alone, cost_s, cost_s_alone = (
            [
                min(getattr(row, error) ** 2 * getattr(row, time) for row in each if math.isfinite(getattr(row, error)))
                for each in (chains, flows)
            ]
            for error in ("free_energy_error", "entropy_error")
            for time in ("seconds", "seconds_alone")
        )
        # Times are cost / error^2: they are equal, training counted, where the saved cost / error^2 is its time.
        saved = cost[0] - cost[1]
        found.append(
            Gain(
                system=rows[0].system,
                temperature=T,
                flow=flow.method,
                classical=best.method,
                free_energy=cost[0] / cost[1],
                free_energy_alone=cost_alone[0] / cost_alone[1],
                entropy=cost_s[0] / cost_s[1],
                entropy_alone=cost_s_alone[0] / cost_s_alone[1],
                pays_below=math.sqrt(saved / training_seconds) if saved > 0 else 0.0,
                pull=(flow.free_energy - best.free_energy) / math.hypot(flow.free_energy_error, best.free_energy_error),
            )
        )
    return found


def results_text(rows: Sequence[FreeEnergyResult], found: Sequence[Gain]) -> str:
    """The measurement for a terminal."""
    titles = ("weights", "bridge", "MBAR", "integral", "annealed", "populations")
    by_place = {(gain.system, gain.temperature): gain for gain in found}
    lines = []
    for system in dict.fromkeys(row.system for row in rows):
        errors, gained = [], []
        for T in dict.fromkeys(row.temperature for row in rows if row.system == system):
            here = {row.method: row for row in rows if (row.system, row.temperature) == (system, T)}
            cells = [f"{here[method].free_energy_error:.2g}" if method in here else "" for method in METHODS]
            gain = by_place.get((system, T))  # None without a flow
            errors.append([f"{T:.3f}", f"{gain.pull:.1f}" if gain else "", *cells])
            if gain:
                ratios = (gain.free_energy, gain.free_energy_alone, gain.entropy, gain.entropy_alone)
                gained.append([f"{T:.3f}", *(f"{ratio:.3g}" for ratio in ratios), f"{gain.pays_below:.2g}"])
        lines += [f"{system}: error of f per site, by", columns(["T", "pull", *titles], errors)]
        if gained:
            head = ["T", "f, all T", "f, one T", "s, all T", "s, one T", "break-even"]
            lines += [f"{system}: gain in f and in s", columns(head, gained)]
        spent = {row.method: row.seconds for row in rows if row.system == system}
        times = "; ".join(f"{method} {value:.1f} s" for method, value in spent.items())
        lines += [wrapped(f"{system}, all temperatures: {times}"), ""]
    lines.append(
        wrapped(
            "gain: time of the better classical method over that of the better flow method for the same error; "
            "break-even: error of f at all T below which the flow is faster with its training counted, too"
        )
    )
    return "\n".join(lines)


def as_json(rows: Sequence[FreeEnergyResult], found: Sequence[Gain]) -> dict[str, Any]:
    """The measurement in JSON's types; numbers that do not exist are None."""

    def plain(item: FreeEnergyResult | Gain) -> dict[str, Any]:
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in item._asdict().items()
        }

    return {"rows": [plain(row) for row in rows], "gains": [plain(gain) for gain in found]}
