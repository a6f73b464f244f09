"""``latticeflow compare``: how good a flow is, against a reference ensemble."""

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
        "compare",
        execute,
        "evaluate a flow against a reference ensemble",
        "latticeflow compare xy8.pt xy8.h5 --plot xy8-flow.png",
    )
    options.add_flow(parser)
    parser.add_argument(
        "ensemble", type=Path, metavar="ENSEMBLE.h5", help="draws of the same system that training has not seen"
    )
    parser.add_argument("--draws", type=int, default=1000, help="draws of the flow at each temperature (default 1000)")
    options.add_seed(parser)
    options.add_device(parser)
    parser.add_argument("--wide", action="store_true", help="print more measures than fit into 80 columns")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with histograms of the modes")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the comparison (.png, .pdf or .svg)")


def execute(arguments: argparse.Namespace) -> None:
    """Compare and print."""
    options.require_torch()
    from latticeflow.flows.device import choose_device
    from latticeflow.quality.compare import compare
    from latticeflow.quality.comparison import LEGEND, MORE_LEGEND
    from mcmc.runtime.text import wrapped

    device = choose_device(arguments.device)

    if arguments.plot is not None:
        from latticeflow.plots import figures as plots
        from latticeflow.plots import flow_figures as flow_plots

        plots.check_path(arguments.plot)
    with options.plain_warnings():
        found = compare(arguments.flow, arguments.ensemble, draws=arguments.draws, seed=arguments.seed, device=device)
    if arguments.plot is not None:
        plots.save(flow_plots.comparison(found), arguments.plot)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        legend = f"{LEGEND}; {MORE_LEGEND}" if arguments.wide else LEGEND
        print(found.text(wide=arguments.wide), wrapped(legend), wrapped(str(found.verdict)), sep="\n\n")
    for line in found.warnings:
        options.warn(line)
