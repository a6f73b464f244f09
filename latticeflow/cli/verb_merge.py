"""``latticeflow merge``: join the files of a batch array, or of independent runs."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "merge",
        execute,
        "join the files of one run's tasks, or of independent runs, into one",
        "latticeflow merge xy16.*-of-8.h5 --out xy16.h5",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.h5", help="parts of one run, or independent runs")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.h5", help="the joined file, which must not exist yet"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Merge; 128 + signal after a signal, which leaves no file."""
    from mcmc.runtime.stop import Stop, Stopped
    from mcmc.sampling.merge import merge

    complete = False
    with Stop() as stop, suppress(Stopped), stop.at_once():
        merge(arguments.files, arguments.out, command=arguments.command)
        complete = True
        what = f"what {len(arguments.files)} files held"
        options.wrote(arguments.out, what, next_command=f"latticeflow info {arguments.out}")
    return options.stopped(stop, complete, "the same command")
