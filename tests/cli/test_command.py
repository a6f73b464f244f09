"""The command as a whole: its verbs, what it says of mistakes, what it says when it is done."""

import argparse
import json
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from latticeflow.cli import VERBS, build_parser, main, verb_parser

GENERATE = ["generate", "--size", "4", "-T", "0.5,0.9", "--thermalise", "20", "--thin", "2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    paths = [folder / f"{seed}.h5" for seed in (1, 2)]
    for seed, path in enumerate(paths):
        assert main([*GENERATE, "--draws", "2e1", "--model", "XY", "--seed", str(seed), "--out", str(path)]) == 0
    return [str(path) for path in paths]


def test_every_verb_is_in_the_overview_and_explains_itself(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb} " in overview
        for parser in (verb_parser(verb), *(verb_parser(verb).verbs or {}).values()):
            assert parser.prog.startswith(f"latticeflow {verb}")
            assert "example:" in parser.format_help()
    assert max(map(len, overview.splitlines())) <= 80


def test_help_fits_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for verb in VERBS:
        for parser in (verb_parser(verb), *(verb_parser(verb).verbs or {}).values()):
            wide = [line for line in parser.format_help().splitlines() if len(line) > 80]
            assert not wide, (verb, wide)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["genrate"], "unknown verb 'genrate': did you mean 'generate'?"),
        (["--sise"], "unknown option '--sise'"),
        (["observe", "--plto", "x.png", "a.h5"], "unknown option --plto: did you mean '--plot'?"),
        (["bench", "kernel"], "unknown subject 'kernel' of latticeflow bench: did you mean 'kernels'?"),
        (["generate", "--draws", "1.5", "--out", "a.h5"], "'1.5' is not a whole number"),
        (["generate", "--model", "xz", "--out", "a.h5"], "unknown model 'xz': known: xy, exy"),
        (["generate", "--sampler", "wolf", "--out", "a.h5"], "did you mean 'wolff'"),
    ],
)
def test_a_mistake_takes_one_line_that_leads_on(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_options_may_stand_between_files(files, tmp_path, capsys):
    assert main(["observe", files[0], "--csv", str(tmp_path / "t.csv"), files[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["file"] for each in found["ensembles"]] == files


def test_one_shape_of_json_for_one_file_and_for_several(files, capsys):
    for verb, shape in (("observe", dict), ("info", list), ("verify", list)):
        for given in (files[:1], files):
            assert main([verb, *given, "--json"]) == 0
            found = json.loads(capsys.readouterr().out)
            assert isinstance(found, shape)
            assert len(found["ensembles"] if shape is dict else found) == len(given)


def test_success_says_what_was_written_and_what_comes_next(files, tmp_path, capsys):
    out = tmp_path / "both.h5"
    assert main(["merge", *files, "--out", str(out)]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"wrote {out}: ")
    assert main([*GENERATE, "--draws", "20", "--out", str(tmp_path / "new.h5")]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert "20 draws" in last
    assert f"next: latticeflow observe {tmp_path / 'new.h5'}" in last
    np.save(tmp_path / "angles.npy", np.zeros((2, 5, 4, 4)))
    words = ["import", str(tmp_path / "angles.npy"), "-T", "0.5,1", "--out", str(tmp_path / "mine.h5")]
    assert main(words) == 0
    assert "wrote" in capsys.readouterr().err


def test_observables_and_temperatures_are_selected(files, capsys):
    assert main(["observe", files[0], "--observables", "vortex_density,energy", "-T", "0.9"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["T", "vortices", "energy", "tau"]
    assert "\n0.5 " not in out
    assert "autocorrelation time" in out  # the legend
    assert main(["observe", "--list"]) == 0
    assert "specific_heat" in capsys.readouterr().out.split()
    assert main(["observe", files[0]]) == 0
    assert max(len(line) for line in capsys.readouterr().out.splitlines()[1:]) <= 120


def test_info_of_an_ensemble_and_a_flow(files, capsys):
    assert main(["info", files[0], "xy8"]) == 0
    out = capsys.readouterr().out
    assert "thermalised" in out
    assert "latticeflow flow" in out
    assert main(["info", "xy8", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["size"] == [8, 8]
    assert found["finished"]


def test_a_disk_that_is_too_small_is_seen_before_sampling(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(9, 0, 1000))
    assert main([*GENERATE, "--draws", "1e5", "--out", str(tmp_path / "a.h5")]) == 2
    assert "but the disk has 1 kB left" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_the_size_of_the_file_is_announced(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("mcmc.sampling.generate._LARGE", 1000)
    with caplog.at_level("INFO"):
        assert main([*GENERATE, "--draws", "500", "--out", str(tmp_path / "a.h5")]) == 0
    said = next(line for line in caplog.messages if "will take" in line)
    promised = float(said.split()[-2]) * 1000
    assert 0.3 < promised / (tmp_path / "a.h5").stat().st_size < 2


def test_a_file_that_exists_is_told_with_the_option(files, capsys):
    assert main([*GENERATE, "--draws", "20", "--out", files[0]]) == 2
    assert "--resume" in capsys.readouterr().err


def test_one_parser_of_everything_for_completion_and_documentation():
    verbs = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert [*verbs.choices] == [*VERBS]


def test_help_is_quick():
    code = "import sys; from latticeflow.cli import main; main(['generate', '--help'])"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "numba", "scipy", "matplotlib", "h5py", "tqdm"}


def test_every_verb_that_takes_temperatures_takes_them_by_their_letter():
    for verb in VERBS:
        for parser in (verb_parser(verb), *(verb_parser(verb).verbs or {}).values()):
            options = parser._option_string_actions
            if "--temperatures" in options:
                assert options.get("-T") is options["--temperatures"], parser.prog
