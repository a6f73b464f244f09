"""The command for a short loan of a GPU, on the CPU with the device's name swapped."""

import json

import pytest
import torch

from latticeflow.experiments import gpu, gpu_checks, gpu_log, gpu_trainings
from latticeflow.flows import build_flow, checkpoint
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, Lattice

CPU = torch.device("cpu")


def small():
    return [build_flow("multiscale", XY(), Lattice(4, 4), gpu_trainings.RANGE, width=16)]


@pytest.fixture
def few(monkeypatch):
    """One small flow to check, and two steps a training."""
    monkeypatch.setattr(gpu_checks, "_flows_to_check", small)
    monkeypatch.setattr(checkpoint, "shipped", dict)
    # Two steps, however busy the machine is.
    settings = gpu_trainings.TrainingSettings

    def two_steps(minutes, **rest):
        return settings(steps=2, **rest)

    monkeypatch.setattr(gpu_trainings, "TrainingSettings", two_steps)


def lines(out):
    return [json.loads(line) for line in (out / "gpu.jsonl").read_text().splitlines()]


def test_every_result_is_written(few, tmp_path):
    chain = [gpu_trainings.Task("xy", 4, 1.0, 2), gpu_trainings.Task("xy", 8, 1.0, 2, objective="sites_first")]
    assert gpu.run_on_gpu(tmp_path, minutes=10, device=CPU, chains=[chain], sizes=[4], ensemble_draws=10)
    found = lines(tmp_path)
    trained = [line for line in found if line["kind"] == "training"]
    assert [line["task"] for line in trained] == ["xy8", "xy4"]
    assert [line["start"] for line in trained] == ["xy4", "spin waves"]
    assert all(0 < line["acceptance"] <= 1 and line["steps"] == 2 for line in trained)
    assert [line["kind"] for line in found[:1] + found[-1:]] == ["machine", "end"]
    flow = checkpoint.load(tmp_path / "xy8.pt").flow
    assert flow.lattice == Lattice(8, 8)
    assert TrainingSettings.from_json(flow.history["training"]).objective == "sites_first"


def test_a_training_starts_with_the_best_nets_of_what_there_is(few, tmp_path):
    task = gpu_trainings.Task("xy", 8, 1.0, 2)
    begun = build_flow("multiscale", XY(), task.lattice, gpu_trainings.RANGE, width=16)
    small = build_flow("multiscale", XY(), Lattice(4, 4), gpu_trainings.RANGE, width=16)
    with torch.no_grad():
        begun.conditioners[-1].net[4].bias.add_(1.0)
    begun.save(tmp_path / "xy8.pt")
    ensembles = gpu_trainings.Ensembles([[task]], 20)
    flow, start = gpu_trainings.starting_flow(task, {"xy4": small}, tmp_path, ensembles.get(task, "train"))
    assert start == f"{tmp_path / 'xy8.pt'} and xy4"
    assert flow.sizes["finer"]
    assert torch.equal(flow.conditioners[-1].net[4].weight, small.conditioners[-1].net[4].weight)
    assert gpu_trainings.starting_flow(task, {}, tmp_path, ensembles.get(task, "train"))[1] == str(tmp_path / "xy8.pt")


def test_a_failure_is_written_and_the_others_go_on(few, tmp_path):
    chains = [[gpu_trainings.Task("xy", 4, 1.0, 2, objective="no objective")], [gpu_trainings.Task("xy", 4, 1.0, 2)]]
    gpu.run_on_gpu(tmp_path, minutes=10, device=CPU, chains=chains, sizes=[], ensemble_draws=10)
    kinds = [line["kind"] for line in lines(tmp_path)]
    assert [kind for kind in kinds if kind in ("failed", "training")] == ["failed", "training"]


def test_a_device_that_computes_wrongly_is_seen(few, tmp_path, monkeypatch):
    """The density of a flow whose draws follow another one."""
    from latticeflow.flows import Multiscale

    right = Multiscale._sample
    monkeypatch.setattr(Multiscale, "_sample", lambda self, T, generator: right(self, 1.1 * T, generator))
    assert not gpu_checks.check_device(gpu_log.ResultLog(tmp_path / "gpu.jsonl"), CPU)
    failed = {line["what"] for line in lines(tmp_path) if not line["held"]}
    assert failed == {"log q of draws"}


def test_an_unknown_training_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--only", "xy8,xy17", "--out", str(tmp_path), "--device", "cpu"])
    assert "--only xy8,xy17: trainings are exy16, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--minutes", "-1"], "--minutes -1 must be positive"),
        (["--minutes", "nan"], "--minutes nan must be positive"),
        (["--paper-draws", "0"], "--paper-draws 0 must be positive"),
        (["--paper-seeds", "-1"], "--paper-seeds -1 not negative"),
        (["--start", "nowhere"], "--start nowhere is not a folder"),
        (["--paper", "reverse"], "unknown objective 'reverse'"),
        (["--device", "nonsense"], "no device 'nonsense'"),
    ],
)
def test_nonsense_takes_one_line(options, complaint, capsys, tmp_path):
    with pytest.raises(SystemExit):
        gpu.main([*options, "--out", str(tmp_path / "out")])
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
