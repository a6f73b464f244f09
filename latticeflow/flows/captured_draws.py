"""Draws of a flow on a GPU by CUDA graphs: all kernels of a call are launched at once.

One by one, Python launches them more slowly than the GPU runs them. Where many calls of one size follow each other, as
in neural MCMC, a graph takes a half to a quarter of the time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from latticeflow.flows.flow import Flow

CAPTURING = threading.RLock()
"""Held while a graph is made: one at a time, as making one waits for all else on the device."""
_WARM_UP = 3
_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Capture nothing here: for a thread beside others that capture."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """On which draws are captured, of a priority of its own: torch hands out the same 32 streams of each in turn.

    What another thread queued on a stream while it is captured would become a part of the graph.
    """
    return torch.cuda.Stream(device, priority=-1)


@contextlib.contextmanager
def capturing(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, generator: torch.Generator) -> Iterator[None]:
    """Record what this thread queues into a graph, random numbers of the generator included.

    Other threads may use the device meanwhile, but make no graph.
    """
    graph.register_generator_state(generator)
    # Where capturing fails torch leaves this thread on the stream; the outer context takes it back.
    capture = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
    with CAPTURING, torch.cuda.stream(stream), capture:
        yield


class CapturedDraws:
    """Calls of `Flow.sample` with one number of draws, at one temperature each.

    Args:
        flow: on a GPU; its parameters may change in place, but must stay where they are.
        n: number of draws.
    """

    def __init__(self, flow: Flow, n: int):
        device = flow.device
        self._temperature = torch.full((), flow.temperatures[1], dtype=flow.dtype, device=device)
        self._generator, self._graph, stream = torch.Generator(device), torch.cuda.CUDAGraph(), _stream(device)
        with torch.no_grad(), CAPTURING:
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    flow.sample(n, self._temperature, generator=self._generator)
            with capturing(self._graph, stream, self._generator):
                self._theta, self._log_q = flow.sample(n, self._temperature, generator=self._generator)

    def __call__(self, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same draws as by `Flow.sample`, and the generator as it leaves it."""
        self._temperature.fill_(temperature)
        self._generator.set_state(generator.get_state())
        self._graph.replay()
        generator.set_state(self._generator.get_state())
        return self._theta.clone(), self._log_q.clone()


@dataclass
class _Known:
    """What was asked of a flow last."""

    call: Any = None
    draws: CapturedDraws | None = None
    failed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held for a call, whose arrays are those of all calls: threads that draw from one flow take turns."""


_KNOWN: WeakKeyDictionary[Flow, _Known] = WeakKeyDictionary()


@torch.no_grad()
def sample(flow: Flow, n: int, temperature: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draws of a flow and their log q without gradients, as by `Flow.sample`; captured from the second call of a size.

    Args:
        flow: on any device.
        n: number of draws.
        temperature: of all of them.
        generator: on the flow's device; None takes torch's, and captures nothing.
    """
    if flow.device.type == "cuda" and generator is not None and not _PLAIN.get():
        known = _KNOWN.setdefault(flow, _Known())
        call = n, flow.dtype, *(parameter.data_ptr() for parameter in flow.parameters())
        with known.lock:
            if known.call != call:
                known.call, known.draws = call, None
            elif not known.draws and not known.failed:
                try:
                    known.draws = CapturedDraws(flow, n)
                except RuntimeError:  # a flow of the user's own may wait for the device on its way
                    known.failed = True
            if known.draws:
                return known.draws(temperature, generator)
    return flow.sample(n, torch.tensor(temperature), generator=generator)
