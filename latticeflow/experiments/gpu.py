"""All that a short loan of a GPU allows, in the order of its value, as one command.

    python -m latticeflow.experiments.gpu --minutes 12 --out results

First checks: draws and their densities agree with double precision on the CPU, so do gradients; equal seeds give equal
bytes. Then speeds: draws a second and milliseconds a step, plainly and from captured graphs. Then trainings, side by
side: chains of multiscale flows that grow from size to size, and the paper's experiment with all its objectives. Last,
their evaluation on draws they have not seen, the largest first, free energies by them as far as time allows, and one
conditioner plain and compiled. Ensembles are made by the CPU meanwhile.

Every result is a line of ``gpu.jsonl`` as soon as it is there, and every trained flow a checkpoint beside it: whatever
cuts the run short, they stay. On a machine without a GPU ``--device cpu`` does the same, slowly.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from latticeflow.experiments import published_experiment as published
from latticeflow.experiments.gpu_checks import check_device
from latticeflow.experiments.gpu_log import ResultLog
from latticeflow.experiments.gpu_paper import train_paper
from latticeflow.experiments.gpu_speeds import measure_compiled, measure_speeds, measure_steps
from latticeflow.experiments.gpu_trainings import (
    CHAINS,
    Ensembles,
    Task,
    Trained,
    evaluate,
    measure_free_energies,
    train_chain,
)
from latticeflow.flows.device import choose_device, describe
from latticeflow.training.objectives import objective_from_name
from mcmc import InputError, model_from_name
from mcmc.runtime.stop import run_script

_SPEED_SECONDS = 1.0
_LAST_SECONDS = 50.0
"""For the evaluation of what was trained last, and its free energies."""


def run_on_gpu(
    out: Path,
    *,
    minutes: float,
    device: torch.device,
    chains: Sequence[Sequence[Task]] = CHAINS,
    begun: Path | None = None,
    sizes: Sequence[int] = (8, 16, 32),
    ensemble_draws: int = 1000,
    paper: Sequence[str] = (),
    paper_seeds: int = 3,
    paper_draws: int = published.FULL_DRAWS,
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
        paper: objectives of the paper's experiment; on a GPU only.
        paper_seeds: of each of them, fewer where they would be more than `gpu_paper.PAPER_TOGETHER` trainings.
        paper_draws: of the ensemble at each temperature.
        measurements: whether to check and time the device first.

    Returns:
        Whether all checks held.
    """
    deadline = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    record = ResultLog(out / "gpu.jsonl")
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
            if paper and paper_seeds and device.type == "cuda":
                activities.append(train_paper(record, out, device, end, paper_seeds, paper_draws, paper))
            side_by_side(record, activities)
        for each in reversed(trained):
            if device.type == "cpu" or time.monotonic() < deadline:
                evaluate(record, each)
        for each in reversed(trained) if device.type == "cuda" else ():
            if each.flow.model == model_from_name("xy") and time.monotonic() < deadline:
                measure_free_energies(record, out, each.flow)
        if device.type == "cuda" and deadline - time.monotonic() > 60:
            measure_compiled(record, device, seconds=_SPEED_SECONDS)
    finally:
        ensembles.close()
    record("end", sound=sound, seconds_left=round(deadline - time.monotonic(), 1))
    return sound


def side_by_side(record: ResultLog, activities: Sequence[Iterator[None]]) -> None:
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
        help="objectives of the paper's experiment (default: all six)",
    )
    parser.add_argument(
        "--paper-seeds",
        type=int,
        default=3,
        metavar="N",
        help="of each of them (default 3, or fewer, so that at most six train side by side; 0 leaves them out)",
    )
    parser.add_argument(
        "--paper-draws",
        type=int,
        default=published.FULL_DRAWS,
        metavar="N",
        help=f"ensemble draws at each temperature to train them on (default {published.FULL_DRAWS})",
    )
    parser.add_argument("--no-measurements", action="store_true", help="train at once")
    asked = parser.parse_args(arguments)
    names = None if asked.only is None else asked.only.split(",")
    known = {task.name for chain in CHAINS for task in chain}
    if names is not None and not known.issuperset(names):
        parser.error(f"--only {asked.only}: trainings are {', '.join(sorted(known))}")
    paper = published.PAPER_OBJECTIVES if asked.paper is None else asked.paper.split(",")
    if not 0 < asked.minutes < math.inf:
        parser.error(f"--minutes {asked.minutes:g} must be positive and finite")
    if asked.paper_draws < 1 or asked.paper_seeds < 0:
        wrong = f"--paper-draws {asked.paper_draws} must be positive, --paper-seeds {asked.paper_seeds} not negative"
        parser.error(wrong)
    if asked.start is not None and not asked.start.is_dir():
        parser.error(f"--start {asked.start} is not a folder of flows")
    if asked.out.exists() and not asked.out.is_dir():
        parser.error(f"--out {asked.out} is a file: name a folder")
    try:
        device = choose_device(asked.device)
        for objective in paper:
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
        paper_draws=asked.paper_draws,
        measurements=not asked.no_measurements,
    )
    return 0 if sound else 1


if __name__ == "__main__":
    run_script(main)
