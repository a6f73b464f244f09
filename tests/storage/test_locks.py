"""One writer a file, whatever the file is called; what others do to the file ends in an error, not in a loop."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from latticeflow.cli import main
from mcmc import XY, InputError, Lattice
from mcmc.storage import descriptors, journal
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.journal import JournaledFile, Lock, journal_path


def block(seed: int, draws: int = 50) -> Block:
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-3, 3, (2, 1, draws, 4, 4)).astype(np.float32)
    return Block(theta, {"energy": rng.normal(size=(2, 1, draws))})


def create(path, **options) -> Ensemble:
    return Ensemble.create(path, model=XY(), lattice=Lattice(4, 4), temperatures=[0.5, 1], series=["energy"], **options)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "a.h5"
    with create(path) as ensemble:
        ensemble.append(block(0))
    return path


def symbolic_link(path, home):
    (home / "link.h5").symlink_to(path)
    return home / "link.h5"


def chain_of_links(path, home):
    (home / "first.h5").symlink_to(path)
    (home / "second.h5").symlink_to("first.h5")
    return home / "second.h5"


def linked_folder(path, home):
    (home / "folder").symlink_to(path.parent)
    return home / "folder" / path.name


def hard_link(path, home):
    os.link(path, home / "hard.h5")
    return home / "hard.h5"


def renamed(path, home):
    return path.rename(home / "renamed.h5")


@pytest.mark.parametrize("other_name", [symbolic_link, chain_of_links, linked_folder, hard_link, renamed])
def test_a_second_writer_is_refused_under_any_name(written, tmp_path, other_name):
    home = tmp_path / "elsewhere"
    home.mkdir()
    with Ensemble.append_to(written) as writer:
        name = other_name(written, home)
        with pytest.raises(InputError, match="being written by another process"):
            Ensemble.append_to(name)
        if name.exists() and written.exists():
            writer.append(block(1))
            with Ensemble.open(name) as reader:
                assert reader.draws == 100


def test_locks_by_name_would_admit_a_second_writer(written, tmp_path, monkeypatch):
    """The negative control: with a lock on the journal beside each name, both are let in."""
    monkeypatch.setattr(descriptors, "lock", lambda fd: lambda: None)
    with Ensemble.append_to(written), Ensemble.append_to(symbolic_link(written, tmp_path)):
        pass


def test_a_link_leads_to_one_journal(written, tmp_path):
    home = tmp_path / "elsewhere"
    home.mkdir()
    link = symbolic_link(written, home)
    assert journal_path(link) == journal_path(written)
    with Ensemble.append_to(link) as writer:
        writer.append(block(1))
        assert journal_path(written).exists()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.h5", "elsewhere", "link.h5"]
    assert link.is_symlink()


def test_a_link_into_nowhere_is_created_where_it_points(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "a.h5")
    with create(tmp_path / "link.h5") as ensemble:
        ensemble.append(block(0))
    assert (tmp_path / "a.h5").is_file()
    with pytest.raises(InputError, match="exists"):
        create(tmp_path / "a.h5")


def test_a_file_with_two_names_is_not_written(written, tmp_path):
    other = hard_link(written, tmp_path)
    for path in (written, other):
        with pytest.raises(InputError, match=r"has 2 names \(hard links\).*: copy the file, or remove"):
            Ensemble.append_to(path)
        with Ensemble.open(path) as reader:
            assert reader.draws == 50
    other.unlink()
    with Ensemble.append_to(written) as writer:
        writer.append(block(1))


def test_two_processes_start_the_same_file_and_one_wins(tmp_path):
    words = ["generate", "--size", "4", "--temperatures", "0.5", "--draws", "20", "--out", str(tmp_path / "a.h5")]
    starts = [subprocess.Popen([sys.executable, "-m", "latticeflow", *words], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate()[1].decode() for process in starts]
    assert sorted(process.returncode for process in starts) == [0, 2, 2]
    assert all("exists" in text or "being written" in text for text in errors if "error" in text)
    assert os.listdir(tmp_path) == ["a.h5"]
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.draws == 20


@pytest.mark.parametrize("left", [0, 100, 3000, 4096, 20_000])
def test_a_file_that_is_cut_while_it_is_written_ends_the_run(written, left):
    writer = Ensemble.append_to(written)
    os.truncate(written, left)
    with pytest.raises(OSError, match="cut the file short"):
        writer.append(block(1))
    writer.close()
    assert written.stat().st_size == left, "zeros in place of what was lost would pass for draws"


def test_a_page_that_was_cut_short_ends_the_write(written):
    """Where the loop that fills a page once went on for ever."""
    file = JournaledFile(written, Lock(written, shown=written), file_id=1)
    os.truncate(written, 3000)
    file.seek(3500)
    file.write(memoryview(b"new content"))
    with pytest.raises(OSError, match="cut the file short"):
        file.commit(0)
    file.close()


def test_a_disk_that_takes_no_bytes_ends_the_run(written, monkeypatch):
    with Ensemble.append_to(written) as writer, monkeypatch.context() as patch:
        patch.setattr(journal.os, "pwrite", lambda fd, content, offset: 0)
        with pytest.raises(OSError, match="takes no more bytes"):
            writer.append(block(1))


def test_a_file_that_is_cut_while_it_is_read_is_damage_and_not_zeros(written):
    with Ensemble.open(written) as reader:
        sound = reader.theta()
        with Ensemble.open(written) as fresh:
            size = written.stat().st_size
            os.truncate(written, size - 4096)
            with pytest.raises(InputError, match=r"damaged|truncated"):
                (fresh.theta(), fresh.series("energy"), fresh.state(), fresh.coordinate("draw"))
    assert np.abs(sound).min() > 0


def test_a_program_that_holds_the_file_by_hdf5_keeps_writers_out(written):
    h5py = pytest.importorskip("h5py")
    with h5py.File(written, "r"), pytest.raises(InputError, match="held open by a program that reads HDF5 itself"):
        Ensemble.append_to(written)


def test_readers_stay_with_their_file(written, tmp_path, monkeypatch):
    """Whatever becomes of its name and of the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Ensemble.open("a.h5") as reader, Ensemble.append_to("a.h5") as writer:
        theta = reader.theta()
        os.chdir("elsewhere")
        np.testing.assert_array_equal(reader.theta(), theta)
        writer.append(block(1))
        np.testing.assert_array_equal(reader.theta(), theta)
        assert "a.h5, 0.2 MB" in repr(reader)
    written.rename(tmp_path / "b.h5")
    with Ensemble.open(tmp_path / "b.h5") as reader:
        shutil.copy(tmp_path / "b.h5", tmp_path / "c.h5")
        (tmp_path / "b.h5").unlink()
        assert reader.theta().shape[2] == 100


def begin_and_fail(path, draws: int, **options) -> None:
    with create(path, **options) as ensemble:
        if draws:
            ensemble.append(block(0, draws))
        raise ZeroDivisionError


def test_an_exception_before_the_first_draw_leaves_nothing(tmp_path):
    path = tmp_path / "a.h5"
    for draws, whole in ((0, False), (0, True), (5, True)):
        with pytest.raises(ZeroDivisionError):
            begin_and_fail(path, draws, whole=whole)
        assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError):
        begin_and_fail(path, 5)
    with pytest.raises(ZeroDivisionError), Ensemble.append_to(path):
        raise ZeroDivisionError
    with Ensemble.open(path) as ensemble:
        assert ensemble.draws == 5


def test_the_same_file_through_two_names_on_the_command_line(written, tmp_path, capsys):
    link = symbolic_link(written, tmp_path)
    with Ensemble.append_to(written):
        assert main(["verify", str(link), "--cut"]) in (0, 1, 2)
    words = ["generate", "--size", "4", "--temperatures", "0.5,1", "--draws", "9", "--thermalise", "2", "--thin", "1"]
    assert main([*words, "--out", str(tmp_path / "new.h5")]) == 0
    link = tmp_path / "new-link.h5"
    link.symlink_to("new.h5")
    with Ensemble.append_to(tmp_path / "new.h5"):
        assert (
            main([*words[:-6], "--draws", "20", "--thermalise", "2", "--thin", "1", "--out", str(link), "--resume"])
            == 2
        )
    assert "being written by another process" in capsys.readouterr().err


@pytest.mark.parametrize("closing", [True, False])
def test_a_file_that_nobody_closed_does_not_crash_python_at_its_end(written, closing):
    """As an interruption can leave it; without the closing at exit, HDF5 calls into an interpreter that is gone."""
    code = (
        "import atexit, ctypes, os, h5py\nfrom mcmc.storage import hdf5_layout as layout\n"
        f"file = h5py.File(layout.Reader(os.open({str(written)!r}, os.O_RDONLY), {{}}), 'r')\n"
        "ctypes.pythonapi.Py_IncRef(ctypes.py_object(file.id))\n"
    )
    if not closing:
        code += "atexit.unregister(layout.close_all)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode == 0) == closing


def test_other_programs_read_beside_a_writer_without_hdf5s_lock(written):
    """What docs/how-to/ensembles.md advises, in a program that knows nothing of this package."""
    read = (
        "import sys, h5py; f = h5py.File(sys.argv[1], 'r'{}); n = f['committed'][()]; print(f['theta'][:, :, :n].shape)"
    )

    def run(how="", **variables):
        command = [sys.executable, "-c", read.format(how), str(written)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)

    with Ensemble.append_to(written) as writer:
        writer.append(block(1))
        assert "Resource temporarily unavailable" in run().stderr
        assert run(", locking=False").stdout == run(HDF5_USE_FILE_LOCKING="FALSE").stdout == "(2, 1, 100, 4, 4)\n"
        writer.append(block(2))
    assert run().stdout == "(2, 1, 150, 4, 4)\n"
