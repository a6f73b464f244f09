"""Many replicas of one model, laid out in blocks for the kernels and advanced by threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from mcmc.kernels.conventions import MOVES_PER_STEP, OFFSETS, WIDTH
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.sampling.samplers import Mix


class _Block(NamedTuple):
    """Arrays of the replicas in ``slots``, padded to a multiple of `WIDTH`."""

    slots: slice
    x: np.ndarray
    y: np.ndarray
    beta: np.ndarray
    tuned: np.ndarray
    keys: np.ndarray
    accepted: np.ndarray


def _aligned(*shape: int) -> np.ndarray:
    """Zeros, float32, starting at a cache line."""
    size = int(np.prod(shape))
    raw = np.zeros(size + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + size].reshape(shape)


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
    """

    def __init__(self, model: Model, lattice: Lattice, beta: np.ndarray, keys: np.ndarray, *, threads: int = 1):
        self.model, self.lattice, self.size, self.threads = model, lattice, len(beta), threads
        self.step = 0
        self._pool: ThreadPoolExecutor | None = None
        self.keys = keys
        self._neighbours = lattice.neighbours(*OFFSETS)
        self._couplings = np.float32(model.couplings["J"]), np.float32(model.couplings["K"])
        # One vector a block at least, four at most: wider ones leave the cache, narrower ones wait for arithmetic.
        vectors = -(-self.size // WIDTH)
        width = WIDTH * min(4, -(-vectors // threads))
        self._blocks = []
        for start in range(0, self.size, width):
            slots = slice(start, min(start + width, self.size))
            W = -(-(slots.stop - slots.start) // WIDTH) * WIDTH
            x, y = _aligned(lattice.N, W), _aligned(lattice.N, W)
            x[:] = 1
            self._blocks.append(
                _Block(slots, x, y, _aligned(W) + 1, _aligned(W) + 1, np.zeros((4, W), np.uint32), _aligned(4, W))
            )
        self.accepted = np.zeros((4, self.size))
        self.beta = beta
        for block in self._blocks:
            block.keys[:, : block.slots.stop - block.slots.start] = keys[block.slots].T

    def _gather(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(b, name)[..., : b.slots.stop - b.slots.start] for b in self._blocks], axis=-1)

    def _scatter(self, name: str, values: np.ndarray) -> None:
        for b in self._blocks:
            getattr(b, name)[..., : b.slots.stop - b.slots.start] = values[..., b.slots]

    @property
    def beta(self) -> np.ndarray:
        """Inverse temperatures, float32 (R,)."""
        return self._gather("beta")

    @beta.setter
    def beta(self, values: np.ndarray) -> None:
        self._scatter("beta", values)

    @property
    def tuned(self) -> np.ndarray:
        """Metropolis step widths in units of pi, or Wolff clusters a step: float32 (R,)."""
        return self._gather("tuned")

    @tuned.setter
    def tuned(self, values: np.ndarray) -> None:
        self._scatter("tuned", values)

    @property
    def spins(self) -> np.ndarray:
        """Unit vectors, float32 (2, R, N); set them to start from a configuration."""
        return np.stack([self._gather("x").T, self._gather("y").T])

    @spins.setter
    def spins(self, values: np.ndarray) -> None:
        self._scatter("x", values[0].T)
        self._scatter("y", values[1].T)

    def subset(self, size: int) -> Replicas:
        """The first ``size`` replicas, to go on as they would have done here."""
        few = Replicas(self.model, self.lattice, self.beta[:size], self.keys[:size], threads=self.threads)
        few.spins, few.tuned, few.step = self.spins[:, :size], self.tuned[:size], self.step
        few.accepted = self.accepted[:, :size].copy()
        return few

    def _map(self, work: Callable[[_Block], Any]) -> list[Any]:
        """Do ``work`` on every block."""
        if self.threads == 1 or len(self._blocks) == 1:
            return [work(block) for block in self._blocks]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(self.threads, len(self._blocks)))
        return list(self._pool.map(work, self._blocks))

    def advance(self, mix: Mix, steps: int) -> None:
        """Make ``steps`` steps of ``mix``."""
        self._map(lambda block: self._advance(block, mix, self.step, steps))
        self.step += steps

    def _advance(self, block: _Block, mix: Mix, step: int, steps: int) -> None:
        # float32 counts whole numbers exactly to 2^24.
        most = max(1, 2**23 // self.lattice.N)
        if mix.local and mix.cluster:
            most = 1
        while steps > 0:
            count = min(steps, most)
            if mix.local or mix.over_relaxations or mix.lines:
                self._local(block, mix, step, count)
            if mix.cluster:
                self._clusters(block, mix.cluster, step, count)
            self.accepted[:, block.slots] += block.accepted[:, : block.slots.stop - block.slots.start]
            block.accepted[:] = 0
            step, steps = step + count, steps - count

    def _local(self, block: _Block, mix: Mix, step: int, steps: int) -> None:
        from mcmc.kernels.mix import local_steps

        local_steps(
            block.x.ravel(),
            block.y.ravel(),
            block.beta,
            block.tuned,
            block.keys.ravel(),
            self._neighbours,
            *self._couplings,
            self.lattice.Lx,
            step,
            steps,
            ("", "metropolis", "heat_bath").index(mix.local),
            mix.over_relaxations,
            mix.lines,
            mix.twist_period,
            block.accepted[:3],
        )

    def _clusters(self, block: _Block, kind: str, step: int, steps: int) -> None:
        J, K = self._couplings
        x, y, keys = block.x.ravel(), block.y.ravel(), block.keys.ravel()
        common = block.slots.stop - block.slots.start, step, steps, MOVES_PER_STEP, block.accepted[3]
        if kind == "wolff":
            from mcmc.kernels.wolff import wolff

            wolff(x, y, block.beta, block.tuned, keys, self._neighbours, J, *common)
        elif kind == "swendsen_wang":
            from mcmc.kernels.swendsen_wang import swendsen_wang

            swendsen_wang(x, y, block.beta, keys, J, self.lattice.Lx, *common)
        else:
            from mcmc.kernels.plaquette_cluster import plaquette_cluster

            plaquette_cluster(x, y, block.beta, keys, self._neighbours, J, K, *common)

    def run(self, mix: Mix, draws: int, thin: int, theta: np.ndarray | None = None) -> np.ndarray:
        """Advance by ``draws`` times ``thin`` steps and measure after each ``thin``.

        Args:
            mix: what a step does.
            draws: number of measurements.
            thin: steps before each.
            theta: float32 (R, draws, N), receives the angles if given.

        Returns:
            float64 (3, R, draws): energy, and the sums of the spins' x and y components.
        """
        series = np.empty((3, self.size, draws))

        def work(block: _Block) -> None:
            for n in range(draws):
                self._advance(block, mix, self.step + n * thin, thin)
                self._measure(block, n, series, theta)

        self._map(work)
        self.step += draws * thin
        return series

    def measure(self, theta: np.ndarray | None = None) -> np.ndarray:
        """Measure as `run` does, without a step; float64 (3, R)."""
        series = np.empty((3, self.size, 1))
        self._map(lambda block: self._measure(block, 0, series, theta))
        return series[..., 0]

    def _measure(self, block: _Block, n: int, series: np.ndarray, theta: np.ndarray | None) -> None:
        from mcmc.kernels import measure

        count, W = block.slots.stop - block.slots.start, len(block.beta)
        J, K = self._couplings
        x, y = block.x.ravel(), block.y.ravel()
        series[:, block.slots, n] = measure.moments(x, y, W, self._neighbours, J, K, self.lattice.Lx)[:, :count]
        if theta is not None:
            out = np.empty_like(x)
            measure.angles(x, y, out)
            theta[block.slots, n] = out.reshape(-1, W).T[:count]
