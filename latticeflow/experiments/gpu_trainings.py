"""Chains of trainings that grow from size to size, side by side on one device, and what follows from the flows."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from latticeflow.experiments import free_energy_table
from latticeflow.experiments.gpu_log import ResultLog
from latticeflow.flows import Flow, Multiscale, build_flow, checkpoint
from latticeflow.flows.device import describe
from latticeflow.flows.transfer import combine, enlarge, refine
from latticeflow.quality.compare import compare
from latticeflow.training.captured import CapturedTrainer, ResidentDraws
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import Lattice, Model, generate
from mcmc.models.presets import build_model
from mcmc.storage.loader import Loader

TEMPERATURES = tuple(np.linspace(0.05, 2.05, 32).tolist())
RANGE = (TEMPERATURES[0], TEMPERATURES[-1])
_AVERAGED = 0.99
"""The last hundred steps, about: averaged nets are better than any of them."""
_FREE_ENERGY_SECONDS = 1.5
"""At each temperature, at most."""
_COMPARED_SITES = 2**17
"""Of the draws of one temperature by which nets are compared."""


class Task(NamedTuple):
    """One training."""

    model: str
    size: int
    share: float
    """Of the time of its chain."""
    draws: int
    """Of each temperature in a batch."""
    learning_rate: float = 3e-3
    objective: str = "ensemble_variance"
    limits: tuple[float, float] = (0.05, 2.05)
    """Lowest and highest of 32 temperatures."""
    hot: tuple[float, float] | None = None
    """Where log w varies most: half of the temperatures to learn from lie here, and the other half everywhere."""
    least_spacing: int = 1
    """Nets of finer groups stay as they are."""
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

    def temperatures(self, part: str) -> np.ndarray:
        """Of the ensemble to learn from, ``train``, or to evaluate by, ``test``."""
        if part == "test" or self.hot is None:
            return np.linspace(*self.limits, 32)
        return np.union1d(np.linspace(*self.limits, 16), np.linspace(*self.hot, 16))

    def build_model(self) -> Model:
        """The model on this lattice."""
        return build_model(self.model, self.lattice)


_HOT = (0.55, 1.35)
CHAINS = (
    (
        Task("xy", 8, 0.4, 64, learning_rate=1e-3),
        Task("xy", 16, 1.2, 64, learning_rate=1e-3, hot=_HOT),
        Task("xy", 32, 1.5, 32, learning_rate=2e-3, hot=_HOT, least_spacing=8),
        Task("xy", 32, 1.3, 32, learning_rate=1e-3, hot=_HOT, least_spacing=4),
        Task("xy", 64, 1.0, 8, learning_rate=1e-3, hot=_HOT, least_spacing=16),
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


class Trained(NamedTuple):
    """A flow that was trained here."""

    flow: Flow
    how: dict[str, Any]
    test: Any
    """The ensemble to evaluate it by."""


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
                    temperatures=task.temperatures(part),
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
        return task.model, task.size, tuple(task.temperatures(part)), part

    def close(self) -> None:
        """Make no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def train_chain(
    record: ResultLog,
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
        begin = copy.deepcopy(flow.to(device))
        trainer = _trainer(task, flow, ensembles.get(task, "train"), until - now)
        captured = isinstance(trainer, CapturedTrainer)
        while trainer.fraction < 1 and time.monotonic() < until:
            if not captured:
                trainer.step()
            elif trainer.ready:
                trainer.launch()
                if trainer.step_number % 20 == 0:
                    trainer.check()
            yield
        flow = trainer.snapshot() if captured else copy.deepcopy(trainer.served)
        flow = _best_of([cast(Multiscale, each) for each in (flow, begin)], ensembles.get(task, "train"))
        trained[task.name] = copy.deepcopy(flow).cpu()
        how = {"task": task.name, "start": start, "objective": task.objective, "batch_draws": task.draws}
        how |= {"learning_rate": task.learning_rate, "least_spacing": task.least_spacing}
        how |= {"steps": trainer.step_number, "seconds": trainer.seconds}
        checkpoint.save(
            out / f"{task.name}.pt", flow, {"training": asdict(trainer.settings), "device": describe(device), **how}
        )
        how |= {"waited_for_ensemble": now - asked, "ms_a_step": 1e3 * trainer.seconds / max(1, trainer.step_number)}
        finished.append(Trained(flow, how, ensembles.get(task, "test")))
        del trainer
        yield


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
    return _best_of([flow for flow, _ in alike], reference), " and ".join(source for _, source in alike)


def _best_of(flows: Sequence[Multiscale], reference: Any) -> Multiscale:
    """Of each group the best net, by some draws of an ensemble."""
    first = flows[0]
    theta = reference.theta().reshape(len(reference.temperatures), -1, *first.lattice.shape)
    some = theta[:, :: max(1, theta.shape[1] * theta[0, 0].size // _COMPARED_SITES)]
    draws = torch.as_tensor(np.ascontiguousarray(some), dtype=torch.float32, device=first.device)
    return combine(flows, draws, torch.as_tensor(reference.temperatures, dtype=torch.float32, device=first.device))


def _trainer(task: Task, flow: Flow, reference: Any, seconds: float) -> Any:
    settings = TrainingSettings(
        objective=task.objective,
        minutes=seconds / 60,
        batch_draws=task.draws,
        learning_rate=task.learning_rate,
        least_spacing=task.least_spacing,
        ema=_AVERAGED,
    )
    if flow.device.type == "cuda":
        draws = ResidentDraws.of(reference, flow.device)
        return CapturedTrainer(flow, settings, draws, priority=-1)  # the paper's trainings take what is left
    sample = Loader(reference, np.random.default_rng(1)).sample
    return Trainer(flow, settings, ReferenceDraws(sample, reference.temperatures, model=flow.model))


def evaluate(record: ResultLog, trained: Trained) -> None:
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


def measure_free_energies(record: ResultLog, out: Path, flow: Flow) -> None:
    """Rows of the table of f(T) of XY, for `free_energy_table` to go on with in ``free-energy``."""
    folder, begun = out / "free-energy", time.monotonic()
    folder.mkdir(exist_ok=True)
    for T in free_energy_table.TEMPERATURES:
        free_energy_table.keep_flow_row(folder, flow, T, _FREE_ENERGY_SECONDS)
    record("free energies", size=flow.lattice.Lx, seconds=time.monotonic() - begun)
