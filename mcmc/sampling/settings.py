"""Everything that determines the draws of a run, and how a file keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, model_from_name, require_known
from mcmc.sampling import rng
from mcmc.sampling.samplers import find_sampler
from mcmc.storage.provenance import origin


@dataclass(frozen=True)
class Settings:
    """Everything that determines the draws of a run.

    Args:
        model: the spin model with its couplings.
        lattice: the periodic rectangle.
        temperatures: in units of J / k_B, positive.
        chains: independent Markov chains at each temperature.
        sampler: a name of `mcmc.sampling.samplers.SAMPLERS`, or ``module:name``.
        thermalise: steps before the first draw; None chooses by sampler and size.
        thin: steps between draws; None chooses by sampler and size.
        seed: root of the tree of random streams.
        tempering: whether the replicas of a chain exchange their temperatures; see `mcmc.sampling.tempering`.
        first_temperature: index of the first temperature in a larger run of which this is a part; see `part`.
        first_chain: number of the first chain in that run.

    Raises:
        InputError: naming the value and the remedy.
    """

    model: Model
    lattice: Lattice
    temperatures: tuple[float, ...]
    chains: int = 1
    sampler: str = "auto"
    thermalise: int | None = None
    thin: int | None = None
    seed: int = 0
    tempering: bool = False
    first_temperature: int = 0
    first_chain: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        require_known(self.model)
        if not self.temperatures:
            raise InputError("no temperatures given: name at least one")
        for T in self.temperatures:
            if not (np.isfinite(T) and T > 0):
                raise InputError(f"temperature {T!r} must be a positive finite number")
        for name, value, least in (
            ("chains", self.chains, 1),
            ("thermalise", self.thermalise, 0),
            ("thin", self.thin, 1),
            ("first_temperature", self.first_temperature, 0),
            ("first_chain", self.first_chain, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"{name} = {value} must be at least {least}")
        if self.tempering and len(self.temperatures) < 2:
            raise InputError("tempering needs at least 2 temperatures: name more, or do without")
        find_sampler(self.sampler, self.model, self.lattice)
        rng.key(self.seed)

    def part(self, temperatures: range, chains: range) -> Settings:
        """A rectangle of temperatures x chains of this run; it draws the same numbers as it does within the whole.

        Args:
            temperatures: consecutive indices of `temperatures`; all of them under tempering.
            chains: consecutive chains, counted from 0.

        Raises:
            InputError: temperatures that exchange configurations would be parted.
        """
        if self.tempering and len(temperatures) < len(self.temperatures):
            raise InputError("temperatures that exchange configurations cannot be parted: divide the chains")
        return replace(
            self.resolved(),
            temperatures=self.temperatures[temperatures.start : temperatures.stop],
            chains=len(chains),
            first_temperature=self.first_temperature + temperatures.start,
            first_chain=self.first_chain + chains.start,
        )

    def resolved(self) -> Settings:
        """The same settings with every choice made."""
        thin, thermalise = self.thin, self.thermalise
        sampler = find_sampler(self.sampler, self.model, self.lattice)
        return replace(
            self,
            thermalise=sampler.default_thermalise(self.lattice) if thermalise is None else thermalise,
            thin=sampler.default_thin(self.lattice) if thin is None else thin,
        )


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """Settings in JSON's types; `settings_from_dict` is the inverse."""
    plain = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
        "model": {"name": settings.model.name, **settings.model.couplings},
        "lattice": {"Lx": settings.lattice.Lx, "Ly": settings.lattice.Ly},
    }


def settings_from_dict(stored: Mapping[str, Any]) -> Settings:
    """The settings that `settings_to_dict` described.

    Raises:
        InputError: a setting that this version does not know.
    """
    known = {field.name for field in fields(Settings)}
    unknown = sorted(set(stored) - known)
    if unknown:
        raise InputError(f"the file's settings name {', '.join(unknown)}, unknown here: upgrade latticeflow")
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    plain["model"], plain["lattice"] = model_from_name(**stored["model"]), Lattice(**stored["lattice"])
    return Settings(**plain)


def adopt(requested: Settings, stored: Settings, path: Path) -> Settings:
    """Settings to go on with: those of the file, whose choices stand for what was left open.

    Raises:
        InputError: the file was made otherwise than requested.
    """
    open_choices = {
        field.name: getattr(stored, field.name)
        for field in fields(requested)
        if getattr(requested, field.name) in (None, "auto")
    }
    requested = replace(requested, **open_choices).resolved()
    for field in fields(requested):
        ours, theirs = getattr(requested, field.name), getattr(stored, field.name)
        if ours != theirs:
            text = f"{path} was made with {field.name} = {theirs!r}, not {ours!r}"
            raise InputError(f"{text}: repeat its command, or name another file")
    return stored


def run_attributes(settings: Settings, command: Sequence[str] | None = None) -> dict[str, Any]:
    """Attributes for the file of a run.

    Args:
        settings: resolved.
        command: the command line; None takes this process's.
    """
    return {
        "sampler": settings.sampler,
        "seed": str(settings.seed),
        "random_streams": "numpy SeedSequence(seed, spawn_key=(temperature index, chain number)); see mcmc.rng",
        "settings": settings_to_dict(settings),
        "moves": find_sampler(settings.sampler, settings.model, settings.lattice).describe(),
        **origin(command),
    }
