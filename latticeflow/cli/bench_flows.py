"""``latticeflow bench flow | objectives | ensemble-size``: what flows cost, and what trainings of them are worth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options
from mcmc.runtime.whole_file import whole_file

if TYPE_CHECKING:
    from latticeflow.experiments.objectives_study import Case, Plan


def add_subjects(subjects: Any) -> None:
    """Declare the subjects."""
    _add_flow(subjects)
    _add_objectives(subjects)
    _add_ensemble_size(subjects)
    _add_published(subjects)


def _add_flow(subjects: Any) -> None:
    flow = options.add_verb(
        subjects,
        "flow",
        run_flow,
        "time to build, training steps, draws a second, memory and quality of flows, by lattice size",
        "latticeflow bench flow --flows multiscale,xy8,xy32.pt --sizes 8,16,32,64,128",
    )
    flow.set_defaults(verb="bench flow")
    flow.add_argument(
        "--flows",
        type=options.words,
        metavar="A,B",
        help="kinds of flow, and files or names of trained ones, which are evaluated too (default: all kinds)",
    )
    flow.add_argument(
        "--test-draws",
        type=int,
        default=200,
        metavar="N",
        help="draws at each temperature that evaluate a flow (default 200)",
    )
    flow.add_argument(
        "--sizes", type=options.integers, default=(8, 16), metavar="L,L", help="sides of the lattices (default 8,16)"
    )
    flow.add_argument("--model", choices=("xy", "exy"), default="xy", help="XY, or extended XY with K = 1")
    flow.add_argument(
        "--batch-draws", type=int, default=16, metavar="N", help="draws at each temperature of a batch (default 16)"
    )
    flow.add_argument("--seconds", type=float, default=5.0, help="time for training, and again for drawing (default 5)")
    options.add_device(flow)
    flow.add_argument("--json", action="store_true", help="print one JSON object")


def _add_objectives(subjects: Any) -> None:
    objectives = options.add_verb(
        subjects,
        "objectives",
        run_objectives,
        "the paper's comparison: every flow by every objective, evaluated on draws it has not seen",
        "latticeflow bench objectives --out study --minutes 2 --tables notebooks/tables",
    )
    objectives.set_defaults(verb="bench objectives")
    objectives.add_argument("--flows", type=options.words, metavar="A,B", help="kinds of flow (default: all)")
    objectives.add_argument(
        "--objectives", type=options.words, default=(), metavar="A,B", help="objectives by name (default: the paper's)"
    )
    objectives.add_argument(
        "--draws", type=int, default=1000, help="draws of the ensemble at each temperature (default 1000)"
    )
    _add_study_options(objectives)


def _add_ensemble_size(subjects: Any) -> None:
    size = options.add_verb(
        subjects,
        "ensemble-size",
        run_ensemble_size,
        "how few draws a training needs",
        "latticeflow bench ensemble-size --out study --minutes 2 --tables tables",
    )
    size.set_defaults(verb="bench ensemble-size")
    size.add_argument(
        "--flows", type=options.words, default=("multiscale",), metavar="A,B", help="kinds of flow (default multiscale)"
    )
    size.add_argument(
        "--objectives",
        type=options.words,
        default=("advnf",),
        metavar="A,B",
        help="objectives that need an ensemble (default advnf)",
    )
    size.add_argument(
        "--draws",
        type=options.integers,
        default=(50, 200, 1000, 5000),
        metavar="N,N",
        help="draws of the ensembles at each temperature (default 50,200,1000,5000)",
    )
    _add_study_options(size)


def _add_published(subjects: Any) -> None:
    published = options.add_verb(
        subjects,
        "published",
        run_published,
        "the AdvNF paper's experiment with learning curves: its flow by its six objectives, on 8x8 XY",
        "latticeflow bench published --out study --rows published.jsonl",
    )
    published.set_defaults(verb="bench published")
    published.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for ensembles and flows")
    published.add_argument(
        "--rows", type=Path, metavar="FILE.jsonl", help="file for the curves (default: in DIR of --out)"
    )
    published.add_argument("--full", action="store_true", help="the published size and rates, for a GPU")
    published.add_argument(
        "--objectives", type=options.words, metavar="A,B", help="objectives by name (default: the paper's six)"
    )
    published.add_argument(
        "--draws",
        type=options.integers,
        metavar="N,N",
        help="draws of the ensembles that train, at each temperature (default 1000; with --full 5120)",
    )
    published.add_argument("--seeds", type=int, default=1, help="trainings by each objective (default 1)")
    published.add_argument("--steps", type=int, help="steps of each training (default 30000; with --full 160000)")
    published.add_argument(
        "--block", type=int, metavar="STEPS", help="steps between two points of a curve (default 1/40 of all)"
    )
    published.add_argument("--filters", type=int, help="channels of each convolution (default 4; with --full 64)")
    options.add_device(published)


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for ensembles, flows and finished cells"
    )
    parser.add_argument(
        "--tables", type=Path, metavar="DIR", help="folder for the table and its JSON (default: DIR of --out)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="wall time of each training (default 2)")
    length.add_argument("--steps", type=int, help="steps of each training instead")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, of one thread each (default 1)")
    parser.add_argument(
        "--set",
        action="append",
        type=options.size,
        default=[],
        metavar="FLOW.SIZE=N",
        help="a size of a flow, such as realnvp.filters=16; may be repeated",
    )
    parser.add_argument(
        "--batch-temperatures", type=int, default=32, metavar="N", help="temperatures in a batch (default 32)"
    )
    parser.add_argument(
        "--batch-draws", type=int, default=16, metavar="N", help="draws at each temperature of a batch (default 16)"
    )
    parser.add_argument("--model", choices=("xy", "exy"), default="xy", help="XY, or extended XY with K = 1")
    parser.add_argument("--size", type=int, default=8, metavar="L", help="side of the lattice (default 8)")
    parser.add_argument(
        "-T",
        "--temperatures",
        type=options.temperatures,
        metavar="A:B:N",
        help="first:last:count, or a comma-separated list (default 0.05:2.05:32)",
    )
    parser.add_argument(
        "--test-draws",
        type=int,
        default=1000,
        metavar="N",
        help="draws at each temperature that training has not seen (default 1000)",
    )
    options.add_seed(parser)


def run_flow(arguments: argparse.Namespace) -> None:
    """Measure costs."""
    options.require_torch()
    from latticeflow.experiments import flow_costs
    from latticeflow.flows import FLOWS
    from latticeflow.flows.checkpoint import shipped
    from latticeflow.flows.device import choose_device, describe
    from mcmc.runtime.progress import Progress

    device = choose_device(arguments.device)
    included = shipped()
    names = arguments.flows or tuple(FLOWS)
    flows = [Path(name) if name.endswith(".pt") or name in included else name for name in names]
    found = []
    files = sum(isinstance(flow, Path) for flow in flows)
    with Progress("measuring", (len(flows) - files) * len(arguments.sizes) + files, unit="flow") as progress:
        for cost in flow_costs.costs(
            flows,
            arguments.sizes,
            model=arguments.model,
            draws=arguments.batch_draws,
            seconds=arguments.seconds,
            test_draws=arguments.test_draws,
            device=device,
        ):
            found.append(cost)
            progress.advance(1, f"{cost.flow} {cost.size}")
    if arguments.json:
        print(json.dumps({"device": describe(device), "model": arguments.model, "rows": [c._asdict() for c in found]}))
        return
    print(f"{arguments.model} on {describe(device)}, {found[0].configurations} configurations in a batch")
    print(flow_costs.costs_text(found))


def run_objectives(arguments: argparse.Namespace) -> int:
    """Flows by objectives."""
    options.require_torch()
    from latticeflow.experiments import objectives_study as study
    from latticeflow.flows import FLOWS

    flows = arguments.flows or tuple(FLOWS)
    cells = study.objective_cells(flows, arguments.objectives, draws=arguments.draws, sizes=_sizes(arguments.set))
    return _study(arguments, cells, "objectives", "Flows by objectives")


def run_ensemble_size(arguments: argparse.Namespace) -> int:
    """Flows by sizes of the ensemble."""
    options.require_torch()
    from latticeflow.experiments import objectives_study as study

    sizes = _sizes(arguments.set)
    cells = [
        study.Case(flow, objective, draws, sizes.get(flow, {}))
        for flow in arguments.flows
        for objective in arguments.objectives
        for draws in arguments.draws
    ]
    return _study(arguments, cells, "ensemble-size", "How few draws a training needs")


def run_published(arguments: argparse.Namespace) -> int:
    """The paper's experiment."""
    options.require_torch()
    from dataclasses import replace

    import torch

    from latticeflow.experiments import published_experiment as experiment
    from latticeflow.experiments.grid import Record
    from latticeflow.flows.device import choose_device
    from mcmc import InputError
    from mcmc.runtime.progress import Progress
    from mcmc.runtime.stop import Stop

    plan = experiment.FULL if arguments.full else experiment.REDUCED
    sizes = experiment.FULL_SIZES if arguments.full else experiment.REDUCED_SIZES
    draws = experiment.FULL_DRAWS if arguments.full else experiment.REDUCED_DRAWS
    if arguments.filters is not None:
        sizes = {**sizes, "filters": arguments.filters}
    steps = arguments.steps if arguments.steps is not None else plan.training.steps
    assert steps is not None
    plan = replace(plan, training=replace(plan.training, steps=steps))
    block = arguments.block if arguments.block is not None else max(1, steps // 40)
    if block < 1:
        raise InputError(f"--block {block} must be at least 1")
    objectives = arguments.objectives or experiment.PAPER_OBJECTIVES
    cases = experiment.published_cases(arguments.draws or [draws], sizes, objectives)
    record = arguments.rows or arguments.out / "published.jsonl"
    device = choose_device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # nets this small are no faster on two
    total = len(cases) * arguments.seeds * -(-steps // block)
    with Stop() as stop, Progress("published", total, unit="points", interval=60) as progress:
        rows = experiment.run_published(
            plan,
            cases,
            arguments.out,
            record,
            block=block,
            seeds=arguments.seeds,
            device=device,
            stop=stop,
            report=lambda row: progress.advance(1, f"{row['objective']} {row['steps']}"),
        )
    held = Record(record, experiment.key_of_row).rows if record.exists() else []
    text = experiment.published_text([row for row in held if row["sizes"] == sizes], plan)  # of earlier commands, too
    with whole_file(record.with_suffix(".md")) as draft:
        draft.write_text(text, encoding="utf-8")
    print(text)
    return options.stopped(stop, len(rows) >= total, "the same command")


def _sizes(assignments: list[tuple[str, int | float | str]]) -> dict[str, dict[str, Any]]:
    from mcmc.errors import InputError

    sizes: dict[str, dict[str, Any]] = {}
    for name, value in assignments:
        flow, dot, size = name.partition(".")
        if not dot:
            raise InputError(f"--set {name}={value} names no flow: write it as multiscale.{name}={value}")
        sizes.setdefault(flow, {})[size] = value
    return sizes


def _plan(arguments: argparse.Namespace) -> Plan:
    from latticeflow.experiments.objectives_study import Plan
    from latticeflow.training.training_settings import TrainingSettings

    minutes = arguments.minutes
    if arguments.steps is None and minutes is None:
        minutes = 2.0
    training = TrainingSettings(
        steps=arguments.steps,
        minutes=minutes,
        batch_temperatures=arguments.batch_temperatures,
        batch_draws=arguments.batch_draws,
        seed=arguments.seed,
    )
    plan = {
        "model": arguments.model,
        "size": arguments.size,
        "test_draws": arguments.test_draws,
        "seed": arguments.seed,
    }
    if arguments.temperatures:
        plan["temperatures"] = arguments.temperatures
    return Plan(training, **plan)


def _study(arguments: argparse.Namespace, cells: list[Case], name: str, title: str) -> int:
    """Run the cells, write the table as far as it is finished, and print it."""
    from latticeflow.experiments import objectives_study as study
    from latticeflow.experiments import objectives_table as study_table
    from mcmc.runtime.progress import Progress
    from mcmc.runtime.stop import Stop

    plan = _plan(arguments)
    with Stop() as stop, Progress(name, len(cells), unit="cells", interval=60) as progress:
        rows = study.run_study(
            plan,
            cells,
            arguments.out,
            workers=arguments.workers,
            report=lambda cell: progress.advance(1, str(cell)),
            stop=stop,
        )
    text = study_table.study_text(rows, plan, title)
    tables = arguments.tables or arguments.out
    tables.mkdir(parents=True, exist_ok=True)
    data = json.dumps({"command": arguments.command, "rows": rows}, indent=1) + "\n"
    for path, content in ((tables / f"{name}.md", text), (tables / f"{name}.json", data)):
        with whole_file(path) as draft:
            draft.write_text(content, encoding="utf-8")
    print(text)
    if len(rows) == len(cells):
        return 0
    options.warn(f"{len(rows)} of {len(cells)} cells are finished: the same command goes on")
    return 128 + stop.signal if stop.signal else 75
