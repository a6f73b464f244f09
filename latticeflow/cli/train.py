"""``latticeflow train``: train a flow on an ensemble."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "train",
        run,
        "train a normalizing flow on an ensemble",
        "latticeflow train data/xy8.h5 --out xy8.pt --minutes 5",
    )
    parser.add_argument("ensemble", type=Path, metavar="ENSEMBLE.h5", help="reference draws, from generate")
    parser.add_argument("--out", type=Path, required=True, metavar="FLOW.pt", help="the checkpoint")
    parser.add_argument("--flow", default="multiscale", help="kind of flow (default multiscale)")
    parser.add_argument(
        "--objective",
        default="advnf",
        help="forward_kl, reverse_kl, jeffreys, log_variance, advnf_forward, advnf_reverse or advnf (default)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="wall time of the training (default 10)")
    length.add_argument("--steps", type=int, help="number of steps instead: the same flow every time")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="at its peak (default 0.004)")
    parser.add_argument("--draws", type=int, default=16, help="draws per temperature in a batch (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="root of the random streams (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default auto)")
    parser.add_argument("--log", type=Path, metavar="FILE.jsonl", help="append the metrics of every step")
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="SMALLER.pt",
        help="start from a trained flow of this size, or of half, a quarter, ... of it",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training that FLOW.pt holds")


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 if complete, 128 + signal after a signal."""
    options.require_torch()
    from latticeflow.device import choose_device
    from latticeflow.training.run import train
    from latticeflow.training.trainer import TrainingSettings
    from mcmc.stop import Stop

    minutes = arguments.minutes
    if arguments.steps is None and minutes is None:
        minutes = 10.0
    settings = TrainingSettings(
        objective=arguments.objective,
        steps=arguments.steps,
        minutes=minutes,
        draws=arguments.draws,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
    )
    with Stop() as stop:
        complete = train(
            arguments.ensemble,
            arguments.out,
            settings,
            flow_name=arguments.flow,
            device=choose_device(arguments.device),
            start=arguments.start,
            resume=arguments.resume,
            log=arguments.log,
            stop=stop,
            command=arguments.command,
        )
    return options.stopped(stop, complete)
