"""Tables do not depend on how many threads measure."""

from __future__ import annotations

import numpy as np
import pytest

import mcmc
from mcmc import XY, ExtendedXY, Lattice
from mcmc.analysis.thermodynamics import measure, observe
from mcmc.models import presets


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.4), presets.clock(4), XY(-1.0)], ids=str)
@pytest.mark.parametrize("lead", [(7,), (2, 5), (1, 3), (2, 1)], ids=str)
def test_moments_are_the_same_bytes(model, lead):
    theta = np.random.default_rng(1).uniform(-np.pi, np.pi, (*lead, 6, 4)).astype(np.float32)
    alone = measure(theta, model)
    for threads in (2, 3):
        shared = measure(theta, model, threads=threads)
        assert shared.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_array_equal(shared[name], values)


def test_tables_and_progress_are_the_same():
    ensemble = mcmc.generate(XY(), size=Lattice(6, 4), temperatures=[0.5, 1.0], draws=30, chains=3, thermalise=40)
    found = []
    for threads in (1, 2):
        measured: list[int] = []
        table = observe(ensemble, threads=threads, max_bytes=2000, report=measured.append)
        found.append((repr(table.as_json()), measured))
    assert found[0] == found[1]
    assert sum(found[0][1]) == 180
