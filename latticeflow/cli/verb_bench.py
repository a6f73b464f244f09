"""``latticeflow bench``: measured speeds on this machine."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from latticeflow.cli import bench_contests, bench_flows, options


def add_parser(verbs: Any) -> None:
    """Declare the verb and what it can measure."""
    parser = options.add_verb(
        verbs,
        "bench",
        run_kernels,
        "measure speeds on this machine, and flows against Markov chains",
        "latticeflow bench kernels --quick",
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
    bench_contests.add_subjects(subjects)
    bench_flows.add_subjects(subjects)


def run_observables(arguments: argparse.Namespace) -> None:
    """Measure the observables."""
    from mcmc.bench.observable_speed import seconds_per_million
    from mcmc.models.lattice import Lattice

    Lattice(arguments.size, arguments.size)  # complains about what is not a side
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

    from mcmc.bench import kernel_speed as benchmark
    from mcmc.runtime.progress import Progress

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
    print("model  size  kernel             M updates/s/core   x naive  two cores")
    for s in speeds:
        both = f"{s.two_cores:8.2f}x" if s.two_cores else f"{'-':>9}"
        print(f"{s.model:5} {s.size:5}  {s.kernel:18} {s.rate:16.1f} {s.to_naive:9.1f}  {both}")
    print(f"\nat beta = {benchmark.BETA}, times in steps of the sampler")
    print("model  size  sampler                 tau(E)   tau(m^2)   ns/site per independent draw of m^2")
    for c in costs:
        print(f"{c.model:5} {c.size:5}  {c.sampler:22} {c.tau_energy:7.2f} {c.tau_m2:10.2f} {c.nanoseconds:12.1f}")
