"""Processes that train together hold one flow, resume, and agree on when to end."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from latticeflow.flows import checkpoint
from latticeflow.training.distributed import ALONE, Group

TOGETHER = """
import json, sys
import torch
from latticeflow.flows import checkpoint
from latticeflow.training import distributed as parallel
from latticeflow.training import train as run
from latticeflow.training.training_settings import TrainingSettings
from mcmc import InputError
from mcmc.runtime.stop import Stop

directory = sys.argv[1]
torch.set_num_threads(1)
kept, NAN = [], float("nan")


class Kept(run.Trainer):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        kept.append(self)


class After(Stop):
    left = 0

    def asked(self, seconds=0.0):
        self.left -= 1
        return self.left < 0


run.Trainer = Kept
quick = {"batch_temperatures": 4, "batch_draws": 8, "warmup": 2}
sizes = {"width": 16, "invariants": 8}
with parallel.join("cpu") as group:
    def train(name, settings, **how):
        out = directory + "/" + name
        flow = run.train(
            directory + "/xy4.h5", out=out, settings=settings, sizes=sizes, device="cpu", group=group, **how
        )
        complete = flow.history["complete"]
        trainer = kept[-1]
        return [complete, checkpoint.fingerprint(trainer.flow), trainer.step_number, trainer.seconds]

    stop = After()
    stop.left = 3 if group.rank else 1000  # one process alone is told to stop
    settings = TrainingSettings("advnf", steps=6, ema=0.9, **quick)
    found = {"whole": train("whole.pt", settings), "part": train("part.pt", settings, stop=stop)}
    group.any(False)  # nobody resumes before the file is there
    found["resumed"] = train("part.pt", settings, resume=True)
    found["minutes"] = train("minutes.pt", TrainingSettings(minutes=0.003, **quick))
    group.any(False)
    # A gradient that is not a number in one process stops all of them.
    flow = kept[-1].flow
    trainer = run.Trainer(flow, TrainingSettings("reverse_kl", steps=3, **quick), group=group)
    if group.rank:
        flow._sample = lambda T, generator: (torch.zeros(len(T), 4, 4), NAN * next(flow.parameters()).sum() * T)
    try:
        trainer.step()
    except InputError as error:
        found["diverged"] = str(error)
    trainer.picker.manual_seed(0)
    found["stream"] = trainer.generator.initial_seed()
print(json.dumps(found))
"""


def test_two_processes_hold_one_flow(few_draws):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(few_draws.parent)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    first, second = (json.loads(process.communicate(timeout=240)[0]) for process in processes)
    for name in ("whole", "part", "resumed", "minutes"):
        assert first[name] == second[name]  # complete, every parameter, steps and the agreed time
    assert (first["whole"][0], first["part"][0], first["resumed"][0]) == (True, False, True)
    assert first["part"][2] == 3
    assert first["resumed"][1] == first["whole"][1] != first["part"][1]
    assert first["minutes"][2] > 0
    assert "diverged at step 0" in first["diverged"]
    assert "diverged at step 0" in second["diverged"]
    assert first["stream"] != second["stream"]
    metadata = checkpoint.load(few_draws.parent / "whole.pt").metadata
    assert metadata["processes"] == 2


def test_alone_nothing_is_exchanged():
    parameter = torch.ones(3, requires_grad=True)
    (parameter * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    ALONE.average_gradients([parameter])
    assert parameter.grad.tolist() == [1, 2, 3]
    assert ALONE.mean(0.25) == 0.25
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert Group(count=4).share(16) == 4


@pytest.mark.slow
def test_torchrun_trains_by_the_command_line(few_draws, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "latticeflow"]
    words = ["train", str(few_draws), "--out", str(tmp_path / "two.pt"), "--steps", "4", "--device", "cpu"]
    words += ["--batch-draws", "4", "--set", "width=16", "--log", str(tmp_path / "m.csv")]
    subprocess.run([*torchrun, *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert checkpoint.load(tmp_path / "two.pt").metadata["steps"] == 4
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 5  # a head, and one process alone writes
