"""Everything that determines the draws of a run, and how a file keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mcmc.errors import InputError
from mcmc.kernels.conventions import WIDTH
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, model_from_name, require_known
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.arguments import whole_number
from mcmc.sampling.mixes import MANY_REFLECTIONS_FROM, cheapest
from mcmc.sampling.replicas import lowest_temperature, too_cold
from mcmc.sampling.samplers import Sampler, find_sampler
from mcmc.sampling.streams import DESCRIPTIONS, LATEST
from mcmc.sampling.strip_layout import LEAST_HEIGHT, chains_at_no_cost, choose_strips, fits
from mcmc.storage.provenance import origin

LEAST_CHAINS = 4
"""Chains at each temperature, at least, where they are chosen: R-hat compares them."""
FILLED_SITES = 4096
"""Sites up to which chains are added to fill vectors: their draws take little room there."""


@dataclass(frozen=True)
class Settings:
    """Everything that determines the draws of a run.

    Args:
        model: the spin model with its couplings.
        lattice: the periodic rectangle.
        temperatures: in units of J / k_B, positive, none twice; one number, a sequence or an array of them becomes a
            sorted tuple. Not below `mcmc.sampling.replicas.lowest_temperature`.
        chains: independent Markov chains at each temperature; None chooses, see `chosen_chains`.
        sampler: a name of `mcmc.sampling.samplers.SAMPLERS`, or ``module:name``.
        thermalise: steps before the first draw; None chooses by sampler and size.
        thin: steps between draws; None chooses by sampler and size.
        seed: root of the tree of random streams.
        tempering: whether the replicas of a chain exchange their temperatures; see `mcmc.sampling.tempering`.
        first_temperature: index of the first temperature in a larger run of which this is a part; see `part`.
        first_chain: number of the first chain in that run.
        streams: version of the rule that names random streams, see `mcmc.sampling.streams`; None takes the latest, or
            that of the file which is gone on with.
        strips: lanes of a vector that hold one lattice, 1, 2, 4, 8 or 16, see `mcmc.kernels.strips`; None chooses by
            the lattice and the number of replicas, see `mcmc.sampling.strip_layout.choose_strips`.

    Raises:
        InputError: naming the value and the remedy.
    """

    model: Model
    lattice: Lattice
    temperatures: tuple[float, ...]
    chains: int | None = 1
    sampler: str = "auto"
    thermalise: int | None = None
    thin: int | None = None
    seed: int = 0
    tempering: bool = False
    first_temperature: int = 0
    first_chain: int = 0
    streams: int | None = None
    strips: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled; what came from numpy becomes plain Python."""
        require_known(self.model)
        if not isinstance(self.lattice, Lattice):
            raise InputError(f"lattice = {self.lattice!r} must be a Lattice, such as Lattice(8, 8)")
        self.model.check(self.lattice.shape)
        for name, least in (
            ("streams", 1),
            ("strips", 1),
            ("chains", 1),
            ("thermalise", 0),
            ("thin", 1),
            ("first_temperature", 0),
            ("first_chain", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value, least))
        if self.streams is not None and self.streams not in DESCRIPTIONS:
            raise InputError(f"random streams of version {self.streams} are unknown here: upgrade latticeflow")
        # Version 1 named streams by position: grids of then keep their order.
        grid = as_temperatures(self.temperatures, ordered=self.streams != 1)
        if (coldest := min(grid)) < (limit := lowest_temperature(self.model)):
            raise too_cold(coldest, limit)
        object.__setattr__(self, "temperatures", grid)
        if not isinstance(self.tempering, bool | np.bool_):
            raise InputError(f"tempering = {self.tempering!r} must be True or False")
        object.__setattr__(self, "tempering", bool(self.tempering))
        if self.tempering and len(grid) < 2:
            raise InputError("tempering needs at least 2 temperatures: name more, or do without")
        sampler = find_sampler(self.sampler, self.model, self.lattice)
        if self.strips is not None and not fits(self.strips, self.lattice):
            raise InputError(
                f"strips = {self.strips} must be 1, 2, 4, 8 or 16, and leave strips of at least {LEAST_HEIGHT} rows of "
                f"{self.lattice}"
            )
        if (self.strips or 1) > 1 and not self._may_be_cut(sampler):
            raise InputError(
                f"strips = {self.strips}: {self.sampler} or the model needs whole lattices, set strips = 1"
            )

    def _may_be_cut(self, sampler: Sampler) -> bool:
        """Whether the kernels can advance strips of the lattice: they know bonds and plaquettes of neighbours."""
        return sampler.strips and self.model.square is not None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of temperatures, and of chains at each."""
        return len(self.temperatures), self.chosen_chains if self.chains is None else self.chains

    @property
    def chosen_chains(self) -> int:
        """Chains at each temperature where none are asked for: `LEAST_CHAINS`, or what is as fast.

        On lattices that are too small to be cut into strips more of them fill the processor's vectors at no cost.

        Example:
            >>> [Settings(model_from_name("xy"), Lattice(L, L), (0.9,), chains=None).chosen_chains for L in (8, 64)]
            [16, 4]
        """
        return self.chains_at_no_cost(LEAST_CHAINS)

    def chains_at_no_cost(self, chains: int) -> int:
        """Chains at each temperature that take no longer than ``chains`` of them, but fill the vectors."""
        sampler = find_sampler(self.sampler, self.model, self.lattice)
        if self.lattice.N > FILLED_SITES or not sampler.vectors:
            return chains
        cut = self.strips != 1 and self._may_be_cut(sampler)
        return chains_at_no_cost(self.lattice, len(self.temperatures), chains, cut=cut)

    def _automatic(self, fill: float) -> str:
        """What ``auto`` is: `mcmc.sampling.mixes` knows XY ferromagnets on rectangles.

        By turning every other spin an antiferromagnet becomes one, where all sides are even.
        """
        square, odd = self.model.square, any(side % 2 for side in self.lattice.shape)
        if square is not None and square.K > 0 and self.lattice.N >= MANY_REFLECTIONS_FROM:
            return "auto_over_relaxation"
        if square is None or square.K or not square.J or (square.J < 0 and odd):
            return "auto"
        return cheapest(math.sqrt(self.lattice.N), [T / abs(square.J) for T in self.temperatures], fill)

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
        """The same settings with every choice made.

        What `auto` stands for is chosen where random streams have no version yet: settings that have one are resolved,
        or those of a file, and mean local moves by ``auto``.
        """
        thin, thermalise = self.thin, self.thermalise
        sampler = find_sampler(self.sampler, self.model, self.lattice)
        T, C = self.shape
        strips = self.strips or (choose_strips(self.lattice, T * C) if self._may_be_cut(sampler) else 1)
        if self.sampler == "auto" and self.streams is None:
            name = self._automatic(T * C * strips / (-(-T * C * strips // WIDTH) * WIDTH))
            if name != "auto":
                return replace(self, sampler=name, chains=C, strips=strips).resolved()
        return replace(
            self,
            chains=C,
            thermalise=sampler.default_thermalise(self.lattice) if thermalise is None else thermalise,
            thin=sampler.default_thin(self.lattice) if thin is None else thin,
            streams=LATEST if self.streams is None else self.streams,
            strips=strips,
        )


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """Settings in JSON's types; `settings_from_dict` is the inverse."""
    plain = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
        "model": settings.model.as_json(),
        "lattice": dict(zip(("Lx", "Ly", "Lz"), settings.lattice.sides, strict=False)),
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
    # Files of earlier versions name neither.
    plain: dict[str, Any] = {"streams": 1, "strips": 1, **stored}
    try:
        plain["model"], plain["lattice"] = _model(stored["model"]), Lattice(**stored["lattice"])
        return Settings(**plain)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the file's settings are damaged ({' '.join(str(error).split())})") from None


def _model(stored: Mapping[str, Any]) -> Model:
    # Files of format version 1 name the model.
    return Model.from_json(stored) if "terms" in stored else model_from_name(**stored)


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
    if sorted(requested.temperatures) == sorted(stored.temperatures):
        open_choices["temperatures"] = stored.temperatures  # their order counted once
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
        "random_streams": DESCRIPTIONS[settings.streams or LATEST],
        "settings": settings_to_dict(settings),
        "moves": find_sampler(settings.sampler, settings.model, settings.lattice).describe(),
        **origin(command),
    }
