"""Real processes killed by SIGKILL at random moments; `pytest -m slow -s tests/storage/test_kills.py` says more."""

import contextlib
import multiprocessing
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from mcmc import XY, Lattice
from mcmc.sampling import generate as run
from mcmc.sampling.generate import generate_file
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.journal import read_journal
from mcmc.storage.verify import verify
from tests.helpers import content, settings

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.storage.test_kills"])
SHAPE = (5, 2, 13, 4, 4)
DRAWS = 3000


def block(k: int, series_only: bool = False) -> Block:
    theta = np.random.default_rng(k).uniform(-3, 3, SHAPE).astype(np.float32)
    series = {"energy": theta.mean((-2, -1), dtype=np.float64)}
    return Block.of_series(series, 2) if series_only else Block(theta, series)


def write_for_ever(path: Path, told: Connection) -> None:
    """Append block after block; tell of the beginning, then of each commit that has returned."""
    with Ensemble.append_to(path) as ensemble:
        told.send_bytes(b".")
        while True:
            k = ensemble.draws // SHAPE[2]
            ensemble.append(block(k, ensemble.series_only), state={"blocks": np.array(k + 1)})
            told.send_bytes(b".")


def generate_in_small_blocks(path: Path, told: Connection) -> None:
    told.send_bytes(b".")
    run._Pace.next = lambda self, done, total: min(total - done, 90)
    generate_file(settings(), path, draws=DRAWS, series_only="series" in path.name, resume=True)


def kill(function, path: Path, seconds: float, *, after: int = 0) -> tuple[bool, int]:
    """Run in a process of its own, killed some seconds after it told of ``after`` commits.

    Returns:
        Whether it was killed rather than finished, and how many commits it told of.
    """
    listen, tell = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=function, args=(path, tell))
    process.start()
    tell.close()
    for _ in range(after + 1):
        assert listen.poll(60)
        listen.recv_bytes()
    process.join(seconds)
    process.kill()
    process.join()
    commits = after
    with contextlib.suppress(EOFError):
        while listen.recv_bytes():
            commits += 1
    listen.close()
    return process.exitcode == -signal.SIGKILL, commits


@pytest.mark.parametrize("series_only", [False, True], ids=["configurations", "series"])
@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_writers_leave_intact_files(tmp_path, kills, series_only):
    """The file grows from kill to kill, so every later trial reads all that earlier ones committed."""
    path, rng = tmp_path / "a.h5", np.random.default_rng()
    T, C, _, *shape = SHAPE
    options = {"temperatures": np.linspace(0.5, 1, T), "chains": C, "series": ["energy"], "draws": SHAPE[2]}
    options["series_only"] = series_only
    Ensemble.create(path, model=XY(), lattice=Lattice(*shape), **options).close()
    told = unfinished = blocks = 0
    for _ in range(kills):
        killed, commits = kill(write_for_ever, path, rng.uniform(0, 0.3), after=2)
        assert killed
        unfinished += read_journal(path) is not None
        with Ensemble.open(path) as ensemble:
            before, blocks = blocks, ensemble.draws // SHAPE[2]
            assert before + commits <= blocks <= before + commits + 1
            told += commits
            assert (ensemble.state() or {"blocks": 0})["blocks"] == blocks
            for k in range(blocks) if blocks < 400 else range(before, blocks):
                held, made = ensemble.block(slice(k * SHAPE[2], (k + 1) * SHAPE[2])), block(k, series_only)
                np.testing.assert_array_equal(held.theta, made.theta)
                np.testing.assert_array_equal(held.series["energy"], made.series["energy"])
    assert [problem for problem in verify(path).problems if "energy" not in problem] == []
    rows = {
        "writers killed": kills,
        "files intact": kills,
        "commits that had returned": told,
        "of these lost": 0,
        "commits whose return the kill cut off": blocks - told,
        "kills that left a commit in the journal": unfinished,
    }
    print("", *(f"{name:<42}{number:>6}" for name, number in rows.items()), sep="\n")


@pytest.mark.parametrize("kept", ["configurations", pytest.param("series", marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path, kept):
    rng, path = np.random.default_rng(), tmp_path / f"{kept}.h5"
    generate_file(settings(), tmp_path / "whole.h5", draws=DRAWS, series_only=kept == "series")
    for _ in range(4):
        killed, _ = kill(generate_in_small_blocks, path, rng.uniform(0, 0.5))
        assert killed
    killed, _ = kill(generate_in_small_blocks, path, 120)
    assert not killed
    assert content(path) == content(tmp_path / "whole.h5")


def test_readers_see_whole_commits_while_a_process_writes(tmp_path):
    """One reader that stays and ones that come and go, against a writer that commits without pause."""
    path, (T, C, n, *shape) = tmp_path / "a.h5", SHAPE
    options = {"temperatures": np.linspace(0.5, 1, T), "chains": C, "series": ["energy"], "draws": n}
    Ensemble.create(path, model=XY(), lattice=Lattice(*shape), **options).close()
    listen, tell = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=write_for_ever, args=(path, tell))
    process.start()
    for _ in range(4):
        assert listen.poll(60)
        listen.recv_bytes()
    seen = set()
    with Ensemble.open(path) as stays:
        mine = stays.draws
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            np.testing.assert_array_equal(stays.theta(slice(mine - n, mine)), block(mine // n - 1).theta)
            with Ensemble.open(path) as comes:
                k = comes.draws // n - 1
                seen.add(k)
                np.testing.assert_array_equal(comes.theta(slice(k * n, (k + 1) * n)), block(k).theta)
                np.testing.assert_array_equal(comes.theta(slice(n)), block(0).theta)
    assert process.is_alive(), "readers must not disturb the writer"
    process.kill()
    process.join()
    assert len(seen) > 2
