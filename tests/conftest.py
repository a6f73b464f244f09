"""Settings of all tests."""

import os
import signal

import pytest

from mcmc import XY, Lattice
from tests.processes import STARTED

# Small matrices: more threads only wait for each other, the more so where tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Whatever starts the tests in the background may have these ignored, which children inherit; tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """A process that a failed test leaves would slow all the others."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def few_draws(tmp_path_factory):
    """Ensemble of 4x4 XY with 40 draws at each of four temperatures."""
    path = tmp_path_factory.mktemp("few_draws") / "xy4.h5"
    from mcmc.sampling.generate import generate_file  # numba reads the environment that is set above
    from mcmc.sampling.settings import Settings

    settings = Settings(XY(), Lattice(4, 4), (0.5, 1.0, 1.5, 2.0), chains=2, thermalise=20, thin=2, seed=1)
    generate_file(settings, path, draws=20)
    return path
