"""``latticeflow sample``: exact draws by flow-accelerated MCMC."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options

if TYPE_CHECKING:
    import torch

COLUMNS = {
    "temperature": "T",
    "acceptance": "accept",
    "ess_reverse": "ESS rev",
    "log_weight_variance_per_site": "s^2/site",
    "tau_int": "tau chain",
    "tau_int_predicted": "tau pred",
    "longest_rejection_run": "stuck",
    "free_energy": "f / site",
}
LEGEND = (
    "accept = accepted proposals; ESS rev = effective sample size of the flow's draws, as a fraction; s^2/site = "
    "variance of log w over N; tau chain = autocorrelation time of the energy, in steps; tau pred = the same as the "
    "log weights predict it; stuck = most rejections in a row; f / site = free energy from the weights"
)
"""What the titles mean."""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "sample",
        execute,
        "draw by flow-accelerated MCMC into an HDF5 file",
        "latticeflow sample xy8.pt --draws 1000 --chains 4 --out data/chain.h5",
    )
    options.add_flow(parser)
    parser.add_argument("--draws", type=int, default=1000, help="steps per chain and temperature in all (default 1000)")
    parser.add_argument("--chains", type=int, default=1, help="independent chains per temperature (default 1)")
    parser.add_argument(
        "-T",
        "--temperatures",
        type=options.temperatures,
        metavar="A:B:N",
        help="first:last:count, or a comma-separated list (default: those of the training)",
    )
    parser.add_argument(
        "--local-sweeps",
        type=int,
        default=0,
        metavar="K",
        help="sweeps of heat bath and over-relaxation after each step (default 0)",
    )
    parser.add_argument(
        "--redraws", type=int, default=0, metavar="K", help="redraws of the fine sites after each step (default 0)"
    )
    options.add_seed(parser)
    options.add_device(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.h5", help="the ensemble file")
    parser.add_argument("--resume", action="store_true", help="go on with FILE.h5 if it exists")
    parser.add_argument(
        "--importance",
        action="store_true",
        help="no chain and no file: print observables and free energies from weighted draws",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Sample; 0 if complete, 128 + signal after a signal."""
    options.require_torch()
    from latticeflow.flows.device import choose_device
    from mcmc import InputError

    device = choose_device(arguments.device)
    if arguments.importance:
        if arguments.out or arguments.local_sweeps or arguments.redraws or arguments.chains != 1:
            raise InputError("--importance has no chain: leave out --out, --chains, --local-sweeps and --redraws")
        with options.plain_warnings():
            return _importance(arguments, device)
    if arguments.out is None:
        raise InputError("no file to write to: name one by --out FILE.h5, or ask for --importance")
    with options.plain_warnings():
        return _chains(arguments, device)


def _chains(arguments: argparse.Namespace, device: torch.device) -> int:
    from latticeflow.chains.sample import review, sample, verdict
    from mcmc.analysis.statistics import format_uncertainty
    from mcmc.runtime.stop import Stop
    from mcmc.runtime.text import columns, wrapped

    with Stop() as stop:
        ensemble = sample(
            arguments.flow,
            out=arguments.out,
            draws=arguments.draws,
            temperatures=arguments.temperatures,
            chains=arguments.chains,
            seed=arguments.seed,
            local_sweeps=arguments.local_sweeps,
            redraws=arguments.redraws,
            device=device,
            resume=arguments.resume,
            stop=stop,
            command=arguments.command,
        )
    with ensemble:
        complete = ensemble.draws >= arguments.draws
        if ensemble.draws:
            rows = review(ensemble)
            if arguments.json:
                plain = [{k: v if math.isfinite(v) else None for k, v in row._asdict().items()} for row in rows]
                print(json.dumps({"rows": plain, "report": ensemble.report(), "verdict": verdict(rows)}, indent=1))
            else:
                cells = [[f"{getattr(row, name):.4g}" for name in COLUMNS if name != "free_energy"] for row in rows]
                for line, row in zip(cells, rows, strict=True):
                    line.append(format_uncertainty(row.free_energy, row.free_energy_error))
                print(columns([*COLUMNS.values()], cells), wrapped(LEGEND), wrapped(verdict(rows)), sep="\n\n")
    return options.stopped(stop, complete)


def _importance(arguments: argparse.Namespace, device: torch.device) -> int:
    from latticeflow.chains.importance import importance
    from mcmc.analysis.table import legend

    table = importance(
        arguments.flow, arguments.temperatures, draws=arguments.draws, seed=arguments.seed, device=device
    )
    shown = f"{arguments.flow}: {table}\n\n{legend(table.shown())}"
    print(json.dumps(table.as_json(), indent=1) if arguments.json else shown)
    for line in table.warnings():
        options.warn(line)
    return 0
