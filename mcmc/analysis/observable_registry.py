"""The observables of a table: each declared by the simple moments that it needs and a function of their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mcmc.analysis.statistics import Estimate, derived, estimate
from mcmc.errors import InputError
from mcmc.models import order
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.runtime.registry import Registry, nearest

Moments = Mapping[str, np.ndarray]
"""Series by name, (chains, draws): what `mcmc.analysis.thermodynamics.measure` returns at one temperature."""


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


def extra_moments(found: Iterable[Observable]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Moments by name that these observables need beyond those of every table."""
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
