"""What flows cost on this machine: parameters, time of a training step, draws a second, memory, by lattice size."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.flows import build_flow
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import Lattice, model_from_name

RANGE = (0.05, 2.05)


class Cost(NamedTuple):
    """Of one flow on one lattice."""

    flow: str
    size: int
    """Side of the square lattice."""
    parameters: int
    step_milliseconds: float
    """Median wall time of one training step by the flow's default objective, optimiser included."""
    configurations: int
    """Drawn in one step, and as many read from an ensemble where the objective reads one."""
    draws_per_second: float
    """Configurations with their log q, without gradients, in batches of as many as a step."""
    peak_megabytes: float
    """Most memory held at a time beyond what the process held before: of the GPU, or resident on a CPU."""


def costs(
    flows: Sequence[str],
    sizes: Sequence[int],
    *,
    model: str = "xy",
    draws: int = 16,
    seconds: float = 5.0,
    device: torch.device | str = "cpu",
) -> Iterator[Cost]:
    """Measure every flow on every square lattice, each in a process of its own, whose memory is its alone.

    Args:
        flows: names of `latticeflow.flows.FLOWS`.
        sizes: sides.
        model: ``"xy"`` or ``"exy"``, with unit couplings.
        draws: per temperature in a batch, of 32 temperatures.
        seconds: about how long to train, and how long to draw.
        device: where.

    Raises:
        InputError: a flow is unknown, or cannot draw such a lattice.
    """
    for name in flows:
        for side in sizes:
            arguments = (name, side, model, draws, seconds, str(device), torch.get_num_threads())
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                yield process.submit(measure, *arguments).result()


def measure(name: str, side: int, model: str, draws: int, seconds: float, device: str, threads: int) -> Cost:
    """Measure one flow in this process; the parameters are those of `costs`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = _peak_bytes(device)
    flow = build_flow(name, model_from_name(model), Lattice(side, side), RANGE).to(device)
    # Any angles do: the time does not depend on them.
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (32, draws, side, side)).astype(np.float32)
    settings = TrainingSettings(minutes=1.0, draws=draws)
    reference = ReferenceDraws(lambda n: theta[:, :n], np.linspace(*RANGE, 32), device=device)
    trainer = Trainer(flow, settings, reference)
    step = _time(trainer.step, seconds, device)
    T = torch.linspace(*RANGE, 32, device=device).repeat_interleave(draws)
    with torch.no_grad():
        drawing = _time(lambda: flow.sample(len(T), T), seconds, device)
    return Cost(
        flow=name,
        size=side,
        parameters=flow.parameter_count,
        step_milliseconds=1e3 * step,
        configurations=len(T),
        draws_per_second=len(T) / drawing,
        peak_megabytes=(_peak_bytes(device) - before) / 1e6,
    )


def costs_text(found: Sequence[Cost]) -> str:
    """The costs for a terminal."""
    lines = [f"{'flow':12}{'size':>6}{'parameters':>12}{'ms a step':>12}{'draws a second':>16}{'MB at peak':>12}"]
    lines += [
        f"{each.flow:12}{each.size:6}{each.parameters:12,}{each.step_milliseconds:12.1f}{each.draws_per_second:16,.0f}"
        f"{each.peak_megabytes:12,.0f}"
        for each in found
    ]
    return "\n".join(lines)


def _time(work: Callable[[], Any], seconds: float, device: str) -> float:
    """Median seconds of one call, after one that is not counted."""
    taken: list[float] = []
    for counted in range(10_000):
        started = time.monotonic()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        if counted:
            taken.append(time.monotonic() - started)
        if len(taken) >= 3 and sum(taken) > seconds:
            break
    return statistics.median(taken)


def _peak_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
