"""One training from ensemble file to checkpoint: logged, interruptible, resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latticeflow.flows import Flow, build_flow, checkpoint
from latticeflow.flows.device import describe, is_out_of_memory
from latticeflow.flows.transfer import enlarge
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.distributed import ALONE, Group
from latticeflow.training.metrics_log import MetricsLog, check_path
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import InputError
from mcmc.runtime.stop import Stop
from mcmc.sampling.rng import key
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.loader import Loader
from mcmc.storage.provenance import origin

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
    tensorboard: Path | None = None,
    stop: Stop | None = None,
    group: Group = ALONE,
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
        log: metrics are appended here, one line a step, as ``.jsonl`` or ``.csv``.
        tensorboard: directory for TensorBoard.
        stop: asked after every step.
        group: the processes that train this flow together, all by this function; the first of them writes.
        command: kept in the checkpoint; None takes this process's command line.

    Returns:
        Whether the training is complete.

    Raises:
        InputError: ``out`` exists, cannot be resumed, or the ensemble cannot be trained on; or memory ran out.
        TrainingDivergedError: the state before the bad step is kept in ``out``.
    """
    out = Path(out)
    if out.exists() and not resume:
        raise InputError(f"{out} exists: go on with it by --resume, or name another file")
    check_path(log)
    stop = stop or Stop()
    with Ensemble.open(ensemble_path) as ensemble:
        T = ensemble.temperatures
        torch.manual_seed(settings.seed)
        state = None
        if resume and out.exists():
            flow, settings, state = _resume(out, ensemble, settings, device)
        elif start is not None:
            flow = _continue(checkpoint.load(start).flow, ensemble).to(device)
        else:
            limits = (float(T.min()), float(T.max()))
            flow = build_flow(flow_name, ensemble.model, ensemble.lattice, limits, **(sizes or {})).to(device)
        reference = None
        if settings.terms(flow).needs_ensemble:
            reference = _reference(ensemble, settings.seed, group.rank, device)
        trainer = Trainer(flow, settings, reference, group=group)
        if state is not None:
            trainer.load_state_dict(state)
        how = {
            "training": asdict(trainer.settings),
            "source": {
                "ensemble": str(ensemble_path),
                "draws": ensemble.draws * ensemble.chains,
                "temperatures": T.tolist(),
            },
            "start": str(start) if start else None,
            "device": describe(flow.device),
            "processes": group.count,
            **origin(command),
        }

        def save(complete: bool) -> None:
            metadata = {**how, "steps": trainer.step_number, "seconds": trainer.seconds}
            if group.rank == 0:
                checkpoint.save(out, trainer.served, metadata, None if complete else trainer.state_dict())

        if group.rank == 0:
            logger.info(
                "training %s (%d parameters) by %s on %s%s",
                flow.name,
                flow.parameter_count,
                trainer.settings.objective,
                describe(flow.device),
                f" in {group.count} processes" if group.count > 1 else "",
            )
        with MetricsLog(trainer, log, tensorboard) as report:
            saved = time.monotonic()
            try:
                while trainer.fraction < 1 and not group.any(stop.asked()):
                    report(trainer.step())
                    if time.monotonic() - saved > _SAVE_EVERY:
                        save(complete=False)
                        saved = time.monotonic()
            except InputError:
                save(complete=False)
                raise
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                save(complete=False)
                raise InputError(
                    f"out of memory at step {trainer.step_number}, where {out} was saved: start from it (--from) with "
                    f"fewer --draws than {settings.draws} or fewer --batch-temperatures than {settings.temperatures}"
                ) from error
        save(complete=trainer.fraction >= 1)
        return trainer.fraction >= 1


def _reference(ensemble: Ensemble, seed: int, rank: int, device: torch.device | str) -> ReferenceDraws:
    """Draws of the ensemble for one process, which reads them in an order of its own."""
    draws = ensemble.draws * ensemble.chains
    if draws < 2:
        raise InputError(f"{ensemble.path} holds {draws} draws per temperature: training needs 2, better 1,000")
    loader = Loader(ensemble, np.random.default_rng(key(seed, rank)))
    return ReferenceDraws(loader.sample, ensemble.temperatures, device=device)


def _resume(
    out: Path, ensemble: Ensemble, asked: TrainingSettings, device: torch.device | str
) -> tuple[Flow, TrainingSettings, dict[str, Any]]:
    """Flow, settings and trainer's state of an interrupted training."""
    flow, metadata, state = checkpoint.load(out, device)
    if state is None:
        raise InputError(f"{out} is a finished training: name another --out, and go on with it by --from {out}")
    if (flow.model, flow.lattice) != (ensemble.model, ensemble.lattice):
        raise InputError(f"{out} was trained for {flow.model} on {flow.lattice}: give its ensemble")
    settings = TrainingSettings.from_json(metadata["training"])
    if asked.resolved(flow) != settings:
        logger.warning("going on by the settings that %s holds, not by those given now", out)
    return flow, settings, state


def _continue(flow: Flow, ensemble: Ensemble) -> Flow:
    """An earlier flow, made to fit the ensemble."""
    if flow.model != ensemble.model:
        raise InputError(f"the flow to start from is for {flow.model}, the ensemble holds {ensemble.model}")
    flow = enlarge(flow, ensemble.lattice)
    flow.temperatures = (float(ensemble.temperatures.min()), float(ensemble.temperatures.max()))
    return flow
