"""Whatever a verb is doing, a signal ends it with one line, the status 128 + signal, and no half-written file."""

import os
import signal
import time
from pathlib import Path

import pytest

from latticeflow.cli import main
from mcmc import InputError, Lattice
from mcmc.runtime.whole_file import whole_file
from mcmc.sampling.generate import generate_file
from tests.helpers import settings

NUMBERS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
VERBS = {
    "observe": ("mcmc.analysis.thermodynamics.moments_by_threads", "observe a.h5 --csv new.csv --plot new.png"),
    "report": ("mcmc.analysis.thermodynamics.moments_by_threads", "report a.h5 --out new.html"),
    "verify": ("mcmc.storage.verify.observables.magnetization", "verify a.h5"),
    "info": ("latticeflow.cli.verb_info.screen", "info a.h5"),
    "free-energy": ("latticeflow.chains.free_energy_curve.unit", "free-energy xy8 -T 0.9 --plot new.png"),
    "importance": ("latticeflow.chains.importance.unit", "sample xy8 -T 0.9 --importance --draws 100"),
    "compare": ("latticeflow.quality.compare.propose", "compare xy8 b.h5 --draws 50"),
}


def interrupting(number):
    """A function that is interrupted by a signal while it works."""

    def work(*arguments, **choices):
        os.kill(os.getpid(), number)
        time.sleep(30)
        raise AssertionError("the signal had no effect")

    return work


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate_file(settings(), "a.h5", draws=5)
    generate_file(settings(lattice=Lattice(8, 8), temperatures=(0.9,)), "b.h5", draws=100)
    return tmp_path


@NUMBERS
@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_ends_a_verb_in_one_line(folder, monkeypatch, capsys, verb, number):
    function, words = VERBS[verb]
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(function, interrupting(number))
    assert main(words.split()) == 128 + number
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"latticeflow {words.split()[0]}: stopped by {number.name}"
    assert sorted(path.name for path in folder.iterdir()) == ["a.h5", "b.h5"]
    assert {name: signal.getsignal(name) for name in before} == before


def test_what_compilers_make_of_a_signal_is_its_end_too(folder, monkeypatch, capsys):
    """An interrupted compilation of numba ends in an exception of its own."""

    def compile(ensemble):
        try:
            interrupting(signal.SIGINT)()
        except BaseException:
            raise RuntimeError("no compiled object yet") from None

    monkeypatch.setattr("latticeflow.cli.verb_info.screen", compile)
    assert main(["info", "a.h5"]) == 130
    assert capsys.readouterr().err == "latticeflow info: stopped by SIGINT\n"

    def fail(ensemble):
        raise RuntimeError("no signal")

    monkeypatch.setattr("latticeflow.cli.verb_info.screen", fail)
    with pytest.raises(RuntimeError, match="no signal"):
        main(["info", "a.h5"])


def test_a_second_signal_ends_a_verb_that_the_first_one_asks(folder, monkeypatch, capsys):
    monkeypatch.setattr("mcmc.runtime.stop._PATIENCE", 0.0)
    function = interrupting(signal.SIGTERM)

    def propose(*arguments, **choices):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return function()

    monkeypatch.setattr("latticeflow.chains.neural_mcmc.unit", propose)
    assert main(["sample", "xy8", "-T", "0.9", "--draws", "100", "--out", "new.h5"]) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "latticeflow sample: stopped by SIGTERM"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_signal_amid_writing_leaves_what_was_there(folder, monkeypatch, earlier):
    number = signal.SIGHUP
    target = folder / "new.html"
    if earlier:
        target.write_text("an earlier page")

    def write_half(path, content, **how):
        with open(path, "w") as file:
            file.write(content[: len(content) // 2])
        os.kill(os.getpid(), number)
        time.sleep(30)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_half)
        assert main(["report", "a.h5", "--out", "new.html"]) == 128 + number
    names = ["a.h5", "b.h5", *(["new.html"] if earlier else [])]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert not earlier or target.read_text() == "an earlier page"


def test_what_is_ignored_stays_ignored(folder, monkeypatch, capsys):
    """Under ``nohup`` a verb outlives the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr("latticeflow.cli.verb_info.screen", lambda ensemble: os.kill(os.getpid(), 1) or ["alive"])
        assert main(["info", "a.h5"]) == 0
        assert capsys.readouterr().out == "alive\n"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_drafts_are_invisible_until_they_are_whole(tmp_path):
    path = tmp_path / "a.png"
    with whole_file(path) as draft:
        draft.write_text("first")
        assert not path.exists()
        assert draft.suffix == ".png"
    with pytest.raises(TypeError), whole_file(path) as draft:
        draft.write_text(2 * ["second"])
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
    link = tmp_path / "link.png"
    link.symlink_to(path)
    with whole_file(link) as draft:
        draft.write_text("third")
    assert link.is_symlink()
    assert path.read_text() == "third"
    with whole_file("/dev/null") as draft:
        assert str(draft) == "/dev/null"
    with pytest.raises(InputError, match="nowhere does not exist"), whole_file(tmp_path / "nowhere" / "a.png") as draft:
        draft.write_text("never")
