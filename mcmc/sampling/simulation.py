"""One run: thermalise, sweep, measure; yields blocks of draws that the ensemble file commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc.errors import InputError
from mcmc.models.moments import moments_by_threads
from mcmc.runtime.text import grid_in_words
from mcmc.runtime.threads import available_threads
from mcmc.sampling import streams
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import find_sampler
from mcmc.sampling.settings import Settings
from mcmc.storage.block import Block

if TYPE_CHECKING:
    from mcmc.sampling.tempering import Ladder


class Simulation:
    """Markov chains of one model at a grid of temperatures.

    Draws depend on the settings only: not on how they are divided into blocks, nor on threads, nor on restarts from
    a saved `state`.

    Args:
        settings: what to simulate.
        state: where to go on, from `state` of an earlier simulation; None starts and thermalises.
        threads: how many to use; None takes `available_threads`.
        series_only: measure `mcmc.models.moments.basic_moments` of every draw, and hand out no configurations.
    """

    def __init__(
        self,
        settings: Settings,
        state: Mapping[str, np.ndarray] | None = None,
        *,
        threads: int | None = None,
        series_only: bool = False,
    ):
        self.settings = settings = settings.resolved()
        self.sampler = find_sampler(settings.sampler, settings.model, settings.lattice)
        self._threads = threads = threads or available_threads()
        self._series_only = series_only
        temperatures = np.asarray(settings.temperatures)
        keys = streams.chain_keys(settings)
        if state is None:
            from mcmc.sampling.thermalisation import PROBES, thermalise

            self._replicas, self._findings = thermalise(
                settings.model,
                settings.lattice,
                self.sampler,
                temperatures=temperatures,
                keys=keys,
                probe_keys=streams.probe_keys(settings, 2 * PROBES),
                steps=settings.thermalise or 0,
                name=settings.sampler,
                threads=threads,
                strips=settings.strips or 1,
            )
        else:
            beta = np.repeat(1 / temperatures, settings.shape[1])
            self._replicas = Replicas(
                settings.model, settings.lattice, beta, keys, threads=threads, strips=settings.strips or 1
            )
            self._restore(state)
        self._ladder: Ladder | None = None
        if settings.tempering:
            from mcmc.sampling.tempering import Ladder

            r = self._replicas
            accepted = {name: r.accepted.get(name, np.zeros(r.size)) for name in self.sampler.move_names}
            self._ladder = Ladder(temperatures, streams.exchange_keys(settings), tuned=r.tuned, accepted=accepted)
            r.accepted = {name: np.zeros(r.size) for name in accepted}
            if state is not None:
                self._ladder.restore(state)
            self._ladder.assign(r)

    def __repr__(self) -> str:
        """Model, size, temperatures, chains, and how far they are."""
        settings, T, lattice = self.settings, self.settings.temperatures, self.settings.lattice
        return (
            f"Simulation of {settings.model} on {lattice} sites by {settings.sampler}\n"
            f"  {grid_in_words(T)}; {settings.chains} chains at each; "
            f"step {self._replicas.step}"
        )

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in state.items() if array.ndim}

        def named(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): flat[name] for name in flat if name.startswith(prefix)}

        r = self._replicas
        r.spins, r.step = np.stack([flat["x"], flat["y"]]), int(state["step"])
        r.tuned, r.accepted = named("tuned_"), {name: counts.copy() for name, counts in named("accepted_").items()}
        self._findings = named("start_")

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, by name: arrays (T, C, ...), or 0-d where all chains share a number.

        So a state splits into those of the parts of a run, and theirs join.
        """
        r = self._replicas
        x, y = r.spins
        arrays = {"x": x, "y": y}
        for prefix, named in (("tuned", r.tuned), ("accepted", r.accepted), ("start", self._findings)):
            arrays |= {f"{prefix}_{name}": array for name, array in named.items()}
        shape = self.settings.shape
        state = {name: array.reshape(*shape, *array.shape[1:]) for name, array in arrays.items()}
        return {**state, "step": np.array(r.step), **(self._ladder.state() if self._ladder else {})}

    def report(self) -> dict[str, Any]:
        """What the run chose and counted, in JSON's types."""
        from mcmc.sampling.thermalisation import summary

        settings, r = self.settings, self._replicas
        rates = {}
        for name, most in self.sampler.proposals(settings.lattice).items():
            counts = r.accepted.get(name, np.zeros(r.size)).reshape(len(settings.temperatures), -1)
            if self._ladder:
                counts = counts + self._ladder.accepted_at[name]
            rates[name] = (counts.mean(1) / max(1, r.step) / most).round(6).tolist()
        tempering = {"tempering": self._ladder.report()} if self._ladder else {}
        return {
            "sampler": settings.sampler,
            "moves": self.sampler.describe(),
            "steps": r.step,
            "thin": settings.thin,
            "thermalisation": {"steps": settings.thermalise, **summary(self._findings, settings.temperatures)},
            "acceptance": rates,
            **tempering,
        }

    def block(self, draws: int) -> Block:
        """Advance the chains by ``draws`` draws and measure them.

        Raises:
            InputError: ``draws`` is not positive.
        """
        if draws < 1:
            raise InputError(f"draws = {draws} must be at least 1")
        (T, C), N = self.settings.shape, self.settings.lattice.N
        theta, thin = np.empty((T * C, draws, N), np.float32), self.settings.thin or 1
        if self._ladder is None:
            moments = self._replicas.run(self.sampler, draws, thin, theta)
        else:
            moments = self._ladder.run(self._replicas, self.sampler, draws, thin, theta)
        energy, mx, my = moments.reshape(3, T, C, draws) / N
        if self._series_only:
            theta = theta.reshape(T, C, draws, *self.settings.lattice.shape)
            series = moments_by_threads(theta, self.settings.model, self._threads)
            return Block.of_series(series, self.settings.lattice.dimensions)
        theta = theta.reshape(T, C, draws, *self.settings.lattice.shape)
        return Block(theta, {"energy": energy, "magnetization": np.hypot(mx, my)})
