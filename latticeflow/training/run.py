"""One training from ensemble file to checkpoint: logged, interruptible, resumable."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latticeflow import checkpoint
from latticeflow.device import describe
from latticeflow.flows import Flow, build_flow
from latticeflow.flows.transfer import enlarge
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.trainer import Metrics, Trainer, TrainingSettings
from mcmc import InputError
from mcmc.ensemble import Ensemble
from mcmc.loader import Loader
from mcmc.progress import Progress
from mcmc.provenance import origin
from mcmc.stop import Stop

logger = logging.getLogger(__name__)

_SAVE_EVERY = 60.0  # seconds of training that a kill may cost


def train(
    ensemble_path: str | Path,
    out: str | Path,
    settings: TrainingSettings,
    *,
    flow_name: str = "multiscale",
    sizes: dict[str, Any] | None = None,
    device: torch.device | str = "cpu",
    start: Path | None = None,
    resume: bool = False,
    log: Path | None = None,
    stop: Stop | None = None,
    command: Sequence[str] | None = None,
) -> bool:
    """Train a flow on an ensemble and write a checkpoint, on the way once a minute and at the end.

    Args:
        ensemble_path: reference draws; model, lattice and the range of temperatures come from it.
        out: the checkpoint.
        settings: how to train.
        flow_name: a name of `latticeflow.flows.FLOWS`.
        sizes: of the flow, keyword arguments of its class.
        device: where to compute.
        start: checkpoint of a flow to start from, of the same model and size, or half the size, or a quarter, ...;
            its kind and sizes then stand for ``flow_name`` and ``sizes``.
        resume: go on with the training that ``out`` holds, by the settings that it holds too.
        log: JSON lines of metrics are appended here.
        stop: asked after every step.
        command: kept in the checkpoint; None takes this process's command line.

    Returns:
        Whether the training is complete.

    Raises:
        InputError: ``out`` exists, cannot be resumed, or the ensemble cannot be trained on.
        TrainingDivergedError: the state before the bad step is kept in ``out``.
    """
    out = Path(out)
    if out.exists() and not resume:
        raise InputError(f"{out} exists: go on with it by --resume, or name another file")
    stop = stop or Stop()
    with Ensemble.open(ensemble_path) as ensemble:
        T = ensemble.temperatures
        torch.manual_seed(settings.seed)
        state = None
        if resume and out.exists():
            flow, settings, state = _resume(out, ensemble, device)
        elif start is not None:
            flow = _continue(checkpoint.load(start).flow, ensemble).to(device)
        else:
            limits = (float(T.min()), float(T.max()))
            flow = build_flow(flow_name, ensemble.model, ensemble.lattice, limits, **(sizes or {})).to(device)
        loader = Loader(ensemble, np.random.default_rng(settings.seed))
        trainer = Trainer(flow, settings, ReferenceDraws(loader.sample, T, device=device))
        if state is not None:
            trainer.load_state_dict(state)
        how = {
            "training": asdict(settings),
            "source": {
                "ensemble": str(ensemble_path),
                "draws": ensemble.draws * ensemble.chains,
                "temperatures": T.tolist(),
            },
            "start": str(start) if start else None,
            "device": describe(flow.device),
            **origin(command),
        }

        def save(complete: bool) -> None:
            metadata = {**how, "steps": trainer.step_number, "seconds": trainer.seconds}
            checkpoint.save(out, flow, metadata, None if complete else trainer.state_dict())

        logger.info("training %s (%d parameters) on %s", flow.name, flow.parameter_count, describe(flow.device))
        with _Log(trainer, log) as report:
            saved = time.monotonic()
            try:
                while trainer.fraction < 1 and not stop.asked():
                    report(trainer.step())
                    if time.monotonic() - saved > _SAVE_EVERY:
                        save(complete=False)
                        saved = time.monotonic()
            except InputError:
                save(complete=False)
                raise
        save(complete=trainer.fraction >= 1)
        return trainer.fraction >= 1


def _resume(out: Path, ensemble: Ensemble, device: torch.device | str) -> tuple[Flow, TrainingSettings, dict[str, Any]]:
    """Flow, settings and trainer's state of an interrupted training."""
    flow, metadata, state = checkpoint.load(out, device)
    if state is None:
        raise InputError(f"{out} is a finished training: name another --out, and go on with it by --from {out}")
    if (flow.model, flow.lattice) != (ensemble.model, ensemble.lattice):
        raise InputError(f"{out} was trained for {flow.model} on {flow.lattice}: give its ensemble")
    return flow, TrainingSettings(**metadata["training"]), state


def _continue(flow: Flow, ensemble: Ensemble) -> Flow:
    """An earlier flow, made to fit the ensemble."""
    if flow.model != ensemble.model:
        raise InputError(f"the flow to start from is for {flow.model}, the ensemble holds {ensemble.model}")
    flow = enlarge(flow, ensemble.lattice)
    flow.temperatures = (float(ensemble.temperatures.min()), float(ensemble.temperatures.max()))
    return flow


class _Log:
    """Progress bar and JSON lines, smoothed over steps."""

    def __init__(self, trainer: Trainer, path: Path | None):
        self._trainer, self._done = trainer, 0.0
        self._progress = Progress("training", 100.0, unit="%")
        self._file = open(path, "a") if path else None  # noqa: SIM115 (closed by __exit__)
        self._mean: dict[str, float] = {}

    def __enter__(self) -> Callable[[Metrics], None]:
        self._progress.__enter__()
        return self._report

    def __exit__(self, *exception: Any) -> None:
        self._progress.__exit__(*exception)
        if self._file:
            self._file.close()

    def _report(self, metrics: Metrics) -> None:
        for name, value in metrics._asdict().items():
            self._mean[name] = value + 0.95 * (self._mean.get(name, value) - value) if value == value else value
        if self._file:
            self._file.write(json.dumps({k: None if v != v else v for k, v in metrics._asdict().items()}) + "\n")
        shown = self._mean["acceptance"]
        note = f"acceptance {shown:.3f}" if shown == shown else f"loss {self._mean['loss']:.4f}"
        fraction = 100 * self._trainer.fraction
        self._progress.advance(fraction - self._done, f"step {metrics.step}, {note}")
        self._done = fraction
