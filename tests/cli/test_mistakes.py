"""Wrong files, swapped arguments, nonsense values: one line each, nothing started, nothing overwritten."""

import numpy as np
import pytest

import mcmc
from latticeflow.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    short = {"temperatures": [0.5, 0.9], "draws": 5, "chains": 2, "thermalise": 5, "thin": 1}
    mcmc.generate("xy", size=4, out=folder / "a.h5", **short).close()
    mcmc.generate("xy", size=(2, 2, 2), out=folder / "cube.h5", **short).close()
    (folder / "dir").mkdir()
    np.save(folder / "x.npy", np.zeros((2, 4, 4)))
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("report a.h5 --out a.h5", "a.h5 holds an ensemble or a flow, which would be lost: name another file"),
        ("report a.h5 --out dir", "dir is a directory: name a file"),
        ("report xy8 --draws 0 --out page.html", "draws = 0 must be at least 2"),
        ("observe a.h5 --csv a.h5", "a.h5 holds an ensemble or a flow, which would be lost"),
        ("observe a.h5 --csv dir", "dir is a directory: name a file"),
        ("observe a.h5 --observables os:getcwd", "observable 'getcwd' failed: TypeError: "),
        ("info dir", "dir is not a file"),
        ("compare a.h5 a.h5", "a.h5 is an HDF5 file, such as ensembles are: name a flow"),
        ("merge a.h5 cube.h5 --out m.h5", "cube.h5 does not belong to a.h5: lattice is "),
        ("train a.h5 --out dir --steps 1", "dir is a directory: name a file in it"),
        ("generate --size 4 --draws 2 --out dir", "dir is a directory: name a file in it"),
        ("generate --size 4 --draws 2 --max-minutes nan --out g.h5", "max_minutes = nan must be a number"),
        ("generate --size 4 --draws 2 --scheduler tcp://x:1 --out g.h5", "give --executor dask too"),
        ("generate --size 2x2x2 --model triangular --out g.h5", "choose a size with 2 axes, or a model with 3"),
        ("modes --target ring8 --method realnvp --steps 0", "steps = 0 must be positive"),
        ("modes --target ring8 --method realnvp --doublings -1", "doublings = -1 must not be negative"),
        ("modes --target os:getcwd --method realnvp", "os:getcwd made str, not a target"),
        ("modes --target ring8 --method os:getcwd", "os:getcwd is of type builtin_function_or_method, not a method"),
    ],
)
def test_one_line_and_nothing_is_lost(words, said, folder, capsys, monkeypatch):
    pytest.importorskip("zuko")
    monkeypatch.chdir(folder)
    before = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == before
