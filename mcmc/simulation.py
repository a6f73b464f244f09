"""One run: thermalise, sweep, measure; yields blocks of draws that the ensemble file commits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mcmc import rng, samplers
from mcmc.errors import InputError
from mcmc.lattice import Lattice
from mcmc.models import Model
from mcmc.replicas import Replicas
from mcmc.samplers import SAMPLERS as SAMPLERS


@dataclass(frozen=True)
class Settings:
    """Everything that determines the draws of a run.

    Args:
        model: the spin model with its couplings.
        lattice: the periodic rectangle.
        temperatures: in units of J / k_B, positive.
        chains: independent Markov chains at each temperature.
        sampler: one of `SAMPLERS`; see `mcmc.samplers`.
        thermalise: steps before the first draw; None chooses by sampler and size.
        thin: steps between draws; None chooses by sampler and size.
        seed: root of the tree of random streams.
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
    first_temperature: int = 0
    first_chain: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
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
        samplers.mix(self.model, self.sampler)
        rng.key(self.seed)

    def part(self, temperatures: range, chains: range) -> Settings:
        """A rectangle of temperatures x chains of this run; it draws the same numbers as it does within the whole.

        Args:
            temperatures: consecutive indices of `temperatures`.
            chains: consecutive chains, counted from 0.
        """
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
        return replace(
            self,
            thermalise=samplers.default_thermalise(self.lattice, self.sampler) if thermalise is None else thermalise,
            thin=samplers.default_thin(self.lattice, self.sampler) if thin is None else thin,
        )


class Block(NamedTuple):
    """Consecutive draws of every chain at every temperature (T of them, C chains, n draws)."""

    theta: np.ndarray
    """Angles in [-pi, pi), float32 (T, C, n, Ly, Lx)."""
    series: dict[str, np.ndarray]
    """Measured series by name, float64 (T, C, n); see `mcmc.observables`."""


def available_threads() -> int:
    """Processors this process may use, or NUMBA_NUM_THREADS where that is set."""
    return int(os.environ.get("NUMBA_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))


class Simulation:
    """Markov chains of one model at a grid of temperatures.

    Draws depend on the settings only: not on how they are divided into blocks, nor on threads, nor on restarts from
    a saved `state`.

    Args:
        settings: what to simulate.
        state: where to go on, from `state` of an earlier simulation; None starts and thermalises.
        threads: how many to use; None takes `available_threads`.
    """

    def __init__(
        self, settings: Settings, state: Mapping[str, np.ndarray] | None = None, *, threads: int | None = None
    ):
        self.settings = settings = settings.resolved()
        self.mix = samplers.mix(settings.model, settings.sampler)
        threads = threads or available_threads()
        T, C = len(settings.temperatures), settings.chains
        indices = range(settings.first_temperature, settings.first_temperature + T)
        chains = range(settings.first_chain, settings.first_chain + C)
        temperatures = np.asarray(settings.temperatures)
        keys = np.array([rng.key(settings.seed, t, c) for t in indices for c in chains])
        if state is None:
            from mcmc.thermalisation import thermalise

            self._replicas, self._findings = thermalise(
                settings.model,
                settings.lattice,
                self.mix,
                temperatures=temperatures,
                indices=indices,
                keys=keys,
                seed=settings.seed,
                steps=settings.thermalise or 0,
                threads=threads,
            )
            return
        flat = {name: array.reshape(T * C, *array.shape[2:]) for name, array in state.items() if array.ndim}
        beta = np.repeat(1 / temperatures, C)
        self._replicas = Replicas(settings.model, settings.lattice, beta, keys, threads=threads)
        self._replicas.spins = np.stack([flat["x"], flat["y"]])
        self._replicas.width, self._replicas.accepted = flat["width"], flat["accepted"].T.copy()
        self._replicas.step = int(state["step"])
        self._findings = {name.removeprefix("start_"): flat[name] for name in flat if name.startswith("start_")}

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, by name: arrays (T, C, ...), or 0-d where all chains share a number.

        So a state splits into those of the parts of a run, and theirs join.
        """
        r = self._replicas
        x, y = r.spins
        arrays = {"x": x, "y": y, "width": r.width, "accepted": r.accepted.T}
        arrays |= {f"start_{name}": array for name, array in self._findings.items()}
        shape = (len(self.settings.temperatures), self.settings.chains)
        state = {name: array.reshape(*shape, *array.shape[1:]) for name, array in arrays.items()}
        return {**state, "step": np.array(r.step)}

    def report(self) -> dict[str, Any]:
        """What the run chose and counted, in JSON's types."""
        from mcmc.thermalisation import summary

        settings, r = self.settings, self._replicas
        names = ("local", "lines", "twists")
        per_step = (settings.lattice.N, sum(settings.lattice.shape), 2 / max(1, self.mix.twist_period))
        rates = {
            name: (count.reshape(len(settings.temperatures), -1).mean(1) / max(1, r.step) / most).round(6).tolist()
            for name, count, most in zip(names, r.accepted, per_step, strict=True)
        }
        return {
            "sampler": settings.sampler,
            "mix": self.mix._asdict(),
            "steps": r.step,
            "thin": settings.thin,
            "thermalisation": {"steps": settings.thermalise, **summary(self._findings)},
            "acceptance": rates,
        }

    def block(self, draws: int) -> Block:
        """Advance the chains by ``draws`` draws and measure them.

        Raises:
            InputError: ``draws`` is not positive.
        """
        if draws < 1:
            raise InputError(f"draws = {draws} must be at least 1")
        shape, N = (len(self.settings.temperatures), self.settings.chains, draws), self.settings.lattice.N
        theta = np.empty((self._replicas.size, draws, N), np.float32)
        energy, mx, my = self._replicas.run(self.mix, draws, self.settings.thin or 1, theta)
        series = {"energy": energy.reshape(shape) / N, "magnetization": np.hypot(mx, my).reshape(shape) / N}
        return Block(theta.reshape(*shape, *self.settings.lattice.shape), series)
