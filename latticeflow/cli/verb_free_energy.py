"""``latticeflow free-energy``: free energy, entropy, energy and specific heat of a trained flow's model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "free-energy",
        execute,
        "absolute free energies, entropies, energies and specific heats with errors, from a trained flow",
        "latticeflow free-energy xy8 --temperatures 0.1:2:39 --draws 4000 --plot f.png",
    )
    options.add_flow(parser)
    parser.add_argument(
        "-T",
        "--temperatures",
        type=options.temperatures,
        metavar="A:B:N",
        help="first:last:count, or a comma-separated list (default: 16 over the flow's range)",
    )
    parser.add_argument("--draws", type=int, default=2000, help="draws at each temperature (default 2000)")
    parser.add_argument(
        "--classical-draws",
        type=int,
        default=0,
        metavar="N",
        help="draws of each of 4 Markov chains at each temperature, which make all but the free energy more precise "
        "(default 0: no chains)",
    )
    options.add_seed(parser)
    options.add_device(parser)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the four curves (.png, .pdf or .svg)")


def execute(arguments: argparse.Namespace) -> None:
    """Draw, print the table, and draw the figure if one is wanted."""
    options.require_torch()
    from latticeflow.chains.free_energy_curve import COLUMNS, GRID, free_energy
    from latticeflow.flows.checkpoint import open_flow
    from latticeflow.plots import figures as plots
    from mcmc.analysis.table import legend
    from mcmc.runtime.progress import Progress

    if arguments.plot is not None:
        plots.check_path(arguments.plot)
    flow = open_flow(arguments.flow, arguments.device)
    total = arguments.draws * len(arguments.temperatures or range(GRID))
    with options.plain_warnings(), Progress("drawing", total, unit="draws") as progress:
        table = free_energy(
            flow,
            arguments.temperatures,
            draws=arguments.draws,
            classical_draws=arguments.classical_draws,
            seed=arguments.seed,
            report=progress.advance,
        )
    if arguments.plot is not None:
        plots.save(plots.overview({arguments.flow: table}, COLUMNS), arguments.plot)
    shown = f"{arguments.flow}: {table}\n\n{legend(table.observables)}"
    print(json.dumps(table.as_json(), indent=1) if arguments.json else shown)
    for line in table.warnings():
        options.warn(line)
