"""One training from ensemble to flow: logged, interruptible, resumable."""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latticeflow.flows import Flow, build_flow, checkpoint
from latticeflow.flows.checkpoint import open_flow
from latticeflow.flows.device import choose_device, describe, is_out_of_memory
from latticeflow.flows.transfer import enlarge
from latticeflow.training.captured import CapturedTrainer, ResidentDraws, can_capture
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.distributed import ALONE, Group
from latticeflow.training.growth import draws_between, grown, lattices_to, shared
from latticeflow.training.learning_curve import LearningCurve
from latticeflow.training.metrics_log import MetricsLog, check_path
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import CriticSettings, TrainingSettings
from mcmc import InputError, Lattice
from mcmc.models.presets import Model
from mcmc.runtime.arguments import level_of_user
from mcmc.runtime.choices import accepts, check_names
from mcmc.runtime.stop import Stop
from mcmc.sampling.rng import key
from mcmc.storage.loader import Loader
from mcmc.storage.memory_ensemble import ReadableEnsemble, opened
from mcmc.storage.provenance import origin

logger = logging.getLogger(__name__)

_SAVE_EVERY = 60.0  # seconds of training that a kill may cost


@accepts(TrainingSettings)
def train(
    ensemble: Any,
    *,
    flow: Flow | type[Flow] | str = "multiscale",
    sizes: Mapping[str, Any] | None = None,
    start: Flow | str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    model: Model | str | None = None,
    temperatures: Sequence[float] | np.ndarray | float | None = None,
    device: torch.device | str = "auto",
    log: str | Path | None = None,
    tensorboard: str | Path | None = None,
    settings: TrainingSettings | None = None,
    stop: Stop | None = None,
    group: Group = ALONE,
    command: Sequence[str] | None = None,
    **choices: Any,
) -> Flow:
    """Train a flow on an ensemble.

    Ctrl-C ends the training early and gives the flow as far as it came.

    Args:
        ensemble: reference draws: an open ensemble, the path of one, or angles in radians, (T, C, n, Ly, Lx) or
            (T, n, Ly, Lx), with ``model`` and ``temperatures``. Model, lattice and range of temperatures come from it.
        flow: kind of flow: a registered name, ``module:name``, a class, or a flow, which is left as it is.
        sizes: keyword arguments of the flow's class.
        start: flow to start from, or its file; of the same model and size, or half the size, or a quarter, ...; its
            kind and sizes then stand for ``flow`` and ``sizes``. The time is shared with trainings on the lattices
            between, whose draws are made on the way.
        out: file to write, on the way once a minute and at the end; None writes none.
        resume: go on with the training that ``out`` holds, if it exists, by the settings that it holds too.
        model: of the arrays, where no ensemble tells it.
        temperatures: of the arrays, (T,), in units of J / k_B.
        device: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... On a GPU steps are
            captured as graphs where they can be, see `captured.CapturedTrainer`.
        log: file to which metrics are appended, one line a step, as ``.jsonl`` or ``.csv``.
        tensorboard: directory for TensorBoard.
        settings: all choices together, in place of single ones.
        stop: asked after every step; None listens to signals.
        group: the processes that train this flow together, all by this function; the first of them writes.
        command: kept in the file; None takes this process's command line.
        choices: fields of `TrainingSettings`: ``minutes`` (10 unless ``steps`` is given), ``steps``, ``objective``,
            ``batch_temperatures``, ``batch_draws`` (at each of them), ``learning_rate``, ``seed``, ...; ``critic`` also
            as a mapping.

    Returns:
        The trained flow, whose ``history`` says how it was made.

    Raises:
        InputError: ``out`` exists, cannot be resumed, or the ensemble cannot be trained on; a choice is unknown or
            impossible; or memory ran out.
        TrainingDivergedError: the state before the bad step is kept in ``out``.

    Example:
        >>> import latticeflow as lf, mcmc
        >>> theta = np.zeros((2, 50, 4, 4))  # at T = 0.1 and 0.2, or better some real draws
        >>> flow = lf.train(theta, model=mcmc.XY(), temperatures=[0.1, 0.2], steps=2, device="cpu")
        >>> flow.history["steps"], flow.temperatures
        (2, (0.1, 0.2))
    """
    settings = chosen_settings(settings, choices)
    out, log = (None if path is None else Path(path) for path in (out, log))
    if out is not None and out.exists() and not resume:
        if out.is_dir():
            raise InputError(f"{out} is a directory: name a file in it")
        raise InputError(f"{out} exists: resume the training that it holds, or name another file")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"directory {out.parent} does not exist: create it, or name another file")
    check_path(log)
    with contextlib.ExitStack() as stack:
        reference = stack.enter_context(opened(ensemble, model=model, temperatures=temperatures))
        if group.rank == 0:
            for line in reference.warnings():
                logger.warning("%s: %s", reference.path, line)
        own_stop = stop is None
        stop = stack.enter_context(Stop()) if stop is None else stop
        where = choose_device(str(device))
        begun, settings, state = _prepared(reference, settings, flow, sizes, start, out if resume else None, where)
        lattices = lattices_to(begun, reference.lattice)
        if state is None:
            settings = shared(settings, len(lattices))
        elif begun.lattice != reference.lattice:  # on the way there it was interrupted
            lattices = [begun.lattice, *lattices]
        for lattice in lattices:
            last = lattice == reference.lattice
            draws = reference if last else draws_between(reference, lattice, seed=settings.seed, rank=group.rank)
            passed = begun.history.get("curve")
            here = grown(settings, begun, lattice)
            if state is not None:
                here = TrainingSettings.from_json(begun.history["training"])
            begun = _continue(begun, draws, lattice).to(where)
            trainer = _trainer(begun, draws, here, group)
            curve = LearningCurve()
            if state is not None:
                trainer.load_state_dict(state)
                curve = LearningCurve(passed)
                state = None
            how = {
                "training": asdict(trainer.settings),
                "source": describe_source(draws),
                "start": None if start is None else repr(start) if isinstance(start, Flow) else str(start),
                "device": describe(trainer.flow.device),
                "processes": group.count,
                "asked": asdict(settings),
                **({} if last else {"larger": list(reference.lattice.shape)}),
                **origin(command),
            }
            _run(trainer, how, curve, out, log, None if tensorboard is None else Path(tensorboard), stop, last=last)
            begun = trainer.served
            if trainer.fraction < 1:
                break
    if own_stop and trainer.fraction < 1:
        if stop.signal not in (0, signal.SIGINT):
            signal.raise_signal(stop.signal)  # its sender wants this process to end
        warnings.warn(
            f"training stopped by {stop.reason} after {trainer.step_number} steps: the flow is as far as it came",
            stacklevel=level_of_user(),
        )
    served = trainer.served
    if served.lattice != lattices[-1]:
        history, served = served.history, enlarge(served, lattices[-1])
        served.history = history
    return served


def chosen_settings(settings: TrainingSettings | None, choices: Mapping[str, Any]) -> TrainingSettings:
    """Settings from single choices, or those that were given whole.

    Raises:
        InputError: both were given, or a choice is unknown, with the nearest known name, or impossible.
    """
    if settings is not None:
        if choices:
            raise InputError(f"give either settings or {', '.join(choices)}, not both")
        if not isinstance(settings, TrainingSettings):
            raise InputError(f"settings must be TrainingSettings; got {type(settings).__name__}")
        return settings
    check_names(choices, [each.name for each in fields(TrainingSettings)], "training setting")
    choices = dict(choices)
    if isinstance(choices.get("critic"), Mapping):
        check_names(choices["critic"], [each.name for each in fields(CriticSettings)], "critic setting")
        choices["critic"] = CriticSettings(**choices["critic"])
    if choices.get("steps") is None and choices.get("minutes") is None:
        choices["minutes"] = 10.0
    return TrainingSettings(**choices)


def describe_source(ensemble: ReadableEnsemble) -> dict[str, Any]:
    """What a flow remembers of its ensemble, in JSON's types."""
    return {
        "ensemble": str(ensemble.path),
        "file_id": ensemble.attributes.get("file_id"),
        "sampler": ensemble.attributes.get("sampler"),
        "seed": ensemble.attributes.get("seed"),
        "draws": ensemble.draws * ensemble.chains,
        "temperatures": ensemble.temperatures.tolist(),
    }


def _prepared(
    ensemble: ReadableEnsemble,
    settings: TrainingSettings,
    flow: Flow | type[Flow] | str,
    sizes: Mapping[str, Any] | None,
    start: Flow | str | Path | None,
    resumed: Path | None,
    device: torch.device,
) -> tuple[Flow, TrainingSettings, dict[str, Any] | None]:
    """The flow to begin with, on whatever lattice it is; settings; and the trainer's state where one goes on."""
    torch.manual_seed(settings.seed)
    if resumed is not None and resumed.exists():
        return _resume(resumed, ensemble, settings, device)
    if start is not None:
        return open_flow(start), settings, None
    if isinstance(flow, Flow):
        if sizes:
            raise InputError("a flow brings its own sizes: leave them out, or name its kind")
        return flow, settings, None
    limits = (float(ensemble.temperatures.min()), float(ensemble.temperatures.max()))
    return build_flow(flow, ensemble.model, ensemble.lattice, limits, **(sizes or {})), settings, None


def _trainer(flow: Flow, ensemble: ReadableEnsemble, settings: TrainingSettings, group: Group) -> Trainer:
    if not flow.parameter_count:
        raise InputError(f"a {flow.name} flow has no parameters to train")
    needed = settings.terms(flow).needs_ensemble
    if needed and (count := ensemble.draws * ensemble.chains) < 2:
        raise InputError(f"{ensemble.path} holds {count} draws per temperature: training needs 2, better 1,000")
    if group is ALONE and can_capture(flow, settings) and (not needed or _fits(ensemble, flow.device)):
        trainer = CapturedTrainer(flow, settings, ResidentDraws.of(ensemble, flow.device) if needed else None)
        try:
            trainer.capture()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            logger.info("steps are not captured as graphs: %s", str(error).partition("\n")[0])
        else:
            return trainer
    draws = _reference(ensemble, settings.seed, group.rank, flow.device) if needed else None
    return Trainer(flow, settings, draws, group=group)


def _fits(ensemble: ReadableEnsemble, device: torch.device) -> bool:
    """Whether all draws may stay in the memory of a GPU: in a quarter of what is free."""
    free, _ = torch.cuda.mem_get_info(device)
    angles = len(ensemble.temperatures) * ensemble.draws * ensemble.chains * ensemble.lattice.N
    return 4 * angles < free / 4


def _run(
    trainer: Trainer,
    how: Mapping[str, Any],
    curve: LearningCurve,
    out: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    stop: Stop,
    *,
    last: bool,
) -> None:
    """Train to the end or until it is time to stop, saving on the way; ``last`` unless larger lattices follow."""
    group, settings = trainer.group, trainer.settings

    def save() -> None:
        served, complete = trainer.served, last and trainer.fraction >= 1
        served.history = {
            **how,
            "steps": trainer.step_number,
            "seconds": trainer.seconds,
            "complete": complete,
            "curve": curve.to_json(),
        }
        if out is not None and group.rank == 0:
            checkpoint.save(out, served, training=None if complete else trainer.state_dict())

    kept = f"where {out} was saved" if out is not None else "and nothing is kept, as no file was named"
    if group.rank == 0:
        logger.info(
            "training %s of %s (%d parameters) by %s on %s%s",
            trainer.flow.name,
            trainer.flow.lattice,
            trainer.flow.parameter_count,
            settings.objective,
            describe(trainer.flow.device),
            f" in {group.count} processes" if group.count > 1 else "",
        )
    with MetricsLog(trainer, log, tensorboard) as report:
        saved = time.monotonic()
        try:
            while trainer.fraction < 1 and not group.any(stop.asked()):
                metrics = trainer.step()
                curve.add(metrics)
                report(metrics)
                if time.monotonic() - saved > _SAVE_EVERY:
                    save()
                    saved = time.monotonic()
        except InputError:
            save()
            raise
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            save()
            raise InputError(
                f"out of memory at step {trainer.step_number}, {kept}: start from it with fewer draws than "
                f"{settings.batch_draws} or fewer temperatures than {settings.batch_temperatures} in a batch"
            ) from error
    save()


def _reference(ensemble: ReadableEnsemble, seed: int, rank: int, device: torch.device | str) -> ReferenceDraws:
    """Draws of the ensemble for one process, which reads them in an order of its own."""
    loader = Loader(ensemble, np.random.default_rng(key(seed, rank)))
    return ReferenceDraws(loader.sample, ensemble.temperatures, device=device, model=ensemble.model)


def _resume(
    out: Path, ensemble: ReadableEnsemble, asked: TrainingSettings, device: torch.device | str
) -> tuple[Flow, TrainingSettings, dict[str, Any]]:
    """Flow, settings and trainer's state of an interrupted training."""
    flow, metadata, state = checkpoint.load(out, device)
    if state is None:
        raise InputError(f"{out} holds a finished training: start another one from it, and name another file for that")
    on_the_way = flow.lattice == ensemble.lattice or metadata.get("larger") == list(ensemble.lattice.shape)
    if flow.model != ensemble.model or not on_the_way:
        raise InputError(f"{out} was trained for {flow.model} on {flow.lattice}: give its ensemble")
    settings = TrainingSettings.from_json(metadata.get("asked", metadata["training"]))
    if asked.resolved(flow) != settings.resolved(flow):
        logger.warning("going on by the settings that %s holds, not by those given now", out)
    return flow, settings, state


def _continue(flow: Flow, ensemble: ReadableEnsemble, lattice: Lattice) -> Flow:
    """A copy of an earlier flow, made to fit an ensemble on a lattice."""
    if flow.model != ensemble.model:
        raise InputError(f"the flow to start from is for {flow.model}, the ensemble holds {ensemble.model}")
    flow = copy.deepcopy(enlarge(flow, lattice))
    flow.temperatures = (float(ensemble.temperatures.min()), float(ensemble.temperatures.max()))
    return flow
