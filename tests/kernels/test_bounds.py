"""No kernel reaches beyond its arrays: every sampler runs in the build that checks each access."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.kernels.conventions import HEAT_BATH, OFFSETS, BlockArrays, Square
from mcmc.sampling.samplers import SAMPLERS
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

SIDES = ((2, 2), (2, 3), (3, 2), (3, 3), (4, 5), (5, 5), (7, 4), (16, 3), (17, 2), (3, 8), (17, 32))
STRIPS = {(3, 8): 4, (17, 32): 16}
MODELS = [XY(J) for J in (1.0, -1.0, 0.0)] + [ExtendedXY(J, K) for J in (1.0, -1.0, 0.0) for K in (0.7, -0.7)]


def run_everything() -> int:
    """Run every sampler on every model that it takes, on small lattices; returns how many runs there were."""
    count = 0
    for sampler in SAMPLERS:
        for model in MODELS:
            for sides in SIDES:
                try:
                    settings = Settings(
                        model,
                        Lattice(*sides),
                        (0.05, 0.5, 5.0),
                        sampler=sampler,
                        thermalise=40,
                        strips=STRIPS.get(sides, 1),
                    )
                except InputError:
                    continue
                assert np.isfinite(Simulation(settings, threads=1).block(1).theta).all()
                count += 1
    return count


def overstep() -> None:
    """Controls: kernels with a table of neighbours that leads out of the block, and with too short a list of sites."""
    from numba import njit

    from mcmc.kernels.steps import Steps
    from mcmc.kernels.wolff import _grow

    f, lattice = np.float32, Lattice(3, 3)
    x, y, ones, counts = np.ones(9 * 16, f), np.zeros(9 * 16, f), np.ones(16, f), np.zeros((1, 16), f)
    keys, key = np.arange(64, dtype=np.uint32), np.arange(4, dtype=np.uint64)
    members, joined, reached = (np.zeros(size, np.uint32) for size in (17, 28, 64))
    neighbours = lattice.neighbours(*OFFSETS)
    neighbours[8, 0] = 9
    steps = Steps(BlockArrays(x, y, ones, keys, keys, Square(neighbours, f(1), f(0)), None, 3, 1, 16))
    with pytest.raises(IndexError):
        steps.run(np.array([(HEAT_BATH, 1, 1, 0, 0)]), ones, counts, 8, 0, 1, 1, False, False)
    grow = njit(lambda *arguments: _grow(*arguments))
    with pytest.raises(IndexError):
        grow(x[:28], y[:28], joined, members, reached, f(50), key, np.uint64(0), 0, 3, 3, 2, np.uint32(1))


def test_no_kernel_reaches_beyond_its_arrays():
    code = "from tests.kernels.test_bounds import *; overstep(); print(run_everything())"
    # Most of the time goes into compiling, the less the less of it is optimised; the checks are the same.
    quick = {"NUMBA_NUM_THREADS": "1", "NUMBA_OPT": "1"}
    environment = {**os.environ, "LATTICEFLOW_CHECK_KERNELS": "1", **quick}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    # Whole configurations are shifted where K < 0, which strips of a lattice cannot be.
    uncut = len(STRIPS) * sum(model.square.K < 0 for model in MODELS)
    assert int(done.stdout) >= len(SIDES) * (4 * len(MODELS) + 2 * 3 + 6) - uncut
