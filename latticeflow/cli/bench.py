"""``latticeflow bench``: measured speeds on this machine."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from latticeflow.cli import bench_flows, options


def add_parser(verbs: Any) -> None:
    """Declare the verb and what it can measure."""
    parser = options.add_verb(
        verbs, "bench", run_kernels, "measure speeds on this machine", "latticeflow bench kernels --quick"
    )
    subjects = parser.add_subparsers(title="subjects", metavar="SUBJECT", required=True)
    kernels = options.add_verb(
        subjects,
        "kernels",
        run_kernels,
        "speed of every classical kernel beside a naive sampler, and the cost of an independent draw",
        "latticeflow bench kernels --json",
    )
    kernels.set_defaults(verb="bench kernels")
    kernels.add_argument("--quick", action="store_true", help="short measurements of 16 and 64 only (10 s)")
    kernels.add_argument("--json", action="store_true", help="print one JSON object")
    observables = options.add_verb(
        subjects,
        "observables",
        run_observables,
        "processor seconds that every observable takes for a million configurations",
        "latticeflow bench observables --size 16",
    )
    observables.set_defaults(verb="bench observables")
    observables.add_argument("--size", type=int, default=16, metavar="L", help="side of the lattice (default 16)")
    observables.add_argument("--json", action="store_true", help="print one JSON object")
    duel = options.add_verb(
        subjects,
        "head-to-head",
        run_head_to_head,
        "effective draws a second of neural MCMC beside the classical samplers",
        "latticeflow bench head-to-head --flows xy8.pt exy8.pt --plot data/head-to-head.png",
    )
    duel.set_defaults(verb="bench head-to-head")
    duel.add_argument("--flows", nargs="+", type=Path, metavar="FLOW.pt", help="trained (default: the shipped one)")
    duel.add_argument(
        "--temperatures",
        type=options.temperatures,
        metavar="A:B:N",
        help="first:last:count, or a comma-separated list (default: eight over the flow's range)",
    )
    duel.add_argument("--seconds", type=float, default=4.0, help="about how long each method draws (default 4)")
    duel.add_argument("--seed", type=int, default=0, help="root of the random streams (default 0)")
    duel.add_argument("--device", default="auto", help="of the flow: auto, cpu, cuda, ... (default auto)")
    duel.add_argument("--json", action="store_true", help="print one JSON object")
    duel.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the rates (.png, .pdf or .svg)")
    bench_flows.add_subjects(subjects)


def run_head_to_head(arguments: argparse.Namespace) -> None:
    """Measure flows against classical samplers."""
    options.require_torch()
    from latticeflow import head_to_head
    from latticeflow.device import choose_device, describe
    from mcmc.progress import Progress

    if arguments.plot is not None:
        from latticeflow import flow_plots, plots

        plots.check_path(arguments.plot)
    device = choose_device(arguments.device)
    flows = arguments.flows or [head_to_head.SHIPPED]
    rows, balances = [], []
    with Progress("measuring", 100, unit="%") as progress:
        for path in flows:
            found, verdicts = head_to_head.contest(
                path,
                temperatures=arguments.temperatures,
                seconds=arguments.seconds,
                seed=arguments.seed,
                device=device,
                report=lambda method: progress.advance(100 / len(flows) / 5, method),
            )
            rows += found
            balances += verdicts
    if arguments.plot is not None:
        plots.save(flow_plots.head_to_head(rows), arguments.plot)
    if arguments.json:
        plain = [
            {**each._asdict(), "break_even": each.break_even if math.isfinite(each.break_even) else None}
            for each in balances
        ]
        print(json.dumps({"device": describe(device), "rows": [row.as_json() for row in rows], "balance": plain}))
        return
    print(f"flows on {describe(device)}")
    print(head_to_head.table(rows, balances))


def run_observables(arguments: argparse.Namespace) -> None:
    """Measure the observables."""
    from mcmc.lattice import Lattice
    from mcmc.observables_benchmark import seconds_per_million

    Lattice(arguments.size, arguments.size)  # complains about what is no side
    found = seconds_per_million(arguments.size)
    if arguments.json:
        print(json.dumps({"size": arguments.size, "seconds_per_million": found}))
        return
    print(f"processor seconds per million {arguments.size}x{arguments.size} configurations")
    for name, seconds in found.items():
        print(f"{name:28} {seconds:7.2f}")


def run_kernels(arguments: argparse.Namespace) -> None:
    """Measure the kernels."""
    import platform

    from mcmc import benchmark
    from mcmc.progress import Progress

    sizes, seconds, steps = ((16, 64), 0.1, 300) if arguments.quick else ((16, 64, 256), 0.6, 2000)
    # One thread more, whatever NUMBA_NUM_THREADS says: scaling is part of what is measured.
    threads = min(2, os.cpu_count() or 1)
    speeds, costs = [], []
    total = len(sizes) * len(benchmark.KERNELS) + 2 * len(benchmark.CHAINS)
    with Progress("measuring", total, unit="kernel") as progress:
        for speed in benchmark.speeds(sizes, seconds=seconds, threads=threads):
            speeds.append(speed)
            progress.advance(1, f"{speed.model} {speed.kernel} {speed.size}")
        for cost in benchmark.costs((16, 64), steps=steps):
            costs.append(cost)
            progress.advance(1, f"{cost.model} {cost.sampler} {cost.size}")
    if arguments.json:
        print(
            json.dumps(
                {
                    "machine": platform.processor() or platform.machine(),
                    "beta": benchmark.BETA,
                    "speeds": [s._asdict() for s in speeds],
                    "costs": [c._asdict() for c in costs],
                }
            )
        )
        return
    print("model  size  kernel             M updates/s/core   x naive  of ceiling  two cores")
    for s in speeds:
        bound = f"{s.to_ceiling:9.0%}" if s.to_ceiling else f"{'-':>9}"
        both = f"{s.two_cores:8.2f}x" if s.two_cores else f"{'-':>9}"
        print(f"{s.model:5} {s.size:5}  {s.kernel:18} {s.rate:16.1f} {s.to_naive:9.1f}   {bound}  {both}")
    print(f"\nat beta = {benchmark.BETA}, times in steps of the sampler")
    print("model  size  sampler                 tau(E)   tau(m^2)   ns/site per independent draw of m^2")
    for c in costs:
        print(f"{c.model:5} {c.size:5}  {c.sampler:22} {c.tau_energy:7.2f} {c.tau_m2:10.2f} {c.nanoseconds:12.1f}")
