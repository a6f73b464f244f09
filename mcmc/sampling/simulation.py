"""One run: thermalise, sweep, measure; yields blocks of draws that the ensemble file commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc.errors import InputError
from mcmc.runtime.threads import available_threads
from mcmc.sampling import rng, samplers
from mcmc.sampling.replicas import Replicas
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
            from mcmc.sampling.thermalisation import thermalise

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
        else:
            beta = np.repeat(1 / temperatures, C)
            self._replicas = Replicas(settings.model, settings.lattice, beta, keys, threads=threads)
            self._restore(state)
        self._ladder: Ladder | None = None
        if settings.tempering:
            from mcmc.sampling.tempering import Ladder

            r = self._replicas
            self._ladder = Ladder(temperatures, chains, seed=settings.seed, tuned=r.tuned, accepted=r.accepted)
            r.accepted[:] = 0
            if state is not None:
                self._ladder.restore(state)
            self._ladder.assign(r)

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in state.items() if array.ndim}
        r = self._replicas
        r.spins, r.tuned, r.accepted = np.stack([flat["x"], flat["y"]]), flat["tuned"], flat["accepted"].T.copy()
        r.step = int(state["step"])
        self._findings = {name.removeprefix("start_"): flat[name] for name in flat if name.startswith("start_")}

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, by name: arrays (T, C, ...), or 0-d where all chains share a number.

        So a state splits into those of the parts of a run, and theirs join.
        """
        r = self._replicas
        x, y = r.spins
        arrays = {"x": x, "y": y, "tuned": r.tuned, "accepted": r.accepted.T}
        arrays |= {f"start_{name}": array for name, array in self._findings.items()}
        shape = (len(self.settings.temperatures), self.settings.chains)
        state = {name: array.reshape(*shape, *array.shape[1:]) for name, array in arrays.items()}
        return {**state, "step": np.array(r.step), **(self._ladder.state() if self._ladder else {})}

    def report(self) -> dict[str, Any]:
        """What the run chose and counted, in JSON's types."""
        from mcmc.sampling.thermalisation import summary

        settings, r = self.settings, self._replicas
        T, N = len(settings.temperatures), settings.lattice.N
        counts = r.accepted.reshape(4, T, -1)
        if self._ladder:
            counts = counts + np.moveaxis(self._ladder.accepted_at, -1, 0)
        moves = {
            "local": N if self.mix.local else 0,
            "lines": sum(settings.lattice.shape) if self.mix.lines else 0,
            "twists": 2 / self.mix.twist_period if self.mix.local and self.mix.twist_period else 0,
            "cluster_sites": N if self.mix.cluster else 0,
        }
        rates = {
            name: (count.mean(1) / max(1, r.step) / most).round(6).tolist()
            for (name, most), count in zip(moves.items(), counts, strict=True)
            if most
        }
        tempering = {"tempering": self._ladder.report()} if self._ladder else {}
        return {
            "sampler": settings.sampler,
            "mix": self.mix._asdict(),
            "steps": r.step,
            "thin": settings.thin,
            "thermalisation": {"steps": settings.thermalise, **summary(self._findings)},
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
        T, C, N = len(self.settings.temperatures), self.settings.chains, self.settings.lattice.N
        theta, thin = np.empty((T * C, draws, N), np.float32), self.settings.thin or 1
        if self._ladder is None:
            moments = self._replicas.run(self.mix, draws, thin, theta)
        else:
            moments = self._ladder.run(self._replicas, self.mix, draws, thin, theta)
        energy, mx, my = moments.reshape(3, T, C, draws) / N
        theta = theta.reshape(T, C, draws, *self.settings.lattice.shape)
        return Block(theta, {"energy": energy, "magnetization": np.hypot(mx, my)})
