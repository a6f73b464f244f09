"""Importance sampling: averages over the flow's own draws by their weights, without a chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from latticeflow.chains.neural_mcmc import unit, unit_size
from latticeflow.chains.neural_streams import NeuralStreams
from latticeflow.chains.sample import grid_of
from latticeflow.flows import Flow
from latticeflow.flows.checkpoint import open_flow
from latticeflow.flows.weights import ess_reverse
from mcmc import InputError
from mcmc.analysis.free_energy import from_weights, weighted_entropy
from mcmc.analysis.observable_registry import Moments, Observable, System, observables_of
from mcmc.analysis.statistics import DRAWS_PER_TAU, Estimate, derived
from mcmc.analysis.table import Row, Table
from mcmc.analysis.thermodynamics import measure
from mcmc.runtime.choices import strict
from mcmc.runtime.progress import Progress

POTENTIALS = ("free_energy", "entropy")
"""What weights tell and a Markov chain does not."""


@strict
def importance(
    flow: Flow | str | Path,
    temperatures: float | Sequence[float] | np.ndarray | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Table:
    """Thermodynamics from self-normalised weights of independent draws of a flow.

    The draws are those that `NeuralChains` of the same seed propose. A mean is sum w O / sum w, its error that of the
    ratio (delta method); the bias is of relative order 1 / (draws * ESS). Modes that no draw reaches are missing from
    value and error alike: check the flow by `latticeflow.quality.compare` first.

    Args:
        flow: to draw from: a flow or its file.
        temperatures: where, in units of J / k_B; None takes those of the training ensemble, or eight equally spaced
            ones over the flow's range. Outside of that range it warns.
        draws: at each temperature.
        seed: root of the random streams.
        device: where the flow computes; None leaves it where it is.

    Returns:
        The table of `mcmc.analysis.thermodynamics.observe`, with free energy and entropy; ``tau_int`` is 1 / (2 ESS),
        so that draws / (2 tau_int) is the number of draws from the ensemble that would be worth as much.

    Raises:
        InputError: fewer than 2 draws, or the flow cannot be used.

    Example:
        >>> import latticeflow as lf
        >>> table = lf.importance("xy8", 0.9, draws=100)
        >>> -1.6 < table.rows[0]["energy"].value < -1.3
        True
    """
    if draws < 2:
        raise InputError(f"draws = {draws} must be at least 2")
    flow = open_flow(flow, device)
    grid = grid_of(flow, temperatures)
    flow.warn_outside(grid)
    with Progress("drawing", draws * len(grid), unit="draws") as progress:
        streams = NeuralStreams.of(flow, seed)
        rows = [_row(flow, T, streams, draws, progress) for T in grid]
    return Table(flow.model, flow.lattice, np.array(grid), rows, np.full((len(rows), 2), math.nan), 1)


def _row(flow: Flow, T: float, streams: NeuralStreams, draws: int, progress: Progress) -> Row:
    """Estimates at one temperature."""
    moments: dict[str, list[np.ndarray]] = {}
    log_w = []
    size = unit_size(flow)
    for number in range(-(-draws // size)):
        n = min(size, draws - number * size)
        theta, log_weight, _ = unit(flow, T, streams, number)
        for name, values in measure(theta[:n], flow.model).items():
            moments.setdefault(name, []).append(values)
        log_w.append(log_weight[:n])
        progress.advance(n)
    joined = {name: np.concatenate(parts) for name, parts in moments.items()}
    return Row(T, weighted(joined, np.concatenate(log_w), System(flow.model, flow.lattice, T)))


def weighted(
    moments: Moments, log_weight: np.ndarray, system: System, names: Sequence[str] | None = None
) -> dict[str, Estimate]:
    """Observables, free energy and entropy from independent weighted draws.

    Args:
        moments: of the flow's draws, from `mcmc.analysis.thermodynamics.measure`, (n,) each.
        log_weight: float64 (n,).
        system: model, lattice and temperature.
        names: of observables, and `POTENTIALS`; None takes all that make sense for the model.
    """
    w = np.exp(log_weight - log_weight.max())
    w /= w.mean()
    T, N = system.temperature, system.lattice.N
    sensible = observables_of(system.model, system.lattice)

    def value(name: str) -> Estimate:
        if name == "free_energy":
            return from_weights(log_weight, moments["energy"], N, T)["free_energy"]
        if name == "entropy":
            return weighted_entropy(log_weight, moments["energy"], N, T)
        return _ratio(sensible[name], moments, w, system)

    row = {name: value(name) for name in names or (*sensible, *POTENTIALS)}
    tau_int = 0.5 / float(ess_reverse(log_weight))
    missing = max(0, math.ceil(DRAWS_PER_TAU * tau_int) - len(w))
    return {
        name: replace(found, tau_int=tau_int, tau_int_error=math.nan, missing=missing) for name, found in row.items()
    }


def _ratio(observable: Observable, moments: Moments, w: np.ndarray, system: System) -> Estimate:
    """An observable whose means are ratios of means, of w O and of w."""

    def of_means(mean: float, *products: float) -> float:
        means = [product / mean for product in products]
        return observable.function(system, *means) if observable.function else means[0]

    [means] = observable.series_of([moments])
    return derived(of_means, w, *(w * series for series in means))
