"""Speeds of a device: draws a second, milliseconds a training step, plainly and from captured graphs."""

from __future__ import annotations

import gc
import math
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from latticeflow.experiments.gpu_log import ResultLog
from latticeflow.experiments.gpu_trainings import RANGE, TEMPERATURES
from latticeflow.flows import Flow, Multiscale, build_flow
from latticeflow.flows.captured_draws import CapturedDraws
from latticeflow.flows.multiscale import Conditioner
from latticeflow.training.captured import CapturedTrainer, ResidentDraws
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import PUBLISHED_CRITIC, TrainingSettings
from mcmc import Lattice, model_from_name


class Timed(NamedTuple):
    """A training of XY whose steps are timed."""

    flow: str
    objective: str
    size: int
    sizes: dict[str, Any]
    batch_draws: int


TIMED = (
    Timed("realnvp", "reverse_kl", 8, {"filters": 64}, 16),
    Timed("realnvp", "advnf", 8, {"filters": 16}, 16),
    Timed("multiscale", "log_variance", 16, {}, 32),
)


def measure_speeds(record: ResultLog, device: torch.device, sizes: Sequence[int], *, seconds: float) -> None:
    """Draws a second plainly and from a captured graph, which must be the same."""
    for side in sizes:
        flow = build_flow("multiscale", model_from_name("xy"), Lattice(side, side), RANGE).to(device)
        n, T = (2**22 if device.type == "cuda" else 2**15) // side**2, RANGE[1]
        generator = torch.Generator(device)
        with torch.no_grad():
            plain = partial(flow.sample, n, T, generator=generator)
            row: dict[str, Any] = {
                "size": side,
                "draws": n,
                "plain_per_second": n / _seconds_of(plain, seconds, device),
            }
            if device.type == "cuda":
                try:
                    graph = CapturedDraws(flow, n)
                    one, other = (call(generator=generator.manual_seed(7)) for call in (partial(graph, T), plain))
                    row["graph_differs"] = max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))
                    row["graph_per_second"] = n / _seconds_of(partial(graph, T, generator), seconds, device)
                except RuntimeError as error:
                    row["graph_error"] = str(error)[:300]
        record("speed", **row)


def measure_compiled(record: ResultLog, device: torch.device, *, seconds: float) -> None:
    """A conditioner plain and compiled, which may take a minute."""
    flow = build_flow("multiscale", model_from_name("xy"), Lattice(8, 8), RANGE).to(device)
    conditioner, sites = cast(Conditioner, cast(Multiscale, flow).conditioners[-1]), 8
    u = torch.randn(2, 2**13, sites, flow.sizes["seen"], device=device)
    T = torch.linspace(*RANGE, 2**13, device=device)
    with torch.no_grad():
        row: dict[str, Any] = {
            "rows": 2**13 * sites,
            "plain_ms": 1e3 * _seconds_of(partial(conditioner, u, T), seconds, device),
        }
        try:
            compiled = torch.compile(conditioner)
            row["compiled_ms"] = 1e3 * _seconds_of(partial(compiled, u, T), seconds, device)
        except Exception as error:  # a compiler can fail in any way, and the trainings do not need it
            row["compile_error"] = f"{type(error).__name__}: {error}"[:300]
    record("conditioner", **row)


def measure_steps(record: ResultLog, device: torch.device, *, seconds: float) -> None:
    """Steps of trainings plainly, captured, and captured with several side by side."""
    for timed in TIMED:
        row: dict[str, Any] = timed._asdict()
        try:
            row |= _times_of_steps(timed, device, seconds)
        except Exception as error:  # a device can fail in any way, and the trainings can do without
            row["error"] = "".join(traceback.format_exception(error))[-1500:]
        record("steps", **row)
        gc.collect()
        torch.cuda.empty_cache()


def _times_of_steps(timed: Timed, device: torch.device, seconds: float) -> dict[str, Any]:
    lattice = Lattice(timed.size, timed.size)
    theta = np.random.default_rng(0).uniform(-math.pi, math.pi, (len(TEMPERATURES), 100, *lattice.shape))
    reference = ResidentDraws(theta, np.array(TEMPERATURES), device=device, model=model_from_name("xy"))
    settings = TrainingSettings(
        objective=timed.objective,
        steps=10**6,
        batch_draws=timed.batch_draws,
        learning_rate=1e-5,
        critic=PUBLISHED_CRITIC,
    )

    def flow() -> Flow:
        return build_flow(timed.flow, model_from_name("xy"), lattice, RANGE, **timed.sizes).to(device)

    plain = Trainer(flow(), settings, cast(Any, reference))
    plain.picker = plain.generator
    row = {"plain_ms": 1e3 * _seconds_of(plain.step, seconds, device)}
    trainers = [CapturedTrainer(flow(), settings, reference) for _ in range(3)]
    begun = time.monotonic()
    trainers[0].step()
    row["capture_seconds"] = time.monotonic() - begun

    def steps(count: int) -> None:
        for _ in range(10):
            for each in trainers[:count]:
                each.launch()

    for count in (1, 3):
        row[f"captured_{count}_ms"] = 100 * _seconds_of(partial(steps, count), seconds, device)
    return row | {"loss": trainers[0].metrics().loss, "gigabytes": torch.cuda.max_memory_allocated(device) / 1e9}


def _seconds_of(work: Callable[[], Any], seconds: float, device: torch.device) -> float:
    """Median time of a call, the first two not counted."""
    taken: list[float] = []
    started = time.monotonic()
    for number in range(10_000):
        begun = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number > 1:
            taken.append(time.monotonic() - begun)
        if taken and time.monotonic() - started > seconds:
            break
    return statistics.median(taken)
