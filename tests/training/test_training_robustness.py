"""What goes wrong in a training is said in one line, and nothing that was learnt is lost."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from latticeflow.cli import main
from latticeflow.flows import Multiscale, checkpoint
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.train import train
from latticeflow.training.trainer import Trainer, TrainingDivergedError
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, InputError, Lattice
from mcmc.sampling.generate import generate_file
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble
from tests.helpers import QUICK, SIZES, TEMPERATURES, After, make, train_file
from tests.processes import wait_until


def test_a_folder_that_does_not_exist_is_named_before_training(few_draws, tmp_path):
    with pytest.raises(InputError, match=r"directory .*nowhere does not exist: create it"):
        train_file(few_draws, tmp_path / "nowhere" / "a.pt", TrainingSettings(steps=1, **QUICK), sizes=SIZES)


def test_ensembles_that_cannot_be_trained_on_are_named(tmp_path):
    settings = TrainingSettings(steps=1, **QUICK)
    one = Settings(XY(), Lattice(4, 4), TEMPERATURES, thermalise=1, thin=1)
    generate_file(one, tmp_path / "one.h5", draws=1)
    with pytest.raises(InputError, match="holds 1 draws per temperature: training needs 2"):
        train_file(tmp_path / "one.h5", tmp_path / "flow.pt", settings, sizes=SIZES)
    Ensemble.create(tmp_path / "none.h5", model=XY(), lattice=Lattice(4, 4), temperatures=TEMPERATURES).close()
    with pytest.raises(InputError, match="holds 0 draws per temperature"):
        train_file(tmp_path / "none.h5", tmp_path / "flow.pt", settings, sizes=SIZES)
    # The reverse KL needs none.
    reverse = TrainingSettings("reverse_kl", steps=1, **QUICK)
    assert train_file(tmp_path / "none.h5", tmp_path / "flow.pt", reverse, sizes=SIZES)
    broken = ReferenceDraws(lambda n: np.full((4, n, 4, 4), np.nan, np.float32), np.array(TEMPERATURES))
    with pytest.raises(InputError, match="angles that are not finite: see 'latticeflow verify'"):
        Trainer(make("multiscale", XY(), 4, 4), settings, broken).step()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_saves_and_names_the_remedy(few_draws, tmp_path, monkeypatch, error):
    steps, inner = 0, Multiscale._sample

    def sample(self, temperature, generator):
        nonlocal steps
        steps += 1
        if steps > 2:
            raise error
        return inner(self, temperature, generator)

    monkeypatch.setattr(Multiscale, "_sample", sample)
    with pytest.raises(InputError, match=r"out of memory at step 2.*fewer draws than 4") as caught:
        train_file(few_draws, tmp_path / "flow.pt", TrainingSettings(steps=5, **QUICK), sizes=SIZES)
    assert "\n" not in str(caught.value)
    assert checkpoint.load(tmp_path / "flow.pt").metadata["steps"] == 2


def test_other_errors_of_torch_stay_what_they_are(few_draws, tmp_path, monkeypatch):
    def sample(self, temperature, generator):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Multiscale, "_sample", sample)
    with pytest.raises(RuntimeError, match="a bug"):
        train_file(few_draws, tmp_path / "flow.pt", TrainingSettings(steps=5, **QUICK), sizes=SIZES)


def test_divergence_keeps_flow_average_and_critic_from_before(few_draws, tmp_path, monkeypatch):
    """What is kept equals what a training stopped before that step keeps."""
    settings = TrainingSettings("advnf", steps=10, ema=0.9, **QUICK)
    assert not train_file(few_draws, tmp_path / "stopped.pt", settings, sizes=SIZES, stop=After(3))
    steps, inner = 0, Multiscale._sample

    def sample(self, temperature, generator):
        nonlocal steps
        theta, log_q = inner(self, temperature, generator)
        steps += 1
        return (theta * float("nan") if steps > 3 else theta), log_q

    monkeypatch.setattr(Multiscale, "_sample", sample)
    with pytest.raises(TrainingDivergedError, match="diverged at step 3"):
        train_file(few_draws, tmp_path / "diverged.pt", settings, sizes=SIZES)
    stopped, diverged = (checkpoint.load(tmp_path / f"{name}.pt") for name in ("stopped", "diverged"))
    assert checkpoint.fingerprint(stopped.flow) == checkpoint.fingerprint(diverged.flow)
    for name, value in stopped.training["flow"].items():
        assert torch.equal(value, diverged.training["flow"][name])
    for name, value in stopped.training["critic"].items():
        if "_u" not in name and "_v" not in name:  # of the norm's power iteration, which goes on when it is asked
            assert torch.equal(value, diverged.training["critic"][name])


@pytest.mark.slow
def test_interrupted_by_control_c_resumes_bit_for_bit(few_draws, tmp_path):
    words = [str(few_draws), "--steps", "40", "--batch-temperatures", "4", "--batch-draws", "4", "--device", "cpu"]
    words += ["--set", "width=16", "--objective", "advnf", "--ema", "0.9"]
    log, out = tmp_path / "m.jsonl", tmp_path / "part.pt"
    command = [sys.executable, "-m", "latticeflow", "train", *words, "--out", str(out), "--log", str(log)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_until(lambda: b"training multiscale" in process.stderr.readline(), process, 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert "go on with the same command and --resume" in process.stderr.read().decode()
    process.stderr.close()
    kept = checkpoint.load(out)
    assert kept.training is not None
    assert kept.metadata["steps"] < 40
    torch.set_num_threads(1)
    assert main(["train", *words, "--out", str(out), "--resume"]) == 0
    assert main(["train", *words, "--out", str(tmp_path / "whole.pt")]) == 0
    whole = checkpoint.load(tmp_path / "whole.pt").flow
    assert checkpoint.fingerprint(whole) == checkpoint.fingerprint(checkpoint.load(out).flow)


def test_an_interrupt_ends_the_training_and_gives_the_flow(few_draws):
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.warns(UserWarning, match=r"training stopped by SIGINT after \d+ steps") as caught:
        flow = train(few_draws, minutes=5, sizes=SIZES, device="cpu")
    timer.join()
    assert caught[0].filename == __file__
    assert not flow.history["complete"]
    assert "stopped before its end" in repr(flow)
    theta, log_q = flow.sample(10, 1.0)
    np.testing.assert_allclose(flow.log_prob(theta, 1.0), log_q, rtol=1e-4)


def test_a_request_to_terminate_saves_and_ends_the_process(few_draws, tmp_path):
    code = (
        "import os, signal, threading\n"
        "from latticeflow import train\n"
        "threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        f"train({str(few_draws)!r}, minutes=5, sizes={SIZES!r}, device='cpu', out={str(tmp_path / 'flow.pt')!r})\n"
        "print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert done.stdout == ""
    assert checkpoint.load(tmp_path / "flow.pt").training is not None
