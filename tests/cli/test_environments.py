"""Environments that are not as usual: closed streams, any names of files, empty settings, signals, no compiler."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mcmc.storage.ensemble import Ensemble
from tests.processes import LATTICEFLOW, ROOT, start_generate, wait_for_draws, wait_until

GENERATE = ["generate", "--size", "4", "--temperatures", "0.5,1", "--draws", "5", "--thermalise", "4", "--thin", "1"]


def call(*words, variables=None, shell="", **options) -> subprocess.CompletedProcess:
    """Run the command from the folder of the sources, or through a shell that adds redirections."""
    command = [*LATTICEFLOW, *map(os.fsencode, words)]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, **options)


SEVERAL = """
import sys
from latticeflow.cli import main

while sys.argv[1:]:
    end = sys.argv.index(";")
    command, sys.argv[1:] = sys.argv[1:end], sys.argv[end + 1 :]
    if status := main(command):
        sys.exit(status)
"""


def call_each(*commands, variables=None) -> subprocess.CompletedProcess:
    """Run commands in one process until one fails: most of the time of a short one goes into starting."""
    words = [os.fsencode(word) for command in commands for word in (*command, ";")]
    environment = {**os.environ, **(variables or {})}
    run = [sys.executable, "-c", SEVERAL, *words]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, timeout=120)


def one_line(done, status=2) -> str:
    assert done.returncode == status, done.stderr.decode()
    text = done.stderr.decode()
    assert text.count("\n") == 1, text
    return text


@pytest.mark.parametrize("value", [""])
def test_an_empty_number_of_threads_is_none(tmp_path, value):
    done = call(*GENERATE, "--out", tmp_path / "a.h5", variables={"NUMBA_NUM_THREADS": value, "NUMBA_DEBUG": value})
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"NUMBA" not in done.stderr


@pytest.mark.parametrize("value", ["0", "2.5"])
def test_a_wrong_number_of_threads_is_one_line_and_leaves_no_file(tmp_path, value):
    done = call(*GENERATE, "--out", tmp_path / "a.h5", variables={"NUMBA_NUM_THREADS": value})
    assert f"NUMBA_NUM_THREADS = '{value}' must be a positive integer" in one_line(done)
    assert os.listdir(tmp_path) == []


def test_without_a_compiler_there_is_one_line_and_no_file(tmp_path):
    done = call(*GENERATE, "--out", tmp_path / "a.h5", variables={"NUMBA_DISABLE_JIT": "1"})
    assert "NUMBA_DISABLE_JIT = 1 turns off the compiler, without which kernels do not run: unset it" in one_line(done)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_neither_stop_a_run_nor_reach_its_file(tmp_path, closed):
    path = tmp_path / "a.h5"
    assert call(*GENERATE, "--out", path, shell=closed).returncode == 0
    assert call(*GENERATE, "--out", path, shell=closed).returncode == 2
    assert call("verify", path, shell=closed).returncode == 0
    assert call("info", path, shell=closed).returncode == 0
    with Ensemble.open(path) as ensemble:
        assert ensemble.draws == 5


def test_a_file_never_gets_the_number_of_a_standard_stream(tmp_path):
    """A library that prints to a closed stderr would write into the file."""
    code = (
        "import os\nos.close(2)\nfrom mcmc import XY, Lattice\nfrom mcmc.storage.ensemble import Ensemble\n"
        f"e = Ensemble.create({str(tmp_path / 'a.h5')!r}, model=XY(), lattice=Lattice(4, 4), temperatures=[1.0])\n"
        "try:\n    os.write(2, b'a line of a library')\nexcept OSError:\n    print('nobody there')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "nobody there\n"
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.draws == 0


@pytest.mark.parametrize("stream", ["1>/dev/full", "2>/dev/full"])
def test_a_full_device_behind_a_stream_is_no_traceback(tmp_path, stream):
    path = tmp_path / "a.h5"
    assert call(*GENERATE, "--out", path).returncode == 0
    done = call("info", path, shell=stream)
    assert done.returncode == (2 if stream.startswith("1") else 0)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert call(*GENERATE, "--out", path, "--resume", "--draws", "9", shell=stream).returncode == 0


def test_any_name_of_a_file(tmp_path):
    """Not UTF-8, letters that are not ASCII, a line break: in every verb that takes files."""
    names = (b"caf\xe9.h5", "Zürich 東京\n.h5".encode(), "merged 東京\n".encode() + b"caf\xe9.h5")
    path, other, merged = (os.path.join(os.fsencode(tmp_path), name) for name in names)
    made = [[*GENERATE, "--seed", seed, "--out", out] for out, seed in ((path, "0"), (other, "1"))]
    done = call_each(*made, ["merge", path, other, "--out", merged])
    assert done.returncode == 0, done.stderr
    done = call_each(*([*verb, path, other, merged] for verb in (["info"], ["info", "--json"], ["verify"])))
    assert done.returncode == 0, done.stderr
    assert b"4 x 4" in done.stdout
    assert b'"lattice"' in done.stdout
    assert done.stdout.count(b": sound, 5 draws") == 3
    csv, plot, page = (merged[:-3] + suffix for suffix in (b".csv", b".pdf", b".html"))
    how = {"variables": {"PYTHONIOENCODING": "ascii"}}
    files = (merged, path)
    done = call_each(["observe", *files, "--csv", csv, "--plot", plot], ["report", *files, "--out", page], **how)
    assert done.returncode == 0, done.stderr
    assert b"pruned" not in done.stderr, "other libraries keep their information"
    assert all(os.path.getsize(out) for out in (csv, plot, page))
    assert b"exists" in call(*GENERATE, "--out", path).stderr


def test_a_hang_up_stops_cleanly(tmp_path):
    process = start_generate(tmp_path / "a.h5")
    wait_for_draws(tmp_path / "a.h5", process)
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP
    assert b"stopped by SIGHUP: go on with the same command and --resume" in errors
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_hang_up_is_ignored_under_nohup(tmp_path):
    process = start_generate(tmp_path / "a.h5", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for_draws(tmp_path / "a.h5", process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert b"stopped by SIGTERM" in errors


def test_a_terminal_that_is_gone_costs_no_draws(tmp_path):
    """The bar is on a terminal that hangs up: writing to it fails, and the signal comes."""
    pty = pytest.importorskip("pty")
    mine, theirs = pty.openpty()
    process = start_generate(tmp_path / "a.h5", stderr=theirs)
    os.close(theirs)
    wait_for_draws(tmp_path / "a.h5", process)
    os.close(mine)
    for _ in range(2):  # the bar moves after a commit: by the second one it has written to what is gone
        with Ensemble.open(tmp_path / "a.h5") as ensemble:
            seen = ensemble.draws
        wait_for_draws(tmp_path / "a.h5", process, seen + 1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.draws > seen
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_threads_that_thermalise_and_leaves_no_file(tmp_path, number):
    many = ["--temperatures", "0.05:2.05:40", "--chains", "2", "--size", "16", "--thermalise", "1000000000"]
    many += ["--draws", "100"]
    process = start_generate(tmp_path / "a.h5", *many)
    wait_until((tmp_path / "a.h5").exists, process)
    time.sleep(3)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert os.listdir(tmp_path) == []


def test_a_limit_of_time_before_the_first_draw_leaves_no_file(tmp_path):
    done = call(*GENERATE, "--max-minutes", "0", "--out", tmp_path / "a.h5")
    assert done.returncode == 75
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("verb", ["merge", "import"])
def test_a_signal_during_merge_or_import_leaves_no_file(tmp_path, verb):
    """What cannot be resumed is whole or not there."""
    import numpy as np

    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(-3, 3, (1, 100, 2000, 8, 8)).astype(np.float32))
    importing = ["import", tmp_path / "a.npy", "--temperatures", "1", "--out"]
    if verb == "merge":
        for name in "ab":
            assert call(*importing, tmp_path / f"{name}.h5").returncode == 0
        words = ["merge", tmp_path / "a.h5", tmp_path / "b.h5", "--out"]
    else:
        words = importing
    before = sorted(os.listdir(tmp_path))
    process = subprocess.Popen([*LATTICEFLOW, *words, tmp_path / "out.h5"], cwd=ROOT, stderr=subprocess.PIPE)
    wait_until((tmp_path / "out.h5").exists, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:  # the signal came with the last block
        assert call("verify", tmp_path / "out.h5").returncode == 0
        with Ensemble.open(tmp_path / "out.h5") as ensemble:
            assert ensemble.draws == 2000
    else:
        assert process.returncode == 128 + signal.SIGTERM, errors.decode()
        assert sorted(os.listdir(tmp_path)) == before
