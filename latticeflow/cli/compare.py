"""``latticeflow compare``: how good a flow is, against a reference ensemble."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from latticeflow.cli import options

COLUMNS = {
    "temperature": "T",
    "acceptance": "accept",
    "ess_reverse": "ESS rev",
    "ess_forward": "ESS fwd",
    "log_weight_variance": "var log w",
    "overlap_energy": "ovl e %",
    "overlap_magnetization": "ovl m %",
    "emd_energy": "EMD e",
    "emd_magnetization": "EMD m",
    "nll": "NLL",
    "longest_rejection_run": "stuck",
}


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "compare",
        run,
        "judge a flow against a reference ensemble",
        "latticeflow compare xy8.pt data/xy8.h5 --json",
    )
    parser.add_argument("flow", type=Path, metavar="FLOW.pt", help="a trained flow")
    parser.add_argument("ensemble", type=Path, metavar="ENSEMBLE.h5", help="of the same system, not its training draws")
    parser.add_argument("--draws", type=int, default=1000, help="per temperature (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the chains (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default auto)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    """Compare and print."""
    options.require_torch()
    from latticeflow import checkpoint, comparison
    from latticeflow.device import choose_device
    from mcmc.ensemble import Ensemble
    from mcmc.progress import Progress

    flow = checkpoint.load(arguments.flow, choose_device(arguments.device)).flow
    with Ensemble.open(arguments.ensemble) as ensemble, Progress("comparing", 100, unit="%") as progress:
        share = 100 / len(ensemble.temperatures)
        rows = comparison.compare(
            flow, ensemble, draws=arguments.draws, seed=arguments.seed, report=lambda row: progress.advance(share)
        )
    mean = comparison.mean_row(rows)
    if arguments.json:
        json.dump({"rows": [row._asdict() for row in rows], "mean": mean}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    print("".join(f"{title:>10}" for title in COLUMNS.values()))
    for row in rows:
        print("".join(f"{getattr(row, name):>10.4g}" for name in COLUMNS))
    print(f"{'mean':>10}" + "".join(f"{mean[name]:>10.4g}" for name in list(COLUMNS)[1:]))
