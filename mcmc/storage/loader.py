"""Random draws of an ensemble file for training, in bounded memory."""

from __future__ import annotations

import numpy as np

from mcmc.errors import InputError
from mcmc.storage.memory_ensemble import ReadableEnsemble
from mcmc.storage.selection import no_configurations


class Loader:
    """Hands out random draws of all temperatures; in an epoch every draw comes once.

    A pool of row-blocks of the file, picked at random, stands in memory. Each temperature shuffles the pool's draws of
    all chains anew; when they are used up, the next row-blocks come in. A file that fits in ``max_bytes`` is read once.

    Args:
        ensemble: open for reading.
        rng: decides the order.
        max_bytes: memory for draws; at least one row-block is held.

    Raises:
        InputError: the file holds no draws, or no configurations.
    """

    def __init__(self, ensemble: ReadableEnsemble, rng: np.random.Generator, *, max_bytes: int = 2**28):
        if not ensemble.draws:
            raise InputError(f"{ensemble.path} holds no draws yet")
        if ensemble.series_only:
            raise no_configurations(ensemble.path)
        self._ensemble, self._rng = ensemble, rng
        rows = ensemble.rows_per_chunk("theta")
        self._blocks = [slice(start, start + rows) for start in range(0, ensemble.draws, rows)]
        self._size = max(1, min(len(self._blocks), max_bytes // (rows * ensemble.draw_bytes)))
        self._waiting: list[slice] = []
        self._pool = np.empty((len(ensemble.temperatures), 0, *ensemble.lattice.shape), np.float32)
        self._order = np.empty((len(ensemble.temperatures), 0), np.int64)

    def sample(self, n: int) -> np.ndarray:
        """The next ``n`` random draws of every temperature, float32 (T, n, Ly, Lx)."""
        T = len(self._ensemble.temperatures)
        batch = np.empty((T, n, *self._ensemble.lattice.shape), np.float32)
        filled = 0
        while filled < n:
            if not self._order.shape[1]:
                self._refill()
            picked, self._order = np.split(self._order, [n - filled], axis=1)
            for t in range(T):
                batch[t, filled : filled + picked.shape[1]] = self._pool[t, picked[t]]
            filled += picked.shape[1]
        return batch

    def _refill(self) -> None:
        if self._size < len(self._blocks) or not self._pool.size:
            if not self._waiting:
                self._waiting = [self._blocks[k] for k in self._rng.permutation(len(self._blocks))]
            chosen, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            T, shape = len(self._ensemble.temperatures), self._ensemble.lattice.shape
            stops = [min(block.stop, self._ensemble.draws) for block in chosen]
            sizes = [self._ensemble.chains * (stop - b.start) for b, stop in zip(chosen, stops, strict=True)]
            del self._pool  # before its successor takes as much memory again
            self._pool = np.empty((T, sum(sizes), *shape), np.float32)
            position = 0
            for block, size in zip(chosen, sizes, strict=True):
                self._pool[:, position : position + size] = self._ensemble.theta(block).reshape(T, size, *shape)
                position += size
        indices = np.broadcast_to(np.arange(self._pool.shape[1]), self._pool.shape[:2])
        self._order = self._rng.permuted(indices, axis=1)
