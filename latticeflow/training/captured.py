"""Training steps as CUDA graphs: thousands of small kernels are launched at once, and several trainings side by side.

A step of a small flow keeps a GPU waiting: each of its kernels takes a few microseconds, and Python needs longer than
that to launch the next. A graph holds all kernels of a step and is launched whole. Graphs on streams of their own share
the GPU, so that many trainings together take little longer than one.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latticeflow.flows import Flow
from latticeflow.flows.captured_draws import CAPTURING, capturing
from latticeflow.training.data import lattice_symmetries
from latticeflow.training.objectives import Objective
from latticeflow.training.trainer import Metrics, Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import InputError, wrap
from mcmc.models.presets import Model
from mcmc.sampling.rng import key
from mcmc.storage.memory_ensemble import ReadableEnsemble

_WARM_UP = 3
_QUEUED = 3
"""Steps that wait on the device while the host does other things."""


class ResidentDraws:
    """All draws of an ensemble in the memory of a device, where batches are picked and turned by its symmetries.

    Args:
        theta: angles, (T, n, Ly, Lx).
        temperatures: (T,).
        device: where.
        model: see `data.ReferenceDraws`; here every configuration gets a symmetry of the lattice of its own.
    """

    def __init__(
        self, theta: np.ndarray, temperatures: np.ndarray, *, device: torch.device | str, model: Model | None = None
    ):
        self.theta = torch.tensor(theta, dtype=torch.float32, device=device).flatten(2)
        self.temperatures = torch.as_tensor(temperatures, dtype=torch.float64, device=device)
        self.shape, self.model = theta.shape[2:], model
        places = np.arange(np.prod(self.shape)).reshape(self.shape)
        self._symmetries = torch.as_tensor(_symmetries(places, model), device=device)
        self._rows = torch.arange(len(theta), device=device)[:, None]

    @classmethod
    def of(cls, ensemble: ReadableEnsemble, device: torch.device | str) -> ResidentDraws:
        """All draws of an ensemble, moved by the symmetries of its model.

        Raises:
            InputError: angles are not finite.
        """
        theta = ensemble.theta().reshape(len(ensemble.temperatures), -1, *ensemble.lattice.shape)
        if not np.isfinite(theta).all():
            raise InputError("the ensemble holds angles that are not finite: see 'latticeflow verify'")
        return cls(theta, ensemble.temperatures, device=device, model=ensemble.model)

    def batch(self, n: int, generator: torch.Generator, *, temperatures: int | None = None) -> tuple[Tensor, Tensor]:
        """The next batch, see `data.ReferenceDraws.batch`; ``generator`` is on the device."""
        count, device, rows, T = len(self.theta), self.theta.device, self._rows, self.temperatures
        if temperatures is not None and temperatures < count:
            picked = torch.rand(count, generator=generator, device=device).argsort()[:temperatures].sort().values
            count, rows, T = temperatures, rows[picked], T[picked]

        def random(limit: int) -> Tensor:
            return torch.randint(limit, (count, n), generator=generator, device=device)

        theta = self.theta[rows, random(self.theta.shape[1])]
        sites = self._symmetries[random(len(self._symmetries))]
        if self.model is not None and self.model.translation:
            sites = _translated(sites, self.shape, [random(side)[..., None] for side in self.shape])
        theta = theta.gather(2, sites)
        if self.model is not None and self.model.reflection:
            theta = torch.where(random(2)[..., None] == 0, theta, -theta)
        if self.model is not None and self.model.rotation:
            theta = theta + 2 * np.pi * torch.rand((count, n, 1), generator=generator, device=device)
        return wrap(theta).view(count, n, *self.shape), T[:, None].expand(count, n)


def _symmetries(places: np.ndarray, model: Model | None) -> np.ndarray:
    """Where each site's angle comes from, for every symmetry of the lattice but translations, (symmetries, N)."""
    if model is None:
        return places.reshape(1, -1)
    symmetries = lattice_symmetries(model, places.shape)
    return np.array([np.flip(places.transpose(order), flipped).ravel() for order, flipped in symmetries])


def _translated(sites: Tensor, shape: Sequence[int], steps: Sequence[Tensor]) -> Tensor:
    """Numbers of the sites that lie some steps along every axis from the given ones."""
    moved, stride = torch.zeros_like(sites), 1
    for side, step in zip(reversed(shape), reversed(steps), strict=True):
        moved = moved + stride * ((sites // stride + step) % side)
        stride *= side
    return moved


def can_capture(flow: Flow, settings: TrainingSettings) -> bool:
    """Whether a `CapturedTrainer` can train a flow: on a GPU, by weights that do not follow the gradients."""
    schedules = settings.resolved(flow).schedules.values()
    return flow.device.type == "cuda" and not any(each.kind == "adaptive" for each in schedules)


class CapturedTrainer(Trainer):
    """A trainer whose step is one CUDA graph, on a stream of its own.

    The graph is made at the first step, at the first after `load_state_dict`, and when other terms of the objective
    than before have weights. A step whose gradient is not finite changes no parameter; `check` and `metrics` tell of
    it. ``seconds`` is the wall time since the first step.

    Args:
        flow: on a GPU, trained in place.
        settings: how; see `can_capture`.
        reference: ensemble draws on the same GPU.
        priority: of the stream: among trainings side by side, kernels of one at -1 go before those of one at 0.

    Raises:
        InputError: as `Trainer`, or the settings need the host at every step.
    """

    def __init__(
        self, flow: Flow, settings: TrainingSettings, reference: ResidentDraws | None = None, *, priority: int = 0
    ):
        super().__init__(flow, settings, reference)  # type: ignore[arg-type]
        if not can_capture(flow, settings):
            raise InputError("captured steps need a GPU, and weights of terms that are not adaptive")
        self.picker = self.generator
        self.stream = torch.cuda.Stream(flow.device, priority=priority)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._terms: Objective | None = None  # that the graph computes
        self._weights = {name: torch.zeros((), device=flow.device) for name in vars(self.objective)}
        self._optimisers = [self.optimiser, *([self.critic_optimiser] if self.critic is not None else [])]
        self._keep = torch.zeros((), device=flow.device)
        self._bad = torch.zeros((), device=flow.device)
        self._found: tuple[Tensor, Tensor | None, Tensor | None, Tensor] | None = None
        self._queued: deque[torch.cuda.Event] = deque()
        self._looked: float | None = None

    @property
    def captured(self) -> bool:
        """Whether the graph is made, which takes as long as a few plain steps."""
        return self._graph is not None

    @property
    def ready(self) -> bool:
        """Whether so few steps are queued that the device could run out of them."""
        while self._queued and self._queued[0].query():
            self._queued.popleft()
        return len(self._queued) < _QUEUED

    def launch(self) -> None:
        """Queue one step, without waiting for it."""
        if self._graph is None or self._terms != self._present_objective():
            self.capture()
            self._looked = time.monotonic()
        assert self._graph is not None
        with torch.cuda.stream(self.stream):
            self._prepare()
            self._graph.replay()
            event = torch.cuda.Event()
            event.record()
        self._queued.append(event)
        self.step_number += 1
        now = time.monotonic()
        self.seconds += now - (self._looked or now)
        self._looked = now

    def check(self) -> None:
        """Look, without waiting, whether steps that are done were good.

        Raises:
            TrainingDivergedError: the gradient of a step since the last time was not finite.
        """
        if float(self._bad):
            self._bad.zero_()
            raise self._diverged(math.nan)

    def metrics(self) -> Metrics:
        """Those of the last step that was queued; waits for it.

        Raises:
            TrainingDivergedError: see `check`.
        """
        assert self._found is not None
        self.stream.synchronize()
        self._queued.clear()
        self.check()
        loss, of_critic, log_w, norm = self._found
        return self._metrics(loss, of_critic, log_w, float(norm))

    def snapshot(self) -> Flow:
        """A copy of the flow that is served, after the last step that was queued."""
        self.stream.synchronize()
        flow = copy.deepcopy(self.served)
        torch.cuda.current_stream().synchronize()  # a later step must not change what is still being copied
        return flow

    def step(self) -> Metrics:
        """Queue one step and wait for it."""
        self.launch()
        return self.metrics()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Trainer.load_state_dict`."""
        super().load_state_dict(state)
        self._graph = None

    def _skip_draws(self, draws: int) -> None:
        pass  # those of every step depend on its seed alone

    def _prepare(self) -> None:
        seed = int(key(self.settings.seed, self.group.rank, self.step_number)[0])
        self.generator.manual_seed(seed)
        rate = self.settings.rate(self.step_number, self.fraction)
        for group in self.optimiser.param_groups:
            group["lr"].fill_(group["initial_lr"] * rate)
        for name, weight in self._weights.items():
            schedule = self.settings.schedules.get(name)
            factor = schedule.factor(self.fraction) if schedule else 1.0
            weight.fill_(getattr(self.objective, name) * factor)
        step = self.step_number + 1
        self._keep.fill_(1 - min(self.settings.ema, (1 + step) / (10 + step)))

    def _weighted(self, terms: dict[str, Tensor], weights: Objective) -> Tensor:
        loss, *more = (self._weights[name] * term for name, term in terms.items())
        return sum(more, loss)

    def capture(self) -> None:
        """Make the graph of the next step; `launch` does so where there is none.

        Raises:
            RuntimeError: a step needs the host on its way, as that of a flow of the user's own may; nothing is changed.
        """
        with CAPTURING:
            self._capture()

    def _capture(self) -> None:
        self.stream.synchronize()
        self._graph, self._terms = None, self._present_objective()  # the memory of the old one goes first
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["capturable"] = True
                group["lr"] = torch.tensor(float(group["lr"]), device=self.flow.device)
        modules = [self.flow, *(each for each in (self.critic, self.average) if each is not None)]
        tensors = [value for module in modules for value in module.state_dict().values()]
        before = [value.clone() for value in tensors], [_state(optimiser) for optimiser in self._optimisers]
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(_WARM_UP):
                self._prepare()
                self._device_step()
            for value, old in zip(tensors, before[0], strict=True):
                value.copy_(old)
            for optimiser, states in zip(self._optimisers, before[1], strict=True):
                for parameter, state in optimiser.state.items():
                    for name, value in state.items():
                        value.copy_(states[parameter][name]) if parameter in states else value.zero_()
            self._bad.zero_()
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with capturing(graph, self.stream, self.generator):
            self._found = self._device_step()
        self._graph = graph

    def _device_step(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        found = self._gradients()
        _, of_critic, _, norm = found
        bad = (~norm.isfinite()).float()
        self._bad.add_(bad)
        for optimiser in self._optimisers:
            optimiser.found_inf = bad  # type: ignore[attr-defined]
        self._update(of_critic)
        if self.average is not None:
            with torch.no_grad():
                for mean, value in zip(self.average.parameters(), self.flow.parameters(), strict=True):
                    mean.lerp_(value, self._keep)
        return found


def _state(optimiser: torch.optim.Optimizer) -> dict[Any, dict[str, Tensor]]:
    return {parameter: {k: v.clone() for k, v in state.items()} for parameter, state in optimiser.state.items()}
