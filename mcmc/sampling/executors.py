"""Temperatures x chains as tasks over any `concurrent.futures.Executor`.

A task is a pure function of (settings of a part, state of the part, number of draws), so it may run anywhere and be
repeated after a worker's death, and the draws depend neither on the executor nor on how many workers it has.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mcmc.errors import InputError
from mcmc.runtime.arguments import whole_number
from mcmc.runtime.install import hint
from mcmc.runtime.stop import SIGNALS
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.block import Block

logger = logging.getLogger(__name__)

EXECUTORS = ("processes", "dask", "mpi")
_ATTEMPTS = 3

State = Mapping[str, np.ndarray]


class Part(NamedTuple):
    """A rectangle of temperatures x chains."""

    temperatures: range
    chains: range

    def of(self, array: np.ndarray) -> np.ndarray:
        """The part's share of an array (T, C, ...); numbers that all share are not divided."""
        t, c = self.temperatures, self.chains
        return array[t.start : t.stop, c.start : c.stop] if array.ndim else array


def partition(settings: Settings, count: int) -> list[Part]:
    """Divide a run into ``count`` parts of nearly equal work, or into fewer if there are not so many chains.

    Temperatures that exchange configurations stay together.
    """
    T, C = settings.shape
    rows = 1 if settings.tempering else min(count, T)
    parts = []
    for row, temperatures in enumerate(_split(T, rows)):
        columns = min(C, count // rows + (row < count % rows))
        parts += [Part(temperatures, chains) for chains in _split(C, columns)]
    return parts


def share(settings: Settings, index: int, count: int) -> Settings:
    """The settings of task ``index`` of ``count``, as in a batch array.

    Raises:
        InputError: there is no such task.
    """
    parts = partition(settings, max(count, 1))
    if count != len(parts):
        raise InputError(f"task count {count} is not possible here: give at least 1 and at most {len(parts)}")
    if not 0 <= index < count:
        raise InputError(f"task index {index} must lie between 0 and {count - 1}, as with sbatch --array=0-{count - 1}")
    return settings.part(*parts[index])


def _split(length: int, count: int) -> list[range]:
    edges = [length * k // count for k in range(count + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def advance(
    settings: Settings, state: State | None, draws: int, series_only: bool = False
) -> tuple[Block | None, State, dict[str, Any]]:
    """One task: go on from a state (None thermalises first) by some draws, which may be none."""
    simulation = Simulation(settings, state, series_only=series_only)
    block = simulation.block(draws) if draws else None
    return block, simulation.state(), simulation.report()


class Team:
    """A simulation whose parts run on workers; it gives the same draws, states and files as `Simulation`.

    Args:
        settings: of the whole run.
        state: where to go on; None starts and thermalises.
        workers: where to run.
        series_only: as in `Simulation`.

    Raises:
        ChildProcessError: a part failed on every attempt.
    """

    def __init__(self, settings: Settings, state: State | None, workers: Workers, *, series_only: bool = False):
        self.settings = settings.resolved()
        self._workers, self._series_only = workers, series_only
        self._parts = partition(self.settings, workers.tasks)
        self._states: list[State | None] = [
            None if state is None else {name: part.of(array) for name, array in state.items()} for part in self._parts
        ]
        self._reports: list[dict[str, Any]] = [{} for _ in self._parts]
        if state is None:
            self._advance(0)

    def block(self, draws: int) -> Block:
        """Advance all chains by ``draws`` draws."""
        blocks = self._advance(draws)
        names = blocks[0].series
        series = {name: join(self._parts, [block.series[name] for block in blocks]) for name in names}
        return Block(join(self._parts, [block.theta for block in blocks]), series)

    def state(self) -> dict[str, np.ndarray]:
        """As `Simulation.state`."""
        return join_states(self._parts, [state or {} for state in self._states])

    def report(self) -> dict[str, Any]:
        """The parts' reports, each with its temperatures and chains."""
        return {
            "parts": [
                {"temperatures": [*part.temperatures], "chains": [*part.chains], **report}
                for part, report in zip(self._parts, self._reports, strict=True)
            ]
        }

    def _advance(self, draws: int) -> list[Block]:
        done: dict[int, tuple[Block | None, State, dict[str, Any]]] = {}
        for attempt in range(1, _ATTEMPTS + 1):
            failure: Exception | None = None
            futures: dict[int, Future] = {}
            try:
                for k, part in enumerate(self._parts):
                    if k not in done:
                        settings = self.settings.part(part.temperatures, part.chains)
                        task = (settings, self._states[k], draws, self._series_only)
                        futures[k] = self._workers.executor.submit(advance, *task)
            except Exception as error:  # an executor that lost a worker takes no more tasks
                failure = error
            for k, future in futures.items():
                try:
                    done[k] = future.result()
                except InputError:
                    raise
                except Exception as error:
                    failure = error
            if failure is None:
                break
            self._workers.explain(failure)
            lost = len(self._parts) - len(done)
            reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
            if attempt == _ATTEMPTS:
                text = f"{lost} of {len(self._parts)} tasks failed {_ATTEMPTS} times ({reason})"
                raise ChildProcessError(f"{text}: committed draws are safe, go on with --resume") from failure
            logger.warning("%d of %d tasks failed (%s): trying again", lost, len(self._parts), reason)
            self._workers.restart()
        results = [done[k] for k in range(len(self._parts))]
        self._states = [state for _, state, _ in results]
        self._reports = [report for _, _, report in results]
        return [block for block, _, _ in results if block is not None]


def join(parts: Sequence[Part], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The array (T, C, ...) of which ``arrays`` are the parts' shares."""
    T = max(part.temperatures.stop for part in parts)
    C = max(part.chains.stop for part in parts)
    whole = np.empty((T, C, *arrays[0].shape[2:]), arrays[0].dtype)
    for part, array in zip(parts, arrays, strict=True):
        part.of(whole)[...] = array
    return whole


def join_states(parts: Sequence[Part], states: Sequence[State]) -> dict[str, np.ndarray]:
    """The state of the whole run from the parts' states."""
    first = states[0]
    return {name: join(parts, [state[name] for state in states]) if first[name].ndim else first[name] for name in first}


@dataclass(frozen=True)
class Workers:
    """An executor, how many tasks to make for it, and how to get a new one when it broke."""

    get: Callable[[], Executor]
    tasks: int
    restart: Callable[[], None] = lambda: None
    explain: Callable[[Exception], None] = lambda failure: None
    """Raises what is known to be behind a failure."""

    @property
    def executor(self) -> Executor:
        """The executor that serves now."""
        return self.get()


@contextmanager
def hire(kind: str = "processes", count: int = 1, scheduler: str | None = None) -> Iterator[Workers | None]:
    """Workers for the time of a ``with`` block.

    Args:
        kind: ``processes`` on this machine; ``dask``, the workers of the scheduler; ``mpi``, all ranks but the first.
        count: of processes.
        scheduler: address of the Dask scheduler, such as ``tcp://node1:8786``.

    Yields:
        The workers; None on an MPI rank that has served as a worker and may go.

    Raises:
        InputError: the extra is not installed, or no scheduler or worker answers.
    """
    if kind not in EXECUTORS:
        raise InputError(f"unknown executor {kind!r}: choose one of {', '.join(EXECUTORS)}")
    with {"processes": _processes, "dask": _dask, "mpi": _mpi}[kind](count, scheduler) as workers:
        yield workers


@contextmanager
def _processes(count: int, scheduler: str | None) -> Iterator[Workers]:
    count = whole_number("workers", count, 1)
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports the script which started it has come to the start again; its parent explains.
        os._exit(1)
    threads = max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")  # forking would copy numba's threads in any state
    begun = context.Value("i", 0)

    def start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, mp_context=context, initializer=_begin_work, initargs=(threads, begun))

    def explain(failure: Exception) -> None:
        if isinstance(failure, BrokenProcessPool) and not begun.value:
            raise InputError(
                "no worker could start: workers import the script that starts them, so its calls must stand under "
                '`if __name__ == "__main__":`, in a file'
            ) from None

    pools = [start()]

    def restart() -> None:
        pools[-1].shutdown(wait=False, cancel_futures=True)
        pools.append(start())

    try:
        yield Workers(lambda: pools[-1], tasks=count, restart=restart, explain=explain)
    except BaseException:
        # Nobody wants the tasks' results any more, but a pool waits for them when Python exits.
        for process in (getattr(pools[-1], "_processes", None) or {}).values():
            process.kill()
        raise
    finally:
        pools[-1].shutdown(wait=False, cancel_futures=True)


def _begin_work(threads: int, begun: Any) -> None:
    """Prepare a worker process: the parent heeds signals and has the block finished; when it dies, so do we."""
    begun.value = 1
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _dask(count: int, scheduler: str | None) -> Iterator[Workers]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(f"the executor dask needs an extra: {hint('dask')}") from None
    if scheduler is None:
        raise InputError("--executor dask needs --scheduler, such as tcp://127.0.0.1:8786")
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        text = f"no Dask scheduler answers at {scheduler} ({reason})"
        raise InputError(f"{text}: start one by `dask scheduler`") from None
    with client:
        found = len(client.nthreads())
        if not found:
            raise InputError(f"no workers at {scheduler}: start some by `dask worker {scheduler}`")
        executor = client.get_executor(retries=_ATTEMPTS)
        yield Workers(lambda: executor, tasks=found)


@contextmanager
def _mpi(count: int, scheduler: str | None) -> Iterator[Workers | None]:
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPICommExecutor
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the executor mpi needs an extra: {hint('mpi')} ({reason})") from None
    ranks = MPI.COMM_WORLD.Get_size()
    if ranks < 2:
        raise InputError("--executor mpi needs at least two ranks: start it by `mpirun -n 4 latticeflow generate ...`")
    executor: Any
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        yield None if executor is None else Workers(lambda: executor, tasks=ranks - 1)
