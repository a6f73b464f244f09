"""``latticeflow generate``: draw a reference ensemble into an HDF5 file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "generate",
        run,
        "draw a reference ensemble by Markov chains into an HDF5 file",
        "latticeflow generate --model xy --size 16 --temperatures 0.05:2.05:32 --draws 1000 --out data/xy16.h5",
    )
    options.add_model_options(parser)
    parser.add_argument("--temperatures", type=options.temperatures, default="0.05:2.05:32", metavar="A:B:N")
    parser.add_argument("--draws", type=int, default=1000, help="draws per chain and temperature (default 1000)")
    parser.add_argument("--chains", type=int, default=1, help="independent chains per temperature (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.h5")


def run(arguments: argparse.Namespace) -> None:
    """Generate."""
    raise NotImplementedError
