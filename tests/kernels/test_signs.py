"""Antiferromagnets on odd sides, where a cluster can lead back to itself: exact values from every sampler."""

from __future__ import annotations

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, Lattice
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from tests.oracle import exact

CASES = [(XY(-1.0), name) for name in ("auto", "metropolis", "heat_bath", "over_relaxation", "wolff", "swendsen_wang")]
CASES += [(ExtendedXY(-1.0, -0.5), name) for name in ("auto", "metropolis", "plaquette_cluster")]


@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
def test_exact_energy_with_negative_couplings_on_odd_sides(model, sampler):
    thin = {"metropolis": 12, "swendsen_wang": 8}.get(sampler, 4)
    settings = Settings(model, Lattice(3, 3), (1.0,), chains=256, sampler=sampler, thermalise=200, thin=thin, seed=3)
    means = Simulation(settings).block(1000).series["energy"][0].mean(-1)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert error < 2e-3
    assert abs(means.mean() - exact(model, 3, 3, 1.0)["energy"]) < 5 * error
    # Control: two per cent colder is seen.
    assert abs(means.mean() - exact(model, 3, 3, 1.02)["energy"]) > 5 * error
