"""A study of trainings: flows x objectives x sizes of the ensemble, each evaluated on draws that it has not seen.

It answers what the AdvNF paper asks at 8x8 (Kanaujia, Scheurer, Arora 2024, arXiv:2401.15948): which objective serves
which flow, whether the critic helps, and how few draws are enough. Every finished cell is a line of ``cells.jsonl``; a
study that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latticeflow.experiments.grid import Record, run_grid
from latticeflow.flows import checkpoint
from latticeflow.flows.building import find_flow
from latticeflow.quality.compare import compare
from latticeflow.training.objectives import OBJECTIVES, objective_from_name
from latticeflow.training.train import train
from latticeflow.training.training_settings import TrainingSettings
from mcmc import InputError, Lattice, model_from_name
from mcmc.runtime.stop import Stop
from mcmc.sampling.generate import generate_file
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble

PAPER_OBJECTIVES = ("forward_kl", "reverse_kl", "forward_reverse_kl", "advnf_forward", "advnf_reverse", "advnf")


@dataclass(frozen=True)
class Case:
    """One training.

    Args:
        flow: a name of `latticeflow.flows.FLOWS`.
        objective: a name of `OBJECTIVES`.
        draws: of the ensemble it learns from, per temperature.
        sizes: of the flow, where not its defaults.
    """

    flow: str
    objective: str
    draws: int
    sizes: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.flow} {self.objective} {self.draws}"


@dataclass(frozen=True)
class Plan:
    """What all cells of a study share.

    Args:
        training: how to train; its objective is the cell's.
        model: ``"xy"`` or ``"exy"``, with unit couplings.
        size: side of the lattice.
        temperatures: of both ensembles.
        test_draws: draws per temperature of the ensemble for the evaluation, and of the chains.
        seed: of the ensembles and the chains; that of the training is its own.
    """

    training: TrainingSettings
    model: str = "xy"
    size: int = 8
    temperatures: tuple[float, ...] = tuple(np.linspace(0.05, 2.05, 32).tolist())
    test_draws: int = 1000
    seed: int = 0


def objective_cells(
    flows: Sequence[str], objectives: Sequence[str] = (), *, draws: int = 1000, sizes: dict[str, dict[str, Any]]
) -> list[Case]:
    """Every flow by every objective: the paper's six, and what is left of each without its critic.

    Args:
        flows: names.
        objectives: names, in place of those.
        draws: of the ensemble, per temperature.
        sizes: by flow.
    """
    cells = []
    for flow in flows:
        names = [*(objectives or PAPER_OBJECTIVES)]
        if not objectives:
            partners = (without_critic(name) for name in PAPER_OBJECTIVES)
            names += sorted({name for name in partners if name and name not in names})
        cells += [Case(flow, name, draws, sizes.get(flow, {})) for name in names]
    return cells


def without_critic(objective: str) -> str | None:
    """What is left of an objective without its adversarial term, up to a common factor; None if it has none."""
    terms = vars(objective_from_name(objective))
    if not terms["adversarial"]:
        return None

    def shares(weights: dict[str, float]) -> list[float]:
        return [weights[name] / sum(weights.values()) for name in sorted(weights)]

    bare = shares({**terms, "adversarial": 0.0})
    return next((name for name, each in OBJECTIVES.items() if np.allclose(shares(vars(each)), bare)), None)


def run_study(
    plan: Plan,
    cells: Sequence[Case],
    directory: Path,
    *,
    workers: int = 1,
    report: Callable[[Case], None] = lambda cell: None,
    stop: Stop | None = None,
) -> list[dict[str, Any]]:
    """Train and evaluate every cell that is not finished yet.

    Args:
        plan: what the cells share.
        cells: in the order of the table.
        directory: of ensembles, checkpoints and ``cells.jsonl``; a study of another plan in it is left alone.
        workers: processes; each trains on one thread, so that cells are alike however many there are.
        report: called with each cell that is finished, now or before.
        stop: asked while cells are at work, which then save their state.

    Returns:
        Rows of the finished cells, in order; JSON types.

    Raises:
        InputError: a flow, an objective or a number of draws is impossible.
    """
    stop = stop or Stop()
    for cell in cells:
        objective_from_name(cell.objective)
        find_flow(cell.flow)
    directory.mkdir(parents=True, exist_ok=True)
    record = Record(directory / "cells.jsonl", key=operator.itemgetter("name"))
    if not make_ensembles(plan, directory, sorted({cell.draws for cell in cells}), stop):
        return []
    for cell in cells:
        if _name(plan, cell) in record.done:
            report(cell)
    run_grid(
        cells,
        partial(_row, plan, directory),
        record,
        key=partial(_name, plan),
        workers=workers,
        report=report,
        stop=stop,
    )
    known = {row["name"]: {name: value for name, value in row.items() if name != "name"} for row in record.rows}
    return [known[name] for cell in cells if (name := _name(plan, cell)) in known]


def _name(plan: Plan, cell: Case) -> str:
    """What tells a cell of a study from every other."""
    return json.dumps([asdict(plan), asdict(cell)], sort_keys=True)


def make_ensembles(plan: Plan, directory: Path, draws: Sequence[int], stop: Stop) -> bool:
    """Make the ensembles that train, of so many draws a temperature, and that for the evaluation; False if stopped."""
    parts = [*((n, "train") for n in draws), (None, "test")]
    return all(_ensemble(plan, directory, n, part, stop) for n, part in parts)


def ensemble_path(plan: Plan, directory: Path, draws: int, part: str) -> Path:
    """Where an ensemble of a study is, ``part`` being ``train`` or ``test``."""
    grid = f"{plan.temperatures[0]:g}-{plan.temperatures[-1]:g}-{len(plan.temperatures)}"
    return directory / f"{part}-{plan.model}{plan.size}-{grid}-{draws}-seed{plan.seed}.h5"


def _ensemble(plan: Plan, directory: Path, draws: int | None, part: str, stop: Stop) -> bool:
    """Make an ensemble by Markov chains, unless it is there."""
    n = draws or plan.test_draws
    chains = math.gcd(n, 10)
    lattice = Lattice(plan.size, plan.size)
    seed = 2 * plan.seed + (part == "test")
    settings = Settings(model_from_name(plan.model), lattice, plan.temperatures, chains=chains, seed=seed)
    path = ensemble_path(plan, directory, n, part)
    return generate_file(settings, path, draws=n // chains, resume=True, stop=stop)


def _row(plan: Plan, directory: Path, cell: Case, stop: Stop) -> dict[str, Any] | None:
    """Train a cell and evaluate it; None if stopped before that."""
    find_flow(cell.flow)  # imports module:name, so that its checkpoints can be read here
    path = directory / f"{cell.flow}-{cell.objective}-{cell.draws}-{_digest(plan, cell)}.pt"
    note = ""
    if not path.exists() or checkpoint.load(path).training is not None:
        settings = replace(plan.training, objective=cell.objective)
        source = ensemble_path(plan, directory, cell.draws, "train")
        try:
            trained = train(
                source,
                out=path,
                settings=settings,
                flow=cell.flow,
                sizes=cell.sizes,
                resume=path.exists(),
                device="cpu",
                stop=stop,
            )
            if not trained.history["complete"]:
                return None
        except InputError as error:  # it diverged, or memory ran out; what was saved before is evaluated
            if not path.exists():
                raise
            note = str(error).partition(";")[0]
    flow, metadata, _ = checkpoint.load(path)
    with Ensemble.open(ensemble_path(plan, directory, plan.test_draws, "test")) as ensemble:
        rows = compare(flow, ensemble, draws=plan.test_draws, seed=plan.seed)
    found = {
        "name": _name(plan, cell),
        **asdict(cell),
        "parameters": flow.parameter_count,
        "steps": metadata["steps"],
        "seconds": metadata["seconds"],
        "note": note,
        **rows.mean,
        "acceptance_min": min(row.acceptance for row in rows),
        "missed_share_max": max(row.missed_share for row in rows),
    }
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in found.items()}


def _digest(plan: Plan, cell: Case) -> str:
    return hashlib.sha256(_name(plan, cell).encode()).hexdigest()[:8]
