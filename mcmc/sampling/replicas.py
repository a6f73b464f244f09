"""Many replicas of one model, laid out in blocks for the kernels and advanced by threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from mcmc.errors import InputError
from mcmc.kernels.conventions import WIDTH, Interaction, Owned, Square
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, require_known
from mcmc.sampling.interactions import interaction_of, owned_by
from mcmc.sampling.moves import Move, counted_steps
from mcmc.sampling.samplers import Sampler

_AT_ONCE = 2**20
"""Updates of each replica in one call, which no signal can end: less than a second."""


@dataclass
class ReplicaBlock:
    """Replicas that a kernel advances together: what a `Move` is given.

    Attributes:
        slots: which of all replicas they are; arrays are padded to W, a multiple of `WIDTH`.
        lattice: the periodic rectangle.
        model: the spin model, with its couplings in units of `unit`.
        interaction: tables from which kernels compute local fields, in units of `unit`.
        owned: tables from which they compute energies.
        unit: energy in which kernels work, a power of two near the largest coupling: so beta times an energy has the
            same bits whatever the unit in which J, K and T are given.
        x, y: float32 (N, W), the spins.
        beta: float32 (W,), inverse temperatures in 1 / `unit`.
        keys: uint32 (4, W), keys of the random streams.
        tuned: float32 (W,) by name of the move, its tuned parameter.
        counts: float32 (W,) by name of the move, what it has counted since the block was last read out.
        uncounted: steps since then.
    """

    slots: slice
    lattice: Lattice
    model: Model
    interaction: Interaction
    owned: Owned
    unit: float
    x: np.ndarray
    y: np.ndarray
    beta: np.ndarray
    keys: np.ndarray
    tuned: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    uncounted: int = 0

    @cached_property
    def floor(self) -> float:
        """Energy of all sites, in units of `unit`, above which kernels measure excesses; see `mcmc.kernels.measure`."""
        return float(self.lattice.N * self.owned.amplitudes[..., 2].sum(-1, dtype=np.float64).mean())

    @property
    def neighbours(self) -> np.ndarray:
        """Of every site, int32 (N, ...): those that its interaction reads."""
        return self.interaction.neighbours

    @property
    def size(self) -> int:
        """How many replicas there are, without the padding."""
        return self.slots.stop - self.slots.start

    def prepare(self, move: Move) -> None:
        """Make room for what a move counts and tunes."""
        if move.name not in self.counts:
            self.counts[move.name] = aligned_zeros(len(self.beta))
        if move.initial is not None and move.name not in self.tuned:
            self.tuned[move.name] = aligned_zeros(len(self.beta)) + np.float32(move.initial)


def lowest_temperature(model: Model) -> float:
    """Lowest temperature, in units of energy, at which unit vectors in single precision carry the fluctuations.

    Their rounding, 2^-24 on average, makes an energy of some 2^-46 couplings a site, which does not fall with the
    temperature: at this one, 2^-32 of the largest coupling, it is 10^-4 of the thermal energy T / 2.

    Example:
        >>> from mcmc import XY
        >>> f"{lowest_temperature(XY(300.0)):.3g}"
        '6.98e-08'
    """
    return max(2.0**-32 * max(term.scale for term in model.terms), 1e-300)


def aligned_zeros(*shape: int) -> np.ndarray:
    """Zeros, float32, starting at a cache line."""
    size = int(np.prod(shape))
    raw = np.zeros(size + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + size].reshape(shape)


def too_cold(temperature: float, least: float) -> InputError:
    """The complaint about a temperature below `lowest_temperature`."""
    return InputError(
        f"temperature {temperature:.6g} is too low: angles in single precision carry fluctuations down to T = "
        f"{least:.3g} for these couplings"
    )


def _tuned(name: str, block: ReplicaBlock) -> np.ndarray:
    return block.tuned[name]


class Replicas:
    """R independent replicas, each with its own temperature and random stream.

    Results depend on each replica's own beta, key and start only: not on the threads, nor on which other replicas there
    are.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        beta: (R,) inverse temperatures.
        keys: (R, 4) uint32, keys of the random streams; see `mcmc.sampling.rng.key`.
        threads: how many threads advance the blocks.

    Attributes:
        step: steps made since the start of the run; it names the random numbers of the next one.
        accepted: float64 (R,) by name of the move, what it has counted so far.
    """

    def __init__(self, model: Model, lattice: Lattice, beta: np.ndarray, keys: np.ndarray, *, threads: int = 1):
        require_known(model)
        self.model, self.lattice, self.size, self.threads = model, lattice, len(beta), threads
        self.step = 0
        self.keys = keys
        self.accepted: dict[str, np.ndarray] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._interrupted = False
        self._unit = 2.0 ** (math.frexp(model.scale)[1] - 1)
        model.check(lattice.shape)
        reduced = model.in_units_of(self._unit)
        interaction, owned = interaction_of(reduced, lattice), owned_by(reduced, lattice)
        # One vector a block at least, four at most: wider ones leave the cache, narrower ones wait for arithmetic.
        vectors = -(-self.size // WIDTH)
        width = WIDTH * min(4, -(-vectors // threads))
        self.blocks: list[ReplicaBlock] = []
        for start in range(0, self.size, width):
            slots = slice(start, min(start + width, self.size))
            W = -(-(slots.stop - slots.start) // WIDTH) * WIDTH
            x, y = aligned_zeros(lattice.N, W), aligned_zeros(lattice.N, W)
            x[:] = 1
            block = ReplicaBlock(
                slots,
                lattice,
                reduced,
                interaction,
                owned,
                self._unit,
                x,
                y,
                aligned_zeros(W) + 1,
                np.zeros((4, W), np.uint32),
            )
            block.keys[:, : block.size] = keys[slots].T
            self.blocks.append(block)
        self.beta = beta

    def _gather(self, arrays: Callable[[ReplicaBlock], np.ndarray]) -> np.ndarray:
        return np.concatenate([arrays(block)[..., : block.size] for block in self.blocks], axis=-1)

    def _scatter(self, arrays: Callable[[ReplicaBlock], np.ndarray], values: np.ndarray) -> None:
        for block in self.blocks:
            arrays(block)[..., : block.size] = values[..., block.slots]

    @property
    def beta(self) -> np.ndarray:
        """Inverse temperatures, float64 (R,), to the precision of float32."""
        return self._gather(lambda block: block.beta).astype(np.float64) / self._unit

    @beta.setter
    def beta(self, values: np.ndarray) -> None:
        values, least = np.asarray(values, np.float64), lowest_temperature(self.model)
        if (values > (1 + 1e-9) / least).any():
            raise too_cold(1 / values.max(), least)
        # Without couplings any temperature will do, but not one that float32 takes for infinite.
        self._scatter(lambda block: block.beta, np.minimum(values * self._unit, 2.0**33))

    @property
    def tuned(self) -> dict[str, np.ndarray]:
        """Tuned parameters by name of the move, float32 (R,); set them to use others."""
        return {name: self._gather(partial(_tuned, name)) for name in self.blocks[0].tuned}

    @tuned.setter
    def tuned(self, values: Mapping[str, np.ndarray]) -> None:
        for name, parameter in values.items():
            for block in self.blocks:
                block.tuned.setdefault(name, aligned_zeros(len(block.beta)) + 1)
            self._scatter(partial(_tuned, name), np.asarray(parameter))

    @property
    def spins(self) -> np.ndarray:
        """Unit vectors, float32 (2, R, N); set them to start from a configuration."""
        return np.stack([self._gather(lambda block: block.x).T, self._gather(lambda block: block.y).T])

    @spins.setter
    def spins(self, values: np.ndarray) -> None:
        self._scatter(lambda block: block.x, values[0].T)
        self._scatter(lambda block: block.y, values[1].T)

    def subset(self, size: int) -> Replicas:
        """The first ``size`` replicas, to go on as they would have done here."""
        few = Replicas(self.model, self.lattice, self.beta[:size], self.keys[:size], threads=self.threads)
        few.spins, few.step = self.spins[:, :size], self.step
        few.tuned = {name: values[:size] for name, values in self.tuned.items()}
        few.accepted = {name: values[:size].copy() for name, values in self.accepted.items()}
        return few

    def _map(self, work: Callable[[ReplicaBlock], Any]) -> list[Any]:
        """Do ``work`` on every block.

        Raises:
            RuntimeError: earlier work was interrupted, so that the blocks are not in step.
        """
        if self._interrupted:
            raise RuntimeError("these replicas were interrupted amid a step: start again from the last state")
        try:
            if self.threads == 1 or len(self.blocks) == 1:
                return [work(block) for block in self.blocks]
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(self.threads, len(self.blocks)))
            return list(self._pool.map(work, self.blocks))
        except BaseException:
            self._interrupted = True  # threads at work see it and end, else Python would wait for them
            raise

    def _prepare(self, sampler: Sampler) -> None:
        for move in sampler.moves:
            self.accepted.setdefault(move.name, np.zeros(self.size))
            for block in self.blocks:
                block.prepare(move)

    def advance(self, sampler: Sampler, steps: int) -> None:
        """Make ``steps`` steps of a sampler."""
        self._prepare(sampler)

        def work(block: ReplicaBlock) -> None:
            self._advance(block, sampler, self.step, steps)
            self._read_counts(block)

        self._map(work)
        self.step += steps

    def _advance(self, block: ReplicaBlock, sampler: Sampler, step: int, steps: int) -> None:
        most, at_once = counted_steps(self.lattice), max(1, _AT_ONCE // self.lattice.N)
        while steps > 0 and not self._interrupted:
            if block.uncounted == most:
                self._read_counts(block)
            count = min(steps, most - block.uncounted, at_once)
            sampler.advance(block, step, count)
            block.uncounted += count
            step, steps = step + count, steps - count

    def _read_counts(self, block: ReplicaBlock) -> None:
        for name, counted in block.counts.items():
            self.accepted[name][block.slots] += counted[: block.size]
            counted[:] = 0
        block.uncounted = 0

    def run(self, sampler: Sampler, draws: int, thin: int, theta: np.ndarray | None = None) -> np.ndarray:
        """Advance by ``draws`` times ``thin`` steps and measure after each ``thin``.

        Args:
            sampler: what a step does.
            draws: number of measurements.
            thin: steps before each.
            theta: float32 (R, draws, N), receives the angles if given.

        Returns:
            float64 (3, R, draws): energy, and the sums of the spins' x and y components.
        """
        series = np.empty((3, self.size, draws))
        self._prepare(sampler)

        def work(block: ReplicaBlock) -> None:
            for n in range(draws):
                self._advance(block, sampler, self.step + n * thin, thin)
                _measure(block, n, series, theta)
            self._read_counts(block)

        self._map(work)
        self.step += draws * thin
        return series

    def measure(self, theta: np.ndarray | None = None) -> np.ndarray:
        """Measure as `run` does, without a step; float64 (3, R)."""
        series = np.empty((3, self.size, 1))
        self._map(lambda block: _measure(block, 0, series, theta))
        return series[..., 0]


def _measure(block: ReplicaBlock, n: int, series: np.ndarray, theta: np.ndarray | None) -> None:
    from mcmc.kernels import measure

    x, y, W = block.x.ravel(), block.y.ravel(), len(block.beta)
    if isinstance(block.interaction, Square):
        found = measure.moments(x, y, W, *block.interaction, block.lattice.Lx)
    else:
        found = measure.term_moments(x, y, W, block.owned, block.lattice.Lx)
    # Where it is cold the excess is tiny, which float32 carries beside zero but not beside the whole energy.
    found[0] = block.unit * (found[0] - block.floor)
    series[:, block.slots, n] = found[:, : block.size]
    if theta is not None:
        out = np.empty_like(x)
        measure.angles(x, y, out)
        theta[block.slots, n] = out.reshape(-1, W).T[: block.size]
