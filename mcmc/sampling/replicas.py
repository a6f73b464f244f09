"""Many replicas of one model, laid out in blocks for the kernels and advanced by threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc.errors import InputError
from mcmc.kernels.conventions import WIDTH, BlockArrays, Interaction, Owned, Square
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, require_known
from mcmc.sampling.interactions import interaction_of, owned_by
from mcmc.sampling.moves import Move, counted_steps
from mcmc.sampling.rng import lane_keys
from mcmc.sampling.samplers import Sampler
from mcmc.sampling.strip_layout import sections_of, strip_neighbours

if TYPE_CHECKING:
    from mcmc.kernels.steps import Steps

_MEASURED = 2**20
"""Angles of a block that are held at once, before they are put in order."""
_AT_ONCE = 2**24
"""Updates of all replicas of a block in one call, which no signal can end: a fraction of a second."""


@dataclass
class ReplicaBlock:
    """Replicas that a kernel advances together: what a `Move` is given.

    Attributes:
        slots: which of all replicas they are; lanes are padded to W, a multiple of `WIDTH`.
        lattice: the periodic rectangle.
        model: the spin model, with its couplings in units of `unit`.
        interaction: tables from which kernels compute local fields, in units of `unit`.
        owned: tables from which they compute energies.
        strips: lanes of each replica, see `mcmc.kernels.strips`; 1 where every lane is a replica. With more, the
            tables of the interaction are those of the n = N / `strips` sites of a strip.
        sites: int32 (N, ...), the tables' neighbours of the whole lattice.
        unit: energy in which kernels work, a power of two near the largest coupling: so beta times an energy has the
            same bits whatever the unit in which J, K and T are given.
        x, y: float32 (n, W), the spins; with strips two rows of copies follow.
        beta: float32 (W,), inverse temperatures in 1 / `unit`.
        keys: uint32 (4, W), keys of the random streams of the lanes.
        shared_keys: uint32 (4, W), keys that the lanes of a replica have in common.
        tuned: float32 (W,) by name of the move, its tuned parameter.
        counts: float32 (W,) by name of the move, what it has counted since the block was last read out.
        uncounted: steps since then.
        threads: how many share each lattice.
    """

    slots: slice
    lattice: Lattice
    model: Model
    interaction: Interaction
    owned: Owned
    strips: int
    sites: np.ndarray
    unit: float
    x: np.ndarray
    y: np.ndarray
    beta: np.ndarray
    keys: np.ndarray
    shared_keys: np.ndarray
    tuned: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    uncounted: int = 0
    threads: int = 1

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

    def lanes(self, values: np.ndarray) -> np.ndarray:
        """Numbers of all lanes (..., W), without the padding, by replica and strip: (..., size, strips)."""
        used = values[..., : self.size * self.strips]
        return used.reshape(*used.shape[:-1], self.size, self.strips)

    @cached_property
    def steps(self) -> Steps:
        """What calls kernels for it."""
        from mcmc.kernels.steps import Steps

        return Steps(
            BlockArrays(
                self.x.ravel(),
                self.y.ravel(),
                self.beta,
                self.keys.ravel(),
                self.shared_keys.ravel(),
                self.interaction,
                None if isinstance(self.interaction, Square) else self.owned,
                self.lattice.Lx,
                self.strips,
                self.size,
            ),
            sections_of(self.lattice, self.strips),
            self.threads,
        )

    def copy_rows(self) -> None:
        """Bring the copies of rows at the seams of strips up to date; see `mcmc.kernels.strips`."""
        if self.strips > 1:
            self.steps.copy_rows()

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
        strips: lanes of each replica; see `mcmc.sampling.strip_layout.choose_strips`.

    Attributes:
        step: steps made since the start of the run; it names the random numbers of the next one.
    """

    def __init__(
        self, model: Model, lattice: Lattice, beta: np.ndarray, keys: np.ndarray, *, threads: int = 1, strips: int = 1
    ):
        require_known(model)
        self.model, self.lattice, self.size, self.threads = model, lattice, len(beta), threads
        self.step = 0
        self.keys = keys
        self._accepted: dict[str, np.ndarray] = {}
        self._prepared: Sampler | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._interrupted = False
        self.strips = strips
        copies = 2 * lattice.Lx if strips > 1 else 0
        self._unit = 2.0 ** (math.frexp(model.scale)[1] - 1)
        model.check(lattice.shape)
        reduced = model.in_units_of(self._unit)
        interaction, owned = interaction_of(reduced, lattice), owned_by(reduced, lattice)
        sites = interaction.neighbours
        if strips > 1 and isinstance(interaction, Square):
            interaction = interaction._replace(neighbours=strip_neighbours(lattice, strips))
        # One vector a block at least, four at most: wider ones leave the cache, narrower ones wait for arithmetic.
        vectors = -(-self.size * strips // WIDTH)
        width = WIDTH // strips * min(4, -(-vectors // threads))
        # Where there are fewer blocks than threads, these share lattices.
        each = min(sections_of(lattice, strips), max(1, threads // -(-self.size // width)))
        self.blocks: list[ReplicaBlock] = []
        for start in range(0, self.size, width):
            slots = slice(start, min(start + width, self.size))
            used = (slots.stop - slots.start) * strips
            W = -(-used // WIDTH) * WIDTH
            x, y = (aligned_zeros(len(interaction.neighbours) + copies, W) for _ in range(2))
            x[:] = 1
            block = ReplicaBlock(
                slots=slots,
                lattice=lattice,
                model=reduced,
                interaction=interaction,
                owned=owned,
                strips=strips,
                sites=sites,
                unit=self._unit,
                x=x,
                y=y,
                beta=aligned_zeros(W) + 1,
                keys=np.zeros((4, W), np.uint32),
                shared_keys=np.zeros((4, W), np.uint32),
                threads=each,
            )
            block.shared_keys[:, :used] = np.repeat(keys[slots].T, strips, axis=1)
            block.keys[:, :used] = lane_keys(keys[slots], strips)
            self.blocks.append(block)
        self.beta = beta

    def _gather(self, arrays: Callable[[ReplicaBlock], np.ndarray]) -> np.ndarray:
        """One number of each replica, (R,)."""
        return np.concatenate([block.lanes(arrays(block))[..., 0] for block in self.blocks])

    def _scatter(self, arrays: Callable[[ReplicaBlock], np.ndarray], values: np.ndarray) -> None:
        for block in self.blocks:
            block.lanes(arrays(block))[...] = values[block.slots, None]

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
    def accepted(self) -> dict[str, np.ndarray]:
        """What has been counted so far, float64 (R,) by name of the move; set it to count on from there."""
        for block in self.blocks:
            self._read_counts(block)
        return self._accepted

    @accepted.setter
    def accepted(self, values: dict[str, np.ndarray]) -> None:
        self._accepted = {**{name: np.zeros(self.size) for name in self.accepted}, **values}

    @property
    def spins(self) -> np.ndarray:
        """Unit vectors, float32 (2, R, N); set them to start from a configuration."""
        spins = np.empty((2, self.size, self.lattice.N), np.float32)
        for block in self.blocks:
            for values, own in zip(spins, (block.x, block.y), strict=True):
                values[block.slots] = by_replica(block, own)
        return spins

    @spins.setter
    def spins(self, values: np.ndarray) -> None:
        for block in self.blocks:
            for given, own in zip(values, (block.x, block.y), strict=True):
                strips = given[block.slots].reshape(block.size, self.strips, -1)
                block.lanes(own[: strips.shape[-1]])[...] = strips.transpose(2, 0, 1)
            block.copy_rows()

    def subset(self, size: int) -> Replicas:
        """The first ``size`` replicas, to go on as they would have done here."""
        few = Replicas(
            self.model, self.lattice, self.beta[:size], self.keys[:size], threads=self.threads, strips=self.strips
        )
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
        if sampler is self._prepared:
            return
        self._prepared = sampler
        for move in sampler.moves:
            self._accepted.setdefault(move.name, np.zeros(self.size))
            for block in self.blocks:
                block.prepare(move)

    def advance(self, sampler: Sampler, steps: int) -> None:
        """Make ``steps`` steps of a sampler."""
        self._prepare(sampler)

        self._map(lambda block: self._advance(block, sampler, self.step, steps))
        self.step += steps

    def _advance(self, block: ReplicaBlock, sampler: Sampler, step: int, steps: int) -> None:
        most, at_once = counted_steps(self.lattice), max(1, _AT_ONCE // (self.lattice.N * block.size))
        while steps > 0 and not self._interrupted:
            if block.uncounted == most:
                self._read_counts(block)
            count = min(steps, most - block.uncounted, at_once)
            sampler.advance(block, step, count)
            block.uncounted += count
            step, steps = step + count, steps - count

    def _read_counts(self, block: ReplicaBlock) -> None:
        for name, counted in block.counts.items():
            self._accepted[name][block.slots] += block.lanes(counted).sum(-1, dtype=np.float64)
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
            n = 0
            while n < draws:
                n += self._run_at_once(block, sampler, n, draws, thin, series, theta)

        self._map(work)
        self.step += draws * thin
        return series

    def _run_at_once(
        self,
        block: ReplicaBlock,
        sampler: Sampler,
        n: int,
        draws: int,
        thin: int,
        series: np.ndarray,
        theta: np.ndarray | None,
    ) -> int:
        """Make draw n and, where many steps are one call of a kernel, some that follow; returns how many."""
        count = min(draws - n, _AT_ONCE // (self.lattice.N * block.size * thin), _MEASURED // block.x.size)
        if count > 1 and not self._interrupted:
            steps = count * thin
            if block.uncounted + steps > counted_steps(self.lattice):
                self._read_counts(block)
            if found := sampler.run(block, self.step + n * thin, count, thin, theta is not None):
                block.uncounted += steps
                _keep(block, slice(n, n + count), series, theta, *found)
                return count
        self._advance(block, sampler, self.step + n * thin, thin)
        _measure(block, n, series, theta)
        return 1

    def measure(self, theta: np.ndarray | None = None) -> np.ndarray:
        """Measure as `run` does, without a step; float64 (3, R)."""
        series = np.empty((3, self.size, 1))
        self._map(lambda block: _measure(block, 0, series, theta))
        return series[..., 0]


def by_replica(block: ReplicaBlock, values: np.ndarray) -> np.ndarray:
    """Numbers of all sites in a block's layout, (n or more, W), in the lattice's order, (size, N).

    Dimensions before these two come second: (draws, n, W) gives (size, draws, N).
    """
    lanes = np.moveaxis(block.lanes(values[..., : len(block.neighbours), :]), (-2, -1), (0, -2))
    return lanes.reshape(*lanes.shape[:-2], -1)


def _measure(block: ReplicaBlock, n: int, series: np.ndarray, theta: np.ndarray | None) -> None:
    _keep(block, slice(n, n + 1), series, theta, *block.steps.measure(theta is not None))


def _keep(
    block: ReplicaBlock,
    draws: slice,
    series: np.ndarray,
    theta: np.ndarray | None,
    sums: np.ndarray,
    angles: np.ndarray,
) -> None:
    """Put measurements of all lanes, (draws, 3, W), and angles, (draws, n, W), where they belong."""
    found = block.lanes(sums).sum(-1)
    # Where it is cold the excess is tiny, which float32 carries beside zero but not beside the whole energy.
    found[:, 0] = block.unit * (found[:, 0] - block.floor)
    series[:, block.slots, draws] = np.moveaxis(found, 0, -1)
    if theta is not None:
        theta[block.slots, draws] = by_replica(block, angles)
