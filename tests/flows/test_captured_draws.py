"""Draws by captured graphs, on the CPU with stand-ins for what a GPU does."""

import contextlib
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from latticeflow.flows import captured_draws


class OnGPU:
    """What `captured_draws.sample` asks of a flow on a GPU."""

    device, dtype = SimpleNamespace(type="cuda"), torch.float32

    def __init__(self):
        self.plain = []

    def parameters(self):
        return iter(())

    def sample(self, n, temperature, *, generator=None):
        self.plain.append(n)
        return torch.zeros(n), torch.zeros(n)


class StandIn:
    """Fills arrays of its own, as a graph does, and takes its time."""

    made = 0

    def __init__(self, flow, n):
        type(self).made += 1
        self.theta, self.log_q = torch.zeros(n), torch.zeros(n)

    def __call__(self, temperature, generator):
        self.theta.fill_(temperature)
        time.sleep(0.001)
        self.log_q.fill_(temperature)
        return self.theta.clone(), self.log_q.clone()


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(StandIn, "made", 0)
    monkeypatch.setattr(captured_draws, "CapturedDraws", StandIn)
    return StandIn


def test_the_second_call_of_a_size_is_captured(stand_in):
    flow, generator = OnGPU(), torch.Generator()
    for n in (3, 3, 3, 4, 3, 3):
        theta, _ = captured_draws.sample(flow, n, 0.5, generator)
        assert len(theta) == n
    assert (flow.plain, stand_in.made) == ([3, 4, 3], 2)
    captured_draws.sample(flow, 3, 0.5, None)
    with captured_draws.plainly():
        captured_draws.sample(flow, 3, 0.5, generator)
    assert flow.plain == [3, 4, 3, 3, 3]


def test_a_flow_that_cannot_be_captured_draws_plainly(monkeypatch):
    tried = []

    def fails(flow, n):
        tried.append(n)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(captured_draws, "CapturedDraws", fails)
    flow = OnGPU()
    for _ in range(4):
        captured_draws.sample(flow, 3, 0.5, torch.Generator())
    assert (flow.plain, tried) == ([3, 3, 3, 3], [3])


def test_threads_that_draw_from_one_flow_get_what_they_asked_for(stand_in):
    flow, wrong = OnGPU(), []

    def draw(n, temperature):
        generator = torch.Generator()
        for _ in range(20):
            theta, log_q = captured_draws.sample(flow, n, temperature, generator)
            given = {0.0, temperature}  # plain calls give zeros here
            if len(theta) != n or not set(theta.tolist()) == set(log_q.tolist()) <= given:
                wrong.append((n, temperature))

    threads = [threading.Thread(target=draw, args=each) for each in ((3, 0.5), (3, 2.0), (5, 0.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert stand_in.made


def test_a_capture_that_fails_leaves_the_stream_of_the_thread(monkeypatch):
    streams = ["usual"]

    @contextlib.contextmanager
    def on(stream):
        streams.append(stream)
        try:
            yield
        finally:
            streams.pop()

    class Graph:
        """As torch does it: the stream is not given back where the end of a capture raises."""

        def __init__(self, graph, stream, capture_error_mode):
            self.stream = stream

        def __enter__(self):
            self.before = list(streams)
            streams[-1] = self.stream

        def __exit__(self, *error):
            if error[0] is not None:
                raise RuntimeError("operation failed due to a previous error during capture")
            streams[:] = self.before

    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "graph", Graph)
    graph = SimpleNamespace(register_generator_state=lambda generator: None)
    with captured_draws.capturing(graph, "side", None):
        assert streams[-1] == "side"
    assert streams == ["usual"]
    with pytest.raises(RuntimeError, match="previous error"), captured_draws.capturing(graph, "side", None):
        raise RuntimeError("operation not permitted when stream is capturing")
    assert streams == ["usual"]
