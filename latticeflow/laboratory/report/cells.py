"""The whole table: targets x methods x seeds, cell by cell into a file that a later run goes on with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from latticeflow.experiments.grid import Record, run_grid
from latticeflow.laboratory.measures.mode_measures import measure
from latticeflow.laboratory.methods.method_registry import DivergedError, Effort, Method, Sampler, get_method
from latticeflow.laboratory.targets import Target, build_target
from mcmc import InputError
from mcmc.runtime.registry import imported
from mcmc.runtime.stop import Stop, Stopped


class Trial(NamedTuple):
    """One run of the table."""

    target: str
    method: str
    seed: int


def find_target(name: str) -> Target:
    """A registered target, or that which ``module:name`` builds.

    Raises:
        InputError: there is none.
    """
    target = imported(name)() if ":" in name else build_target(name)
    if not isinstance(target, Target):
        raise InputError(f"{name} made {type(target).__name__}, not a target: name a function that returns a Target")
    return target


def find_method(name: str) -> Method:
    """A registered method, or the one at ``module:name``.

    Raises:
        InputError: there is none.
    """
    method = imported(name) if ":" in name else get_method(name)
    if not isinstance(method, Method):
        raise InputError(f"{name} is of type {type(method).__name__}, not a method: name an instance of a Method")
    return method


def cells(targets: Sequence[str], methods: Sequence[str], seeds: int) -> list[Trial]:
    """All runs, seed by seed, so that a table cut short has few seeds rather than few methods."""
    supported = [
        (t, m) for t in targets for target in [find_target(t)] for m in methods if find_method(m).supports(target)
    ]
    return [Trial(t, m, seed) for seed in range(seeds) for t, m in supported if seed == 0 or find_method(m).trained]


def fit(cell: Trial, effort: Effort) -> Sampler:
    """Train one method on one target, at the method's pace.

    Raises:
        DivergedError: it diverged.
    """
    method = find_method(cell.method)
    paced = replace(effort, steps=max(1, round(effort.steps * method.pace)))
    return method.fit(find_target(cell.target), paced, seed=cell.seed)


GAIN = {"fidelity": 2.0, "nll": 0.05}
"""What a doubled budget must gain in at least one of them: points of fidelity, nats of negative log-likelihood."""


def run_trial(cell: Trial, effort: Effort, doublings: int = 0) -> dict[str, Any]:
    """Train one method on one target and evaluate it, in one thread.

    With doublings the training is made anew with twice the updates, and again, until that gains nothing (`GAIN`): every
    training then has its whole schedule of rates and weights.

    Args:
        cell: what to train.
        effort: its budget; with doublings the first.
        doublings: at most so many.

    Returns:
        A row of JSON's types: the cell, the effort, `seconds` of the last training on this process's clock, whether it
        `diverged` and why, and the `Measures` (None where not finite, and all None where it diverged). With doublings
        also the `steps` of the last training, whether it `converged` before the cap, and the `curve` of all of them.
    """
    row = _train_once(cell, effort)
    if not doublings or not find_method(cell.method).trained:
        return row
    steps, curve, converged = effort.steps, [_point(row, effort.steps)], False
    for _ in range(doublings):
        if row["diverged"]:
            break
        before, steps = row, 2 * steps
        row = _train_once(cell, replace(effort, steps=steps))
        curve.append(_point(row, steps))
        if not _gains(before, row):
            converged = True
            break
    return row | {"effort": asdict(effort), "steps": steps, "converged": converged, "curve": curve}


def _point(row: dict[str, Any], steps: int) -> dict[str, Any]:
    names = ("kept", "fidelity", "modes", "high_quality", "weight_kl", "nll", "seconds")
    return {"steps": steps, **{name: row.get(name) for name in names}}


def _gains(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a longer training was worth it, in `GAIN`; one that diverged was not."""
    if after["diverged"]:
        return False
    better = after["fidelity"] - before["fidelity"] >= GAIN["fidelity"]
    return better or (None not in (before["nll"], after["nll"]) and before["nll"] - after["nll"] >= GAIN["nll"])


def _train_once(cell: Trial, effort: Effort) -> dict[str, Any]:
    torch.set_num_threads(1)
    target = find_target(cell.target)
    row: dict[str, Any] = {**cell._asdict(), "effort": asdict(effort), "diverged": None}
    target.sample(1, condition=target.sample_conditions(1))  # what a target prepares at its first draw is not training
    started = time.process_time()
    try:
        sampler = fit(cell, effort)
        row["seconds"] = round(time.process_time() - started, 3)
        found = measure(sampler, target, seed=cell.seed)._asdict()
    except DivergedError as error:
        return row | {"seconds": round(time.process_time() - started, 3), "diverged": str(error)}
    return row | {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in found.items()}


class Rows(Record):
    """The record of the table, with the keys of `Trial`.

    Args:
        path: of the file, which need not exist; None keeps the rows in memory alone.
        effort: of all its rows.

    Raises:
        InputError: the file holds something else, or rows of another effort.
    """

    def __init__(self, path: Path | None, effort: Effort):
        self.effort = effort
        super().__init__(path, _trial_of)
        other = [row["effort"] for row in self.rows if row["effort"] != asdict(effort)]
        if other:
            raise InputError(f"{path} holds rows of the effort {other[0]}, not {asdict(effort)}: name another file")


def _trial_of(row: dict[str, Any]) -> Trial:
    row["effort"], row["seconds"]  # a row has them
    return Trial(row["target"], row["method"], row["seed"])


def _work(effort: Effort, doublings: int, cell: Trial, stop: Stop) -> dict[str, Any] | None:
    """The row of a cell; None where a signal has ended the training, at once."""
    try:
        with stop.at_once():
            return run_trial(cell, effort, doublings)
    except Stopped:
        return None


def run_trials(
    todo: Iterable[Trial],
    rows: Rows,
    effort: Effort,
    *,
    doublings: int = 0,
    workers: int = 1,
    minutes: float = math.inf,
    stop: Stop | None = None,
    report: Callable[[Trial], None] = lambda cell: None,
) -> bool:
    """Run all cells that the file lacks.

    Args:
        todo: cells, in order.
        rows: the file.
        effort: of each.
        doublings: see `run_trial`.
        workers: processes.
        minutes: of processor time that the cells together may take; the one that is running then is finished by one
            worker, and lost by several.
        stop: asked between cells; a signal ends cells that are running, which are run again next time.
        report: called after every cell.

    Returns:
        Whether all is done.
    """
    stop, spent = stop or Stop(), 0.0

    def account(cell: Trial) -> None:
        nonlocal spent
        row = rows.rows[-1]
        spent += sum(point["seconds"] for point in row.get("curve", [row]))
        if spent >= 60 * minutes and not stop.reason:
            stop.reason = f"the limit of {minutes:g} processor minutes"
        report(cell)

    work = partial(_work, effort, doublings)
    return run_grid([*todo], work, rows, workers=workers, patience=0.0, stop=stop, report=account)
