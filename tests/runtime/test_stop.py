"""Signals ask once, and insist the second time."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mcmc.runtime import stop
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import SIGNALS, Stop, Stopped
from tests.processes import ROOT


def send(number) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_asks_and_the_next_one_breaks_in(monkeypatch, number):
    with Stop() as asked:
        assert not asked.asked()
        send(number)
        send(number)  # launchers may deliver a signal twice
        assert asked.asked()
        assert asked.reason == number.name
        monkeypatch.setattr(stop, "_PATIENCE", 0.0)
        with pytest.raises(Stopped):
            send(signal.SIGTERM)


def test_handlers_are_given_back():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with Stop():
        assert all(signal.getsignal(number) != before[number] for number in SIGNALS)
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_an_ignored_hang_up_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as asked:
            send(signal.SIGHUP)
            assert not asked.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("stream", [None, "closed"])
def test_progress_without_a_stream(monkeypatch, tmp_path, stream):
    if stream == "closed":
        stream = open(tmp_path / "stderr", "w")  # noqa: SIM115
        stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("sampling", 3) as progress:
        progress.advance(3)
    assert progress.done == 3


def test_a_signal_ends_a_script_in_one_line_though_a_thread_computes():
    code = (
        "import os, signal, threading, time\n"
        "from mcmc.runtime.stop import run_script\n"
        "def main():\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    print('a result')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "run_script(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 128 + signal.SIGINT
    assert (done.stdout, done.stderr) == ("a result\n", "stopped by SIGINT\n")


@pytest.mark.parametrize(("status", "code"), [("None", 0), ("3", 3)])
def test_a_script_ends_with_its_status(status, code):
    script = f"from mcmc.runtime.stop import run_script; run_script(lambda: {status})"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=50).returncode == code
