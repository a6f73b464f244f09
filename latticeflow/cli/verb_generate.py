"""``latticeflow generate``: draw a reference ensemble into an HDF5 file."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from latticeflow.cli import options
from mcmc.runtime.text import counted
from mcmc.sampling.samplers import SAMPLERS

AUTO = "heat bath, 3 over-relaxations, turns of rows and columns, on large XY lattices clusters too"


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "generate",
        execute,
        "draw a reference ensemble by Markov chains into an HDF5 file",
        "latticeflow generate --model xy --size 16 -T 0.05:2.05:32 --out xy16.h5",
    )
    options.add_model_options(parser)
    options.add_temperatures(
        parser, default="0.05:2.05:32", help="first:last:count, or a comma-separated list (default 0.05:2.05:32)"
    )
    parser.add_argument(
        "--draws", type=options.count, default=1000, help="draws per chain and temperature in all (default 1000)"
    )
    parser.add_argument(
        "--chains",
        type=chains,
        metavar="N",
        help="independent chains per temperature (default auto: 4, or on small lattices as many more as fill the "
        "processor's vectors at no cost)",
    )
    parser.add_argument(
        "--sampler", default="auto", help=f"{', '.join(SAMPLERS)}, or module:name (default auto: {AUTO})"
    )
    parser.add_argument("--tempering", action="store_true", help="exchange configurations between temperatures")
    parser.add_argument(
        "--thermalise",
        type=options.count,
        metavar="N",
        help="steps before the first draw (default: by sampler and size)",
    )
    parser.add_argument("--thin", type=options.count, metavar="N", help="steps between draws (default: chosen)")
    options.add_seed(parser)
    parser.add_argument(
        "--series-only", action="store_true", help="keep the measured series of every draw, no configurations"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.h5", help="the ensemble file")
    parser.add_argument("--resume", action="store_true", help="go on with FILE.h5 if it exists")
    parser.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help="stop cleanly after M minutes (exit status 75); the limit of a SLURM job needs no option",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes on this machine (default: one, threaded)")
    parser.add_argument("--executor", choices=("processes", "dask", "mpi"), default="processes", help="where tasks run")
    parser.add_argument("--scheduler", metavar="TCP", help="of --executor dask, such as tcp://node1:8786")
    parser.add_argument("--task-index", type=int, metavar="I", help="do only share I (0 to N-1), in its own file")
    parser.add_argument("--task-count", type=int, metavar="N", help="number of shares; merge joins their files")


def chains(text: str) -> int | None:
    """Parse a number of chains; ``auto`` is None.

    Example:
        >>> chains("8")
        8
    """
    return None if text == "auto" else options.count(text)


def execute(arguments: argparse.Namespace) -> int:
    """Generate; 0 if the file is complete, 75 if time was up, 128 + signal after a signal."""
    from mcmc import InputError, Lattice
    from mcmc.runtime.stop import Stop, Stopped
    from mcmc.sampling.executors import hire, share
    from mcmc.sampling.generate import generate_file
    from mcmc.sampling.settings import Settings

    settings = Settings(
        model=options.model_of(arguments, arguments.size),
        lattice=Lattice(*arguments.size),
        temperatures=arguments.temperatures,
        chains=arguments.chains,
        sampler=arguments.sampler,
        thermalise=arguments.thermalise,
        thin=arguments.thin,
        tempering=arguments.tempering,
        seed=arguments.seed,
    )
    path = arguments.out
    if (arguments.task_index is None) != (arguments.task_count is None):
        raise InputError("--task-index and --task-count belong together: give both or none")
    if arguments.scheduler is not None and arguments.executor != "dask":
        raise InputError("--scheduler is the address of a Dask scheduler: give --executor dask too")
    if arguments.task_count is not None:
        index, count = arguments.task_index, arguments.task_count
        settings = share(settings, index, count)
        path = path.with_name(f"{path.stem}.{index}-of-{count}{path.suffix}")
    complete = False
    with Stop(arguments.max_minutes) as stop, suppress(Stopped), ExitStack() as stack:
        workers = None
        if arguments.workers is not None or arguments.executor != "processes":
            count = 1 if arguments.workers is None else arguments.workers
            workers = stack.enter_context(hire(arguments.executor, count, arguments.scheduler))
            if workers is None:
                return 0  # an MPI rank that has served
        complete = generate_file(
            settings,
            path,
            draws=arguments.draws,
            series_only=arguments.series_only,
            resume=arguments.resume,
            workers=workers,
            stop=stop,
            command=arguments.command,
        )
    if complete:
        content = _content(path)
        content += ", series only" if arguments.series_only else ""
        options.wrote(path, content, next_command=f"latticeflow observe {path}")
    return options.stopped(stop, complete)


def _content(path: Path) -> str:
    from mcmc.storage.ensemble import Ensemble

    with Ensemble.open(path) as found:
        temperatures = counted(len(found.temperatures), "temperature")
        return f"{counted(found.draws, 'draw')} of {counted(found.chains, 'chain')} at {temperatures}"
