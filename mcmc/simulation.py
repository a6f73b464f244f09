"""One run: thermalise, sweep, measure; yields blocks of draws that the ensemble file commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mcmc import observables, rng
from mcmc.errors import InputError
from mcmc.lattice import Lattice
from mcmc.models import Model

SAMPLERS = ("auto", "heat_bath")
# East, west, south, north, then the diagonals in the order that the ring exchange visits them.
OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


@dataclass(frozen=True)
class Settings:
    """Everything that determines the draws of a run.

    Args:
        model: the spin model with its couplings.
        lattice: the periodic rectangle.
        temperatures: in units of J / k_B, positive.
        chains: independent Markov chains at each temperature.
        sampler: one of `SAMPLERS`; ``auto`` picks by model, size and temperature.
        thermalise: sweeps before the first draw; None chooses.
        thin: sweeps between draws; None chooses.
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
        if self.sampler not in SAMPLERS:
            raise InputError(f"unknown sampler {self.sampler!r}: choose one of {', '.join(SAMPLERS)}")
        for name, value, least in (
            ("chains", self.chains, 1),
            ("thermalise", self.thermalise, 0),
            ("thin", self.thin, 1),
            ("first_temperature", self.first_temperature, 0),
            ("first_chain", self.first_chain, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"{name} = {value} must be at least {least}")
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
        return replace(
            self,
            sampler="heat_bath" if self.sampler == "auto" else self.sampler,
            thermalise=2000 if self.thermalise is None else self.thermalise,
            thin=10 if self.thin is None else self.thin,
        )


class Block(NamedTuple):
    """Consecutive draws of every chain at every temperature (T of them, C chains, n draws)."""

    theta: np.ndarray
    """Angles in [-pi, pi), float32 (T, C, n, Ly, Lx)."""
    series: dict[str, np.ndarray]
    """Measured series by name, float64 (T, C, n); see `mcmc.observables`."""


class Simulation:
    """Markov chains of one model at a grid of temperatures.

    Draws depend on the settings only: not on how they are divided into blocks, nor on threads, nor on restarts from
    a saved `state`.

    Args:
        settings: what to simulate.
        state: where to go on, from `state` of an earlier simulation; None starts and thermalises.
    """

    def __init__(self, settings: Settings, state: Mapping[str, np.ndarray] | None = None):
        self.settings = settings.resolved()
        T, C = len(settings.temperatures), settings.chains
        self._beta = np.repeat(1 / np.asarray(settings.temperatures), C)
        t0, c0 = settings.first_temperature, settings.first_chain
        self._keys = np.array([rng.key(settings.seed, t0 + t, c0 + c) for t in range(T) for c in range(C)])
        self._neighbours = settings.lattice.neighbours(*OFFSETS)
        if state is None:
            # A cold start is free of the winding states that trap hot starts at low temperature.
            self._x = np.ones((settings.lattice.N, T * C), np.float32)
            self._y = np.zeros_like(self._x)
            self._step = 0
            self._sweep(self.settings.thermalise or 0)
        else:
            shape = (T * C, settings.lattice.N)
            self._x, self._y = (np.ascontiguousarray(state[name].reshape(shape).T) for name in ("x", "y"))
            self._step = int(state["step"])

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, by name: arrays (T, C, ...), or 0-d where all chains share a number.

        So a state splits into those of the parts of a run, and theirs join.
        """
        shape = (len(self.settings.temperatures), self.settings.chains, self.settings.lattice.N)
        x, y = (np.ascontiguousarray(array.T).reshape(shape) for array in (self._x, self._y))
        return {"x": x, "y": y, "step": np.array(self._step)}

    def report(self) -> dict[str, Any]:
        """What the run chose and counted, in JSON's types."""
        return {"sampler": self.settings.sampler, "sweeps": self._step}

    def block(self, draws: int) -> Block:
        """Advance the chains by ``draws`` draws and measure them."""
        T, C = len(self.settings.temperatures), self.settings.chains
        theta = np.empty((T, C, draws, *self.settings.lattice.shape), np.float32)
        for n in range(draws):
            self._sweep(self.settings.thin or 1)
            angles = np.arctan2(self._y, self._x).T.reshape(T, C, *self.settings.lattice.shape)
            theta[:, :, n] = np.where(angles >= np.float32(np.pi), np.float32(-np.pi), angles)
        model, N = self.settings.model, self.settings.lattice.N
        series = {"energy": model.energy(theta) / N, "magnetization": observables.magnetization(theta)}
        return Block(theta, series)

    def _sweep(self, sweeps: int) -> None:
        from mcmc.kernels import heat_bath

        model = self.settings.model
        J, K = model.couplings["J"], model.couplings["K"]
        for _ in range(sweeps):
            heat_bath.sweep(
                self._x,
                self._y,
                self._beta,
                self._keys,
                self._neighbours,
                J,
                K,
                self._step,
                over_relaxations=2,
            )
            self._step += 1
