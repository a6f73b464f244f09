"""The whole journey on a small lattice: reference ensemble, flow, neural MCMC, and the two side by side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latticeflow.chains.sample import sample
from latticeflow.flows.device import choose_device
from latticeflow.quality.compare import compare
from latticeflow.quality.comparison import Comparison
from latticeflow.training.train import train
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, InputError, Lattice
from mcmc.analysis.statistics import Estimate
from mcmc.analysis.table import Table
from mcmc.analysis.thermodynamics import observe
from mcmc.runtime.stop import Stop
from mcmc.runtime.text import columns
from mcmc.sampling.generate import generate_file
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble

logger = logging.getLogger(__name__)

OBSERVABLES = ("energy", "magnetization", "vortex_density")
LARGEST_DEVIATION = 4.0
"""In sigmas; of 96 comparisons one in 160 demos exceeds it by chance."""


@dataclass(frozen=True)
class Scale:
    """How much the demo does.

    Args:
        size: side of the lattice.
        temperatures: of the grid linspace(0.05, 2.05, n).
        draws: per chain and temperature, of four chains.
        training: how to train.
    """

    size: int
    temperatures: int
    draws: int
    training: TrainingSettings


FULL = Scale(8, 32, 1000, TrainingSettings(minutes=2.0))
QUICK = Scale(4, 8, 500, TrainingSettings(steps=60, batch_temperatures=16))


class Result(NamedTuple):
    """What the demo made."""

    quality: Comparison
    """The flow against held-out draws, by temperature."""
    flow: Table
    """Thermodynamics of the neural chains."""
    reference: Table
    """Thermodynamics of the held-out ensemble."""

    def deviation(self, name: str) -> np.ndarray:
        """Difference of an observable between flow and reference in sigmas, (T,)."""
        return np.array([sigmas(a[name], b[name]) for a, b in zip(self.flow.rows, self.reference.rows, strict=True)])

    @property
    def worst(self) -> float:
        """Largest deviation of all, in sigmas."""
        return max(float(np.abs(self.deviation(name)).max()) for name in OBSERVABLES)


def sigmas(a: Estimate, b: Estimate) -> float:
    """Difference over its error; 0 where both agree exactly."""
    difference, error = a.value - b.value, float(np.hypot(a.error, b.error))
    return difference / error if error > 0 else float(np.sign(difference)) * np.inf if difference else 0.0


def run_demo(
    directory: Path, scale: Scale = FULL, *, seed: int = 0, device: str = "auto", stop: Stop | None = None
) -> Result:
    """Generate two reference ensembles, train on one, sample by the flow, compare with the other.

    Args:
        directory: where train.h5, test.h5, flow.pt, chain.h5 and demo.png go; files of an earlier demo are replaced.
        scale: `FULL` or `QUICK`.
        seed: root of all random streams.
        device: see `choose_device`.
        stop: asked between blocks and steps.

    Raises:
        InputError: a file cannot be written, or the demo was stopped.
    """
    stop = stop or Stop()
    directory.mkdir(parents=True, exist_ok=True)
    files = {name: directory / name for name in ("train.h5", "test.h5", "flow.pt", "chain.h5")}
    for path in files.values():
        path.unlink(missing_ok=True)
    temperatures = tuple(np.linspace(0.05, 2.05, scale.temperatures).tolist())
    lattice = Lattice(scale.size, scale.size)

    logger.info("1. reference ensembles by Markov chains: %dx%d XY, %d temperatures", *lattice.shape, len(temperatures))
    for part, name in enumerate(("train.h5", "test.h5")):
        settings = Settings(XY(), lattice, temperatures, chains=4, seed=seed + part)
        _finish(generate_file(settings, files[name], draws=scale.draws, stop=stop), stop)

    logger.info("2. a conditional flow, trained on the first")
    where = choose_device(device)
    flow = train(files["train.h5"], out=files["flow.pt"], settings=scale.training, device=where, stop=stop)
    _finish(flow.history["complete"], stop)

    logger.info("3. neural MCMC: the flow proposes, a Metropolis test makes it exact")
    drawn = sample(flow, draws=scale.draws, chains=4, seed=seed, out=files["chain.h5"], stop=stop)
    _finish(drawn.draws >= scale.draws, stop)

    logger.info("4. the chains of the flow beside the second ensemble, which it has not seen")
    with Ensemble.open(files["test.h5"]) as reference, Ensemble.open(files["chain.h5"]) as chain:
        return Result(compare(flow, reference, draws=4 * scale.draws, seed=seed), observe(chain), observe(reference))


def _finish(complete: bool, stop: Stop) -> None:
    if not complete:
        raise InputError(f"stopped by {stop.reason}; run the demo again to start over")


def demo_text(result: Result) -> str:
    """The result for a terminal: every observable from both sides, and how good the flow's proposals are."""
    head = ["", *(title for name in OBSERVABLES for title in (name.replace("_", " "), "", "")), "", "", ""]
    units = ["T", *["flow", "reference", "sigma"] * len(OBSERVABLES), "accept", "ESS rev", "ESS fwd"]
    deviations = [result.deviation(name) for name in OBSERVABLES]
    lines = []
    for t, row in enumerate(result.quality):
        line = [f"{row.temperature:.3f}"]
        for name, deviation in zip(OBSERVABLES, deviations, strict=True):
            line += [str(result.flow.rows[t][name]), str(result.reference.rows[t][name]), f"{deviation[t]:.1f}"]
        lines.append([*line, f"{row.acceptance:.3f}", f"{row.ess_reverse:.2f}", f"{row.ess_forward:.2f}"])
    return columns(head, [units, *lines], names=1, width=80)


def verdict(result: Result) -> str:
    """What to think of it, in a line or two."""
    mean = result.quality.mean
    text = (
        f"mean acceptance {mean['acceptance']:.3f}, effective sample size {mean['ess_reverse']:.3f} (reverse) "
        f"{mean['ess_forward']:.3f} (forward); largest deviation {result.worst:.1f} sigma"
    )
    if result.worst > LARGEST_DEVIATION:
        text += f"\nTHIS IS MORE THAN {LARGEST_DEVIATION:g} SIGMA: flow and reference disagree, or errors are too small"
    return text


def warnings(result: Result) -> Sequence[str]:
    """Lines about errors that cannot be trusted."""
    return [*result.flow.warnings(), *result.reference.warnings()]
