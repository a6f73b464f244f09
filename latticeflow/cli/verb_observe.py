"""``latticeflow observe``: thermodynamics of ensembles, with errors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options

if TYPE_CHECKING:
    from mcmc.analysis.table import Table

SHOWN_WARNINGS = 4


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "observe",
        execute,
        "measure ensembles: a table of observables with errors against temperature",
        "latticeflow observe data/xy16.h5 --csv data/xy16.csv --plot data/xy16.png",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ensemble files; several are overlaid")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: one object, or a list of them for several files"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all observables with errors and tau_int")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the observables (.png, .pdf or .svg)")
    parser.add_argument(
        "--transition",
        action="store_true",
        help="fit the Kosterlitz-Thouless temperature to the helicity modulus of several sizes",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Observe."""
    import json

    from mcmc import InputError
    from mcmc.analysis.kosterlitz_thouless import transition
    from mcmc.analysis.table import write_csv
    from mcmc.analysis.thermodynamics import observe
    from mcmc.runtime.progress import Progress
    from mcmc.storage.ensemble import Ensemble

    if arguments.plot is not None:
        from latticeflow.plots import figures as plots

        plots.check_path(arguments.plot)
    if len(set(arguments.files)) < len(arguments.files):
        raise InputError("a file is named twice: name each once")
    tables: dict[Path, Table] = {}
    for path in arguments.files:
        with Ensemble.open(path) as ensemble:
            total = len(ensemble.temperatures) * ensemble.chains * ensemble.draws
            with Progress(f"observing {path.name}", total, unit="draws") as progress:
                tables[path] = observe(ensemble, report=progress.advance)
    if arguments.csv is not None:
        write_csv(arguments.csv, {str(path): table for path, table in tables.items()})
    if arguments.plot is not None:
        plots.save(plots.overview(_labels(tables)), arguments.plot)
    fit = transition(list(tables.values())) if arguments.transition else None
    if arguments.json:
        objects: Any = [table.as_json() for table in tables.values()]
        if fit:
            objects = {"ensembles": objects, "transition": fit._asdict()}
        print(json.dumps(objects[0] if len(tables) == 1 else objects, indent=2))
    else:
        print("\n\n".join(f"{path}: {table}" for path, table in tables.items()))
        if fit:
            print(f"\n{fit}")
    for path, table in tables.items():
        warnings = table.warnings()
        for line in warnings[:SHOWN_WARNINGS]:
            options.warn(f"{path}: {line}")
        if len(warnings) > SHOWN_WARNINGS:
            options.warn(f"{path}: {len(warnings) - SHOWN_WARNINGS} more warnings like these; --json lists all")


def _labels(tables: dict[Path, Table]) -> dict[str, Table]:
    """Tables by what tells them apart: the model and size, or the file's name where two agree."""
    titles = {table.title.partition(",")[0]: table for table in tables.values()}
    return titles if len(titles) == len(tables) else {str(path): table for path, table in tables.items()}
