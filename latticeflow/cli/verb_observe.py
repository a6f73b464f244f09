"""``latticeflow observe``: thermodynamics of ensembles, with errors."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options
from mcmc.runtime.text import printable

if TYPE_CHECKING:
    from mcmc.analysis.crossings import Crossing
    from mcmc.analysis.kosterlitz_thouless import Transition
    from mcmc.analysis.table import Table

SHOWN_WARNINGS = 4


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "observe",
        execute,
        "measure ensembles: a table of observables with errors against temperature",
        "latticeflow observe xy16.h5 --csv xy16.csv --plot xy16.png",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="ensemble files; several are overlaid")
    parser.add_argument(
        "--observables",
        type=options.words,
        metavar="NAME,...",
        help="only these, such as energy,vortex_density, or module:name of your own; --list names them",
    )
    options.add_temperatures(parser, help="only these, as in generate")
    parser.add_argument(
        "--list", action="store_true", help="name the observables (of a FILE: those that its model has), and stop"
    )
    parser.add_argument("--wide", action="store_true", help="print every observable, however wide the table gets")
    parser.add_argument(
        "--json", action="store_true", help='print one JSON object: {"ensembles": [one table for each file]}'
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all observables with errors and tau_int")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the observables (.png, .pdf or .svg)")
    parser.add_argument(
        "--transition",
        action="store_true",
        help="fit the Kosterlitz-Thouless temperature to the helicity modulus of several sizes",
    )
    parser.add_argument(
        "--crossing",
        metavar="NAME",
        help="find where reweighted curves of several sizes cross, of correlation_length / L, helicity_modulus, "
        "binder_cumulant, chirality_binder, ...",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Observe."""
    from mcmc import InputError

    if arguments.crossing and len(arguments.files) < 2:
        raise InputError("a crossing needs two or more sizes: give a file for each")
    from mcmc.analysis.crossings import crossings
    from mcmc.analysis.kosterlitz_thouless import transition
    from mcmc.analysis.observable_registry import OBSERVABLES, chosen
    from mcmc.analysis.reweighting import Reweighting
    from mcmc.analysis.table import write_csv
    from mcmc.analysis.thermodynamics import observe
    from mcmc.runtime.progress import Progress
    from mcmc.runtime.whole_file import require_replaceable
    from mcmc.storage.ensemble import Ensemble

    if arguments.list and not arguments.files:
        print("\n".join(OBSERVABLES))
        return
    if not arguments.files:
        raise InputError("name at least one ensemble file, or --list")
    if len(set(arguments.files)) < len(arguments.files):
        raise InputError("a file is named twice: name each once")
    names: dict[str, None] = {}
    for path in arguments.files:
        with Ensemble.open(path) as ensemble:
            names |= dict.fromkeys(chosen(arguments.observables, ensemble.model, ensemble.lattice, ensemble.chains))
    if arguments.list:
        print("\n".join(names))
        return
    if arguments.plot is not None:
        from latticeflow.plots import figures as plots

        plots.check_path(arguments.plot)
    if arguments.csv is not None:
        require_replaceable(arguments.csv)
    tables: dict[Path, Table] = {}
    T = arguments.temperatures
    for path in arguments.files:
        with Ensemble.open(path) as ensemble:
            total = len(T or ensemble.temperatures) * ensemble.chains * ensemble.draws
            with Progress(f"observing {path.name}", total, unit="draws") as progress:
                tables[path] = observe(
                    ensemble, observables=arguments.observables, temperatures=T, report=progress.advance
                )
    fit = transition(list(tables.values())) if arguments.transition else None
    found = []
    if arguments.crossing:
        with ExitStack() as stack:
            opened = [stack.enter_context(Ensemble.open(path)) for path in arguments.files]
            found = crossings([Reweighting(each, T) for each in opened], arguments.crossing)
    if arguments.json:
        _print_json(tables, fit, found)
    else:
        _print_tables(tables, fit, found, names=arguments.observables, width=None if arguments.wide else 80)
    if arguments.csv is not None:
        write_csv(arguments.csv, {printable(path): table for path, table in tables.items()})
        options.say(f"wrote {arguments.csv}: {len(names)} observables with errors")
    if arguments.plot is not None:
        drawn = [*names] if arguments.observables else plots.OVERVIEW
        plots.save(plots.overview(_labels(tables), drawn), arguments.plot)
        options.say(f"wrote {arguments.plot}")
    for path, table in tables.items():
        _warn(path, table)


def _print_json(tables: dict[Path, Table], fit: Transition | None, found: list[Crossing]) -> None:
    objects: dict[str, Any] = {"ensembles": [{"file": str(path), **table.as_json()} for path, table in tables.items()]}
    objects |= {"transition": fit._asdict()} if fit else {}
    objects |= {"crossings": [each.as_json() for each in found]} if found else {}
    print(json.dumps(objects, indent=2))


def _print_tables(
    tables: dict[Path, Table],
    fit: Transition | None,
    found: list[Crossing],
    *,
    names: list[str] | None,
    width: int | None,
) -> None:
    from mcmc.analysis.table import legend

    columns: dict[str, None] = {}
    for path, table in tables.items():
        shown = names and table.observables
        print(f"{path}: {table.title}\n{table.text(shown, width=width)}\n")
        columns |= dict.fromkeys(table.shown(shown, width=width))
    print(legend(columns))
    if fit:
        print(f"\n{fit}")
    if found:
        print("", *found, sep="\n")


def _warn(path: Path, table: Table) -> None:
    warnings = table.warnings()
    for line in warnings[:SHOWN_WARNINGS]:
        options.warn(f"{path}: {line}")
    if len(warnings) > SHOWN_WARNINGS:
        options.warn(f"{path}: {len(warnings) - SHOWN_WARNINGS} more warnings like these; --json lists all")


def _labels(tables: dict[Path, Table]) -> dict[str, Table]:
    """Tables by what tells them apart: the model and size, or the file's name where two agree."""
    titles = {table.title.partition(",")[0]: table for table in tables.values()}
    return titles if len(titles) == len(tables) else {printable(path): table for path, table in tables.items()}
