"""A grid of jobs that a later run goes on with: one row of a file for each that is finished, safe from kills.

A row is appended, and forced to the disk, when its job is done. A line that a kill cut short is dropped, and its job
made again. The file is locked while jobs run, so that two runs cannot both write it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from mcmc import InputError
from mcmc.runtime.stop import Stop
from mcmc.storage import descriptors

Job = TypeVar("Job", bound=Hashable)
Row = dict[str, Any]
Results = Generator[tuple[Any, Row], None, None]
"""Jobs with their rows, as they are finished."""


class Record:
    """A file with one JSON object a line, one line a finished job.

    Args:
        path: of the file, which need not exist; None keeps the rows in memory alone.
        key: what tells a row from those of other jobs; a KeyError, TypeError or ValueError says that it is not a row.

    Attributes:
        rows: in the order in which they were finished.

    Raises:
        InputError: the folder does not exist, or the file holds something else.
    """

    def __init__(self, path: Path | None, key: Callable[[Row], Hashable]):
        self.path, self._key = path, key
        self.rows: list[Row] = []
        self._file: BinaryIO | None = None
        if path is not None and not path.parent.is_dir():
            raise InputError(f"folder {path.parent} of {path} does not exist: make it first")
        if path is not None and path.exists():
            self.rows = self._parse(_whole(path.read_bytes()))

    @property
    def done(self) -> set[Hashable]:
        """Keys of the rows."""
        return {self._key(row) for row in self.rows}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the file, read it anew, and let `add` append to it.

        Raises:
            InputError: another process is writing it.
        """
        if self.path is None:
            yield
            return
        with self.path.open("a+b") as file:
            try:
                release = descriptors.lock(file.fileno())
            except BlockingIOError:
                text = f"{self.path} is being written by another process"
                raise InputError(f"{text}: wait for it, or name another file") from None
            file.seek(0)
            content = file.read()
            whole = _whole(content)
            self.rows = self._parse(whole)
            if whole != content:
                file.truncate(len(whole))
            self._file = file
            try:
                yield
            finally:
                self._file = None
                release()

    def add(self, row: Row) -> None:
        """Append a row, inside `writing`; it is on the disk when this returns."""
        if self.path is not None:
            if self._file is None:
                raise RuntimeError("a record takes rows only while it is locked by `writing`")
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self.rows.append(row)

    def _parse(self, text: bytes) -> list[Row]:
        rows = []
        for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
            try:
                rows.append(json.loads(line))
                self._key(rows[-1])
            except (ValueError, KeyError, TypeError):
                where = f"{self.path}, line {number}"
                raise InputError(f"{where} is not a row of this grid: name another file or remove the line") from None
        return rows


def _whole(content: bytes) -> bytes:
    """The lines that are complete."""
    return content[: content.rfind(b"\n") + 1]


def run_grid(
    jobs: Sequence[Job],
    work: Callable[[Job, Stop], Row | None],
    record: Record,
    *,
    key: Callable[[Job], Hashable] = lambda job: job,
    workers: int = 1,
    patience: float = 600.0,
    report: Callable[[Job], None] = lambda job: None,
    stop: Stop | None = None,
) -> bool:
    """Run the jobs that a record lacks, each on one thread.

    Args:
        jobs: in order.
        work: makes the row of a job; given a stop that it may ask, and returns None if it ended early because of it.
            With several workers it is sent to other processes: a function of a module, or a partial of one.
        record: of finished jobs.
        key: of a job, as ``record`` makes it of the job's row.
        workers: processes.
        patience: seconds that running jobs have to save their state when it is time to stop; then they are killed.
        report: called with each job that has finished.
        stop: asked between jobs, and by the jobs.

    Returns:
        Whether all jobs are done.

    Raises:
        InputError: no workers, or another process writes the record.
    """
    if workers < 1:
        raise InputError(f"workers = {workers} must be at least 1")
    stop = stop or Stop()
    with record.writing():
        done = record.done
        missing = [job for job in jobs if key(job) not in done]
        results = _alone(missing, work, stop) if workers == 1 else _together(missing, work, workers, patience, stop)
        finished = 0
        with contextlib.closing(results):
            for job, row in results:
                record.add(row)
                finished += 1
                report(job)
        return finished == len(missing)


def _alone(jobs: Sequence[Job], work: Callable[[Job, Stop], Row | None], stop: Stop) -> Results:
    for job in jobs:
        if stop.asked():
            return
        with _one_thread():
            row = work(job, stop)
        if row is None:
            return
        yield job, row


def _together(
    jobs: Sequence[Job], work: Callable[[Job, Stop], Row | None], workers: int, patience: float, stop: Stop
) -> Results:
    context = multiprocessing.get_context("spawn")
    told = context.Event()
    pool = ProcessPoolExecutor(workers, context, _prepare, (told,))
    waiting: dict[Future[Row | None], Job] = {}
    deadline = float("inf")
    try:
        waiting = {pool.submit(_task, work, job): job for job in jobs}
        while waiting:
            finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                job, row = waiting.pop(future), future.result()
                if row is not None:
                    yield job, row
            if stop.asked() and not told.is_set():
                told.set()
                deadline = time.monotonic() + patience
                waiting = {future: job for future, job in waiting.items() if not future.cancel()}
            if time.monotonic() >= deadline:
                _kill(pool)
                return
    finally:
        told.set()  # else the pool would wait for what is at work
        pool.shutdown(wait=True, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in (getattr(pool, "_processes", None) or {}).values():
        process.kill()


class _Told(Stop):
    """A stop that another process asks for."""

    event: Any = None

    def asked(self, seconds: float = 0.0) -> bool:
        return bool(self.event.is_set())


def _prepare(told: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and tells us
    os.environ["TQDM_DISABLE"] = "1"  # bars of several processes would overwrite each other
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when a job imports it
    _Told.event = told


def _task(work: Callable[[Any, Stop], Row | None], job: Any) -> Row | None:
    if torch := sys.modules.get("torch"):  # imported with the function, perhaps before `_prepare`
        torch.set_num_threads(1)
    return work(job, _Told())


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
