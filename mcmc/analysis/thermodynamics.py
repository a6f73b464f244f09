"""Thermodynamics of an ensemble: simple moments measured draw by draw, derived quantities with their errors.

A file is read temperature by temperature and in pieces, so that one temperature's moments (a hundred bytes a draw) and
one piece of its configurations are all that is ever in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc.analysis.free_energy import from_weights
from mcmc.analysis.observable_registry import (
    OBSERVABLES,
    Chosen,
    Moments,
    Observable,
    System,
    chosen,
    extra_moments,
    observables_of,
)
from mcmc.analysis.statistics import LEAST_DRAWS, r_hat
from mcmc.analysis.table import MIXING, Row, Table
from mcmc.errors import InputError
from mcmc.models import observables, order
from mcmc.models.lattice import Lattice
from mcmc.models.moments import moments_by_threads
from mcmc.models.presets import Model
from mcmc.runtime.choices import strict
from mcmc.runtime.threads import available_threads
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.memory_ensemble import require_ensemble
from mcmc.storage.selection import no_configurations

if TYPE_CHECKING:
    from mcmc.sampling.settings import Settings
    from mcmc.storage.memory_ensemble import ReadableEnsemble

WEIGHT = "proposal_log_weight"
"""Series of files of neural chains, of which `mcmc.analysis.free_energy` makes free energies."""


def measure(
    theta: np.ndarray,
    model: Model,
    extra: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    *,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """The moments of every draw from which all of `OBSERVABLES` follow.

    Args:
        theta: angles in [-pi, pi), (..., Ly, Lx).
        model: the spin model.
        extra: further moments by name, functions of ``theta``; None takes those of the registered observables.
        threads: how many measure; further moments are left to one. The result is the same.

    Returns:
        float64 arrays of shape (...): those of `mcmc.models.moments.basic_moments`, and the further ones. Of disordered
        models with leading axes (..., chains, draws) also overlap, (..., chains // 2, draws), of each chain of the
        first half with one of the second.

    Raises:
        InputError: ``theta`` holds no configurations, or a further moment has another shape.
    """
    if extra is None:
        extra = extra_moments(OBSERVABLES.values())
    found = moments_by_threads(theta, model, threads) | _overlaps(theta, model)
    return found | {name: _measured(name, function, theta, model) for name, function in extra.items()}


def _overlaps(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    """Of pairs of chains, where the model is disordered and there are two."""
    d = model.dimensions
    lead = theta.shape[:-d]
    if len(lead) < 2 or lead[-2] < 2 or not order.disordered(model, theta.shape[-d:]):
        return {}
    chains, pairs = np.moveaxis(theta, -d - 2, 0), lead[-2] // 2
    return {"overlap": np.stack([observables.overlap(chains[k], chains[k + pairs], model) for k in range(pairs)], -2)}


def _measured(name: str, function: Callable[[np.ndarray], Any], theta: np.ndarray, model: Model) -> np.ndarray:
    name = name.partition("#")[0]  # what follows tells functions of one name apart
    try:
        values = np.asarray(function(theta), np.float64)
    except Exception as error:  # whatever somebody's function raises
        raise InputError(f"observable {name!r} failed: {type(error).__name__}: {error}") from error
    if values.shape != theta.shape[: -model.dimensions]:
        raise InputError(
            f"observable {name!r} made an array of shape {values.shape} of configurations {theta.shape}: it must give "
            f"one number for each, shape {theta.shape[: -model.dimensions]}"
        )
    return values


def thermodynamics(
    moments: Moments,
    model: Model,
    lattice: Lattice,
    temperature: float,
    wanted: Mapping[str, Observable] | None = None,
) -> Row:
    """Observables at one temperature, and free energy and entropy where a flow gave weights.

    Args:
        moments: what `measure` returns, (chains, draws); of neural chains also `WEIGHT`.
        model: the spin model.
        lattice: the periodic rectangle.
        temperature: in units of J / k_B.
        wanted: observables by name; None takes all that make sense for the model.
    """
    system = System(model, lattice, temperature)
    if wanted is None:
        wanted = observables_of(model, lattice, len(moments["energy"]))
    found = {name: observable.estimate(moments, system) for name, observable in wanted.items()}
    if WEIGHT in moments:
        found |= from_weights(moments[WEIGHT], moments["energy"], lattice.N, temperature)
    return Row(temperature, found)


@strict
def observe(
    ensemble: ReadableEnsemble | str | Path,
    *,
    observables: Chosen | None = None,
    temperatures: Sequence[float] | None = None,
    max_bytes: int = 2**26,
    threads: int | None = None,
    report: Callable[[int], None] = lambda draws: None,
) -> Table:
    """Measure an ensemble, streaming over its file.

    Args:
        ensemble: open for reading, or a path.
        observables: names of `OBSERVABLES` or ``module:name``, or a dictionary of functions of configurations
            (..., Ly, Lx) -> (...) and of `Observable` objects by name; None takes all that make sense for the model.
        temperatures: some of the ensemble's, in units of J / k_B; None takes all.
        max_bytes: configurations held in memory at a time.
        threads: how many measure; None takes what the process may use. The table does not depend on it.
        report: called with the number of draws, of all chains, that have been measured since the last call.

    Raises:
        InputError: the ensemble is empty or does not have such a temperature, an observable is unknown, what is held
            is not a configuration, or the ensemble keeps series only and an observable is a function of configurations.

    Example:
        >>> import mcmc
        >>> theta = np.random.default_rng(0).normal(0, 0.3, (1, 2, 50, 4, 4))
        >>> ensemble = mcmc.from_arrays(theta, model=mcmc.XY(), temperatures=[0.2])
        >>> table = observe(ensemble, observables={"first_spin": lambda theta: np.cos(theta[..., 0, 0])})
        >>> table.observables
        ('first_spin',)
    """
    if isinstance(ensemble, str | Path):
        with Ensemble.open(ensemble) as opened:
            return observe(
                opened,
                observables=observables,
                temperatures=temperatures,
                max_bytes=max_bytes,
                threads=threads,
                report=report,
            )
    require_ensemble(ensemble)
    if not ensemble.draws:
        raise InputError(f"{ensemble.path} holds no draws yet: generate some first")
    wanted = chosen(observables, ensemble.model, ensemble.lattice, ensemble.chains)
    notes = ensemble.warnings()
    if ensemble.series_only:
        lost = [name for name, each in wanted.items() if not _follows(each, ensemble.series_names)]
        if lost and observables is not None:
            raise InputError(f"{', '.join(lost)} cannot be told from the series: {no_configurations(ensemble.path)}")
        wanted = {name: each for name, each in wanted.items() if name not in lost}
        notes += [f"{name} is left out: it cannot be told from the series" for name in lost]
    extra = extra_moments(wanted.values())
    held = ensemble.temperatures
    picked = range(len(held)) if temperatures is None else [_position(held, T) for T in temperatures]
    how: dict[str, Any] = {"extra": extra, "max_bytes": max_bytes, "threads": threads or available_threads()}
    moments = (read_moments(ensemble, t, report=report, **how) for t in picked)
    table = tabulate(moments, ensemble.model, ensemble.lattice, held[[*picked]], wanted)
    return changed(table, notes=tuple(notes))


def _follows(observable: Observable, names: Sequence[str]) -> bool:
    """Whether these moments are all that an observable needs."""
    try:
        with np.errstate(all="ignore"):
            observable.series_of([{name: np.zeros((1, 1)) for name in names}])
    except InputError:
        return False
    return True


def _position(held: np.ndarray, temperature: float) -> int:
    t = int(np.argmin(np.abs(held - temperature)))
    if not math.isclose(held[t], temperature, rel_tol=1e-6):
        raise InputError(f"the ensemble has no T = {temperature:g}: the nearest is {held[t]:.6g}")
    return t


def tabulate(
    moments: Iterable[Moments],
    model: Model,
    lattice: Lattice,
    temperatures: Any,
    wanted: Mapping[str, Observable] | None = None,
) -> Table:
    """The table that follows from the moments (chains, draws) at each temperature, which are taken one at a time."""
    rows, ratios, chains = [], [], 0
    for each, T in zip(moments, temperatures, strict=True):
        chains, draws = each["energy"].shape
        rows.append(thermodynamics(each, model, lattice, float(T), wanted))
        ratios.append([r_hat(each[name]) if draws >= LEAST_DRAWS else math.nan for name in MIXING])
    return Table(model, lattice, np.asarray(temperatures, np.float64), rows, np.array(ratios), chains)


def simulate(
    settings: Settings,
    draws: int,
    *,
    max_bytes: int = 2**26,
    threads: int | None = None,
    report: Callable[[int], None] = lambda draws: None,
) -> list[dict[str, np.ndarray]]:
    """Moments of a new run whose configurations are not kept: for `tabulate` or reweighting.

    Args:
        settings: of the run.
        draws: of each chain.
        max_bytes: configurations held in memory at a time.
        threads: how many to use; None takes what the process may use.
        report: called with the number of draws, of all chains, that have been made since the last call.

    Returns:
        For each temperature the moments by name, (chains, draws); see `measure`.
    """
    from mcmc.sampling.simulation import Simulation

    simulation = Simulation(settings, threads=threads)
    replicas = math.prod(settings.shape)
    step = max(1, max_bytes // (4 * settings.lattice.N * replicas))
    moments: dict[str, np.ndarray] = {}
    for start in range(0, draws, step):
        theta = simulation.block(min(step, draws - start)).theta
        for name, values in measure(theta, settings.model).items():
            moments.setdefault(name, np.empty((*values.shape[:2], draws)))[:, :, start : start + step] = values
        report(theta.shape[2] * replicas)
    return [{name: values[t] for name, values in moments.items()} for t in range(len(settings.temperatures))]


def read_moments(
    ensemble: ReadableEnsemble,
    t: int,
    *,
    extra: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    max_bytes: int = 2**26,
    threads: int = 1,
    report: Callable[[int], None] = lambda draws: None,
) -> dict[str, np.ndarray]:
    """Moments (chains, draws) of the ensemble at temperature number ``t``; see `measure` and `observe`."""
    if ensemble.series_only:
        report(ensemble.chains * ensemble.draws)
        return {name: ensemble.series(name, temperatures=slice(t, t + 1))[0] for name in ensemble.series_names}
    step = max(1, max_bytes // (4 * ensemble.lattice.N * ensemble.chains))
    moments: dict[str, np.ndarray] = {}
    for start in range(0, ensemble.draws, step):
        theta = ensemble.theta(slice(start, start + step), temperatures=slice(t, t + 1))[0]
        for name, values in measure(theta, ensemble.model, extra, threads=threads).items():
            moments.setdefault(name, np.empty((len(values), ensemble.draws)))[:, start : start + step] = values
        report(theta.shape[0] * theta.shape[1])
    if WEIGHT in ensemble.series_names:
        moments[WEIGHT] = ensemble.series(WEIGHT, temperatures=slice(t, t + 1))[0]
    return moments
