"""Progress of long work: a bar on a terminal or in a notebook, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from types import TracebackType
from typing import Any

logger = logging.getLogger(__name__)


class Progress:
    """Count work done towards a total: by a bar on a terminal or in a notebook, else by log lines now and then.

    Args:
        description: what is being done, a few words.
        total: amount of work.
        unit: what is counted.
        interval: seconds between log lines where stderr is not a terminal.

    Example:
        >>> with Progress("sampling", 10, unit="draw") as progress:
        ...     progress.advance(10)
    """

    def __init__(self, description: str, total: float, *, unit: str = "", interval: float = 10.0):
        self.description, self.total, self.unit, self.interval = description, total, unit, interval
        self.done = 0.0
        self._note = ""
        self._bar: Any = None
        self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        """Open the bar."""
        if _on_terminal() or _in_notebook():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # without ipywidgets the bar is of characters, which is as good
                from tqdm.auto import tqdm

            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(desc=self.description, total=self.total, bar_format=layout, dynamic_ncols=True)
        return self

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Report ``amount`` of further work, and a word on how it goes."""
        self.done += amount
        self._note = note or self._note
        if self._bar is not None:
            try:
                if note:
                    self._bar.set_postfix_str(note, refresh=False)
                self._bar.update(amount)
            except OSError:  # the terminal is gone; the work goes on
                self._bar = None
        elif time.monotonic() - self._logged > self.interval:
            self._log()

    def _log(self) -> None:
        self._logged = time.monotonic()
        text = f"{self.done:.0f}/{self.total:.0f} {self.unit}".strip()
        logger.info("%s: %s%s", self.description, text, f", {self._note}" if self._note else "")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
        elif kind is None:
            self._log()


def _on_terminal() -> bool:
    """Whether stderr is there, open, and a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (OSError, ValueError):
        return False


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})
