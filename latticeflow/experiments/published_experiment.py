"""The experiment of the AdvNF paper, with learning curves: 8x8 XY, the paper's flow, six objectives, three seeds.

Forward KL, reverse KL and both, each without and with the critic (Kanaujia, Scheurer, Arora 2024, arXiv:2401.15948).
All trainings advance in turn by a block of steps, are evaluated on draws that no training has seen, and leave a line
in a file; stopped at any time, the same command goes on. So the curves can be compared at every length, and show
whether they have become flat.

The full size is that of the authors' notebook (github.com/madhavlab/2024_advnf). `REDUCED` is what two cores can
train: fewer filters and draws in a batch, and a higher rate.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.experiments.grid import Record
from latticeflow.experiments.objectives_study import (
    PAPER_OBJECTIVES,
    Case,
    Plan,
    ensemble_path,
    make_ensembles,
    without_critic,
)
from latticeflow.flows import Flow, build_flow, captured_draws, checkpoint
from latticeflow.quality.compare import compare
from latticeflow.training.captured import CapturedTrainer, ResidentDraws
from latticeflow.training.train import train
from latticeflow.training.trainer import TrainingDivergedError
from latticeflow.training.training_settings import PUBLISHED_CRITIC, TrainingSettings
from mcmc import InputError, Lattice, model_from_name
from mcmc.runtime.stop import Stop
from mcmc.storage.ensemble import Ensemble

FULL = Plan(
    TrainingSettings(
        steps=160_000,
        batch_draws=16,
        learning_rate=5e-5,
        decay="published",
        critic=replace(PUBLISHED_CRITIC, learning_rate=5e-5),
    )
)
FULL_SIZES = {"couplings": 24, "filters": 64}
FULL_DRAWS = 5120
REDUCED = Plan(
    TrainingSettings(
        steps=30_000,
        batch_temperatures=8,
        batch_draws=8,
        learning_rate=3e-3,
        decay="constant",
        ema=0.999,
        critic=replace(PUBLISHED_CRITIC, channels=16),
    ),
    test_draws=200,
)
REDUCED_SIZES = {"couplings": 24, "filters": 4}
REDUCED_DRAWS = 1000

MEASURES = {
    "nll": "NLL",
    "acceptance": "acceptance",
    "ess_reverse": "ESS reverse",
    "ess_forward": "ESS forward",
    "missed_share_max": "missed, worst T",
    "overlap_energy": "overlap e %",
    "overlap_magnetization": "overlap m %",
    "emd_energy": "EMD e",
    "emd_magnetization": "EMD m",
}
GAINS = {
    "nll": "ln NLL",
    "acceptance": "acceptance",
    "ess_reverse": "ESS reverse",
    "missed_share_max": "missed, worst T",
    "overlap_energy": "overlap e %",
    "emd_energy": "EMD e",
}
"""Measures in which what the critic changes is shown."""
PUBLISHED = {"acceptance": 0.3187, "overlap_energy": 87.7, "overlap_magnetization": 86.9, "emd_energy": 0.0104}
"""Of the full size's AdvNF, by the authors' notebook; its EMD of 0.0052 is a fraction of the range of 2 J."""
_LOOK_EVERY = 20
"""Steps between two looks at trainings that advance side by side."""
FLAT = {"nll": 0.01, "acceptance": 0.01}
"""A curve is flat where its means over the last two quarters, of NLL's logarithm, differ by no more than this, or than
two standard errors by the scatter of their points."""


class _Block(Stop):
    """Asks to stop after some steps, or when another stop does."""

    def __init__(self, steps: int, other: Stop):
        super().__init__()
        self._left, self._other = steps, other

    def asked(self, seconds: float = 0.0) -> bool:
        self._left -= 1
        return self._left < 0 or self._other.asked(seconds)


def published_cases(
    draws: Sequence[int], sizes: dict[str, Any], objectives: Sequence[str] = PAPER_OBJECTIVES
) -> list[Case]:
    """The paper's flow by its objectives, on ensembles of so many draws a temperature."""
    return [Case("realnvp", name, n, sizes) for n in draws for name in objectives]


def run_published(
    plan: Plan,
    cases: Sequence[Case],
    directory: Path,
    record: Path,
    *,
    block: int,
    seeds: int = 1,
    device: torch.device | str = "cpu",
    stop: Stop | None = None,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Train all cases block by block, and evaluate them after each.

    Args:
        plan: what the trainings share; their number of steps is the end of the curves.
        cases: trainings.
        directory: of ensembles and checkpoints.
        record: JSON lines, one for each case, seed and number of steps; what is there is not made again.
        block: steps between two points of a curve.
        seeds: of the trainings, 0 and on.
        device: where to train; on a GPU all trainings advance side by side, see `captured.CapturedTrainer`.
        stop: asked after every step.
        report: called with every new row.

    Returns:
        All rows of these cases in the record, in its order.

    Raises:
        InputError: the block is not positive, or the record is not one of this experiment.
    """
    stop = stop or Stop()
    if block < 1 or seeds < 1 or plan.training.steps is None:
        raise InputError(f"block = {block} and seeds = {seeds} must be at least 1, and the length a number of steps")
    directory.mkdir(parents=True, exist_ok=True)
    rows = Record(record, key_of_row)
    if not make_ensembles(plan, directory, sorted({case.draws for case in cases}), stop):
        return rows.rows
    if torch.device(device).type == "cuda":
        with rows.writing():
            for _ in train_together(plan, cases, directory, rows, block, seeds, torch.device(device), stop, report):
                time.sleep(1e-4)
        return _of(rows.rows, cases)
    with rows.writing():
        done = rows.done
        for stage in range(block, plan.training.steps + block, block):
            stage = min(stage, plan.training.steps)
            for seed, case in itertools.product(range(seeds), cases):
                row = _row(case, seed, stage)
                if key_of_row(row) in done:
                    continue
                settings = replace(plan.training, objective=case.objective, seed=seed)
                path = _checkpoint_path(directory, case, seed)
                source = ensemble_path(plan, directory, case.draws, "train")
                note = _train_to(stage, settings, case, source, path, device, stop)
                if note is None:
                    return _of(rows.rows, cases)
                flow, metadata, _ = checkpoint.load(path, device)
                rows.add(row | _evaluated(plan, directory, flow) | {"seconds": metadata["seconds"], "note": note})
                report(rows.rows[-1])
    return _of(rows.rows, cases)


def _train_to(
    stage: int,
    settings: TrainingSettings,
    case: Case,
    source: Path,
    path: Path,
    device: torch.device | str,
    stop: Stop,
) -> str | None:
    """Train until a number of steps is made; a note where it diverged, and None where it was stopped before."""
    made = checkpoint.load(path).metadata["steps"] if path.exists() else 0
    if made >= stage:
        return ""
    limit = _Block(stage - made, stop)
    try:
        train(
            source,
            out=path,
            settings=settings,
            flow=case.flow,
            sizes=case.sizes,
            device=device,
            resume=path.exists(),
            stop=limit,
        )
    except InputError as error:
        if not path.exists():
            raise
        return str(error).partition(";")[0]
    return "" if checkpoint.load(path).metadata["steps"] >= stage else None


def _checkpoint_path(directory: Path, case: Case, seed: int) -> Path:
    return directory / f"{case.objective}-{'-'.join(map(str, case.sizes.values()))}-{case.draws}-seed{seed}.pt"


def _row(case: Case, seed: int, steps: int) -> dict[str, Any]:
    """The beginning of a row."""
    return {
        "objective": case.objective,
        "seed": seed,
        "steps": steps,
        "sizes": case.sizes,
        "draws": case.draws,
    }


def train_together(
    plan: Plan,
    cases: Sequence[Case],
    directory: Path,
    rows: Record,
    block: int,
    seeds: int,
    device: torch.device,
    stop: Stop,
    report: Callable[[dict[str, Any]], None],
) -> Iterator[None]:
    """All trainings side by side on a GPU, evaluated meanwhile; see `run_published`.

    Yields:
        Whenever the device has enough to do, so that others can give it work, too.
    """
    draws = {}
    for n in {case.draws for case in cases}:
        with Ensemble.open(ensemble_path(plan, directory, n, "train")) as ensemble:
            draws[n] = ResidentDraws.of(ensemble, device)
    trainings = [
        _Training(case, seed, path, _captured(plan, case, seed, draws[case.draws], path))
        for seed, case in itertools.product(range(seeds), cases)
        for path in [_checkpoint_path(directory, case, seed)]
    ]
    waiting: list[tuple[dict[str, Any], Future[dict[str, Any]]]] = []
    with ThreadPoolExecutor(1) as pool:
        for stage in range(block, (plan.training.steps or 0) + block, block):
            stage = min(stage, plan.training.steps or 0)
            done = rows.done
            running = [each for each in trainings if each.is_behind(stage) or each.lacks(stage, done)]
            while not stop.asked() and (behind := [each for each in running if each.is_behind(stage)]):
                for each in behind:
                    if each.advance():
                        yield
                yield
            for each in running:
                row = each.finish(stage)
                if row and key_of_row(row) not in done:
                    waiting.append((row, pool.submit(_evaluated_beside, plan, directory, each.trainer.snapshot())))
                yield
            last = stop.asked() or stage == plan.training.steps
            while waiting and (last or waiting[0][1].done()):
                row, found = waiting.pop(0)
                rows.add(row | found.result())
                report(rows.rows[-1])
            if last:
                return


@dataclass
class _Training:
    """One of several that advance side by side."""

    case: Case
    seed: int
    path: Path
    trainer: CapturedTrainer
    note: str = ""

    def is_behind(self, stage: int) -> bool:
        return self.trainer.step_number < stage and not self.note

    def lacks(self, stage: int, done: Collection[object]) -> bool:
        """Whether the run before ended between the checkpoint of a stage and its row."""
        return self.trainer.step_number == stage and key_of_row(_row(self.case, self.seed, stage)) not in done

    def advance(self) -> bool:
        """Queue a step, unless enough are queued; whether it was the first, which takes its time."""
        first = not self.trainer.captured
        if self.trainer.ready:
            self.trainer.launch()
            if self.trainer.step_number % _LOOK_EVERY == 0:
                self._look(self.trainer.check)
        return first

    def finish(self, stage: int) -> dict[str, Any] | None:
        """Save the state; the beginning of a row, if the stage was reached or the training diverged."""
        trainer = self.trainer
        if trainer.captured and not self.note:
            self._look(trainer.metrics)
        trainer.served.history = {"training": asdict(trainer.settings), "steps": trainer.step_number, "complete": False}
        checkpoint.save(self.path, trainer.served, training=trainer.state_dict())
        if trainer.step_number < stage and not self.note:
            return None
        return _row(self.case, self.seed, stage) | {"seconds": round(trainer.seconds, 1), "note": self.note}

    def _look(self, look: Callable[[], object]) -> None:
        try:
            look()
        except TrainingDivergedError as error:
            self.note = str(error).partition(";")[0]


def _captured(plan: Plan, case: Case, seed: int, draws: ResidentDraws, path: Path) -> CapturedTrainer:
    """The training of a case, from its checkpoint where there is one."""
    settings, limits = replace(plan.training, objective=case.objective, seed=seed), plan.temperatures
    if path.exists():
        flow, _, state = checkpoint.load(path, draws.theta.device)
        trainer = CapturedTrainer(flow, settings, draws)
        trainer.load_state_dict(state or {})
        return trainer
    torch.manual_seed(seed)
    lattice = Lattice(plan.size, plan.size)
    flow = build_flow(case.flow, model_from_name(plan.model), lattice, (limits[0], limits[-1]), **case.sizes)
    return CapturedTrainer(flow.to(draws.theta.device), settings, draws)


def _evaluated_beside(plan: Plan, directory: Path, flow: Flow) -> dict[str, Any]:
    """The same in a thread beside trainings: no step is captured meanwhile, nor are the draws."""
    with captured_draws.CAPTURING, captured_draws.plainly():
        return _evaluated(plan, directory, flow)


def _evaluated(plan: Plan, directory: Path, flow: Flow) -> dict[str, Any]:
    with Ensemble.open(ensemble_path(plan, directory, plan.test_draws, "test")) as ensemble:
        quality = compare(flow, ensemble, draws=plan.test_draws, seed=plan.seed)
    found = {name: quality.mean[name] for name in MEASURES if name in quality.mean} | {
        "missed_share_max": max(row.missed_share for row in quality),
        "acceptance_min": min(row.acceptance for row in quality),
    }
    return {name: float(f"{x:.6g}") if math.isfinite(x) else None for name, x in found.items()}


def key_of_row(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a row of the record from all others."""
    return row["objective"], row["seed"], row["steps"], json.dumps(row["sizes"], sort_keys=True), row["draws"]


def _of(rows: Sequence[dict[str, Any]], cases: Sequence[Case]) -> list[dict[str, Any]]:
    wanted = [(case.objective, case.sizes, case.draws) for case in cases]
    return [row for row in rows if (row["objective"], row["sizes"], row["draws"]) in wanted]


def is_flat(curve: Sequence[dict[str, Any]]) -> bool:
    """Whether a curve has become horizontal, see `FLAT`; never with fewer than 8 points.

    Args:
        curve: rows of one training, by steps.
    """
    quarter = len(curve) // 4
    if quarter < 2:
        return False
    for name, tolerance in FLAT.items():
        values = [row[name] for row in curve[-2 * quarter :]]
        if None in values:
            return False
        quarters = (np.log(values) if name == "nll" else np.array(values)).reshape(2, quarter)
        scatter = 2 * math.sqrt(quarters.var(1, ddof=1).sum() / quarter)
        if abs(np.diff(quarters.mean(1))) > max(tolerance, scatter):
            return False
    return True


class Curve(NamedTuple):
    """What tells a training from the others of its size."""

    objective: str
    draws: int
    seed: int


def curves(rows: Sequence[dict[str, Any]]) -> dict[Curve, list[dict[str, Any]]]:
    """Rows by training, each in order of steps."""
    found: dict[Curve, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["steps"]):
        found.setdefault(Curve(row["objective"], row["draws"], row["seed"]), []).append(row)
    return found


def critic_gains(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the critic changes: each objective that has one less what is left of it without, seed by seed.

    Args:
        rows: of one size.

    Returns:
        For every pair that was trained on the same ensemble to equally many steps, at the most steps that the most
        seeds have: both names, ``draws`` of the ensemble, ``steps``, ``seeds``, and for each of `GAINS` the mean
        difference and its standard error over seeds (None for one seed). NLL as a difference of natural logarithms,
        because it spans decades.
    """
    found, gains = curves(rows), []
    for objective, draws in _groups(rows):
        partner = without_critic(objective)
        if partner is None:
            continue
        common: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        for each, curve in found.items():
            if (each.objective, each.draws) != (objective, draws):
                continue
            others = {row["steps"]: row for row in found.get(each._replace(objective=partner), ())}
            for row in curve:
                if row["steps"] in others and None not in (row["nll"], others[row["steps"]]["nll"]):
                    common.setdefault(row["steps"], []).append((row, others[row["steps"]]))
        if not common:
            continue
        steps = max(common, key=lambda steps: (len(common[steps]), steps))
        gain: dict[str, Any] = {
            "objective": objective,
            "partner": partner,
            "draws": draws,
            "steps": steps,
            "seeds": len(common[steps]),
        }
        for name in GAINS:
            scale = np.log if name == "nll" else np.asarray
            differences = np.array([scale(one[name]) - scale(other[name]) for one, other in common[steps]])
            error = float(differences.std(ddof=1) / math.sqrt(len(differences))) if len(differences) > 1 else None
            gain[name] = float(differences.mean()), error
        gains.append(gain)
    return gains


def _groups(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Objectives and draws of the ensembles, each once."""
    return [*dict.fromkeys((row["objective"], row["draws"]) for row in rows)]


def published_text(rows: Sequence[dict[str, Any]], plan: Plan) -> str:
    """The end of every curve, means and standard deviations over seeds, which are flat, and what the critic changes.

    Args:
        rows: of one size.
        plan: of their trainings.

    Returns:
        Markdown.
    """
    training, sizes = plan.training, rows[0]["sizes"] if rows else {}
    size = ", ".join(f"{n} {name}" for name, n in sizes.items())
    found = curves(rows)
    longest = max((row["steps"] for row in rows), default=0)
    lines = [
        "# The experiment of the AdvNF paper",
        "",
        f"XY {plan.size}x{plan.size}, {len(plan.temperatures)} temperatures from {plan.temperatures[0]:g} to "
        f"{plan.temperatures[-1]:g}, the paper's flow ({size}; published 24 couplings, 64 filters), batches of "
        f"{training.batch_temperatures * training.batch_draws} configurations (published 512), rate "
        f"{training.learning_rate:g}, at most {longest} steps so far (published 160000: this is "
        f"{_share(longest, training, sizes)} of its arithmetic); evaluated on {plan.test_draws} draws a temperature "
        "that no training has seen. Overlaps and EMD (in units of J) are those of the chain; *missed* is the share of "
        "the ensemble in kinds of vortex number, winding or magnetisation that the flow hardly ever draws, at the "
        "worst temperature. *flat*: of how many seeds the curves of NLL and acceptance have become horizontal: their "
        f"means over the last two quarters, of NLL's logarithm, differ by at most {FLAT['acceptance']:g} or two "
        "standard errors by the scatter of their points; *draws*: of the "
        "ensemble that trains, per temperature. In brackets the standard deviation over seeds. The file of rows beside "
        "this one holds the curves.",
        "",
        "| objective | draws | seeds | steps | flat | " + " | ".join(MEASURES.values()) + " |",
        "|" + "---|" * (5 + len(MEASURES)),
    ]
    for objective, draws in _groups(rows):
        mine = [curve for each, curve in found.items() if (each.objective, each.draws) == (objective, draws)]
        steps = min(curve[-1]["steps"] for curve in mine)
        ends = [next(row for row in curve if row["steps"] == steps) for curve in mine]
        flat = sum(is_flat(curve) for curve in mine)
        shown = [_spread([row[name] for row in ends]) for name in MEASURES]
        head = f"| {objective} | {draws} | {len(mine)} | {steps} | {flat} of {len(mine)} | "
        lines.append(head + " | ".join(shown) + " |")
    anchor = [f"{PUBLISHED[name]:g}" if name in PUBLISHED else "" for name in MEASURES]
    lines.append(f"| advnf, published at full size | {FULL_DRAWS} | | 160000 | | " + " | ".join(anchor) + " |")
    if gains := critic_gains(rows):
        lines += [
            "",
            "What the critic changes, seed by seed at equally many steps, mean and standard error over seeds; of NLL "
            "the difference of natural logarithms:",
            "",
            "| with critic | without | draws | steps | seeds | " + " | ".join(GAINS.values()) + " |",
            "|" + "---|" * (5 + len(GAINS)),
        ]
        for gain in gains:
            shown = [f"{gain[name][0]:+.3g}" + _error(gain[name][1]) for name in GAINS]
            head = (
                "| "
                + " | ".join(str(gain[name]) for name in ("objective", "partner", "draws", "steps", "seeds"))
                + " | "
            )
            lines.append(head + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def _error(error: float | None) -> str:
    return "" if error is None else f" ± {error:.1g}"


def _share(steps: int, training: TrainingSettings, sizes: dict[str, Any]) -> str:
    """Products of numbers in the flow's widest convolutions over those of `FULL`."""
    published = FULL.training
    share = steps * training.batch_temperatures * training.batch_draws * math.prod(sizes.values())
    share *= sizes.get("filters", FULL_SIZES["filters"])
    assert published.steps is not None
    whole = published.steps * published.batch_temperatures * published.batch_draws
    return f"{share / (whole * FULL_SIZES['couplings'] * FULL_SIZES['filters'] ** 2):.1g}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = float(np.mean(known))
    shown = f"{mean:.3g}" if abs(mean) < 1000 else f"{mean:.0f}"
    return f"{shown} ({np.std(known, ddof=1):.1g})" if len(known) > 1 else shown
