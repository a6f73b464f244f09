"""``latticeflow modes``: which methods lose which modes, on densities whose truth is known."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options

if TYPE_CHECKING:
    from latticeflow.laboratory import Effort
    from latticeflow.laboratory.report.cells import Rows, Trial

COLUMNS = {
    "kept": "kept",
    "fidelity": "fidelity %",
    "modes": "reached",
    "high_quality": "quality %",
    "weight_kl": "weight KL",
    "nll": "NLL",
    "sliced_emd": "sliced EMD",
    "emd": "EMD",
    "acceptance": "accept",
    "ess_reverse": "ESS rev",
    "ess_forward": "ESS fwd",
    "seconds": "seconds",
}
SPIN_COLUMNS = {
    "overlap_energy": "ovl e %",
    "overlap_magnetization": "ovl m %",
    "emd_energy": "EMD e",
    "emd_magnetization": "EMD m",
}
TABLE = Path("data/modes.jsonl")


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "modes",
        execute,
        "train methods on densities whose modes are known, and count the modes they lose",
        "latticeflow modes --target ring8 --method realnvp_advnf --plot ring8.png\n"
        "  latticeflow modes --table --workers 2",
    )
    parser.add_argument(
        "--target",
        nargs="+",
        metavar="NAME",
        help="densities by name, or module:name (default with --table: four in the plane)",
    )
    parser.add_argument(
        "--method",
        nargs="+",
        metavar="NAME",
        help="methods by name, or module:name (default with --table: the main ones)",
    )
    parser.add_argument("--list", action="store_true", help="name the densities and methods, and stop")
    parser.add_argument(
        "--table",
        action="store_true",
        help="run methods on densities, and print a table; continues where --rows ends",
    )
    parser.add_argument("--all", action="store_true", help="with --table: all densities and methods, which takes days")
    parser.add_argument("--quick", action="store_true", help="with --table: a small table, in about a minute")
    parser.add_argument("--seeds", type=int, help="runs of each method on each density (default 1; 3 with --table)")
    parser.add_argument(
        "--doublings",
        type=int,
        metavar="N",
        help="train again with twice the updates until that gains nothing, at most N times (default 0; 4 with --table)",
    )
    parser.add_argument(
        "--steps", type=int, help="updates of a training (default 600); some methods make a fixed multiple of it"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that train side by side (default 1)")
    parser.add_argument(
        "--minutes", type=float, help="stop when the finished runs have taken so much processor time together"
    )
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE.jsonl",
        help=f"keep finished runs in this file (default with --table: {TABLE})",
    )
    parser.add_argument("--show", action="store_true", help="with --table: run nothing, show what --rows holds")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write the table, and a .json beside it")
    parser.add_argument(
        "--spins",
        action="store_true",
        help="for lattices: print overlaps and distances of energies and magnetisations instead",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the draws, or with --table the modes lost")


def execute(arguments: argparse.Namespace) -> int:
    """Run the cells and print them; 0 if complete, 128 + signal after a signal."""
    options.require_torch()
    options.require_laboratory()
    from latticeflow.laboratory import Effort
    from latticeflow.laboratory.report import cells as table
    from latticeflow.laboratory.report import summary
    from latticeflow.laboratory.targets import TARGETS
    from mcmc import InputError
    from mcmc.runtime.progress import Progress
    from mcmc.runtime.stop import Stop

    if arguments.list:
        _print_names()
        return 0
    if not arguments.table and not (arguments.target and arguments.method):
        raise InputError("name what to run by --target and --method, or ask for --table; --list names the choices")
    if arguments.quick and not arguments.table:
        raise InputError("--quick makes a small table: give --table with it")
    if arguments.show and not arguments.table:
        raise InputError("--show shows a table: give --table with it")
    for path in (arguments.plot, arguments.report):
        _check_folder(path)
    if arguments.all and not arguments.table:
        raise InputError("--all makes a table: give --table with it")
    targets, methods = summary.TABLE_TARGETS, summary.TABLE_METHODS
    if arguments.quick:
        targets, methods = summary.QUICK_TARGETS, summary.QUICK_METHODS
    elif arguments.all:
        targets, methods = [*TARGETS], summary.all_methods()
    targets, methods = arguments.target or targets, arguments.method or methods
    whole = arguments.table and not arguments.quick
    minutes = math.inf if arguments.minutes is None else arguments.minutes
    if not minutes > 0:
        raise InputError(f"minutes = {minutes:g} must be positive")
    seeds = arguments.seeds if arguments.seeds is not None else (3 if whole else 1)
    doublings = arguments.doublings if arguments.doublings is not None else (4 if whole else 0)
    if min(seeds, arguments.workers) < 1:
        raise InputError(f"seeds = {seeds} and workers = {arguments.workers} must be at least 1")
    if doublings < 0:
        raise InputError(f"doublings = {doublings} must not be negative")
    default = 100 if arguments.quick else 600
    effort = Effort(steps=default if arguments.steps is None else arguments.steps)
    cells = table.cells(targets, methods, seeds)
    if not cells:
        raise InputError("none of the methods can learn any of the targets; see `latticeflow modes --list`")
    if arguments.spins:
        return _compare_spins(arguments, cells, effort)
    path = arguments.rows or (TABLE if whole else None)
    rows = table.Rows(path, effort)
    if arguments.show:
        if not rows.rows:
            raise InputError(f"{path} holds no rows: leave out --show to make some, or name another file by --rows")
        _show(arguments, [cell for cell in cells if cell in rows.done], rows, doublings)
        return 0
    with Stop() as stop, Progress("modes", len(cells), unit="cell") as progress:
        progress.advance(len(rows.done & {*cells}))
        complete = table.run_trials(
            cells,
            rows,
            effort,
            doublings=doublings,
            workers=arguments.workers,
            minutes=minutes,
            stop=stop,
            report=lambda cell: progress.advance(1, f"{cell.method} on {cell.target}"),
        )
    if not complete and not arguments.table:
        arguments.plot = None  # which would train once more
    _show(arguments, cells, rows, doublings)
    return options.stopped(stop, complete, "the same command" if path else "the same command and --rows FILE.jsonl")


def _show(arguments: argparse.Namespace, cells: list[Trial], rows: Rows, doublings: int) -> None:
    """Print the table, and write and draw it where asked for."""
    from latticeflow.laboratory.report import summary
    from mcmc.runtime.text import columns

    wanted = {*cells}
    found = [row for row in rows.rows if (row["target"], row["method"], row["seed"]) in wanted]
    means = summary.summarise(found)
    if arguments.report is not None:
        summary.write(means, arguments.report, effort=rows.effort, doublings=doublings)
    if arguments.plot is not None:
        from latticeflow.plots import figures as plots
        from latticeflow.plots import mode_figures as mode_plots

        figure = mode_plots.heatmap(means) if arguments.table else mode_plots.gallery(cells, rows.effort)
        plots.save(figure, arguments.plot)
    if arguments.json:
        print(json.dumps({"rows": found, "means": [each.as_json() for each in means]}, indent=1))
        return
    for target in dict.fromkeys(each.target for each in means):
        body = [
            [
                each.method,
                f"{each.runs}" if not each.diverged else f"{each.runs}-{each.diverged}",
                *(summary.spread(each.values.get(name)) for name in COLUMNS),
            ]
            for each in means
            if each.target == target
        ]
        print(f"{target}:", columns(["method", "runs", *COLUMNS.values()], body, names=1, width=80), "", sep="\n")
    if any(each.diverged for each in means):
        print("runs as 5-2: of five runs two diverged, and are not in the means")


def _compare_spins(arguments: argparse.Namespace, cells: list[Trial], effort: Effort) -> int:
    """Train each cell and print how its draws compare with the ensemble, mean over the temperatures."""
    from latticeflow.laboratory import DivergedError
    from latticeflow.laboratory.measures.spin_measures import compare_spins, mean_spin_row
    from latticeflow.laboratory.report.cells import find_target, fit
    from latticeflow.laboratory.targets import XYLattice
    from mcmc import InputError
    from mcmc.runtime.progress import Progress
    from mcmc.runtime.stop import Stop, Stopped
    from mcmc.runtime.text import columns

    given = [name for name in ("table", "rows", "report", "plot") if getattr(arguments, name)]
    if given:
        raise InputError(f"--spins trains and prints: leave out --{given[0]}")
    lattices = {name: target for name in arguments.target if isinstance(target := find_target(name), XYLattice)}
    others = [name for name in arguments.target if name not in lattices]
    if others:
        raise InputError(f"{others[0]} is not a lattice of spins: leave it or --spins out")
    found: list[dict[str, Any]] = []
    with Stop() as stop, Progress("modes", len(cells), unit="cell") as progress, suppress(Stopped), stop.at_once():
        for cell in cells:
            row: dict[str, Any] = {**cell._asdict(), "mean": None, "rows": [], "diverged": None}
            try:
                rows = compare_spins(fit(cell, effort), lattices[cell.target], seed=cell.seed)
                row |= {"mean": mean_spin_row(rows)._asdict(), "rows": [each._asdict() for each in rows]}
            except DivergedError as error:
                row["diverged"] = str(error)
            found.append(row)
            progress.advance(1, f"{cell.method} on {cell.target}")
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        body = []
        for each in found:
            values = each["mean"]
            shown = [f"{values[name]:.4g}" if values else "diverged" for name in SPIN_COLUMNS]
            body.append([lattices[each["target"]].name, each["method"], str(each["seed"]), *shown])
        print(columns(["target", "method", "seed", *SPIN_COLUMNS.values()], body, names=2, width=80))
    return options.stopped(stop, len(found) == len(cells), "the same command")


def _print_names() -> None:
    from latticeflow.laboratory import METHODS
    from latticeflow.laboratory.targets import TARGETS, build_target
    from mcmc.runtime.text import wrapped

    print("densities:")
    for name in TARGETS:
        target = build_target(name)
        given = ", conditional" if target.condition_size else ""
        print(f"  {name:28}{target.mode_count} modes in {target.dimension} dimensions{given}")
    for group in dict.fromkeys(method.group for method in METHODS.values()):
        print(f"methods, {group}:")
        for method in METHODS.values():
            if method.group == group:
                print(wrapped(f"  {method.name:28}  {method.title} ({method.source})", indent=32))


def _check_folder(path: Path | None) -> None:
    from latticeflow.plots import figures as plots
    from mcmc import InputError

    if path is None:
        return
    if path.suffix == ".md":
        if not path.parent.is_dir():
            raise InputError(f"folder {path.parent} of {path} does not exist: make it first")
        return
    plots.check_path(path)
