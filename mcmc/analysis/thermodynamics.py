"""Thermodynamics of an ensemble: simple moments measured draw by draw, derived quantities with their errors.

A file is read temperature by temperature and in pieces, so that one temperature's moments (a hundred bytes a draw) and
one piece of its configurations are all that is ever in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcmc.analysis.free_energy import from_weights
from mcmc.analysis.statistics import LEAST_DRAWS, Estimate, derived, estimate, r_hat
from mcmc.analysis.table import MIXING, Row, Table
from mcmc.errors import InputError
from mcmc.models import observables, order
from mcmc.models.lattice import Lattice
from mcmc.models.moments import moments_by_threads
from mcmc.models.presets import Model
from mcmc.runtime.choices import strict
from mcmc.runtime.registry import Registry, nearest
from mcmc.runtime.threads import available_threads
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.memory_ensemble import require_ensemble
from mcmc.storage.selection import no_configurations

if TYPE_CHECKING:
    from mcmc.sampling.settings import Settings
    from mcmc.storage.memory_ensemble import ReadableEnsemble

WEIGHT = "proposal_log_weight"
"""Series of files of neural chains, of which `mcmc.analysis.free_energy` makes free energies."""

Moments = Mapping[str, np.ndarray]
"""Series by name, (chains, draws): what `measure` returns at one temperature."""


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
        extra = _extra(OBSERVABLES.values())
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


class System(NamedTuple):
    """What an observable depends on besides the moments."""

    model: Model
    lattice: Lattice
    temperature: float


@dataclass(frozen=True)
class Observable:
    """A quantity declared by the simple moments it needs and a function of their means.

    Args:
        series: from the measured moments by name, the series whose means enter.
        function: ``function(system, *means)`` returns the quantity; None for the mean itself.
        moments: moments beyond those of `measure` that must be measured, functions of configurations (..., Ly, Lx)
            that return one number for each, (...).
        spread_of: a moment of which only deviations from its mean matter. They are what ``series`` is given, so that
            squares of means do not cancel where fluctuations are small.
        obstacle: ``obstacle(model, lattice, chains)`` says why the quantity makes no sense for a model on a lattice
            with so many chains at each temperature; empty if it does. Tables of everything leave it out then.

    Example:
        A mean, and a fluctuation, of one's own function; see `register_observable`:

        >>> def first_row(theta):
        ...     return np.abs(np.exp(1j * theta[..., 0, :]).mean(-1))
        >>> mean = Observable.mean(first_row)
        >>> spread = Observable.fluctuation(first_row)
    """

    series: Callable[[Moments], tuple[np.ndarray, ...]]
    function: Callable[..., float] | None = None
    moments: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    spread_of: str | None = None
    obstacle: Callable[[Model, Lattice, int], str] = lambda model, lattice, chains: ""

    @classmethod
    def mean(cls, function: Callable[[np.ndarray], np.ndarray]) -> Observable:
        """The mean of a function of configurations, (..., Ly, Lx) -> (...)."""
        name = _moment_name(function)
        return cls(lambda moments: (moments[name],), moments={name: function})

    @classmethod
    def fluctuation(cls, function: Callable[[np.ndarray], np.ndarray], *, power: int = 1) -> Observable:
        """N (<x^2> - <x>^2) / T^power of a function of configurations, (..., Ly, Lx) -> (...)."""
        name = _moment_name(function)
        return cls(_square_and_mean(name), partial(_variance, power), {name: function}, spread_of=name)

    def estimate(self, moments: Moments, system: System) -> Estimate:
        """Value and error from the moments (chains, draws) of one temperature."""
        [series] = self.series_of([moments])
        return derived(partial(self.function, system), *series) if self.function else estimate(*series)

    def series_of(self, sets: Sequence[Moments]) -> list[tuple[np.ndarray, ...]]:
        """The series whose means enter, for each set of moments; deviations are from the mean of all sets.

        Raises:
            InputError: a moment is lacking.
        """
        try:
            if self.spread_of is not None:
                centre = float(np.mean([np.mean(moments[self.spread_of]) for moments in sets]))
                sets = [{**moments, self.spread_of: moments[self.spread_of] - centre} for moments in sets]
            return [self.series(moments) for moments in sets]
        except KeyError as error:
            name = str(error.args[0]).partition("#")[0]
            raise InputError(f"the moment {name} was not measured with these draws: it needs configurations") from None


def _square_and_mean(name: str) -> Callable[[Moments], tuple[np.ndarray, ...]]:
    return lambda moments: (moments[name] ** 2, moments[name])


def _moment_name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__qualname__', type(function).__name__)}#{id(function)}"


def _extra(found: Iterable[Observable]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return {name: function for each in found for name, function in each.moments.items()}


def _variance(power: int, system: System, square: float, mean: float) -> float:
    return system.lattice.N * (square - mean**2) / system.temperature**power


def _mean_of(name: str) -> Observable:
    return Observable(lambda moments: (moments[name],))


def _only(obstacle: Callable[..., str], observable: Observable, *arguments: int) -> Observable:
    """The observable for models to which `mcmc.models.order` has no objection on lattices of their shape."""
    return changed(observable, obstacle=lambda model, lattice, chains: obstacle(model, lattice.shape, *arguments))


def _fluctuation(name: str, power: int) -> Observable:
    """N (<x^2> - <x>^2) / T^power."""
    return Observable(_square_and_mean(name), partial(_variance, power), spread_of=name)


def _structure_factor(system: System, square: float) -> float:
    return system.lattice.N * square


def _binder_cumulant(system: System, square: float, fourth: float) -> float:
    return 1 - fourth / (3 * square**2) if square**2 else math.nan


def _binder_of(name: str) -> Observable:
    return Observable(lambda moments: (moments[name] ** 2, moments[name] ** 4), _binder_cumulant)


def _square_of(name: str) -> Observable:
    return Observable(lambda moments: (moments[name] ** 2,))


def _no_overlap(model: Model, lattice: Lattice, chains: int) -> str:
    if not order.disordered(model, lattice.shape):
        return "overlaps are of disordered models, whose couplings or phases vary from site to site"
    return "" if chains > 1 else "an overlap needs two chains at each temperature"


def _no_stiffness_across(model: Model, shape: Sequence[int]) -> str:
    return order.no_stiffness(model, shape) if len(shape) == 3 else "the lattice has no third axis"


def _helicity_modulus(*axes: str) -> Observable:
    def helicity(system: System, cos: float, sin2: float) -> float:
        return cos - sin2 / system.temperature

    def over_axes(moments: Moments, name: str) -> np.ndarray:
        return np.mean([moments[f"{name}_{axis}"] for axis in axes or _axes(moments)], axis=0)

    return Observable(lambda moments: (over_axes(moments, "cos"), over_axes(moments, "sin2")), helicity)


def _axes(moments: Moments) -> str:
    """Axes of the lattice of which these are moments."""
    return "xyz" if "cos_z" in moments else "xy"


def _correlation_length(system: System, square: float, *along: float) -> float:
    momentum = sum((2 * math.sin(math.pi / L)) ** 2 for L in system.lattice.shape) / len(along)
    ratio = system.lattice.N * square * sum(1 / each for each in along) / len(along)
    return math.sqrt((ratio - 1) / momentum) if ratio >= 1 else math.nan


OBSERVABLES = Registry[Observable]("observable")
"""Every observable of a table by name."""

for _name, _observable in {
    "energy": _mean_of("energy"),
    "specific_heat": _fluctuation("energy", 2),
    "magnetization": _mean_of("magnetization"),
    "susceptibility": _fluctuation("magnetization", 1),
    "structure_factor": Observable(lambda moments: (moments["magnetization"] ** 2,), _structure_factor),
    "binder_cumulant": _binder_of("magnetization"),
    "vortex_density": _only(order.no_vortices, _mean_of("vortex_density")),
    "helicity_modulus": _only(order.no_stiffness, _helicity_modulus()),
    "helicity_modulus_x": _only(order.no_stiffness, _helicity_modulus("x")),
    "helicity_modulus_y": _only(order.no_stiffness, _helicity_modulus("y")),
    "helicity_modulus_z": _only(_no_stiffness_across, _helicity_modulus("z")),
    "correlation_length": _only(
        order.no_length,
        Observable(
            lambda moments: (moments["magnetization"] ** 2, *(moments[f"long_wave_{axis}"] for axis in _axes(moments))),
            _correlation_length,
        ),
    ),
    "nematic_order": _mean_of("nematic_order"),
    "plaquette_term": _mean_of("plaquette_term"),
    "winding_square": _only(order.no_windings, _mean_of("winding_square")),
    "clock_order": _only(order.no_clock, _mean_of("clock_order")),
    "sublattice_magnetization": _only(order.no_sublattices, _mean_of("sublattice_magnetization")),
    "staggered_magnetization": _only(order.no_sublattices, _mean_of("staggered_magnetization"), 2),
    "staggered_binder": _only(order.no_sublattices, _binder_of("staggered_magnetization"), 2),
    "chirality": _only(order.no_chirality, Observable(lambda moments: (np.abs(moments["chirality"]),))),
    "chirality_square": _only(order.no_chirality, _square_of("chirality")),
    "chirality_binder": _only(order.no_chirality, _binder_of("chirality")),
    "stripe_magnetization": _only(order.no_stripes, _mean_of("stripe_magnetization")),
    "stripe_order": _only(order.no_stripes, Observable(lambda moments: (np.abs(moments["stripe_direction"]),))),
    "stripe_binder": _only(order.no_stripes, _binder_of("stripe_direction")),
    "overlap": changed(_mean_of("overlap"), obstacle=_no_overlap),
    "overlap_square": changed(_square_of("overlap"), obstacle=_no_overlap),
    "overlap_binder": changed(_binder_of("overlap"), obstacle=_no_overlap),
}.items():
    OBSERVABLES.register(_name, _observable)


def observables_of(model: Model, lattice: Lattice, chains: int = 1) -> dict[str, Observable]:
    """The observables that make sense for a model, by name: of `OBSERVABLES`, and energies by the name of the terms.

    Args:
        model: the spin model.
        lattice: the periodic rectangle or cuboid.
        chains: at each temperature.

    Example:
        >>> import mcmc
        >>> found = observables_of(mcmc.build_model("antiferromagnet+field"), mcmc.Lattice(4, 4))
        >>> [name for name in found if name not in observables_of(mcmc.XY(), mcmc.Lattice(4, 4))]
        ['sublattice_magnetization', 'staggered_magnetization', 'staggered_binder', 'energy_J', 'energy_h']
    """
    found = {name: each for name, each in OBSERVABLES.items() if not each.obstacle(model, lattice, chains)}
    kinds = model.kinds if len(model.kinds) > 1 else ()
    return found | {f"energy_{kind}": _mean_of(f"energy_{kind}") for kind in kinds}


def register_observable(
    name: str, observable: Observable | Callable[[np.ndarray], np.ndarray], *, replace: bool = False
) -> None:
    """Let an observable appear in every table, in reweighted curves and in figures.

    Args:
        name: one word.
        observable: an `Observable`, or a function of configurations (..., Ly, Lx) -> (...) whose mean is meant.
        replace: whether an existing one of that name gives way.

    Raises:
        InputError: the name is taken.

    Example:
        >>> def nearest_pairs(theta):
        ...     return np.cos(theta - np.roll(theta, 1, -1)).mean((-1, -2))
        >>> register_observable("pairs", nearest_pairs)
        >>> "pairs" in OBSERVABLES
        True
        >>> OBSERVABLES.remove("pairs")
    """
    OBSERVABLES.register(name, _as_observable(observable), replace=replace)


def _as_observable(given: Observable | Callable[[np.ndarray], np.ndarray]) -> Observable:
    if not callable(given) and not isinstance(given, Observable):
        raise InputError(f"expected an Observable or a function of configurations; got {type(given).__name__}")
    return given if isinstance(given, Observable) else Observable.mean(given)


Chosen = Sequence[str] | Mapping[str, "Observable | Callable[[np.ndarray], np.ndarray]"]
"""Names of observables, or observables and functions of configurations by name."""


def chosen(asked: Chosen | None, model: Model, lattice: Lattice, chains: int = 1) -> dict[str, Observable]:
    """Observables by name; a name may be ``module:name``. None takes those that make sense for the model.

    Raises:
        InputError: an unknown name, or an observable that makes no sense for the model, with the reason.
    """
    sensible = observables_of(model, lattice, chains)
    if asked is None:
        return sensible
    if isinstance(asked, Mapping):
        found = {name: _as_observable(each) for name, each in asked.items()}
    else:
        names = [asked] if isinstance(asked, str) else asked
        found = {
            name.rpartition(":")[2]: sensible[name] if name in sensible else _as_observable(_find(name, sensible))
            for name in names
        }
    for name, each in found.items():
        if reason := each.obstacle(model, lattice, chains):
            raise InputError(f"{name} makes no sense for {model} on {lattice}: {reason}")
    return found


def _find(name: str, sensible: Mapping[str, Observable]) -> Any:
    if ":" not in name and name not in OBSERVABLES:
        raise InputError(f"unknown observable {name!r}: {nearest(name, sensible)}")
    return OBSERVABLES.find(name)


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
    extra = _extra(wanted.values())
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
