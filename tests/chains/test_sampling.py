"""The verbs sample and compare: what they write and print, and one clear line for whatever is wrong."""

import json
import os
import pickle
import signal

import numpy as np
import pytest
import torch

from latticeflow.chains.neural_mcmc import NeuralChains
from latticeflow.chains.sample import review, sample
from latticeflow.cli import main
from latticeflow.flows import checkpoint
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.sampling.generate import generate_file
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble
from tests.helpers import make

GRID = (0.6, 1.0, 1.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A flow of the 4x4 XY model, and ensembles of its own system and of others."""
    folder = tmp_path_factory.mktemp("sampling")
    flow = make("multiscale", XY(), 4, 4, disturb=0.1)
    checkpoint.save(folder / "flow.pt", flow, {"source": {"temperatures": GRID}})
    systems = {"xy4": (XY(), 4), "xy6": (XY(), 6), "exy4": (ExtendedXY(), 4), "stiff4": (XY(2.0), 4)}
    for name, (model, side) in systems.items():
        generate_file(
            Settings(model, Lattice(side, side), (1.0,), seed=90, thermalise=5), folder / f"{name}.h5", draws=20
        )
    (folder / "truncated.pt").write_bytes((folder / "flow.pt").read_bytes()[:5000])
    (folder / "text.pt").write_text("no flow at all")
    content = torch.load(folder / "flow.pt", weights_only=True)
    description = json.loads(content["json"])
    large = {**description, "recipe": {**description["recipe"], "sides": [8, 8]}}
    damaged = {
        "newer": {"version": 99},
        "versionless": {"version": None},
        "halfway": {"json": content["json"][:90]},
        "nameless": {"json": json.dumps({**description, "metadata": {}})},
        "larger": {"json": json.dumps(large)},
        "diverged": {"parameters": {k: v * float("nan") for k, v in content["parameters"].items()}},
    }
    for name, change in damaged.items():
        torch.save({**content, **change}, folder / f"{name}.pt")
    (folder / "empty.pt").touch()
    (folder / "folder.pt").mkdir()
    return folder


class Bomb:
    """What a malicious pickle would do: run code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["compare", "flow.pt", "xy6.h5"], "the flow is for XY(J=1.0) on 4x4, but"),
        (["compare", "flow.pt", "exy4.h5"], "holds ExtendedXY(J=1.0, K=1.0)"),
        (["compare", "flow.pt", "stiff4.h5"], "holds XY(J=2.0)"),
        (["compare", "flow.pt", "absent.h5"], "does not exist"),
        (["compare", "flow.pt", "flow.pt"], "is not an HDF5 file"),
        (["compare", "flow.pt", "xy4.h5", "--draws", "0"], "draws = 0"),
        (["compare", "flow.pt", "xy4.h5", "--plot", "c.bmp"], "its name must end in .png"),
        (["compare", "flow.pt", "xy4.h5", "--seed", "-1"], "seed = -1"),
        (
            ["sample", "truncated.pt", "--out", "new.h5"],
            "is not a latticeflow checkpoint, or is truncated: nothing in it",
        ),
        (["sample", "text.pt", "--out", "new.h5"], "is not a latticeflow checkpoint"),
        (["sample", "newer.pt", "--out", "new.h5"], "has checkpoint version 99, newer than 6: update latticeflow"),
        (["sample", "empty.pt", "--out", "new.h5"], "is not a latticeflow checkpoint"),
        (["sample", "folder.pt", "--out", "new.h5"], "no flow at folder.pt"),
        (["sample", "versionless.pt", "--out", "new.h5"], "versionless.pt is damaged"),
        (["sample", "halfway.pt", "--out", "new.h5"], "halfway.pt is damaged: its parts do not fit together"),
        (["sample", "larger.pt", "--out", "new.h5"], "larger.pt is damaged"),
        (["sample", "diverged.pt", "--out", "new.h5"], "whose parameters are not finite"),
        (["compare", "diverged.pt", "xy4.h5"], "whose parameters are not finite"),
        (["sample", "absent.pt", "--out", "new.h5"], "no flow at absent.pt: train one first"),
        (["sample", "flow.pt", "--out", "new.h5", "--draws", "0"], "draws = 0 must be at least 1"),
        (["sample", "flow.pt", "--out", "new.h5", "--chains", "0"], "chains = 0 must be at least 1"),
        (["sample", "flow.pt", "--out", "new.h5", "--local-sweeps", "-1"], "local sweeps = -1 must be at least 0"),
        (["sample", "flow.pt", "--out", "new.h5", "--device", "cuda:9"], "no device 'cuda:9' on this machine"),
        (["sample", "flow.pt", "--out", "xy4.h5"], "xy4.h5"),
        (["sample", "flow.pt", "--out", "xy4.h5", "--resume"], "was drawn with another flow"),
        (["sample", "flow.pt"], "name one by --out FILE.h5"),
        (["sample", "flow.pt", "--importance", "--out", "new.h5"], "--importance has no chain"),
        (["sample", "flow.pt", "--importance", "--draws", "1"], "draws = 1 must be at least 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_costs_nothing(folder, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    device = [] if "--device" in words else ["--device", "cpu"]
    assert main([*words, *device]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert complaint in lines[0]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("verb", ["sample", "compare"])
def test_a_pickle_is_refused_and_not_executed(folder, tmp_path, capsys, verb):
    evil, mark = tmp_path / "evil.pt", tmp_path / "executed"
    evil.write_bytes(pickle.dumps(Bomb(str(mark))))
    rest = [str(folder / "xy4.h5")] if verb == "compare" else ["--out", str(tmp_path / "new.h5")]
    assert main([verb, str(evil), *rest, "--device", "cpu"]) == 2
    assert "nothing in it was executed" in capsys.readouterr().err
    assert not mark.exists()


def test_temperatures_that_are_none_are_refused(folder, capsys):
    with pytest.raises(SystemExit):
        main(["sample", str(folder / "flow.pt"), "--temperatures", "0,1", "--out", str(folder / "new.h5")])
    assert "must give positive finite temperatures" in capsys.readouterr().err


def test_sample_reports_and_warns_about_temperatures_outside(folder, tmp_path, capsys):
    out = tmp_path / "chain.h5"
    command = [
        "sample",
        str(folder / "flow.pt"),
        "--draws",
        "60",
        "--chains",
        "2",
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    assert main([*command, "--temperatures", "1.0,3.0"]) == 0
    printed = capsys.readouterr()
    assert "at 3 expect few accepted proposals" in printed.err
    assert any(line.startswith("at the worst temperature") for line in printed.out.splitlines())
    with Ensemble.open(out) as ensemble:
        rows, report = review(ensemble), ensemble.report()
        assert ensemble.attributes["flow"] == checkpoint.fingerprint(checkpoint.load(folder / "flow.pt").flow)
    assert [row.temperature for row in rows] == [1.0, 3.0]
    assert [row.acceptance for row in rows] == pytest.approx(report["acceptance"])
    assert [row.longest_rejection_run for row in rows] == report["longest_rejection_run"]


@pytest.mark.parametrize("moves", [[], ["--local-sweeps", "1", "--redraws", "1"]], ids=["plain", "moves"])
def test_resumed_sampling_writes_the_same_draws(folder, tmp_path, capsys, moves):
    flow, whole, parts = str(folder / "flow.pt"), tmp_path / "whole.h5", tmp_path / "parts.h5"
    common = ["--chains", "2", "--seed", "5", "--device", "cpu", *moves]
    assert main(["sample", flow, "--draws", "40", "--out", str(whole), *common, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == len(GRID)
    for draws in ("7", "40"):
        assert main(["sample", flow, "--draws", draws, "--out", str(parts), "--resume", *common]) == 0
    with Ensemble.open(whole) as a, Ensemble.open(parts) as b:
        np.testing.assert_array_equal(a.theta(), b.theta())
        assert a.series_names == b.series_names
        for name in a.series_names:
            np.testing.assert_array_equal(a.series(name), b.series(name))
        assert a.report() == b.report()
    with pytest.raises(InputError, match="another flow, seed, device, grid or moves"):
        sample(flow, out=parts, draws=50, chains=2, seed=5, local_sweeps=3, resume=True)


def test_ctrl_c_keeps_what_was_drawn_and_resume_goes_on(folder, tmp_path, capsys, monkeypatch):
    calls, block = [], NeuralChains.block

    def interrupted(chains, draws):
        calls.append(draws)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return block(chains, draws)

    command = ["sample", str(folder / "flow.pt"), "--draws", "600", "--seed", "6", "--device", "cpu", "--out"]
    monkeypatch.setattr(NeuralChains, "block", interrupted)
    assert main([*command, str(tmp_path / "c.h5")]) == 130
    assert "stopped by SIGINT: go on with the same command and --resume" in capsys.readouterr().err
    monkeypatch.undo()
    with Ensemble.open(tmp_path / "c.h5") as file:
        assert file.draws == sum(calls) < 600
    assert main([*command, str(tmp_path / "c.h5"), "--resume"]) == 0
    assert main([*command, str(tmp_path / "whole.h5")]) == 0
    with Ensemble.open(tmp_path / "c.h5") as a, Ensemble.open(tmp_path / "whole.h5") as b:
        np.testing.assert_array_equal(a.theta(), b.theta())


def test_importance_prints_observables_and_free_energies(folder, capsys):
    command = ["sample", str(folder / "flow.pt"), "--importance", "--draws", "800", "--device", "cpu"]
    assert main([*command, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [row["temperature"] for row in table["rows"]] == list(GRID)
    assert table["rows"][0]["free_energy"]["error"] > 0
    assert main([*command, "--temperatures", "1.0"]) == 0
    assert "free en" in capsys.readouterr().out
