"""``latticeflow sample``: exact draws by flow-accelerated MCMC."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "sample",
        run,
        "draw by flow-accelerated MCMC into an HDF5 file",
        "latticeflow sample xy8.pt --draws 1000 --chains 4 --out data/chain.h5",
    )
    parser.add_argument("flow", type=Path, metavar="FLOW.pt", help="a trained flow, from train")
    parser.add_argument("--draws", type=int, default=1000, help="steps per chain and temperature in all (default 1000)")
    parser.add_argument("--chains", type=int, default=1, help="independent chains per temperature (default 1)")
    parser.add_argument(
        "--temperatures",
        type=options.temperatures,
        metavar="A:B:N",
        help="first:last:count, or a comma-separated list (default: those of the training)",
    )
    parser.add_argument("--seed", type=int, default=0, help="root of the random streams (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default auto)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.h5", help="the ensemble file")
    parser.add_argument("--resume", action="store_true", help="go on with FILE.h5 if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Sample; 0 if complete, 128 + signal after a signal."""
    options.require_torch()
    from latticeflow.device import choose_device
    from latticeflow.sampling import sample
    from mcmc.stop import Stop

    with Stop() as stop:
        complete = sample(
            arguments.flow,
            arguments.out,
            draws=arguments.draws,
            temperatures=arguments.temperatures,
            chains=arguments.chains,
            seed=arguments.seed,
            device=choose_device(arguments.device),
            resume=arguments.resume,
            stop=stop,
            command=arguments.command,
        )
    return options.stopped(stop, complete)
