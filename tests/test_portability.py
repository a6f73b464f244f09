"""Package mcmc where a system lacks what Unix has: `fcntl`, some signals, reading and writing at a position."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import os, signal, sys
sys.modules["fcntl"] = None
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL"):
    delattr(signal, name)
for name in ("preadv", "pread", "pwrite", "sched_getaffinity", "getuid"):
    delattr(os, name)
"""
USE = """
import importlib, pkgutil
import numpy as np
import mcmc
for module in pkgutil.walk_packages(mcmc.__path__, "mcmc."):
    importlib.import_module(module.name)
from mcmc import XY, InputError, Lattice
from mcmc.analysis.thermodynamics import observe
from mcmc.runtime.stop import Stop
from mcmc.sampling.generate import generate_file
from mcmc.sampling.merge import merge
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.from_numpy import from_array
from mcmc.storage.verify import verify
run = Settings(XY(), Lattice(4, 4), (0.5, 1.0), thermalise=20, thin=1)
with Stop() as stop:
    assert generate_file(run, "a.h5", draws=60, stop=stop)
    assert generate_file(run, "a.h5", draws=90, resume=True, stop=stop)
assert verify("a.h5").problems == []
with Ensemble.append_to("a.h5"):
    try:
        Ensemble.append_to("a.h5")
    except InputError as error:
        assert "being written" in str(error)
    else:
        raise AssertionError("a second writer")
with Ensemble.open("a.h5") as ensemble:
    theta = ensemble.theta()
    print(observe(ensemble))
from_array("b.h5", theta, model=XY(), temperatures=[0.5, 1.0])
from dataclasses import replace
assert generate_file(replace(run, seed=1), "c.h5", draws=90)
merge(["a.h5", "c.h5"], "d.h5")
import os
assert sorted(os.listdir(".")) == ["a.h5", "b.h5", "c.h5", "d.h5"], os.listdir(".")
print("all of it")
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("hidden", [HIDE, HIDE + "os.getuid = lambda: 1\n"])
def test_nothing_needs_what_only_unix_has(tmp_path, hidden):
    done = python(hidden + USE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all of it\n")


def test_a_lock_whose_process_died_is_taken_over(tmp_path):
    """Where a lock is a file, it outlives its process."""
    code = """
import numpy as np, os, sys
from mcmc import XY, Lattice
from mcmc.storage.ensemble import Ensemble
options = dict(model=XY(), lattice=Lattice(4, 4), temperatures=[1.0])
"""
    die = code + "Ensemble.create('a.h5', **options); os._exit(1)\n"
    follow = code + "Ensemble.append_to('a.h5').close(); print('admitted')\n"
    assert python(HIDE + die, tmp_path).returncode == 1
    done = python(HIDE + follow, tmp_path)
    assert done.stdout == "admitted\n", done.stderr
