"""``latticeflow import``: make an ensemble file from configurations in a plain numpy array."""

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
        "import",
        execute,
        "make an ensemble file from a numpy array of angles: (T, chains, draws, Ly, Lx), (T, draws, Ly, Lx), or "
        "(draws, Ly, Lx) for one temperature",
        "latticeflow import angles.npy --model xy --temperatures 0.5,1.0 --out mine.h5",
    )
    parser.add_argument("array", type=Path, metavar="ANGLES.npy", help="angles in radians, written by numpy.save")
    options.add_model_options(parser, size=False)
    options.add_temperatures(parser, help="temperatures of the first axis, first:last:count or a list; required")
    parser.add_argument("--note", default="", help="where the data come from; kept in the file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.h5", help="the ensemble file, which must not exist yet"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Import; 128 + signal after a signal, which leaves no file."""
    from mcmc import InputError
    from mcmc.runtime.stop import Stop, Stopped
    from mcmc.storage.from_numpy import from_array, load

    if arguments.temperatures is None:
        raise InputError("the array does not say at which temperatures it was drawn: give -T")
    theta = load(arguments.array)
    model = options.model_of(arguments, theta.shape[:-3:-1])
    complete = False
    with Stop() as stop, suppress(Stopped), stop.at_once():
        understood = from_array(
            arguments.out,
            theta,
            model=model,
            temperatures=arguments.temperatures,
            note=arguments.note,
            command=arguments.command,
        )
        complete = True
        print(understood)
        options.wrote(arguments.out, f"draws of shape {theta.shape}", next_command=f"latticeflow info {arguments.out}")
    return options.stopped(stop, complete, "the same command")
