"""``latticeflow observe``: thermodynamics of ensembles, with errors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options

if TYPE_CHECKING:
    from mcmc.analysis.thermodynamics import Table

COLUMNS = {
    "energy": "energy",
    "specific_heat": "spec. heat",
    "magnetization": "magnetiz.",
    "susceptibility": "suscept.",
    "binder_cumulant": "Binder",
    "vortex_density": "vortices",
    "helicity_modulus": "helicity",
    "correlation_length": "corr. length",
    "free_energy": "free energy",
}
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
        _write_csv(arguments.csv, tables)
    if arguments.plot is not None:
        plots.save(plots.overview(_labels(tables)), arguments.plot)
    fit = transition(list(tables.values())) if arguments.transition else None
    if arguments.json:
        objects: Any = [table.as_json() for table in tables.values()]
        if fit:
            objects = {"ensembles": objects, "transition": fit._asdict()}
        print(json.dumps(objects[0] if len(tables) == 1 else objects, indent=2))
    else:
        print("\n\n".join(table_text(path, table) for path, table in tables.items()))
        if fit:
            print(f"\n{fit}")
    for path, table in tables.items():
        warnings = table.warnings()
        for line in warnings[:SHOWN_WARNINGS]:
            options.warn(f"{path}: {line}")
        if len(warnings) > SHOWN_WARNINGS:
            options.warn(f"{path}: {len(warnings) - SHOWN_WARNINGS} more warnings like these; --json lists all")


def _title(table: Table) -> str:
    """Model and size in a few words."""
    couplings = ", ".join(
        f"{name} = {value:g}" for name, value in table.model.couplings.items() if name == "J" or value
    )
    return f"{table.model.name.upper()} {table.lattice.Lx}x{table.lattice.Ly}, {couplings}"


def _labels(tables: dict[Path, Table]) -> dict[str, Table]:
    """Tables by what tells them apart: the model and size, or the file's name where two agree."""
    titles = {_title(table): table for table in tables.values()}
    return titles if len(titles) == len(tables) else {str(path): table for path, table in tables.items()}


def table_text(path: Path, table: Table) -> str:
    """The table in columns; tau_int is the longest of the row's observables, in draws."""
    names = [name for name in COLUMNS if name in table.rows[0]]  # free energies come from flows only
    rows = [["T", *(COLUMNS[name] for name in names), "tau_int"]]
    for T, row in zip(table.temperatures, table.rows, strict=True):
        tau = max(estimate.tau_int for estimate in row.values())
        rows.append([f"{T:.6g}", *(str(row[name]) for name in names), f"{tau:.2g}"])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    draws = table.rows[0]["energy"].draws
    return "\n".join([f"{path}: {_title(table)}, {draws} draws per temperature", *lines])


def _write_csv(path: Path, tables: dict[Path, Table]) -> None:
    """One line for each file and temperature."""
    import csv

    names = list(dict.fromkeys(name for table in tables.values() for name in table.rows[0]))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [
            f"{name}{part}" for name in names for part in ("", "_error", "_tau_int", "_tau_int_error", "_missing")
        ]
        writer.writerow(["file", "model", "Lx", "Ly", "J", "K", "temperature", "draws", *columns])
        for source, table in tables.items():
            couplings, lattice = table.model.couplings, table.lattice
            for T, row in zip(table.temperatures, table.rows, strict=True):
                found = [row.get(name) for name in names]  # None where only another file has it
                cells = [
                    cell
                    for e in found
                    for cell in ((e.value, e.error, e.tau_int, e.tau_int_error, e.missing) if e else [""] * 5)
                ]
                head = [source, table.model.name, lattice.Lx, lattice.Ly, couplings["J"], couplings["K"], float(T)]
                writer.writerow([*head, row["energy"].draws, *cells])
