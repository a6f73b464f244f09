"""What a training shows while it runs: a progress bar, a file of metrics, TensorBoard, and a word on the critic."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from latticeflow.training import critic
from latticeflow.training.trainer import Metrics, Trainer
from mcmc import InputError
from mcmc.runtime.progress import Progress

logger = logging.getLogger(__name__)

_WATCHED = 200  # steps whose mean critic loss is believed


class MetricsLog:
    """Takes the metrics of every step to wherever they are wanted; entered, it is a function of them.

    Args:
        trainer: whose progress is shown; processes other than the first stay silent.
        path: ``.jsonl`` or ``.csv``, appended to; None keeps no file.
        tensorboard: directory of events; None writes none.

    Raises:
        InputError: another suffix, or TensorBoard is not installed.
    """

    def __init__(self, trainer: Trainer, path: Path | None = None, tensorboard: Path | None = None):
        check_path(path)
        self._trainer, self._done = trainer, 0.0
        self._silent = trainer.group.rank > 0
        self._mean: dict[str, float] = {}
        self._critic, self._critic_steps = 0.0, 0
        self._board = _board(tensorboard) if tensorboard and not self._silent else None
        self._file: TextIO | None = None
        if path and not self._silent:
            self._file = open(path, "a", newline="")  # noqa: SIM115 (closed by __exit__)
            self._csv = csv.writer(self._file) if path.suffix == ".csv" else None
            if self._csv and not self._file.tell():
                self._csv.writerow(Metrics._fields)
        self._progress = Progress("training", 100.0, unit="%")

    def __enter__(self) -> Callable[[Metrics], None]:
        if not self._silent:
            self._progress.__enter__()
        return self._report

    def __exit__(self, *exception: Any) -> None:
        if self._silent:
            return
        self._progress.__exit__(*exception)
        if self._file:
            self._file.close()
        if self._board:
            self._board.close()
        if self._critic_steps >= _WATCHED and (word := critic.describe(self._critic)):
            logger.warning("%s", word)

    def _report(self, metrics: Metrics) -> None:
        if self._silent:
            return
        known = {name: None if value != value else value for name, value in metrics._asdict().items()}
        for name, value in metrics._asdict().items():
            self._mean[name] = value + 0.95 * (self._mean.get(name, value) - value) if value == value else value
        if self._file and self._csv:
            self._csv.writerow(["" if value is None else value for value in known.values()])
        elif self._file:
            self._file.write(json.dumps(known) + "\n")
        if self._board:
            for name, value in known.items():
                if name != "step" and value is not None:
                    self._board.add_scalar(name, value, metrics.step)
        if not math.isnan(metrics.critic_loss):
            self._critic_steps += 1
            self._critic += (metrics.critic_loss - self._critic) / min(self._critic_steps, _WATCHED)
        shown = self._mean["acceptance"]
        note = f"acceptance {shown:.3f}" if shown == shown else f"loss {self._mean['loss']:.4f}"
        fraction = 100 * self._trainer.fraction
        self._progress.advance(fraction - self._done, f"step {metrics.step}, {note}")
        self._done = fraction


def check_path(path: Path | None) -> None:
    """Refuse a file of metrics of a kind that is not written.

    Raises:
        InputError: naming the kinds.
    """
    if path and path.suffix not in (".jsonl", ".csv"):
        raise InputError(f"metrics go to .jsonl or .csv, not to {path}: name such a file")


def _board(directory: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "TensorBoard is not installed: pip install tensorboard, or log metrics to a .csv file"
        ) from None
    return SummaryWriter(str(directory))
