"""All that a short loan of a GPU allows, in the order of its value, as one command.

    python -m latticeflow.experiments.gpu --minutes 12 --out results

First checks: draws and their densities agree with double precision on the CPU, so do gradients; equal seeds give equal
bytes. Then speeds: draws a second and milliseconds a step, plainly and from captured graphs. Then trainings, side by
side: chains of multiscale flows that grow from size to size, and the paper's experiment with all its objectives. Last,
free energies by these flows, their evaluation on draws they have not seen as far as time allows, and one conditioner
plain and compiled. Ensembles are made by the CPU meanwhile.

Every result is a line of ``gpu.jsonl`` as soon as it is there, and every trained flow a checkpoint beside it: whatever
cuts the run short, they stay. On a machine without a GPU ``--device cpu`` does the same, slowly.
"""

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import json
import math
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from latticeflow.experiments import free_energy_table, grid
from latticeflow.experiments import published_experiment as published
from latticeflow.flows import FLOWS, Flow, Multiscale, build_flow, checkpoint
from latticeflow.flows.captured_draws import CapturedDraws
from latticeflow.flows.device import choose_device, describe
from latticeflow.flows.multiscale import Conditioner
from latticeflow.flows.transfer import combine, enlarge, refine
from latticeflow.quality.compare import compare
from latticeflow.training.captured import CapturedTrainer, ResidentDraws
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.objectives import objective_from_name
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import PUBLISHED_CRITIC, TrainingSettings
from mcmc import InputError, Lattice, Model, generate, model_from_name
from mcmc.models.presets import build_model
from mcmc.runtime.stop import Stop
from mcmc.storage.loader import Loader

TEMPERATURES = tuple(np.linspace(0.05, 2.05, 32).tolist())
RANGE = (TEMPERATURES[0], TEMPERATURES[-1])
_SPEED_SECONDS = 1.0


class Task(NamedTuple):
    """One training."""

    model: str
    size: int
    share: float
    """Of the time of its chain."""
    draws: int
    """Of each temperature in a batch."""
    learning_rate: float = 3e-3
    objective: str = "log_variance"
    limits: tuple[float, float] = (0.05, 2.05)
    """Lowest and highest of 32 temperatures."""
    kind: str = ""
    """Tells apart flows of one model with nets of different sizes."""

    @property
    def name(self) -> str:
        """Such as ``xy16``."""
        return self.name_at(self.size)

    def name_at(self, size: int) -> str:
        """The same on another lattice."""
        return f"{self.model}{size}{self.kind}"

    @property
    def lattice(self) -> Lattice:
        """Of equal sides."""
        return Lattice(self.size, self.size)

    def build_model(self) -> Model:
        """The model on this lattice."""
        return build_model(self.model, self.lattice)


CHAINS = (
    (
        Task("xy", 8, 0.6, 64, learning_rate=1e-3),
        Task("xy", 16, 1.2, 64, learning_rate=1e-3),
        Task("xy", 32, 1.4, 16, learning_rate=2e-3),
        Task("xy", 64, 0.8, 4),
    ),
    (Task("exy", 8, 1.0, 128, learning_rate=1e-3), Task("exy", 16, 2.0, 64, learning_rate=1.5e-3)),
    (
        Task("exy", 8, 1.0, 128, kind="-wide", learning_rate=1e-3),
        Task("exy", 16, 2.0, 64, kind="-wide", learning_rate=1.5e-3),
    ),
    (Task("fully_frustrated", 8, 1.0, 32, limits=(0.2, 1.2)),),
)
"""Trainings one after the other; the chains go side by side.

The narrow nets of EXY are small files. All minimise the variance of log w over draws of the ensemble alone, without
draws of the flow: what is nearly right learns fastest that way."""
WEIGHTS = {"model": 0.0}
"""Of the terms of ``log_variance``: no draws of the flow."""
PAPER = replace(
    published.FULL,
    training=replace(published.FULL.training, learning_rate=1e-3, decay="constant", ema=0.999, critic=PUBLISHED_CRITIC),
    test_draws=500,
)
"""The paper's experiment in minutes instead of hours: a higher rate, and an average over the last thousand steps."""
PAPER_SIZES = {"couplings": 24, "filters": 16}
PAPER_BLOCK = 500
PAPER_TRAININGS = (
    (published.FULL_DRAWS, published.PAPER_OBJECTIVES),
    (500, ("advnf_reverse",)),
    (50, ("advnf_reverse",)),
)
"""Draws of the ensemble at each temperature, and objectives: all of them, and how few draws AdvNF (RKL) needs."""
_FREE_ENERGY_SECONDS = 1.5
"""At each temperature, at most."""
_COMPARED_SITES = 2**17
"""Of the draws of one temperature by which nets are compared."""
_LAST_SECONDS = 50.0
"""For the evaluation of what was trained last, and its free energies."""


class Trained(NamedTuple):
    """A flow that was trained here."""

    flow: Flow
    how: dict[str, Any]
    test: Any
    """The ensemble to evaluate it by."""


class Record:
    """Lines of JSON, each on the disk before the next begins."""

    def __init__(self, path: Path):
        self._path, self._started = path, time.monotonic()

    def __call__(self, kind: str, **values: Any) -> None:
        """Write one line, and print it."""
        line = json.dumps({"kind": kind, "at": round(time.monotonic() - self._started, 1), **values}, default=float)
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


class Ensembles:
    """Draws to learn from and to evaluate by, made in threads of their own."""

    def __init__(self, chains: Sequence[Sequence[Task]], draws: int):
        self._pool = ThreadPoolExecutor(3)
        self._made: dict[tuple[Any, ...], Future[Any]] = {}
        for task in (task for tasks in itertools.zip_longest(*chains) for task in tasks if task is not None):
            n = max(10, draws * 16**2 // max(task.size, 16) ** 2)
            for part, seed, count in (("train", 1, n), ("test", 2, max(10, min(n, draws // 4)))):
                if (key := self._key(task, part)) in self._made:
                    continue
                self._made[key] = self._pool.submit(
                    generate,
                    task.build_model(),
                    size=task.size,
                    temperatures=np.linspace(task.limits[0], task.limits[1], 32),
                    draws=count,
                    chains=4,
                    seed=seed,
                )

    def ready(self, task: Task) -> bool:
        """Whether both are there."""
        return all(self._made[self._key(task, part)].done() for part in ("train", "test"))

    def get(self, task: Task, part: str) -> Any:
        """The ensemble, as soon as it is there."""
        return self._made[self._key(task, part)].result()

    @staticmethod
    def _key(task: Task, part: str) -> tuple[Any, ...]:
        return task.model, task.size, task.limits, part

    def close(self) -> None:
        """Make no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def run_on_gpu(
    out: Path,
    *,
    minutes: float,
    device: torch.device,
    chains: Sequence[Sequence[Task]] = CHAINS,
    begun: Path | None = None,
    sizes: Sequence[int] = (8, 16, 32),
    ensemble_draws: int = 1000,
    paper: Sequence[tuple[int, Sequence[str]]] = (),
    paper_seeds: int = 3,
    measurements: bool = True,
) -> bool:
    """Checks, speeds and trainings within a limit of time; see the module.

    Args:
        out: directory of ``gpu.jsonl`` and the checkpoints.
        minutes: wall time of all of it.
        device: where to compute.
        chains: trainings.
        begun: folder of flows to start from, see `starting_flow`.
        sizes: sides at which to measure the speed of draws.
        ensemble_draws: of each of four chains at each temperature, at 16x16 and below; larger lattices have fewer.
        paper: trainings of the paper's experiment, see `PAPER_TRAININGS`; on a GPU only.
        paper_seeds: of each of them.
        measurements: whether to check and time the device first.

    Returns:
        Whether all checks held.
    """
    deadline = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    record = Record(out / "gpu.jsonl")
    record("machine", device=describe(device), torch=torch.__version__, minutes=minutes)
    ensembles = Ensembles(chains, ensemble_draws)
    sound, trained = True, list[Trained]()
    try:
        if measurements:
            sound = check_device(record, device)
            measure_speeds(record, device, sizes, seconds=min(_SPEED_SECONDS, 1.5 * minutes))
            if device.type == "cuda":
                measure_steps(record, device, seconds=_SPEED_SECONDS)
        end = deadline - min(_LAST_SECONDS, 6 * minutes)
        with ThreadPoolExecutor(2) as builder:
            activities = [
                train_chain(record, out, chain, ensembles, builder, end, device, trained, begun) for chain in chains
            ]
            if paper_seeds and device.type == "cuda":
                activities += [train_paper(record, out, device, end, paper_seeds, *which) for which in paper]
            side_by_side(record, activities)
        for each in trained if device.type == "cuda" else ():
            if each.flow.model == model_from_name("xy"):
                measure_free_energies(record, out, each.flow)
        for each in trained:
            if device.type == "cpu" or time.monotonic() < deadline:
                evaluate(record, each)
        if device.type == "cuda" and deadline - time.monotonic() > 60:
            measure_compiled(record, device, seconds=_SPEED_SECONDS)
    finally:
        ensembles.close()
    record("end", sound=sound, seconds_left=round(deadline - time.monotonic(), 1))
    return sound


def side_by_side(record: Record, activities: Sequence[Iterator[None]]) -> None:
    """Let all go on in turn until each is done or has failed."""
    running = list(activities)
    while running:
        for each in list(running):
            try:
                next(each)
            except StopIteration:
                running.remove(each)
            except Exception as error:  # the others may do better
                record("failed", error="".join(traceback.format_exception(error))[-1500:])
                running.remove(each)
        time.sleep(1e-4)


def check_device(record: Record, device: torch.device) -> bool:
    """Compare the device with double precision on the CPU, for every flow, and write a line for each finding."""
    sound = True

    def check(what: str, flow: Flow, value: float, bound: float) -> None:
        nonlocal sound
        held = value <= bound
        sound = sound and held
        record("check", what=what, flow=flow.name, model=flow.model.name, size=flow.lattice.Lx, value=value, held=held)

    T = torch.linspace(*RANGE, 128, device=device)
    for flow in _flows_to_check():
        name = flow.name
        exact, flow = copy.deepcopy(flow).double(), flow.to(device)
        N = flow.lattice.N
        bound = (2e-2 if name == "realnvp" else 1e-3) * max(1.0, N / 64)
        rounding = 5e-2 if name == "realnvp" else 2e-3  # of gradients; those of convolutions are by TensorFloat-32
        draws = []
        for _ in range(2):
            generator = torch.Generator(device).manual_seed(7)
            with torch.no_grad():
                draws.append(flow.sample(len(T), T, generator=generator))
        (theta, log_q), (again, log_q_again) = draws
        same = torch.equal(theta, again) and torch.equal(log_q, log_q_again)
        check("equal seeds, different bytes", flow, 0.0 if same else 1.0, 0.0)
        outside = float(((theta < -math.pi) | (theta >= math.pi)).sum())
        check("angles outside of [-pi, pi)", flow, outside, 0.0)
        on_cpu, T_cpu = theta.double().cpu(), T.double().cpu()
        with torch.no_grad():
            expected = exact.log_prob(on_cpu, T_cpu)
        check("log q of draws", flow, float((log_q.cpu() - expected).abs().max()), bound)
        found = flow.log_prob(theta, T)
        check("log q of configurations", flow, float((found.detach().cpu() - expected).abs().max()), bound)
        turned = torch.remainder(theta + 1.0 + math.pi, 2 * math.pi) - math.pi
        if flow.symmetric:
            with torch.no_grad():
                change = float((flow.log_prob(turned, T) - found).abs().max())
            check("log q after a rotation", flow, change, 2 * bound)
        weights = torch.linspace(-1, 1, len(T), dtype=torch.float64)
        gradients = [
            torch.autograd.grad((weights.to(log_p.device) * log_p).sum(), list(which.parameters()))
            for which, log_p in ((flow, found), (exact, exact.log_prob(on_cpu, T_cpu)))
        ]
        size = max(float(each.abs().max()) for each in gradients[1])
        error = max(float((a.cpu() - b).abs().max()) for a, b in zip(*gradients, strict=True)) / size
        check("gradients, relative", flow, error, rounding)
        if flow.depths:
            keep = flow.stages[0]
            drawn, new, old = flow.redraw(theta, T, keep)
            with torch.no_grad():
                difference = (new - old) - (flow.log_prob(drawn, T) - found)
            check("log q of redraws", flow, float(difference.abs().max()), 2 * bound)
    return sound


def _flows_to_check() -> list[Flow]:
    """The shipped flows, and a small one of every kind whose parameters are not those it starts from."""
    flows = [checkpoint.load(path).flow for path in checkpoint.shipped().values()]
    small = {"realnvp": {"couplings": 4, "filters": 8}, "spline": {"couplings": 6}}
    torch.manual_seed(1)
    for name in sorted(FLOWS):
        for model in ("xy", "exy"):
            flow = build_flow(name, model_from_name(model), Lattice(8, 8), RANGE, **small.get(name, {}))
            with torch.no_grad():
                for parameter in flow.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))
            flows.append(flow)
    return flows


def measure_speeds(record: Record, device: torch.device, sizes: Sequence[int], *, seconds: float) -> None:
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


def measure_compiled(record: Record, device: torch.device, *, seconds: float) -> None:
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


def measure_steps(record: Record, device: torch.device, *, seconds: float) -> None:
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


def train_chain(
    record: Record,
    out: Path,
    chain: Sequence[Task],
    ensembles: Ensembles,
    builder: ThreadPoolExecutor,
    end: float,
    device: torch.device,
    finished: list[Trained],
    begun: Path | None = None,
) -> Iterator[None]:
    """Trainings one after the other, each from the flow of the one before where it serves; see `side_by_side`.

    Yields:
        Whenever others may go on.
    """
    trained: dict[str, Flow] = {}
    for number, task in enumerate(chain):
        asked = time.monotonic()
        while not ensembles.ready(task):
            yield
        now = time.monotonic()
        until = now + (end - now) * task.share / sum(each.share for each in chain[number:])
        if until - now < 1.0:
            record("skipped", task=task.name)
            continue
        built = builder.submit(starting_flow, task, dict(trained), begun, ensembles.get(task, "train"))
        while not built.done():
            yield
        flow, start = built.result()
        trainer = _trainer(task, flow.to(device), ensembles.get(task, "train"), until - now)
        captured = isinstance(trainer, CapturedTrainer)
        while trainer.fraction < 1 and time.monotonic() < until:
            if not captured:
                trainer.step()
            elif trainer.ready:
                trainer.launch()
                if trainer.step_number % 20 == 0:
                    trainer.check()
            yield
        trained[task.name] = flow = trainer.snapshot() if captured else copy.deepcopy(trainer.served)
        how = {"task": task.name, "start": start, "objective": task.objective, "batch_draws": task.draws}
        how |= {"learning_rate": task.learning_rate, "steps": trainer.step_number, "seconds": trainer.seconds}
        checkpoint.save(
            out / f"{task.name}.pt", flow, {"training": asdict(trainer.settings), "device": describe(device), **how}
        )
        how |= {"waited_for_ensemble": now - asked, "ms_a_step": 1e3 * trainer.seconds / max(1, trainer.step_number)}
        finished.append(Trained(flow, how, ensembles.get(task, "test")))
        del trainer
        yield


def measure_free_energies(record: Record, out: Path, flow: Flow) -> None:
    """Rows of the table of f(T) of XY, for `free_energy_table` to go on with in ``free-energy``."""
    folder, begun = out / "free-energy", time.monotonic()
    folder.mkdir(exist_ok=True)
    for T in free_energy_table.TEMPERATURES:
        free_energy_table.keep_flow_row(folder, flow, T, _FREE_ENERGY_SECONDS)
    record("free energies", size=flow.lattice.Lx, seconds=time.monotonic() - begun)


def _trainer(task: Task, flow: Flow, reference: Any, seconds: float) -> Any:
    settings = TrainingSettings(
        objective=task.objective,
        minutes=seconds / 60,
        batch_draws=task.draws,
        learning_rate=task.learning_rate,
        weights=WEIGHTS if task.objective == "log_variance" else {},
    )
    if flow.device.type == "cuda":
        draws = ResidentDraws.of(reference, flow.device)
        return CapturedTrainer(flow, settings, draws, priority=-1)  # the paper's trainings take what is left
    sample = Loader(reference, np.random.default_rng(1)).sample
    return Trainer(flow, settings, ReferenceDraws(sample, reference.temperatures, model=flow.model))


def evaluate(record: Record, trained: Trained) -> None:
    """Compare a flow with draws that it has not seen, and write a line."""
    begun, (flow, how, test) = time.monotonic(), trained
    rows = compare(flow, test, draws=min(250, test.draws * test.chains))
    mean = rows.mean
    record(
        "training",
        **how,
        acceptance=mean["acceptance"],
        acceptance_min=min(row.acceptance for row in rows),
        ess_forward=mean["ess_forward"],
        ess_reverse=mean["ess_reverse"],
        variance_per_site=mean["log_weight_variance_per_site"],
        evaluated_in=time.monotonic() - begun,
        peak_gigabytes=torch.cuda.max_memory_allocated(flow.device) / 1e9 if flow.device.type == "cuda" else None,
    )


def starting_flow(
    task: Task, trained: dict[str, Flow], begun: Path | None = None, reference: Any = None
) -> tuple[Flow, str]:
    """The flow to begin with, and where it comes from: the largest of the same model and sizes that is not larger.

    Nets of smaller flows of this run take the place of its own where they are better.

    Args:
        task: what it is for.
        trained: flows of this run, by name.
        begun: folder of flows that were begun elsewhere, ``xy16.pt``; they go before those that are shipped.
        reference: an ensemble by which nets are compared.
    """
    shipped, side = checkpoint.shipped(), task.size
    found: list[tuple[Multiscale, str]] = []
    while side >= 4:
        name = task.name_at(side)
        flow, source = trained.get(name), name
        if flow is None and begun is not None and (begun / f"{name}.pt").exists() and not found:
            flow, source = checkpoint.load(begun / f"{name}.pt").flow, str(begun / f"{name}.pt")
        if flow is None and name in shipped and not found:
            flow = checkpoint.load(shipped[name]).flow
            usual = build_flow("multiscale", flow.model, flow.lattice, RANGE).sizes
            if any(flow.sizes[size] < usual[size] for size in usual if size not in ("marginals", "finer")):
                flow = None  # smaller nets would stay so
        if flow is not None:
            larger = enlarge(refine(cast(Multiscale, copy.deepcopy(flow))), task.lattice)
            found.append((cast(Multiscale, larger), source))
        side //= 2
    if not found:
        return build_flow("multiscale", task.build_model(), task.lattice, task.limits, finer=True), "spin waves"
    alike = [each for each in found if each[0].sizes == found[0][0].sizes]
    if len(alike) == 1 or reference is None:
        return found[0]
    theta = reference.theta().reshape(len(reference.temperatures), -1, *task.lattice.shape)
    some = theta[:, :: max(1, theta.shape[1] * theta[0, 0].size // _COMPARED_SITES)]
    draws = torch.as_tensor(np.ascontiguousarray(some), dtype=torch.float32)
    temperatures = torch.as_tensor(reference.temperatures, dtype=torch.float32)
    return combine([flow for flow, _ in alike], draws, temperatures), " and ".join(source for _, source in alike)


def train_paper(
    record: Record, out: Path, device: torch.device, end: float, seeds: int, draws: int, objectives: Sequence[str]
) -> Iterator[None]:
    """Trainings of the paper's experiment, as far as they come; see `side_by_side`.

    Yields:
        Whenever others may go on.
    """
    folder = out / f"paper-{draws}"
    folder.mkdir(exist_ok=True)
    cases = published.published_cases(draws, PAPER_SIZES, objectives)
    stop = Stop(max_minutes=max(0.0, end - time.monotonic()) / 60)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(published.make_ensembles, PAPER, folder, [draws], stop)
        while not made.done():
            yield
        if not made.result():
            return
        rows = grid.Record(folder.with_suffix(".jsonl"), published.key_of_row)
        with rows.writing():
            yield from published.train_together(
                PAPER,
                cases,
                folder,
                rows,
                PAPER_BLOCK,
                seeds,
                device,
                stop,
                lambda row: record("paper", draws=draws, **row),
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if all checks held."""
    parser = argparse.ArgumentParser(
        prog="python -m latticeflow.experiments.gpu", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=12.0, help="wall time of all of it (default 12)")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu")), metavar="DIR", help="results")
    parser.add_argument(
        "--start", type=Path, metavar="DIR", help="flows to start from, such as DIR/xy16.pt (default: the shipped ones)"
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, cpu, ... (default auto)")
    parser.add_argument("--only", metavar="A,B", help="trainings, such as xy16,xy32 (default: all chains)")
    parser.add_argument(
        "--ensemble-draws", type=int, default=1000, metavar="N", help="of each of 4 chains (default 1000)"
    )
    parser.add_argument(
        "--paper",
        metavar="A,B",
        help="objectives of the paper's experiment (default: all, and AdvNF (RKL) on few draws)",
    )
    parser.add_argument(
        "--paper-seeds", type=int, default=3, metavar="N", help="of each of them (default 3; 0 leaves them out)"
    )
    parser.add_argument("--no-measurements", action="store_true", help="train at once")
    asked = parser.parse_args(arguments)
    names = None if asked.only is None else asked.only.split(",")
    known = {task.name for chain in CHAINS for task in chain}
    if names is not None and not known.issuperset(names):
        parser.error(f"--only {asked.only}: trainings are {', '.join(sorted(known))}")
    paper = PAPER_TRAININGS if asked.paper is None else [(published.FULL_DRAWS, asked.paper.split(","))]
    if not 0 < asked.minutes < math.inf:
        parser.error(f"--minutes {asked.minutes:g} must be positive and finite")
    if asked.start is not None and not asked.start.is_dir():
        parser.error(f"--start {asked.start} is not a folder of flows")
    if asked.out.exists() and not asked.out.is_dir():
        parser.error(f"--out {asked.out} is a file: name a folder")
    try:
        device = choose_device(asked.device)
        for objective in (name for _, objectives in paper for name in objectives):
            objective_from_name(objective)
    except InputError as error:
        parser.error(str(error))
    chains = [[task for task in chain if names is None or task.name in names] for chain in CHAINS]
    sound = run_on_gpu(
        asked.out,
        minutes=asked.minutes,
        device=device,
        chains=chains,
        begun=asked.start,
        ensemble_draws=asked.ensemble_draws,
        paper=paper,
        paper_seeds=asked.paper_seeds,
        measurements=not asked.no_measurements,
    )
    return 0 if sound else 1


if __name__ == "__main__":
    raise SystemExit(main())
