"""Thermodynamics of an ensemble: simple moments measured draw by draw, derived quantities with their errors.

A file is read temperature by temperature and in pieces, so that one temperature's moments (a hundred bytes a draw) and
one piece of its configurations are all that is ever in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcmc.analysis.free_energy import from_weights
from mcmc.analysis.statistics import LEAST_DRAWS, Estimate, derived, estimate, r_hat, r_hat_limit
from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, model_from_name

if TYPE_CHECKING:
    from mcmc.sampling.settings import Settings
    from mcmc.storage.ensemble import Ensemble

MIXING = ("energy", "magnetization")
"""Moments that are watched for chains that have not mixed."""

WEIGHT = "proposal_log_weight"
"""Series of files of neural chains, of which `mcmc.analysis.free_energy` makes free energies."""

Moments = Mapping[str, np.ndarray]
"""Series by name, (chains, draws): what `measure` returns at one temperature."""


def measure(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    """The moments of every draw from which all of `OBSERVABLES` follow.

    Args:
        theta: angles in [-pi, pi), (..., Ly, Lx).
        model: the spin model.

    Returns:
        float64 arrays of shape (...): energy (per site), magnetization, vortex_density, nematic_order, plaquette_term;
        cos_x, cos_y, sin2_x, sin2_y (`mcmc.models.observables.helicity_terms`); long_wave_x, long_wave_y (S at the
        smallest wave vectors); winding_square (sum of both squared winding numbers).

    Raises:
        InputError: ``theta`` holds no configurations.
    """
    helicity, waves = observables.helicity_terms(theta), observables.long_wave_factors(theta)
    ring, couplings = observables.plaquette_term(theta), model.couplings
    return {
        "energy": -couplings["J"] * (helicity[..., 0] + helicity[..., 1]) - couplings["K"] * ring,
        "magnetization": observables.magnetization(theta),
        "vortex_density": observables.vortex_density(theta),
        "nematic_order": observables.nematic_order(theta),
        "plaquette_term": ring,
        "winding_square": (observables.winding_numbers(theta) ** 2).sum(-1),
        **{name: helicity[..., k] for k, name in enumerate(("cos_x", "cos_y", "sin2_x", "sin2_y"))},
        **{name: waves[..., k] for k, name in enumerate(("long_wave_x", "long_wave_y"))},
    }


class System(NamedTuple):
    """What an observable depends on besides the moments."""

    model: Model
    lattice: Lattice
    temperature: float


class Observable(NamedTuple):
    """A quantity declared by the simple moments it needs and a function of their means."""

    series: Callable[[Moments], tuple[np.ndarray, ...]]
    """From measured moments, the series whose means enter."""
    function: Callable[..., float] | None = None
    """``function(system, *means)``; None for the mean itself."""

    def estimate(self, moments: Moments, system: System) -> Estimate:
        """Value and error from the moments (chains, draws) of one temperature."""
        series = self.series(moments)
        return derived(partial(self.function, system), *series) if self.function else estimate(*series)


def _mean_of(name: str) -> Observable:
    return Observable(lambda moments: (moments[name],))


def _fluctuation(name: str, power: int) -> Observable:
    """N (<x^2> - <x>^2) / T^power."""

    def variance(system: System, square: float, mean: float) -> float:
        return system.lattice.N * (square - mean**2) / system.temperature**power

    return Observable(lambda moments: (moments[name] ** 2, moments[name]), variance)


def _structure_factor(system: System, square: float) -> float:
    return system.lattice.N * square


def _binder_cumulant(system: System, square: float, fourth: float) -> float:
    return 1 - fourth / (3 * square**2)


def _helicity_modulus(*axes: str) -> Observable:
    def helicity(system: System, cos: float, sin2: float) -> float:
        J = system.model.couplings["J"]
        return J * cos - J**2 * sin2 / system.temperature

    def over_axes(moments: Moments, name: str) -> np.ndarray:
        return np.mean([moments[f"{name}_{axis}"] for axis in axes], axis=0)

    return Observable(lambda moments: (over_axes(moments, "cos"), over_axes(moments, "sin2")), helicity)


def _correlation_length(system: System, square: float, along_x: float, along_y: float) -> float:
    momentum = sum((2 * math.sin(math.pi / L)) ** 2 for L in system.lattice.shape) / 2
    ratio = system.lattice.N * square * (1 / along_x + 1 / along_y) / 2
    return math.sqrt(max(ratio - 1, 0.0) / momentum)


OBSERVABLES: dict[str, Observable] = {
    "energy": _mean_of("energy"),
    "specific_heat": _fluctuation("energy", 2),
    "magnetization": _mean_of("magnetization"),
    "susceptibility": _fluctuation("magnetization", 1),
    "structure_factor": Observable(lambda moments: (moments["magnetization"] ** 2,), _structure_factor),
    "binder_cumulant": Observable(
        lambda moments: (moments["magnetization"] ** 2, moments["magnetization"] ** 4), _binder_cumulant
    ),
    "vortex_density": _mean_of("vortex_density"),
    "helicity_modulus": _helicity_modulus("x", "y"),
    "helicity_modulus_x": _helicity_modulus("x"),
    "helicity_modulus_y": _helicity_modulus("y"),
    "correlation_length": Observable(
        lambda moments: (moments["magnetization"] ** 2, moments["long_wave_x"], moments["long_wave_y"]),
        _correlation_length,
    ),
    "nematic_order": _mean_of("nematic_order"),
    "plaquette_term": _mean_of("plaquette_term"),
    "winding_square": _mean_of("winding_square"),
}
"""Every observable of a table by name."""


def thermodynamics(moments: Moments, model: Model, lattice: Lattice, temperature: float) -> dict[str, Estimate]:
    """All of `OBSERVABLES` at one temperature, and free energy and entropy where a flow gave weights.

    Args:
        moments: what `measure` returns, (chains, draws); of neural chains also `WEIGHT`.
        model: the spin model.
        lattice: the periodic rectangle.
        temperature: in units of J / k_B.
    """
    system = System(model, lattice, temperature)
    row = {name: observable.estimate(moments, system) for name, observable in OBSERVABLES.items()}
    if WEIGHT in moments:
        row |= from_weights(moments[WEIGHT], moments["energy"], lattice.N, temperature)
    return row


def _estimate_from_json(fields: Mapping[str, Any]) -> Estimate:
    values: list[Any] = [math.nan if fields[name] is None else fields[name] for name in Estimate._fields]
    return Estimate(*values)


class Table(NamedTuple):
    """Thermodynamics of an ensemble."""

    model: Model
    lattice: Lattice
    temperatures: np.ndarray
    """In units of J / k_B, (T,)."""
    rows: list[dict[str, Estimate]]
    """Estimates by observable, one row a temperature."""
    r_hat: np.ndarray
    """Agreement of the chains and of their halves, for energy and magnetisation, (T, 2); NaN for under 5 draws."""
    chains: int
    """Independent chains at each temperature."""

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Values and errors of one observable, both (T,).

        Raises:
            InputError: no such observable.
        """
        if name not in self.rows[0]:
            raise InputError(f"unknown observable {name!r}: choose one of {', '.join(self.rows[0])}")
        return np.array([row[name].value for row in self.rows]), np.array([row[name].error for row in self.rows])

    def warnings(self) -> list[str]:
        """One line for each temperature whose errors are not to be trusted, with the remedy."""
        lines = []
        for T, row, ratios in zip(self.temperatures, self.rows, self.r_hat, strict=True):
            worst = max(row, key=lambda name: row[name].missing)
            if row["energy"].error == 0:
                lines.append(f"T = {T:.6g}: the chains never moved: no error is known, use another sampler")
            elif row[worst].missing:
                found = row[worst]
                lines.append(
                    f"T = {T:.6g}: {found.draws} draws are too few for an error of {worst} "
                    f"(tau_int at least {found.tau_int:.3g}): add about {found.missing} draws"
                )
            else:
                lines += [
                    f"T = {T:.6g}: chains disagree in {name}, with each other or over time (R-hat = {ratio:.3f}): "
                    "thermalise longer, or use tempering"
                    for name, ratio in zip(MIXING, ratios, strict=True)
                    if ratio > r_hat_limit(self.chains, row[name].draws // self.chains, row[name].tau_int)
                ]
        return lines

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Table:
        """The table that `as_json`, and so ``latticeflow observe --json``, has written.

        Raises:
            InputError: something else.
        """
        try:
            rows = [
                {name: _estimate_from_json(fields) for name, fields in row.items() if name != "temperature"}
                for row in table["rows"]
            ]
            T = np.array([row["temperature"] for row in table["rows"]], np.float64)
            model = model_from_name(table["model"], table["J"], table["K"])
            ratios = np.array(table["r_hat"], np.float64)  # None becomes NaN
            return cls(model, Lattice(*table["size"]), T, rows, ratios, table["chains"])
        except (KeyError, TypeError) as error:
            raise InputError(f"no table as `latticeflow observe --json` writes it: {error!r}") from None

    def as_json(self) -> dict[str, Any]:
        """The table in JSON's types; numbers that do not exist (the error of three draws) are None."""

        def plain(value: float | int) -> float | int | None:
            return value if math.isfinite(value) else None

        rows: list[dict[str, Any]] = [
            {"temperature": float(T), **{n: {k: plain(v) for k, v in e._asdict().items()} for n, e in row.items()}}
            for T, row in zip(self.temperatures, self.rows, strict=True)
        ]
        return {
            "model": self.model.name,
            "size": [self.lattice.Lx, self.lattice.Ly],
            **self.model.couplings,
            "rows": rows,
            "chains": self.chains,
            "r_hat": [[plain(value) for value in pair] for pair in self.r_hat.tolist()],
            "warnings": self.warnings(),
        }


def observe(ensemble: Ensemble, *, max_bytes: int = 2**26, report: Callable[[int], None] = lambda draws: None) -> Table:
    """Measure an ensemble, streaming over its file.

    Args:
        ensemble: open for reading.
        max_bytes: configurations held in memory at a time.
        report: called with the number of draws, of all chains, that have been measured since the last call.

    Raises:
        InputError: the ensemble is empty, or holds what is no configuration.
    """
    if not ensemble.draws:
        raise InputError("the ensemble holds no draws yet: generate some first")
    moments = (read_moments(ensemble, t, max_bytes=max_bytes, report=report) for t in range(len(ensemble.temperatures)))
    return tabulate(moments, ensemble.model, ensemble.lattice, ensemble.temperatures)


def tabulate(moments: Iterable[Moments], model: Model, lattice: Lattice, temperatures: Any) -> Table:
    """The table that follows from the moments (chains, draws) at each temperature, which are taken one at a time."""
    rows, ratios, chains = [], [], 0
    for each, T in zip(moments, temperatures, strict=True):
        chains, draws = each["energy"].shape
        rows.append(thermodynamics(each, model, lattice, float(T)))
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
    replicas = len(settings.temperatures) * settings.chains
    step = max(1, max_bytes // (4 * settings.lattice.N * replicas))
    shape = (len(settings.temperatures), settings.chains, draws)
    moments: dict[str, np.ndarray] = {}
    for start in range(0, draws, step):
        theta = simulation.block(min(step, draws - start)).theta
        for name, values in measure(theta, settings.model).items():
            moments.setdefault(name, np.empty(shape))[:, :, start : start + step] = values
        report(theta.shape[2] * replicas)
    return [{name: values[t] for name, values in moments.items()} for t in range(shape[0])]


def read_moments(
    ensemble: Ensemble, t: int, *, max_bytes: int = 2**26, report: Callable[[int], None] = lambda draws: None
) -> dict[str, np.ndarray]:
    """Moments (chains, draws) of the ensemble at temperature number ``t``; see `measure` and `observe`."""
    step = max(1, max_bytes // (4 * ensemble.lattice.N * ensemble.chains))
    moments: dict[str, np.ndarray] = {}
    for start in range(0, ensemble.draws, step):
        theta = ensemble.theta(slice(start, start + step), temperatures=slice(t, t + 1))[0]
        for name, values in measure(theta, ensemble.model).items():
            moments.setdefault(name, np.empty((ensemble.chains, ensemble.draws)))[:, start : start + step] = values
        report(theta.shape[0] * theta.shape[1])
    if WEIGHT in ensemble.series_names:
        moments[WEIGHT] = ensemble.series(WEIGHT, temperatures=slice(t, t + 1))[0]
    return moments
