"""Trainings of the paper's experiment on a GPU, as far as a limit of time lets them come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from latticeflow.experiments import grid
from latticeflow.experiments import published_experiment as published
from latticeflow.experiments.gpu_log import ResultLog
from latticeflow.training.training_settings import PUBLISHED_CRITIC
from mcmc.runtime.stop import Stop

PAPER = replace(
    published.FULL,
    training=replace(published.FULL.training, learning_rate=1e-3, decay="constant", ema=0.999, critic=PUBLISHED_CRITIC),
    test_draws=500,
)
"""The paper's experiment in minutes instead of hours: a higher rate, and an average over the last thousand steps."""
PAPER_SIZES = {"couplings": 24, "filters": 16}
PAPER_BLOCK = 500
PAPER_TOGETHER = 6
"""At most so many side by side: with twelve an H200 stopped twice at an illegal memory access, at the first steps; four
and six went well. Why is not known."""


def train_paper(
    record: ResultLog, out: Path, device: torch.device, end: float, seeds: int, draws: int, objectives: Sequence[str]
) -> Iterator[None]:
    """Trainings of the paper's experiment, as far as they come; see `side_by_side`.

    Yields:
        Whenever others may go on.
    """
    folder = out / f"paper-{draws}"
    folder.mkdir(exist_ok=True)
    cases = published.published_cases([draws], PAPER_SIZES, objectives)
    if len(cases) * seeds > PAPER_TOGETHER:
        seeds = max(1, PAPER_TOGETHER // len(cases))
        record("fewer seeds", objectives=list(objectives), seeds=seeds)
    stop = Stop(max_minutes=max(0.0, end - time.monotonic()) / 60)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(published.make_ensembles, PAPER, folder, [draws], stop)
        while not made.done():
            yield
        if not made.result():
            return
        rows = grid.Record(folder.with_suffix(".jsonl"), published.key_of_row)
        with rows.writing():
            yield from published.train_together(
                PAPER,
                cases,
                folder,
                rows,
                PAPER_BLOCK,
                seeds,
                device,
                stop,
                lambda row: record("paper", **row),
            )
