"""Read everything in an ensemble file, and say what is damaged and how much is intact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.runtime.progress import Progress
from mcmc.storage import hdf5_layout as layout
from mcmc.storage.ensemble import Ensemble

_TOLERANCE = 1e-4  # of a series per site that is measured again: configurations are kept in float32


@dataclass
class Verification:
    """What re-reading a file found.

    Attributes:
        draws: committed draws of each chain.
        intact: how many of them lie before the first damage; `Ensemble.cut` can go back to these.
        problems: one line for each damaged block.
        series_only: whether there were no configurations to measure again.
    """

    draws: int
    intact: int
    problems: list[str] = field(default_factory=list)
    series_only: bool = False

    def note(self, problem: str, intact: int) -> None:
        """Keep a problem that leaves only the first ``intact`` draws sound."""
        self.problems.append(problem)
        self.intact = min(self.intact, intact)


def verify(path: str | Path) -> Verification:
    """Check the checksum of every block, and measure energy and magnetisation of every configuration again.

    Of series only, for lack of configurations, checksums are all there is.

    Raises:
        InputError: the file cannot even be opened.
    """
    with Ensemble.open(path) as ensemble:
        found = Verification(ensemble.draws, ensemble.draws, series_only=ensemble.series_only)
        if layout.attributes_checksum(ensemble.attributes) != ensemble.attributes.get("checksum"):
            found.note("the attributes are damaged", ensemble.draws)
        if not ((ensemble.temperatures > 0) & np.isfinite(ensemble.temperatures)).all():
            found.note("the temperatures are damaged", 0)
        for name, read in (("state", ensemble.state), ("report", ensemble.report)):
            if _fails(read):
                found.note(f"the {name} is damaged", ensemble.draws)
        sides = dict(zip(("x", "y", "z"), ensemble.lattice.sides, strict=False))
        for name, n in {"draw": ensemble.draws, **sides}.items():
            numbers = _try(partial(ensemble.coordinate, name))
            if numbers is None or not np.array_equal(numbers, np.arange(n)):
                found.note(f"the numbers along axis {name} are damaged", ensemble.draws)
        with Progress(f"verifying {ensemble.path.name}", ensemble.draws, unit="draws") as progress:
            _verify_series(ensemble, found)
            rows = ensemble.rows_per_chunk("theta")
            if ensemble.series_only:
                progress.advance(ensemble.draws)
                return found
            for start in range(0, ensemble.draws, rows):
                draws = slice(start, min(start + rows, ensemble.draws))
                _verify_block(ensemble, draws, found)
                progress.advance(draws.stop - start)
        return found


def _verify_series(ensemble: Ensemble, found: Verification) -> None:
    for name in ensemble.series_names:
        rows = ensemble.rows_per_chunk(name)
        for start in range(0, ensemble.draws, rows):
            draws = slice(start, min(start + rows, ensemble.draws))
            if _try(partial(ensemble.series, name, draws)) is None:
                found.note(f"series {name}, draws {start} to {draws.stop - 1}: checksum does not match", start)


def _verify_block(ensemble: Ensemble, draws: slice, found: Verification) -> None:
    theta = _try(partial(ensemble.theta, draws))
    span = f"draws {draws.start} to {draws.stop - 1}"
    if theta is None:
        width = ensemble.chains_per_chunk
        for t, c in product(range(len(ensemble.temperatures)), range(0, ensemble.chains, width)):
            part = partial(ensemble.theta, draws, temperatures=slice(t, t + 1), chains=slice(c, c + width))
            if _try(part) is None:
                who = f"chain {c}" if width == 1 else f"chains {c} to {min(c + width, ensemble.chains) - 1}"
                found.note(
                    f"theta, T = {ensemble.temperatures[t]:g}, {who}, {span}: checksum does not match", draws.start
                )
        return
    if not (np.abs(theta) <= np.float32(np.pi)).all():
        found.note(f"theta, {span}: not all are angles in [-pi, pi)", draws.start)
        return
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "energy": lambda theta: ensemble.model.energy(theta) / ensemble.lattice.N,
        "magnetization": lambda theta: observables.magnetization(theta, ensemble.model),
    }
    for name in [name for name in measures if name in ensemble.series_names]:
        stored = _try(partial(ensemble.series, name, draws))
        if stored is not None:
            wrong = np.argwhere(~(np.abs(measures[name](theta) - stored) <= _TOLERANCE))
            if len(wrong):
                t, c, n = wrong[0]
                where = f"T = {ensemble.temperatures[t]:g}, chain {c}, draw {draws.start + n}"
                text = f"{name} of {len(wrong)} draws in {span} is not that of the configuration"
                found.note(f"{text} (first: {where})", draws.start)


def _fails(read: Callable[[], object]) -> bool:
    try:
        read()
    except ValueError:  # damaged data, or what is not JSON
        return True
    return False


def _try(read: Callable[[], np.ndarray]) -> np.ndarray | None:
    try:
        return read()
    except InputError:
        return None
