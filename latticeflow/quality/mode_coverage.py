"""Mode coverage: which kinds of configurations an ensemble holds and a flow does not draw."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mcmc.models import observables
from mcmc.models.presets import XY, Model

RARE = 1 / 20
"""A kind is missed where the flow draws it more rarely than this, relative to the ensemble."""
LEAST_SHARE, LEAST_DRAWS = 0.02, 30
"""What is missed counts as a collapse from this share of the ensemble on, and this number of its draws."""

TITLES = {
    "vortices": "vortices and antivortices",
    "winding": "winding numbers (x, y)",
    "magnetization": "magnetisation",
}
"""What the labels are, for axes of figures."""
_WITH = {
    "vortices": "{} vortices and antivortices",
    "winding": "winding numbers (x, y) of {}",
    "magnetization": "magnetisations of {}",
}


class Kinds(NamedTuple):
    """Shares of the kinds of configurations in one respect."""

    name: str
    """``"vortices"``, ``"winding"`` or ``"magnetization"``."""
    labels: list[str]
    """What tells the kinds apart."""
    ensemble: np.ndarray
    """Share of each kind among draws of the ensemble, (kinds,); each of the three sums to 1."""
    flow: np.ndarray
    """The same among the flow's own draws."""
    chain: np.ndarray
    """The same among the states of the neural chain."""

    def overlap(self, of: np.ndarray) -> float:
        """Common part of ``of`` and the ensemble in per cent: 100 less their total-variation distance."""
        return float(100 * np.minimum(of, self.ensemble).sum())

    @property
    def missed(self) -> np.ndarray:
        """Kinds of the ensemble that the flow hardly ever draws, bool (kinds,)."""
        return (self.ensemble > 0) & (self.flow < RARE * self.ensemble)

    @property
    def missed_share(self) -> float:
        """Share of the ensemble in kinds that the flow hardly ever draws."""
        return float(self.ensemble[self.missed].sum())

    def describe_missed(self) -> str:
        """What is missed, in words that go on from "configurations with"."""
        worst = np.argsort(-self.ensemble * self.missed, kind="stable")[: min(3, int(self.missed.sum()))]
        shown = ", ".join(self.labels[k] for k in sorted(worst))
        more = ", ..." if self.missed.sum() > 3 else ""
        return f"{_WITH[self.name].format(shown + more)} ({self.missed_share:.0%} of the ensemble)"


def kinds(ensemble: np.ndarray, flow: np.ndarray, held: np.ndarray, model: Model | None = None) -> list[Kinds]:
    """Sort configurations by their number of vortices, their winding sector and their magnetisation.

    Args:
        ensemble: draws of the ensemble, (n, Ly, Lx) or (n, Lz, Ly, Lx).
        flow: draws of the flow, (m, Ly, Lx) or (m, Lz, Ly, Lx).
        held: states of the chain, as numbers of the flow's draws, int (k,).
        model: whose bonds vortices and windings are relative to; None takes those of a ferromagnet.
    """
    found, model = [], model or XY()
    for name, sort in (("vortices", _vortices), ("winding", _windings), ("magnetization", _magnetizations)):
        rows, labels = sort(np.concatenate([ensemble, flow]), model)
        present, numbers = np.unique(rows, return_inverse=True)
        of_ensemble, of_flow = numbers[: len(ensemble)], numbers[len(ensemble) :]
        shares = [np.bincount(x, minlength=len(present)) / len(x) for x in (of_ensemble, of_flow, of_flow[held])]
        found.append(Kinds(name, [labels[k] for k in present], *shares))
    return found


def collapsed(found: Iterable[Kinds], draws: int) -> Kinds | None:
    """The respect in which most of the ensemble is missed, if that is a collapse and no accident of ``draws`` draws."""
    worst = max(found, key=lambda each: each.missed_share)
    return worst if worst.missed_share > max(LEAST_SHARE, LEAST_DRAWS / draws) else None


def _vortices(theta: np.ndarray, model: Model) -> tuple[np.ndarray, list[str]]:
    """Kind of each configuration, int (n,), and the kinds' labels: none at all, then a dozen of bins at most."""
    plaquettes = math.prod(theta.shape[1:]) * math.comb(model.dimensions, 2)
    number = np.rint(observables.vortex_density(theta, model) * plaquettes).astype(int)
    width = max(2, 2 * math.ceil(number.max() / 24))  # they come in pairs
    bins = range(1, number.max() + 1, width)
    labels = [str(first + 1) if width == 2 else f"{first + 1}-{first + width - 1}" for first in bins]
    return (number + width - 1) // width, ["0", *labels]


def _windings(theta: np.ndarray, model: Model) -> tuple[np.ndarray, list[str]]:
    windings = np.rint(observables.winding_numbers(theta, model)).astype(int)
    sectors, kind = np.unique(windings, axis=0, return_inverse=True)
    return kind.ravel(), [f"({', '.join(str(turns) for turns in each)})" for each in sectors.tolist()]


def _magnetizations(theta: np.ndarray, model: Model) -> tuple[np.ndarray, list[str]]:
    bins = 20
    kind = np.minimum(bins * observables.magnetization(theta, model), bins - 1).astype(int)
    return kind, [f"{k / bins:.2f}-{(k + 1) / bins:.2f}" for k in range(bins)]
