"""Is the flow faster? Effective draws a second of neural MCMC beside classical samplers, on one machine in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from latticeflow.chains.neural_mcmc import NeuralChains, propose, unit_size
from latticeflow.flows import Flow, checkpoint
from latticeflow.flows.weights import normalise
from mcmc import InputError
from mcmc.analysis.statistics import Estimate, derived, estimate
from mcmc.models import observables
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.runtime.text import columns, wrapped
from mcmc.sampling.rng import key
from mcmc.sampling.samplers import find_sampler
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.block import Block

OBSERVABLES = (
    "energy",
    "square_magnetization",
    "vortex_density",
    "specific_heat",
    "helicity_modulus",
    "sign_of_order",
)
"""The last one is the sign that a broken symmetry leaves open, of a chirality or of the direction of stripes: a chain
that never leaves one sign has not sampled. Models without such an order have none."""
CHAIN, WEIGHTED, REDRAWN, SWEPT = "neural MCMC", "importance", "with redraws", "with sweeps"
NEURAL = (CHAIN, WEIGHTED, REDRAWN, SWEPT)
"""Ways to use a flow: its proposals alone, as a chain or weighted; a redraw, or a local sweep, after each proposal."""
CLASSICAL = ("auto", "over_relaxation", "metropolis", "wolff", "swendsen_wang")
SHIPPED = "xy8"
CHAINS = 16  # classical kernels are built for vectors of 16
NEURAL_CHAINS = 4
MOVED_DRAWS = 8  # a unit of proposals serves so many steps of chains with other moves, which go step by step


class Rate(NamedTuple):
    """One method on one system at one temperature."""

    system: str
    """Such as ``XY 8x8``."""
    method: str
    """One of `NEURAL` or `CLASSICAL`."""
    temperature: float
    seconds: float
    """Wall time of the draws, this temperature's share."""
    draws: int
    """Measured, of all chains."""
    tau_int: tuple[float, ...]
    """Integrated autocorrelation times of `OBSERVABLES`, in draws; NaN where nothing can be said, infinite for a
    sign that never changed."""
    sure: tuple[bool, ...] = (True,) * len(OBSERVABLES)
    """Whether the chains were long enough for them; otherwise they may be longer, and the rates lower."""
    both_signs: float = math.nan
    """Share of the chains that saw both signs of the order; of independent draws 1 if both were drawn."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Effective draws a second of each of `OBSERVABLES`: draws / (2 tau_int) / seconds."""
        return tuple(self.draws / (2 * tau) / self.seconds for tau in self.tau_int)

    def as_json(self) -> dict[str, Any]:
        """The row in JSON's types."""
        rates = dict(zip(OBSERVABLES, self.rates, strict=True))
        return {
            **self._asdict(),
            "tau_int": [tau if math.isfinite(tau) else None for tau in self.tau_int],
            "both_signs": None if math.isnan(self.both_signs) else self.both_signs,
            "effective_draws_per_second": {k: None if math.isnan(rate) else rate for k, rate in rates.items()},
        }


class Balance(NamedTuple):
    """The best use of a flow against the best classical sampler of a system, all temperatures together."""

    system: str
    observable: str
    neural: str
    """The use of the flow that is fastest for the observable."""
    best: str
    """The classical sampler that is fastest for it."""
    speedup: float
    """Time of ``best`` over that of ``neural`` for as many effective draws, training not counted."""
    break_even: float
    """Effective draws at every temperature from which on the flow is faster, its training counted; or infinity."""
    training_seconds: float
    """Of the flow."""


class Source(Protocol):
    """What yields blocks: classical or neural chains."""

    def block(self, draws: int) -> Block:
        """Advance every chain by ``draws`` draws."""
        ...


def contest(
    flow_path: str | Path,
    *,
    temperatures: Sequence[float] | None = None,
    seconds: float = 4.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda method: None,
) -> tuple[list[Rate], list[Balance]]:
    """Measure a flow, in every way that it can be used, and all classical samplers of its model.

    Thermalisation and compilation are not timed, observables neither: they cost every method the same. Classical
    samplers draw eight times as often as their `default_thin` says, so that no effective draw goes
    unseen.

    Args:
        flow_path: checkpoint.
        temperatures: where; None takes eight over the flow's range.
        seconds: about how long to draw by each method, all temperatures together.
        seed: root of the random streams.
        device: where the flow computes; classical samplers use as many threads as torch has.
        report: called with the name of each method when it is done.

    Raises:
        InputError: the checkpoint cannot be used, or no time is given.
    """
    _check(seconds)
    flow, metadata, _ = checkpoint.load(flow_path, device)
    grid, system = (
        tuple(temperatures or np.linspace(*flow.temperatures, 8).tolist()),
        system_name(flow.model, flow.lattice),
    )
    unit = unit_size(flow)
    rows = _measure(
        system,
        CHAIN,
        NeuralChains(flow, grid, chains=NEURAL_CHAINS, seed=seed),
        grid,
        seconds,
        flow.model,
        unit // NEURAL_CHAINS,
    )
    report(CHAIN)
    rows += _weighted(system, flow, grid, seconds, seed)
    report(WEIGHTED)
    for name, redraws, sweeps in ((REDRAWN, 1, 0), (SWEPT, 0, 1)):
        if name != REDRAWN or flow.depths:
            moved = NeuralChains(
                flow, grid, chains=unit // MOVED_DRAWS, seed=seed, redraws=redraws, local_sweeps=sweeps
            )
            rows += _measure(system, name, moved, grid, seconds, flow.model, MOVED_DRAWS)
        report(name)
    rows += classical_rates(
        flow.model, flow.lattice, grid, seconds=seconds, seed=seed, threads=torch.get_num_threads(), report=report
    )
    return rows, balance(rows, float(metadata.get("seconds", math.nan)))


def classical_rates(
    model: Model,
    lattice: Lattice,
    temperatures: Sequence[float],
    *,
    seconds: float = 4.0,
    seed: int = 0,
    threads: int = 1,
    report: Callable[[str], None] = lambda method: None,
) -> list[Rate]:
    """Measure all classical samplers of a model, as `contest` does beside a flow.

    Args:
        model: the spin model.
        lattice: on which.
        temperatures: in units of J / k_B.
        seconds: about how long to draw by each method, all temperatures together.
        seed: root of the random streams.
        threads: how many to use.
        report: called with the name of each method when it is done.

    Raises:
        InputError: no time is given, or temperatures that are not positive.
    """
    _check(seconds)
    grid, rows = tuple(temperatures), list[Rate]()
    for name in _classical(model, lattice):
        thin = max(1, find_sampler(name, model, lattice).default_thin(lattice) // 8)
        classical = Settings(model, lattice, grid, chains=CHAINS, sampler=name, thin=thin, seed=seed)
        simulation = Simulation(classical, threads=threads)
        rows += _measure(system_name(model, lattice), name, simulation, grid, seconds, model, 16)
        report(name)
    return rows


def _check(seconds: float) -> None:
    if not seconds > 0:
        raise InputError(f"seconds = {seconds} must be positive")


def system_name(model: Model, lattice: Lattice) -> str:
    """Model, ring coupling and size in words, such as ``EXY K=1 8x8``."""
    K = model.couplings.get("K")
    ring = f" K={K:g}" if K else ""
    name = model.name.upper() if model.name in ("xy", "exy") else model.name.replace("_", " ")
    return f"{name}{ring} {'x'.join(str(side) for side in lattice.sides)}"


def _classical(model: Model, lattice: Lattice) -> list[str]:
    """The classical samplers that can sample the model."""
    found = []
    for name in CLASSICAL:
        try:
            find_sampler(name, model, lattice)
        except InputError:
            continue
        found.append(name)
    return found


def _measure(
    system: str, method: str, source: Source, grid: Sequence[float], seconds: float, model: Model, unit: int
) -> list[Rate]:
    source.block(unit)  # compiles what there is to compile
    spent = 0.0
    pieces: list[np.ndarray] = []
    # Block by block, so that memory does not grow with the time given; at least as many as show some correlation.
    while spent < seconds or len(pieces) * unit < 32:
        start = time.perf_counter()
        theta = source.block(unit).theta
        spent += time.perf_counter() - start
        pieces.append(_series(theta, model, grid))
    series = np.concatenate(pieces, axis=-1)  # (observables, T, C, n)
    rows = []
    for t, T in enumerate(grid):
        values = _deviations(series[:, t])
        row = _row(system, method, T, spent / len(grid), [estimate(each) for each in values])
        rows.append(_with_signs(row, values[-1]) if len(values) == len(OBSERVABLES) else row)
    return rows


def _weighted(system: str, flow: Flow, grid: Sequence[float], seconds: float, seed: int) -> list[Rate]:
    """Weighted draws: worth var(O) / error^2 independent ones, which is called draws / (2 tau_int) here too."""
    rows: list[Rate] = []
    n = unit_size(flow)
    propose(flow, grid[0], n)
    for t, T in enumerate(grid):
        generator = torch.Generator(flow.device).manual_seed(int(key(seed, t)[0]))
        spent = 0.0
        pieces: list[np.ndarray] = []
        log_w: list[np.ndarray] = []
        while spent < seconds / len(grid):
            start = time.perf_counter()
            theta, log_weight = propose(flow, T, n, generator=generator)
            spent += time.perf_counter() - start
            pieces.append(_series(theta[None], flow.model, [T])[:, 0])
            log_w.append(log_weight)
        p = normalise(np.concatenate(log_w))
        estimates = []
        series = np.concatenate(pieces, axis=-1)
        series[3] = (series[0] - p @ series[0]) ** 2
        for values in series:
            found = derived(lambda product, mean: product / mean, p * values, p)
            variance = float(p @ (values - p @ values) ** 2)
            tau = found.error**2 * len(p) / variance / 2 if variance > 0 else 0.5
            estimates.append(replace(found, tau_int=tau))
        row = _row(system, WEIGHTED, T, spent, estimates)
        rows.append(_with_signs(row, series[-1][None]) if len(series) == len(OBSERVABLES) else row)
    return rows


def _series(theta: np.ndarray, model: Model, grid: Sequence[float]) -> np.ndarray:
    """Moments of `OBSERVABLES`, (T, ..., Ly, Lx) -> (observables, T, ...), the fourth not yet about the mean energy."""
    m2 = observables.magnetization(theta, model) ** 2
    terms, d = observables.helicity_terms(theta, model), model.dimensions
    T = np.array(grid).reshape(-1, *(1,) * (m2.ndim - 1))
    helicity = terms[..., :d].mean(-1) - terms[..., d:].mean(-1) / T
    energy = observables.energy(theta, model)
    found = [energy, m2, observables.vortex_density(theta, model), energy**2, helicity]
    signs = observables.sectors(theta, model)
    return np.stack([*found, *(signs[name] for name in ("chirality", "stripes") if name in signs)])


def _deviations(series: np.ndarray) -> np.ndarray:
    """The same with what the specific heat fluctuates by, to first order: the square about the mean energy."""
    return np.stack([*series[:3], (series[0] - series[0].mean()) ** 2, *series[4:]])


def _with_signs(row: Rate, signs: np.ndarray) -> Rate:
    """A row with the share of chains (C, n) that saw both signs; a sign that no chain left is not sampled at all."""
    both = (signs.max(-1) > 0) & (signs.min(-1) < 0)
    tau = row.tau_int if both.any() else (*row.tau_int[:-1], math.inf)
    return row._replace(tau_int=tau, both_signs=float(both.mean()))


def _row(system: str, method: str, T: float, spent: float, found: Sequence[Estimate]) -> Rate:
    # A constant series, such as no vortices at all, is as good as independent; so is an anticorrelated one.
    lacking = len(OBSERVABLES) - len(found)
    taus = (*(float(np.maximum(each.tau_int, 0.5)) for each in found), *(math.nan,) * lacking)
    return Rate(
        system, method, T, spent, found[0].draws, taus, (*(not each.missing for each in found), *(True,) * lacking)
    )


def balance(rows: Sequence[Rate], training_seconds: float) -> list[Balance]:
    """What the flow gains over the best classical sampler, and from how many draws on its training is worth its time.

    Args:
        rows: of one system.
        training_seconds: of the flow; NaN if not known.
    """
    found = []
    for k, name in enumerate(OBSERVABLES):
        if any(math.isnan(row.rates[k]) for row in rows):
            continue
        # Seconds for one effective draw at each of the temperatures.
        cost: dict[str, float] = {}
        for row in rows:
            cost[row.method] = cost.get(row.method, 0.0) + (1 / row.rates[k] if row.rates[k] else math.inf)
        neural = min((method for method in cost if method in NEURAL), key=cost.__getitem__)
        best = min((method for method in cost if method not in NEURAL), key=cost.__getitem__)
        gain = cost[best] - cost[neural]
        found.append(
            Balance(
                rows[0].system,
                name,
                neural,
                best,
                cost[best] / cost[neural] if math.isfinite(cost[neural]) else 0.0,
                training_seconds / gain if gain > 0 else math.inf,
                training_seconds,
            )
        )
    return found


def rates_text(rows: Sequence[Rate], balances: Sequence[Balance]) -> str:
    """The measurement for a terminal."""
    titles = ("e", "m^2", "n_v", "c", "helic.", "sign")
    lines = []
    for system in sorted({row.system for row in rows}):
        here = sorted((row for row in rows if row.system == system), key=lambda row: row.temperature)
        names = [[row.method, f"{row.temperature:.3f}"] for row in here]
        rates = [["" if math.isnan(rate) else f"{rate:.0f}" for rate in row.rates] for row in here]
        taus = [
            [
                "" if math.isnan(tau) else f"{tau:.2f}{' ' if sure else '?'}"
                for tau, sure in zip(row.tau_int, row.sure, strict=True)
            ]
            for row in here
        ]
        signs = ["" if math.isnan(row.both_signs) else f"{row.both_signs:.0%}" for row in here]
        lines += [f"{system}: effective draws a second"]
        lines += [
            columns(["method", "T", *titles], [a + b for a, b in zip(names, rates, strict=True)], names=2, width=80)
        ]
        lines += [f"{system}: tau_int in draws"]
        body = [[*a, *b, c] for a, b, c in zip(names, taus, signs, strict=True)]
        lines += [columns(["method", "T", *titles, "both signs"], body, names=2, width=80), ""]
    for each in balances:
        after = ""
        if math.isfinite(each.break_even):
            effective = f"{each.break_even:,.0f} effective draws"
            after = f"; counting its training of {each.training_seconds:.0f} s, it is faster from {effective} on"
        elif math.isinf(each.break_even):
            after = "; counting its training, it is never faster"
        gain = f"{each.neural} is {each.speedup:.3g} times as fast as {each.best}, the best without a flow{after}"
        lines.append(wrapped(f"{each.system}, {each.observable.replace('_', ' ')}: {gain}"))
    if not all(flag for row in rows for flag in row.sure):
        lines.append("? chains too short for their autocorrelation time: it may be longer, rates lower")
    return "\n".join(lines)
