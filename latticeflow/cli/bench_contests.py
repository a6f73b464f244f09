"""``latticeflow bench head-to-head``, ``free-energy`` and ``energy-curve``: flows and Markov chains at equal time."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_subjects(subjects: Any) -> None:
    """Declare the subjects."""
    _add_contest(
        subjects,
        "head-to-head",
        run_head_to_head,
        "effective draws a second of neural MCMC beside the classical samplers",
        4.0,
    )
    _add_contest(
        subjects,
        "free-energy",
        run_free_energy,
        "errors of free energy and entropy at equal time, by flows and by classical chains",
        10.0,
    )
    _add_contest(
        subjects,
        "energy-curve",
        run_energy_curve,
        "errors of energies and specific heats at equal time, by Markov chains with and without a flow",
        10.0,
        plot=False,
    )


def _add_contest(subjects: Any, name: str, run: Any, summary: str, seconds: float, *, plot: bool = True) -> None:
    example = f"latticeflow bench {name} --flows xy8.pt exy8.pt" + (f" --plot {name}.png" if plot else "")
    duel = options.add_verb(subjects, name, run, summary, example)
    duel.set_defaults(verb=f"bench {name}")
    duel.add_argument(
        "--flows", nargs="+", type=Path, metavar="FLOW.pt", help="trained flows (default: the included xy8)"
    )
    duel.add_argument(
        "-T",
        "--temperatures",
        type=options.temperatures,
        metavar="A:B:N",
        help="first:last:count, or a comma-separated list (default: eight over the flow's range)",
    )
    duel.add_argument(
        "--seconds", type=float, default=seconds, help=f"about how long each method draws (default {seconds:g})"
    )
    duel.add_argument(
        "--quick",
        action="store_true",
        help="check that it runs: two temperatures, 0.3 s of each method",
    )
    options.add_seed(duel)
    options.add_device(duel)
    duel.add_argument("--json", action="store_true", help="print one JSON object")
    if plot:
        duel.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the result (.png, .pdf or .svg)")
        duel.add_argument(
            "--without-flow",
            action="store_true",
            help="measure the classical methods alone, of --model on --size, for which there need be no flow",
        )
        options.add_model_options(duel)


def run_head_to_head(arguments: argparse.Namespace) -> None:
    """Measure flows against classical samplers."""
    options.require_torch()
    import torch

    from latticeflow.experiments import head_to_head
    from latticeflow.flows.device import choose_device, describe
    from latticeflow.plots import flow_figures as flow_plots

    device = choose_device(arguments.device)
    balances: list[Any] = []
    if arguments.without_flow:
        rows = _classical(arguments, head_to_head.classical_rates, threads=torch.get_num_threads())
    else:
        rows, balances = _contests(arguments, head_to_head.contest, 9, flow_plots.head_to_head)
    if arguments.json:
        plain = [
            {**each._asdict(), "break_even": each.break_even if math.isfinite(each.break_even) else None}
            for each in balances
        ]
        print(json.dumps({"device": describe(device), "rows": [row.as_json() for row in rows], "balance": plain}))
        return
    print(f"flows on {describe(device)}")
    print(head_to_head.rates_text(rows, balances))


def _classical(arguments: argparse.Namespace, measure: Any, **more: Any) -> list[Any]:
    """Measure the classical methods of a model."""
    from mcmc.errors import InputError
    from mcmc.models.lattice import as_lattice

    if arguments.flows:
        raise InputError("--without-flow measures no flows: leave out --flows")
    found: list[Any] = measure(
        options.model_of(arguments, arguments.size),
        as_lattice(arguments.size),
        arguments.temperatures or (0.5, 1.0),
        seconds=0.3 if arguments.quick else arguments.seconds,
        seed=arguments.seed,
        **more,
    )
    return found


def run_free_energy(arguments: argparse.Namespace) -> None:
    """Measure free energies by flows against ladders of classical chains."""
    options.require_torch()
    from latticeflow.experiments import free_energy_contest
    from latticeflow.flows.device import choose_device, describe
    from latticeflow.plots import flow_figures as flow_plots

    device = choose_device(arguments.device)
    gains: list[Any] = []
    if arguments.without_flow:
        rows = _classical(arguments, free_energy_contest.classical_results)
    else:
        rows, gains = _contests(arguments, free_energy_contest.contest, 5, flow_plots.free_energy_errors)
    if arguments.json:
        print(json.dumps({"device": describe(device), **free_energy_contest.as_json(rows, gains)}))
        return
    print(f"flows on {describe(device)}")
    print(free_energy_contest.results_text(rows, gains))


def run_energy_curve(arguments: argparse.Namespace) -> None:
    """Measure energies along a curve by Markov chains, with and without a flow."""
    options.require_torch()
    from latticeflow.experiments import energy_curve_contest
    from latticeflow.experiments.head_to_head import SHIPPED
    from latticeflow.flows.device import choose_device, describe

    device = choose_device(arguments.device)
    rows = [
        row
        for path in arguments.flows or [SHIPPED]
        for row in energy_curve_contest.curve_contest(
            path,
            temperatures=arguments.temperatures or ((0.9, 1.0, 1.1) if arguments.quick else None),
            seconds=0.3 if arguments.quick else arguments.seconds,
            seed=arguments.seed,
            device=device,
        )
    ]
    if arguments.json:
        print(json.dumps({"device": describe(device), "rows": energy_curve_contest.as_json(rows)}))
        return
    print(f"flows on {describe(device)}")
    print(energy_curve_contest.curve_text(rows))


def _contests(arguments: argparse.Namespace, contest: Any, methods: int, draw: Any) -> tuple[list[Any], list[Any]]:
    """Measure one flow after the other, and draw the figure if one is wanted."""
    from latticeflow.experiments.head_to_head import SHIPPED
    from latticeflow.flows.device import choose_device
    from latticeflow.plots import figures as plots
    from mcmc.runtime.progress import Progress

    if arguments.plot is not None:
        plots.check_path(arguments.plot)
    flows = arguments.flows or [SHIPPED]
    quick = arguments.quick
    rows, verdicts = [], []
    with Progress("measuring", 100, unit="%") as progress:
        for path in flows:
            found, opinions = contest(
                path,
                temperatures=arguments.temperatures or ((0.5, 1.0) if quick else None),
                seconds=0.3 if quick else arguments.seconds,
                seed=arguments.seed,
                device=choose_device(arguments.device),
                report=lambda method: progress.advance(100 / len(flows) / methods, method),
            )
            rows += found
            verdicts += opinions
    if arguments.plot is not None:
        plots.save(draw(rows), arguments.plot)
    return rows, verdicts
