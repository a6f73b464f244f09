"""Where compiled kernels are kept: beside the source, else in the user's cache, else in a temporary folder."""

import logging
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from numba import njit

from mcmc.runtime import compiler

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def package(tmp_path):
    """A copy of the sources in which no folder for compiled code can be made."""
    shutil.copytree(ROOT / "mcmc", tmp_path / "mcmc", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mcmc" / "kernels" / "__pycache__").write_text("in the way")
    return tmp_path


def use(package, **variables) -> subprocess.CompletedProcess:
    code = "import logging; logging.basicConfig(format='%(message)s')\nfrom mcmc.kernels.naive import *\n"
    code += "from mcmc.kernels.exchange import exchange; print('compiled')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run([sys.executable, "-c", code], cwd=package, env=environment, capture_output=True, text=True)


def test_a_temporary_folder_serves_where_nothing_else_can_be_written(package):
    temporary = package / "tmp"
    temporary.mkdir()
    variables = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere", "TMPDIR": str(temporary)}
    for _ in range(2):
        done = use(package, **variables)
        assert done.stdout == "compiled\n", done.stderr
        assert done.stderr.count("\n") == 1
        assert "can be written: compiled kernels are kept in" in done.stderr
        (folder,) = temporary.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert next(folder.iterdir()).name.startswith("latticeflow-")
    folder.chmod(0o777)
    assert use(package, **variables).returncode == 0
    assert len(list(temporary.iterdir())) == 2, "a folder that others can write is not trusted"


def test_the_users_cache_is_taken_without_a_word(package):
    done = use(package, XDG_CACHE_HOME=str(package / "cache"))
    assert (done.stdout, done.stderr) == ("compiled\n", "")
    assert [path.name[:12] for path in (package / "cache" / "numba").iterdir()] == ["latticeflow-"]


def test_code_of_other_sources_is_kept_apart(package, monkeypatch):
    """Numba sees changes of a kernel's own file only, not of what is compiled into it."""
    kernels = package / "mcmc" / "kernels"
    seen = set()
    for text in ("", "\n# changed\n"):
        with open(kernels / "field.py", "a") as file:
            file.write(text)
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(package / "cache"))
        compiler.prepare_environment(kernels)
        seen.add(os.environ["NUMBA_CACHE_DIR"])
        compiler.prepare_environment(kernels)
        seen.add(os.environ["NUMBA_CACHE_DIR"])
    assert len(seen) == 2
    assert {Path(folder).parent for folder in seen} == {package / "cache"}


def test_what_is_usual_is_left_alone(monkeypatch, caplog):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with caplog.at_level(logging.WARNING):
        compiler.prepare_environment(ROOT / "mcmc" / "kernels")
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert not caplog.text


def test_compilation_is_announced_once_where_it_happens(caplog):
    def kernel(a):
        return a + 1

    compiled = njit(kernel)
    kernel.__module__ = "announced.kernels.one"
    compiler.announce_compilation("announced.kernels")
    with caplog.at_level("INFO"):
        njit(lambda a: a)(1)
        assert not caplog.messages
        compiled(1)
        compiled(1)
        compiled(1.0)
    assert caplog.messages == ["compiling kernels, once for this installation and kind of model: some seconds"]
