"""Many steps of several kernels in one call, so that small lattices are not slowed by Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import typeof, types

from mcmc.kernels.barrier import wait_for_all
from mcmc.kernels.calls import Caller, Kernel, entry
from mcmc.kernels.conventions import (
    HEAT_BATH,
    LINES,
    METROPOLIS,
    OVER_RELAXATION,
    SWENDSEN_WANG,
    TWIST,
    BlockArrays,
    Square,
)
from mcmc.kernels.field import sites
from mcmc.kernels.heat_bath import heat_bath
from mcmc.kernels.lines import lines
from mcmc.kernels.measure import angles, moments, term_moments
from mcmc.kernels.metropolis import metropolis
from mcmc.kernels.over_relaxation import over_relaxation
from mcmc.kernels.strips import copy_row
from mcmc.kernels.swendsen_wang import clusters, room_for
from mcmc.kernels.twist import twist

SWEEPS = {
    HEAT_BATH: heat_bath,
    METROPOLIS: metropolis,
    OVER_RELAXATION: over_relaxation,
    LINES: lines,
    TWIST: twist,
    SWENDSEN_WANG: clusters,
}
"""Kernels by their number. Each is called with

- ``block``: `BlockArrays`.
- ``width``: float32 (W,), step widths of Metropolis in (0, 1], in units of pi.
- ``axis``: 0 or 1, of moves along an axis.
- ``move``: uint64, the number of the random move that it uses.
- ``accepted``: float32 (W,), to which each lane's accepted proposals are added.
- ``order``: the sites that it visits; see `mcmc.kernels`.
- ``room``: uint32, for what it needs in between; see `mcmc.kernels.swendsen_wang.room_for`.
"""
_VECTOR, _ROOM = types.Array(types.float32, 1, "C"), types.Array(types.uint32, 1, "C")
_SWEEP = Caller(_VECTOR, types.int64, types.uint64, _VECTOR, types.UniTuple(types.int64, 5), _ROOM)
_COPY, _MOMENTS, _ANGLES = (
    Caller(types.boolean, types.int64, types.int64),
    Caller(types.Array(types.float64, 2, "C")),
    Caller(_VECTOR),
)
_NOTHING, _NO_LINES = np.empty((1, 0), np.float32), np.empty((0, 6), np.int64)
_SITES, _COLUMNS, _ROWS, _WHOLE = range(4)
"""What a kernel advances in turn, so that threads can share a lattice; the last kind is left to one of them."""
_COPY_LINE = np.array([(0, _WHOLE, 1, 1, 0, 0)])
_sweep, _copy, _measure, _write = (each.invoke for each in (_SWEEP, _COPY, _MOMENTS, _ANGLES))


def _kind_of(kernel: int, axis: int) -> int:
    if kernel == LINES:
        return _ROWS if axis else _COLUMNS
    return _WHOLE if kernel in (TWIST, SWENDSEN_WANG) else _SITES


class Steps:
    """Steps and measurements of one block; its kernels are compiled where they are first needed.

    Args:
        block: what they advance, in place.
        sections: into how many groups of columns it is divided; see `mcmc.kernels.strips`.
        threads: how many threads share the sections, at most as many.
    """

    def __init__(self, block: BlockArrays, sections: int = 1, threads: int = 1):
        self._block, self._sections, self._threads = block, sections, threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._kind = typeof(block)
        self._addresses: dict[Kernel, int] = {}
        self._room = np.empty(0, np.uint32)

    def _address(self, caller: Caller, kernel: Kernel) -> int:
        if kernel not in self._addresses:
            self._addresses[kernel] = caller.address(kernel, self._kind)
        return self._addresses[kernel]

    def run(
        self,
        program: np.ndarray,
        width: np.ndarray,
        accepted: np.ndarray,
        numbers_per_step: int,
        step: int,
        draws: int,
        thin: int,
        with_moments: bool,
        with_angles: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Advance by ``thin`` steps, measure, and so on.

        Args:
            program: int64 (n, 5): which kernel (`conventions.HEAT_BATH`, ...), how often in a step, every how many
                steps, the first of the step's random moves that it uses, and an axis.
            width: float32 (W,), step widths of Metropolis.
            accepted: float32 (n, W), to which the accepted proposals of each line of the program are added.
            numbers_per_step: random moves that a step owns.
            step: number of the first step since the start of the run.
            draws: how many times.
            thin: steps before each measurement.
            with_moments, with_angles: what to measure.

        Returns:
            What `mcmc.kernels.measure.moments` finds in each lane, float64 (draws, 3, W), and the angles, float32
            (draws, N, W); of no draws where they are not wanted.
        """
        lines = np.empty((len(program), 6), np.int64)
        for row, (kernel, *rest) in zip(lines, program.tolist(), strict=True):
            row[:] = self._address(_SWEEP, SWEEPS[kernel]), _kind_of(kernel, rest[-1]), *rest
            if kernel == SWENDSEN_WANG and not self._room.size:
                block = self._block
                Ly = len(block.interaction.neighbours) * block.strips // block.Lx
                self._room = np.empty(room_for(block.Lx, Ly), np.uint32)
        numbers = numbers_per_step, step, draws, thin
        return self._run(lines, width, accepted, numbers, draws if with_moments else 0, draws if with_angles else 0)

    def measure(self, with_angles: bool) -> tuple[np.ndarray, np.ndarray]:
        """Measure as `run` does, once and without a step."""
        return self._run(_NO_LINES, self._block.beta, _NOTHING, (0, 0, 1, 0), 1, int(with_angles))

    def copy_rows(self) -> None:
        """Bring all copies of rows up to date, after a move that does not do it; nothing to do for one strip."""
        if self._block.strips > 1:
            self._run(_COPY_LINE, self._block.beta, _NOTHING, (0, 0, 1, 1), 0, 0)

    def _run(
        self,
        lines: np.ndarray,
        width: np.ndarray,
        accepted: np.ndarray,
        numbers: tuple[int, int, int, int],
        moments_of: int,
        angles_of: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        block = self._block
        N, W = len(block.interaction.neighbours), len(block.beta)
        sums, theta = np.empty((moments_of, 3, W)), np.empty((angles_of, N * W), np.float32)
        kernel = moments if isinstance(block.interaction, Square) else term_moments
        copy = self._address(_COPY, copy_row) if block.strips > 1 else 0
        measure = self._address(_MOMENTS, kernel) if moments_of else 0
        write = self._address(_ANGLES, angles) if angles_of else 0
        # How many threads have come to barriers so far; and whether one of them has ended early.
        arrived = np.zeros(2, np.int64)

        # Counts of threads lie apart by more than a line of the cache.
        counts = np.zeros((self._threads, len(accepted) + 2, accepted.shape[1]), np.float32)

        def share(thread: int) -> None:
            team, own = (thread, self._threads, self._sections), counts[thread, : len(accepted)]
            try:
                _run(block, lines, copy, measure, write, width, own, self._room, numbers, sums, theta, team, arrived)
            except BaseException:
                arrived[1] = 1  # else the others would wait for ever
                raise

        if self._pool is None:
            share(0)
        else:
            try:
                others = [self._pool.submit(share, thread) for thread in range(1, self._threads)]
                share(0)
                for other in others:
                    other.result()
            except BaseException:
                arrived[1] = 1
                raise
        accepted += counts[:, : len(accepted)].sum(0)
        return sums, theta.reshape(-1, N, W)


@entry
def _run(block, lines, copy, measure, write, width, accepted, room, numbers, sums, theta, team, arrived):
    """One thread's share of `Steps.run`.

    Args:
        lines: int64 (n, 6): the address of a kernel, or 0 for none; what it advances in turn, `_SITES` and so on; and
            what stands in the program.
        copy, measure, write: addresses of `mcmc.kernels.strips.copy_row` and of the kernels that measure moments and
            angles; 0 where they are not needed.
        accepted: as there; every thread has its own.
        numbers: (numbers_per_step, step, draws, thin).
        sums, theta: what `Steps.run` returns, theta as float32 (draws, N * W).
        team: (number of this thread, how many there are, sections).
        arrived: as `mcmc.kernels.barrier.wait_for_all` takes it.
    """
    numbers_per_step, step, draws, thin = numbers
    thread, threads, sections = team
    N, Lx, cut, barriers = sites(block.interaction), block.Lx, copy != 0, 0
    for draw in range(draws):
        for now in range(step + draw * thin, step + (draw + 1) * thin):
            first = np.uint64(now) * np.uint64(numbers_per_step)
            for k in range(len(lines)):
                address, kind, times, period, number, axis = lines[k]
                if now % period:
                    continue
                # Columns, or rows, in sections: all but the last of every section first, then these.
                extent, divided = Lx, sections
                if kind == _ROWS:
                    extent, divided = N // Lx, min(sections, N // Lx // 2)
                if kind == _WHOLE or not cut:
                    extent, divided = Lx if kind == _COLUMNS else N, 1
                parts = 2 if divided > 1 or (kind == _ROWS and cut) else 1
                begin, end = divided * thread // threads, divided * (thread + 1) // threads
                for again in range(times):
                    arguments = width, axis, first + np.uint64(number + again), accepted[k]
                    for part in range(parts):
                        for section in range(begin, end):
                            a, z = extent * section // divided, extent * (section + 1) // divided
                            if parts == 2:
                                a, z = (a, z - 1) if part == 0 else (z - 1, z)
                            if not cut:
                                _sweep(address, block, (*arguments, (a, z, z - a, 1, z), room))
                            elif kind == _SITES:
                                _sweep(address, block, (*arguments, (a, N - Lx, z - a, 2, Lx), room))
                                _copy(copy, block, (False, a, z))
                                _sweep(address, block, (*arguments, (N - Lx + a, N, z - a, 2, Lx), room))
                                _copy(copy, block, (True, a, z))
                            elif kind == _ROWS:
                                _sweep(address, block, (*arguments, (a * Lx, z * Lx, Lx, 2, Lx), room))
                                if part == 0 and section == 0:
                                    _copy(copy, block, (False, 0, Lx))
                                if part == 1 and section == divided - 1:
                                    _copy(copy, block, (True, 0, Lx))
                            else:
                                if kind == _WHOLE:
                                    a, z = 0, Lx
                                if address:
                                    _sweep(address, block, (*arguments, (a, N, z - a, 2, Lx), room))
                                _copy(copy, block, (False, a, z))
                                _copy(copy, block, (True, a, z))
                        barriers = wait_for_all(arrived, threads, barriers)
        if measure and thread == 0:
            _measure(measure, block, (sums[draw],))
        if write and thread == threads - 1:
            _write(write, block, (theta[draw],))
        if measure or write:
            barriers = wait_for_all(arrived, threads, barriers)
