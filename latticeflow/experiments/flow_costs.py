"""What flows cost on this machine, and what trained ones are worth, by lattice size.

Time to build, parameters, times of training steps, draws a second, memory; acceptance and effective sample sizes on
draws of Markov chains that no training has seen, beside the acceptance that the schedule of the multiscale flow allows
in the harmonic limit.
"""

from __future__ import annotations

import copy
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.flows import Flow, Multiscale, build_flow, checkpoint
from latticeflow.flows.harmonic_ceiling import harmonic_ceiling
from latticeflow.flows.spin_wave import SpinWaves
from latticeflow.quality.compare import compare
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import Lattice, generate, model_from_name
from mcmc.runtime.text import columns

RANGE = (0.05, 2.05)
_MOST_SITES = 2**19
"""Of the configurations of a step on whole draws, or of a call that draws; larger steps are not measured."""


class Cost(NamedTuple):
    """Of one flow on one lattice; None where it was not measured."""

    flow: str
    """Its kind, or the name of its file."""
    size: str
    """Of the lattice, such as 8x8."""
    parameters: int
    build_seconds: float
    step_milliseconds: float | None
    """Median wall time of one training step by the flow's objective on whole draws, optimiser included."""
    sites_step_milliseconds: float | None
    """The same of a step of the forward KL on random sites, where the flow takes such."""
    configurations: int
    """Drawn in one step, and as many read from an ensemble where the objective reads one."""
    draws_per_second: float
    """Configurations with their log q, without gradients."""
    peak_megabytes: float
    """Most memory held at a time beyond what the process held before: of the GPU, or resident on a CPU."""
    ceiling: float | None
    """Acceptance of the best flow of this schedule in the harmonic limit."""
    acceptance: float | None = None
    """Mean over the temperatures, of a trained flow; so are the next five."""
    acceptance_minimum: float | None = None
    ess_forward: float | None = None
    ess_reverse: float | None = None
    variance_per_site: float | None = None
    """Of log w, over N."""


def costs(
    flows: Sequence[str | Path],
    sizes: Sequence[int],
    *,
    model: str = "xy",
    draws: int = 16,
    seconds: float = 5.0,
    test_draws: int = 200,
    device: torch.device | str = "cpu",
) -> Iterator[Cost]:
    """Measure every flow on every square lattice, each in a process of its own, whose memory is its alone.

    Args:
        flows: names of `latticeflow.flows.FLOWS`; and, as paths, files of trained flows or names of included ones,
            which bring their model and size.
        sizes: sides.
        model: ``"xy"`` or ``"exy"``, with unit couplings.
        draws: per temperature in a batch, of 32 temperatures.
        seconds: about how long to train by each kind of step, and how long to draw.
        test_draws: draws of Markov chains per temperature, by which a trained flow is evaluated.
        device: where.

    Raises:
        InputError: a flow is unknown, or cannot draw such a lattice.
    """
    files = [flow for flow in flows if isinstance(flow, Path)]
    tasks: list[tuple[str | Path, int]] = [(name, side) for name in flows if name not in files for side in sizes]
    for name, side in tasks + [(path, 0) for path in files]:
        arguments = (name, side, model, draws, seconds, test_draws, str(device), torch.get_num_threads())
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            yield process.submit(measure, *arguments).result()


def measure(
    name: str | Path, side: int, model: str, draws: int, seconds: float, test_draws: int, device: str, threads: int
) -> Cost:
    """Measure one flow in this process; the parameters are those of `costs`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = _peak_bytes(device)
    trained = checkpoint.load(name).flow if isinstance(name, Path) else None
    kind = name if trained is None else trained.name
    assert isinstance(kind, str)
    lattice = Lattice(side, side) if trained is None else trained.lattice
    system = model_from_name(model) if trained is None else trained.model
    limits, sizes = (RANGE, {}) if trained is None else (trained.temperatures, trained.sizes)
    started = time.monotonic()
    flow = build_flow(kind, system, lattice, limits, **sizes)
    build = time.monotonic() - started
    flow = (trained or flow).to(device)
    configurations = 32 * draws
    T = torch.linspace(*flow.temperatures, configurations, device=device)
    with torch.no_grad():
        # As many at a time as a unit of a chain, or one batch of training where that is less.
        n = max(1, min(configurations, _MOST_SITES // lattice.N))
        drawing = _time(lambda: flow.sample(n, T[:n]), seconds, device) / n
    # Any angles do: the time does not depend on them.
    whole = None if configurations * lattice.N > _MOST_SITES else _step(flow, "log_variance", draws, seconds, device)
    on_sites = _step(flow, "forward_kl_sites", draws, seconds, device) if isinstance(flow, Multiscale) else None
    peak = (_peak_bytes(device) - before) / 1e6  # before draws are kept for the evaluation
    return Cost(
        flow=name.stem if isinstance(name, Path) else name,
        size=str(lattice),
        parameters=flow.parameter_count,
        build_seconds=build,
        step_milliseconds=whole,
        sites_step_milliseconds=on_sites,
        configurations=configurations,
        draws_per_second=1 / drawing,
        peak_megabytes=peak,
        ceiling=_ceiling(flow),
        **({} if trained is None else _quality(flow, test_draws)),
    )


def _ceiling(flow: Flow) -> float | None:
    """Of the flow's own schedule; None where there is none, or no spin waves."""
    if not (isinstance(flow, Multiscale) and flow.model.rotation and SpinWaves(flow.model, flow.lattice).stable):
        return None
    seen, finer = flow.sizes["seen"], flow.sizes["finer"]
    return harmonic_ceiling(flow.model, flow.lattice, seen=seen, finer=finer).acceptance


def _step(flow: Flow, objective: str, draws: int, seconds: float, device: str) -> float:
    """Milliseconds of a training step; trains a copy."""
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (32, draws, *flow.lattice.shape)).astype(np.float32)
    settings = TrainingSettings(minutes=1.0, batch_draws=draws, objective=objective)
    reference = ReferenceDraws(
        lambda n: theta[:, :n], np.linspace(*flow.temperatures, 32), device=device, model=flow.model
    )
    trainer = Trainer(copy.deepcopy(flow), settings, reference)
    return 1e3 * _time(trainer.step, seconds, device)


def _quality(flow: Flow, test_draws: int) -> dict[str, float]:
    """What fresh draws of Markov chains say of a flow."""
    ensemble = generate(
        flow.model,
        size=flow.lattice,
        temperatures=np.linspace(*flow.temperatures, 32),
        draws=-(-test_draws // 4),
        chains=4,
        seed=20261126,
    )
    rows = compare(flow, ensemble, draws=test_draws)
    return {
        "acceptance": rows.mean["acceptance"],
        "acceptance_minimum": min(row.acceptance for row in rows),
        "ess_forward": rows.mean["ess_forward"],
        "ess_reverse": rows.mean["ess_reverse"],
        "variance_per_site": rows.mean["log_weight_variance_per_site"],
    }


_COLUMNS = {
    "size": ("size", "s"),
    "parameters": ("parameters", ",d"),
    "build s": ("build_seconds", ".2f"),
    "ms a step": ("step_milliseconds", ".0f"),
    "on sites": ("sites_step_milliseconds", ".0f"),
    "MB": ("peak_megabytes", ".0f"),
    "draws/s": ("draws_per_second", ",.0f"),
    "ceiling": ("ceiling", ".4f"),
    "acceptance": ("acceptance", ".3f"),
    "minimum": ("acceptance_minimum", ".3f"),
    "ESS fwd": ("ess_forward", ".3f"),
    "ESS rev": ("ess_reverse", ".3f"),
    "var/site": ("variance_per_site", ".1e"),
}


def costs_text(found: Sequence[Cost]) -> str:
    """The costs for a terminal; columns that no row fills are left out."""
    shown = {title: how for title, how in _COLUMNS.items() if any(getattr(row, how[0]) is not None for row in found)}
    cells = [
        ["-" if (value := getattr(row, field)) is None else format(value, form) for field, form in shown.values()]
        for row in found
    ]
    head = ["flow", *shown]
    return columns(head, [[row.flow, *line] for row, line in zip(found, cells, strict=True)], names=2, width=80)


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
