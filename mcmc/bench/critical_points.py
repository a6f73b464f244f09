"""Critical temperatures beside published ones: ``python -m mcmc.bench.critical_points xy3d``.

Every size is drawn near the transition into a file of series in a folder; a run that was cut goes on with them. Curves
of the sizes, reweighted in temperature, cross at the transition; see `mcmc.analysis.crossings`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from mcmc.analysis.crossings import Crossing, crossings
from mcmc.analysis.observable_registry import OBSERVABLES
from mcmc.analysis.reweighting import Reweighting
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY, fully_frustrated, triangular
from mcmc.models.terms import Model
from mcmc.runtime.stop import run_script
from mcmc.sampling.generate import generate

CHAINS = 16


class Case(NamedTuple):
    """A transition that is known."""

    model: Callable[[Lattice], Model]
    dimensions: int
    observable: str
    """Whose curves cross."""
    temperatures: tuple[float, ...]
    """At which is drawn, near the transition."""
    draws: Mapping[int, int]
    """Of each chain at each temperature, by the side of the lattice."""
    published: float
    """Critical temperature, in units of J / k_B."""
    source: str
    thermalise: int | None = None
    """Steps before the first draw, and"""
    thin: int | None = None
    """between draws; None lets the sampler choose."""


CASES = {
    "xy3d": Case(
        lambda lattice: XY(dimensions=3),
        3,
        "correlation_length",
        (2.195, 2.21),
        {8: 8000, 16: 4000, 32: 1200},
        2.2018441,
        "arXiv:1908.10990",
        # Autocorrelation times of xi are 2, 3 and 10 steps; measuring a draw takes as long as 10 steps.
        thermalise=400,
        thin=10,
    ),
    "fully_frustrated": Case(
        fully_frustrated,
        2,
        "chirality_binder",
        (0.445, 0.455, 0.465),
        {8: 6000, 16: 4000, 32: 3000, 48: 2000},
        0.4532,
        "arXiv:2112.03550 and the literature cited there",
    ),
    "triangular": Case(
        lambda lattice: triangular(-1.0),
        2,
        "chirality_binder",
        (0.505, 0.515, 0.525),
        {12: 6000, 24: 3000, 48: 1500},
        0.5122,
        "cond-mat/0001122",
    ),
}
"""Transitions by name."""


def locate(
    case: Case,
    folder: Path,
    *,
    sizes: tuple[int, ...] = (),
    effort: float = 1.0,
    observable: str | None = None,
    seed: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> list[Crossing]:
    """Draw every size, or go on with the files in ``folder``, and find the crossings.

    Args:
        case: one of `CASES`.
        folder: for the files.
        sizes: sides, of the case's; none takes all.
        effort: multiplies the number of draws.
        observable: other than the case's.
        seed: root of the random streams.
        report: called with one line for each size.

    Raises:
        InputError: the files in the folder were made otherwise, or the curves do not cross once.
    """
    if unknown := sorted({*sizes} - {*case.draws}):
        raise InputError(f"this case has no side {unknown[0]}: choose among {', '.join(map(str, case.draws))}")
    if not 0 < effort < float("inf"):
        raise InputError(f"effort = {effort} must be positive and finite")
    name = observable or case.observable
    OBSERVABLES.find(name)
    found = []
    for side in sizes or tuple(case.draws):
        lattice, start = Lattice(*(side,) * case.dimensions), time.perf_counter()
        with generate(
            case.model(lattice),
            size=lattice,
            temperatures=case.temperatures,
            draws=max(100, round(effort * case.draws[side])),
            out=folder / f"L{side}.h5",
            chains=CHAINS,
            thermalise=case.thermalise,
            thin=case.thin,
            seed=seed,
            series_only=True,
            resume=True,
        ) as ensemble:
            found.append(Reweighting(ensemble))
            for line in ensemble.warnings():
                report(f"L = {side}: {line}")
        report(f"L = {side}: {ensemble.draws * CHAINS} draws at each temperature, {time.perf_counter() - start:.0f} s")
    return crossings(found, name)


def main() -> None:
    """Print the crossings and the published value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--sizes", type=int, nargs="+", default=[], help="sides, of those of the case (default: all)")
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies the number of draws (default 1)")
    parser.add_argument("--observable", help="whose curves cross, such as helicity_modulus or binder_cumulant")
    parser.add_argument(
        "--folder", type=Path, help="for the files of series, to go on with later (default: none is kept)"
    )
    arguments = parser.parse_args()
    try:
        _show(CASES[arguments.case], arguments)
    except (InputError, OSError) as error:
        parser.exit(2, f"critical_points: error: {error}\n")


def _show(case: Case, arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as nowhere:
        folder = arguments.folder or Path(nowhere)
        folder.mkdir(parents=True, exist_ok=True)
        found = locate(
            case,
            folder,
            sizes=tuple(arguments.sizes),
            effort=arguments.effort,
            observable=arguments.observable,
            report=lambda line: print(line, flush=True),
        )
    for each in found:
        off = (each.temperature - case.published) / each.error
        print(f"{each}; published {case.published:g}, {each.temperature - case.published:+.5f}, {off:+.1f} errors")
    print(f"{time.perf_counter() - start:.0f} s; published: {case.source}")


if __name__ == "__main__":
    run_script(main)
