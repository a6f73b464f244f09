"""When to stop: signals and wall-time limits, asked between blocks."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from mcmc.errors import InputError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""What asks for a stop, as far as the system has them."""
_MARGIN = 20.0  # seconds between our stop and a scheduler's limit, to write and to leave
_PATIENCE = 1.0  # seconds after which a further signal is meant; launchers may deliver the same one twice


class Stopped(BaseException):
    """A signal came while nothing was there to be saved."""


class Ended(BaseException):
    """A signal came that ends the process.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


_breaking_in: list[int] = []
"""The signals that broke into the work of this process."""


@contextmanager
def ended_by_exception() -> Iterator[None]:
    """Let signals that would kill the process unwind it instead, so that nothing stays half-written.

    Raises:
        Ended: a signal came, here or in a `Stop` where it broke in. Whatever exception the work made of that, as
            compilers do, counts as the signal's.
    """

    def end(number: int, frame: FrameType | None) -> None:
        _break_in(Ended(number), number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                previous[number] = signal.signal(number, end)
    _breaking_in.clear()
    try:
        yield
    except (Exception, Stopped) as error:
        if _breaking_in:
            raise Ended(_breaking_in[-1]) from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run the command of a module as a program, which a signal ends in one line and at once.

    Args:
        main: returns the exit status; None is 0.
    """
    try:
        with ended_by_exception():
            raise SystemExit(main())
    except Ended as error:
        print(f"stopped by {error.name}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(128 + error.number)  # threads that still compute would keep the process


def _break_in(exception: BaseException, number: int) -> None:
    _breaking_in.append(number)
    raise exception


class Stop:
    """Collects reasons to stop while it is entered; a further signal, a second later or more, stops at once.

    SIGINT, SIGTERM, SIGHUP (unless it is ignored, as under ``nohup``) and SIGUSR1 (``sbatch --signal=USR1@120``) ask
    for a stop, and so do ``max_minutes`` and the end of the job that SLURM announces in ``SLURM_JOB_END_TIME``.

    Args:
        max_minutes: wall time from now; None sets no limit.
    """

    def __init__(self, max_minutes: float | None = None):
        self.reason = ""
        self.signal = 0
        self._at_once = False
        self._first = 0.0  # when the first signal came
        self._previous: dict[int, Any] = {}
        limits = []
        if max_minutes is not None:
            if not (isinstance(max_minutes, Real) and max_minutes >= 0):
                raise InputError(f"max_minutes = {max_minutes!r} must be a number that is not negative")
            limits.append((time.time() + 60 * max_minutes, f"the limit of {max_minutes:g} minutes"))
        job_end = os.environ.get("SLURM_JOB_END_TIME", "")
        if job_end.isdigit():
            limits.append((int(job_end) - _MARGIN, "the end of the SLURM job"))
        self._deadline, self._limit = min(limits, default=(float("inf"), ""))

    def __enter__(self) -> Self:
        """Watch the signals (in the main thread; elsewhere they are not ours)."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            if handler is not None:  # else it was set outside of Python, and cannot be put back
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.signal) and time.monotonic() - self._first > _PATIENCE
        if not self.signal:
            self._first = time.monotonic()
        self.signal, self.reason = number, signal.Signals(number).name
        if self._at_once or again:
            _break_in(Stopped(), number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let signals break in: nothing can be saved here.

        Raises:
            Stopped: a signal came, or had come.
        """
        self._at_once = True
        try:
            if self.signal:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def asked(self, seconds: float = 0.0) -> bool:
        """Whether to stop now rather than work for another ``seconds``."""
        if not self.reason and time.time() + seconds > self._deadline:
            self.reason = self._limit
        return bool(self.reason)
