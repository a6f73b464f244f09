"""``latticeflow demo``: from nothing to flow-accelerated MCMC."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "demo",
        execute,
        "generate, train, sample and compare on a small lattice, in a few minutes",
        "latticeflow demo",
    )
    parser.add_argument("--quick", action="store_true", help="a 4x4 lattice in half a minute, to see that all works")
    parser.add_argument("--directory", type=Path, default=Path("data/demo"), help="for its files (default data/demo)")
    options.add_seed(parser)
    options.add_device(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the demo; 1 if flow and reference disagree."""
    options.require_torch()
    from latticeflow.experiments import demo
    from latticeflow.plots.figures import save
    from latticeflow.plots.flow_figures import flow_against_reference
    from mcmc.runtime.stop import Stop

    scale = demo.QUICK if arguments.quick else demo.FULL
    with Stop() as stop:
        result = demo.run_demo(arguments.directory, scale, seed=arguments.seed, device=arguments.device, stop=stop)
    print(demo.demo_text(result))
    for line in demo.warnings(result):
        options.warn(line)
    figure = arguments.directory / "demo.png"
    save(flow_against_reference(result.quality, result.flow, result.reference), figure)
    print(demo.verdict(result))
    print(f"figure: {figure}")
    return int(result.worst > demo.LARGEST_DEVIATION)
