"""Whatever kills the writer, committed draws survive: every cut of the recorded writes is tried."""

import contextlib

import h5py
import numpy as np
import pytest

from mcmc import XY, InputError, Lattice
from mcmc.storage import journal
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from tests.crashes import InPlace, Recorder, kills, power_cuts

LATTICE, TEMPERATURES, N_PER_BLOCK, BLOCKS = Lattice(2, 2), np.linspace(0.1, 2, 9), 3, 8


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(journal, "os", recorder)
    return recorder


@pytest.fixture(scope="module")
def theta():
    rng = np.random.default_rng(5)
    shape = (len(TEMPERATURES), 1, N_PER_BLOCK * BLOCKS, 2, 2)
    return rng.uniform(-np.pi, np.pi, shape).astype(np.float32)


def block(theta, k) -> Block:
    part = theta[:, :, k * N_PER_BLOCK : (k + 1) * N_PER_BLOCK]
    return Block(part, {"energy": part.mean((-2, -1), dtype=np.float64)})


def create(path, draws_per_chunk=2):
    # Chunks of two draws, so that blocks of three rewrite chunks too; the 65th chunk splits a node of the index.
    options = {"temperatures": TEMPERATURES, "series": ["energy"], "draws": draws_per_chunk}
    return Ensemble.create(path, model=XY(), lattice=LATTICE, **options)


def write(path, theta, recorder):
    """The recorded writes of a session, and the files as they were before."""
    create(path).close()
    before = {path.name: path.read_bytes()}
    recorder.steps.clear()
    with Ensemble.append_to(path) as ensemble:
        for k in range(BLOCKS):
            ensemble.append(block(theta, k), state={"step": np.array(k)})
            recorder.mark()
    return before, list(recorder.steps)


def survivors(path, theta) -> int:
    """Committed blocks of the file, which must be whole."""
    with Ensemble.open(path) as ensemble:
        np.testing.assert_array_equal(ensemble.theta(), theta[:, :, : ensemble.draws])
        energy = theta.mean((-2, -1), dtype=np.float64)
        np.testing.assert_array_equal(ensemble.series("energy"), energy[:, :, : ensemble.draws])
        blocks = ensemble.draws // N_PER_BLOCK
        assert not blocks or ensemble.state() == {"step": blocks - 1}
        return blocks


def go_on(path, theta, blocks) -> None:
    with Ensemble.append_to(path) as ensemble:
        if blocks < BLOCKS:
            ensemble.append(block(theta, blocks), state={"step": np.array(blocks)})
    assert survivors(path, theta) == min(blocks + 1, BLOCKS)


def test_a_kill_at_any_write_loses_no_committed_draw(tmp_path, recorder, theta):
    before, steps = write(tmp_path / "a.h5", theta, recorder)
    tried = 0
    for tried, committed in enumerate(kills(tmp_path, before, steps), 1):
        blocks = survivors(tmp_path / "a.h5", theta)
        assert committed <= blocks <= committed + 1
        if tried % 10 == 0:
            go_on(tmp_path / "a.h5", theta, blocks)
    assert tried > 400


def test_a_power_cut_loses_no_committed_draw(tmp_path, recorder, theta):
    before, steps = write(tmp_path / "a.h5", theta, recorder)
    for committed in power_cuts(tmp_path, before, steps, seed=1, cuts=50):
        blocks = survivors(tmp_path / "a.h5", theta)
        assert committed <= blocks <= committed + 1
        go_on(tmp_path / "a.h5", theta, blocks)


def test_without_the_journal_kills_lose_committed_draws(tmp_path, recorder, theta):
    """The negative control: data and counter in two transactions, each synced, but written in place."""
    path = tmp_path / "a.h5"
    create(path, draws_per_chunk=N_PER_BLOCK).close()  # even where a block never touches an earlier one's chunks
    before = {path.name: path.read_bytes()}
    recorder.steps.clear()
    for k in range(BLOCKS):
        start, stop = k * N_PER_BLOCK, (k + 1) * N_PER_BLOCK
        for transaction in ("data", "counter"):
            raw = InPlace(path)
            with h5py.File(raw, "r+", libver=("earliest", "v110")) as file:
                if transaction == "data":
                    for name, values in {"theta": block(theta, k).theta, **block(theta, k).series}.items():
                        file[name].resize(stop, axis=2)
                        file[name][:, :, start:stop] = values
                else:
                    file["committed"][...] = stop
            raw.flush()
            raw.close()
        recorder.mark()
    tried = lost = 0
    for committed in kills(tmp_path, before, recorder.steps):
        tried += 1
        kept = -1
        with contextlib.suppress(InputError, AssertionError, KeyError, OSError), Ensemble.open(path) as ensemble:
            np.testing.assert_array_equal(ensemble.theta(), theta[:, :, : ensemble.draws])
            kept = ensemble.draws // N_PER_BLOCK
        lost += kept < committed
    print(f"{lost} of {tried} kills lost committed draws")
    assert lost > 0
