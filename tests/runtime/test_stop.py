"""Signals ask once, and insist the second time."""

import os
import signal
import time

import pytest

from mcmc.runtime import stop
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import SIGNALS, Stop, Stopped


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
