"""Files and disks that are not as they should be: one clear line each, committed draws untouched."""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from latticeflow.cli import main
from mcmc import XY, Lattice
from mcmc.storage import journal
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble

GENERATE = ["generate", "--size", "4", "--temperatures", "0.5,1.0", "--draws", "20", "--thermalise", "5", "--thin", "1"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.h5"
    assert main([*GENERATE, "--out", str(path)]) == 0
    return path


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("temperature energy\n0.5 -1.7\n")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-5000])


def foreign(path):
    with h5py.File(path, "w") as file:
        file["theta"] = np.zeros(3)


def newer(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 7


def without_draws(path):
    with h5py.File(path, "r+") as file:
        del file["theta"]


def counts_too_many(path):
    with h5py.File(path, "r+") as file:
        file["committed"][...] = 21


def zeroed_header(path):
    content = bytearray(path.read_bytes())
    content[100:1000] = bytes(900)
    path.write_bytes(content)


BAD = {
    missing: "does not exist",
    empty: "is empty",
    text: "is not an HDF5 file",
    truncated: "is truncated",
    foreign: "is an HDF5 file, but not a latticeflow ensemble",
    newer: "has format version 7, newer than 2: upgrade latticeflow",
    without_draws: "is damaged: it has no theta",
    counts_too_many: "is damaged: it counts 21 draws but holds 20",
    zeroed_header: "is damaged",
}


@pytest.mark.parametrize("harm", BAD, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("verb", ["info", "verify", "merge", "generate"])
def test_a_bad_file_gives_one_clear_line(good, tmp_path, capsys, harm, verb):
    path = tmp_path / "bad.h5"
    shutil.copy(good, path)
    harm(path)
    content = path.read_bytes() if path.exists() else None
    arguments = {
        "info": ["info", path],
        "verify": ["verify", path],
        "merge": ["merge", path, good, "--out", tmp_path / "new.h5"],
        "generate": [*GENERATE, "--out", path, "--resume"],
    }[verb]
    if (harm, verb) == (missing, "generate"):
        return  # with --resume a missing file is simply begun
    assert main([str(word) for word in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert BAD[harm] in printed.err
    assert str(path) in printed.err
    assert (path.read_bytes() if path.exists() else None) == content
    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if path.exists() else [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--out", "{}"], "exists: go on with its run (--resume), or name another file"),
        (["--resume", "--out", "{}", "--size", "6"], "was made with lattice = "),
        (["--resume", "--out", "{}", "--model", "exy"], "was made with model = XY(J=1.0), not ExtendedXY"),
        (["--resume", "--out", "{}", "--seed", "1"], "was made with seed = 0, not 1"),
        (["--resume", "--out", "{}", "--thin", "2"], "was made with thin = 1, not 2"),
        (["--out", "/nowhere/at/all.h5"], "directory /nowhere/at does not exist: create it"),
        (["--out", "/proc/a.h5"], "/proc/a.h5 cannot be written ("),
        (["--out", "/sys/kernel/a.h5"], "/sys/kernel/a.h5 cannot be written ("),
        (["--out", "new.h5", "--task-index", "1"], "--task-index and --task-count belong together"),
        (["--out", "new.h5", "--task-index", "2", "--task-count", "2"], "task index 2 must lie between 0 and 1"),
        (["--out", "new.h5", "--task-index", "2", "--task-count", "99"], "task count 99 is not possible here"),
        (["--out", "new.h5", "--draws", "0"], "draws = 0 must be at least 1"),
        (["--out", "new.h5", "--workers", "0"], "workers = 0 must be at least 1"),
        (["--out", "new.h5", "--executor", "dask"], "--executor dask needs --scheduler"),
    ],
)
def test_a_bad_command_gives_one_clear_line(good, tmp_path, capsys, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    content = good.read_bytes()
    assert main([*GENERATE, *(word.format(good) for word in changes)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert good.read_bytes() == content
    assert list(tmp_path.iterdir()) == []


def random_block(seed: int) -> Block:
    rng = np.random.default_rng(seed)
    return Block(rng.uniform(-3, 3, (1, 1, 9, 4, 4)).astype(np.float32), {"energy": rng.normal(size=(1, 1, 9))})


class FullDisk:
    """Stands for `os` in mcmc.storage.journal; from the k-th write on there is no room."""

    def __init__(self, room: int):
        self.room = room

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, fd):
        pass  # no power is cut here, and syncing takes long

    def pwrite(self, fd, content, offset):
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(fd, content, offset)


def test_a_disk_that_fills_up_at_any_write_costs_the_block_in_progress_only(tmp_path, monkeypatch):
    path, blocks = tmp_path / "a.h5", [random_block(k) for k in range(4)]
    theta = np.concatenate([block.theta for block in blocks], axis=2)
    options = {"temperatures": [1.0], "series": ["energy"]}
    with Ensemble.create(path, model=XY(), lattice=Lattice(4, 4), **options) as ensemble:
        ensemble.append(blocks[0])
    begun = path.read_bytes()
    for room in range(0, 1000, 3):
        path.write_bytes(begun)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "os", FullDisk(room))
            ensemble = Ensemble.append_to(path)
            committed = 1
            with contextlib.suppress(OSError):
                for block in blocks[1:]:
                    ensemble.append(block)
                    committed += 1
            ensemble.close()
        with Ensemble.open(path) as ensemble:
            kept = ensemble.draws // 9
            assert committed <= kept <= committed + 1
            np.testing.assert_array_equal(ensemble.theta(), theta[:, :, : ensemble.draws])
        with Ensemble.append_to(path) as ensemble:
            for block in blocks[kept:]:
                ensemble.append(block)
        with Ensemble.open(path) as ensemble:
            np.testing.assert_array_equal(ensemble.theta(), theta)
        if committed == len(blocks):
            break
    assert 10 < room < 900


def test_generate_on_a_full_disk_says_what_is_safe(tmp_path):
    path = tmp_path / "a.h5"
    words = [*GENERATE, "--chains", "8", "--draws", "100000"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000_000, 16_000_000))

    done = subprocess.run(
        [sys.executable, "-m", "latticeflow", *words, "--out", str(path)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2  # the size that the file would have had, and what went wrong
    with Ensemble.open(path) as ensemble:
        assert f"File too large: the {ensemble.draws} draws of each chain committed in {path} are safe" in done.stderr
        assert ensemble.draws > 1000


def test_a_directory_that_vanishes_is_noticed(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    options = {"temperatures": [1.0], "series": ["energy"]}
    with Ensemble.create(home / "a.h5", model=XY(), lattice=Lattice(4, 4), **options) as ensemble:
        ensemble.append(random_block(0))
        shutil.rmtree(home)
        with pytest.raises(FileNotFoundError, match="vanished"):
            ensemble.append(random_block(1))
