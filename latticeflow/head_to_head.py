"""Does the flow pay? Effective draws a second of neural MCMC beside classical samplers, on one machine in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from latticeflow import checkpoint
from latticeflow.neural_mcmc import UNIT, NeuralChains
from mcmc import InputError, observables, samplers
from mcmc.models import Model
from mcmc.simulation import Block, Settings, Simulation
from mcmc.statistics import estimate

OBSERVABLES = ("energy", "square_magnetization", "vortex_density")
NEURAL = "neural MCMC"
CLASSICAL = ("auto", "metropolis", "wolff", "swendsen_wang")
SHIPPED = Path(__file__).resolve().parent.parent / "data" / "flows" / "xy8.pt"
CHAINS = 16  # classical kernels are built for vectors of 16
NEURAL_CHAINS = 4


class Row(NamedTuple):
    """One method on one system at one temperature."""

    system: str
    """Such as ``XY 8x8``."""
    method: str
    """`NEURAL`, or a classical sampler."""
    temperature: float
    seconds: float
    """Wall time of the draws, this temperature's share."""
    draws: int
    """Measured, of all chains."""
    tau_int: tuple[float, float, float]
    """Integrated autocorrelation times of `OBSERVABLES`, in draws."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Effective draws a second of each of `OBSERVABLES`: draws / (2 tau_int) / seconds."""
        return tuple(self.draws / (2 * tau) / self.seconds for tau in self.tau_int)

    def as_json(self) -> dict[str, Any]:
        """The row in JSON's types."""
        rates = dict(zip(OBSERVABLES, self.rates, strict=True))
        return {**self._asdict(), "tau_int": list(self.tau_int), "effective_draws_per_second": rates}


class Balance(NamedTuple):
    """Neural MCMC against the best classical sampler of a system, all temperatures together."""

    system: str
    observable: str
    best: str
    """The classical sampler that is fastest for the observable."""
    speedup: float
    """Time of the best classical sampler over that of neural MCMC, training not counted."""
    break_even: float
    """Effective draws at every temperature from which on neural MCMC is faster, its training counted; or infinity."""
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
) -> tuple[list[Row], list[Balance]]:
    """Measure a flow and all classical samplers of its model.

    Thermalisation and compilation are not timed, observables neither: they cost every method the same. Classical
    samplers draw eight times as often as `mcmc.samplers.default_thin` says, so that no effective draw goes unseen.

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
    if not seconds > 0:
        raise InputError(f"seconds = {seconds} must be positive")
    flow, metadata, _ = checkpoint.load(flow_path, device)
    grid = tuple(temperatures or np.linspace(*flow.temperatures, 8).tolist())
    Ly, Lx = flow.lattice.shape
    ring = f" K={flow.model.couplings['K']:g}" if flow.model.couplings["K"] else ""
    system = f"{flow.model.name.upper()}{ring} {Lx}x{Ly}"

    chains = NeuralChains(flow, grid, chains=NEURAL_CHAINS, seed=seed)
    rows = _measure(system, NEURAL, chains, grid, seconds, flow.model, UNIT // NEURAL_CHAINS)
    report(NEURAL)
    for name in _classical(flow.model):
        thin = max(1, samplers.default_thin(flow.lattice, name) // 8)
        settings = Settings(flow.model, flow.lattice, grid, chains=CHAINS, sampler=name, thin=thin, seed=seed)
        simulation = Simulation(settings, threads=torch.get_num_threads())
        rows += _measure(system, name, simulation, grid, seconds, flow.model, 16)
        report(name)
    return rows, balance(rows, float(metadata.get("seconds", math.nan)))


def _classical(model: Model) -> list[str]:
    """The classical samplers that can sample the model."""
    found = []
    for name in CLASSICAL:
        try:
            samplers.mix(model, name)
        except InputError:
            continue
        found.append(name)
    return found


def _measure(
    system: str, method: str, source: Source, grid: Sequence[float], seconds: float, model: Model, unit: int
) -> list[Row]:
    source.block(unit)  # compiles what there is to compile
    start = time.perf_counter()
    source.block(unit)
    units = max(2, min(500, round(seconds / (time.perf_counter() - start))))
    start = time.perf_counter()
    theta = source.block(units * unit).theta
    spent = (time.perf_counter() - start) / len(grid)
    rows = []
    for T, each in zip(grid, theta, strict=True):
        m2 = observables.magnetization(each) ** 2
        series = (observables.energy(each, model), m2, observables.vortex_density(each))
        # A constant series, such as no vortices at all, is as good as independent.
        first, second, third = (max(estimate(values).tau_int, 0.5) for values in series)
        rows.append(Row(system, method, T, spent, m2.size, (first, second, third)))
    return rows


def balance(rows: Sequence[Row], training_seconds: float) -> list[Balance]:
    """What the flow gains over the best classical sampler, and from how many draws on its training has paid.

    Args:
        rows: of one system.
        training_seconds: of the flow; NaN if not known.
    """
    found = []
    for k, name in enumerate(OBSERVABLES):
        # Seconds for one effective draw at each of the temperatures.
        cost: dict[str, float] = {}
        for row in rows:
            cost[row.method] = cost.get(row.method, 0.0) + 1 / row.rates[k]
        neural = cost.pop(NEURAL)
        best = min(cost, key=lambda method: cost[method])
        gain = cost[best] - neural
        found.append(
            Balance(
                rows[0].system,
                name,
                best,
                cost[best] / neural,
                training_seconds / gain if gain > 0 else math.inf,
                training_seconds,
            )
        )
    return found


def table(rows: Sequence[Row], balances: Sequence[Balance]) -> str:
    """The measurement for a terminal."""
    titles = ("e", "m^2", "n_v")
    head = f"{'system':14}{'method':15}{'T':>7}" + "".join(f"{title:>10}" for title in titles)
    lines = [f"{'':36}{'effective draws a second':^30}{'tau_int in draws':^24}"]
    lines.append(head + "".join(f"{title:>8}" for title in titles))
    for row in sorted(rows, key=lambda row: (row.system, row.temperature)):
        rates = "".join(f"{rate:10.0f}" for rate in row.rates)
        taus = "".join(f"{tau:8.2f}" for tau in row.tau_int)
        lines.append(f"{row.system:14}{row.method:15}{row.temperature:7.3f}{rates}{taus}")
    for each in balances:
        pays = ""
        if math.isfinite(each.break_even):
            pays = (
                f"; the training of {each.training_seconds:.0f} s pays from {each.break_even:,.0f} effective draws on"
            )
        elif math.isinf(each.break_even):
            pays = "; its training never pays"
        gain = f"{NEURAL} is {each.speedup:.3g} times as fast as {each.best}, the best of the others{pays}"
        lines.append(f"{each.system}, {each.observable.replace('_', ' ')}: {gain}")
    return "\n".join(lines)
