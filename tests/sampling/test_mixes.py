"""Which moves ``auto`` takes."""

from __future__ import annotations

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.sampling.generate import generate_file
from mcmc.sampling.mixes import COSTS, TEMPERATURES, cheapest, costs
from mcmc.sampling.settings import Settings, settings_from_dict, settings_to_dict


def run(side, temperatures=(0.9,), model=None, **changes):
    return Settings(model or XY(), Lattice(side, side), temperatures, chains=4, thermalise=4, thin=1, **changes)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (run(16), "auto"),
        (run(256), "auto_clusters_every_step"),
        (run(256, (1.8,), XY(2.0)), "auto_clusters_every_step"),
        (run(256, (0.05, 0.1)), "auto"),  # spin waves need no clusters
        (run(256, model=ExtendedXY()), "auto_over_relaxation"),  # there are none
        (run(32, model=ExtendedXY()), "auto"),
        (run(256, model=ExtendedXY(1.0, -0.5)), "auto"),
        (run(64), "auto_over_relaxation"),
        (run(256, (1.8,), XY(-2.0)), "auto_clusters_every_step"),  # an antiferromagnet is one with other spins turned
        (run(255, model=XY(-1.0)), "auto"),  # but for odd sides
        (run(256, sampler="heat_bath"), "heat_bath"),
        (run(256, streams=2), "auto"),  # a choice that was made
    ],
)
def test_clusters_where_they_make_independent_draws_cheaper(settings, name):
    resolved = settings.resolved()
    assert resolved.sampler == name
    assert resolved.resolved() == resolved
    assert resolved.part(range(1), range(1, 2)).sampler == name
    assert settings_from_dict(settings_to_dict(resolved)) == resolved


def test_files_go_on_with_the_moves_that_they_have(tmp_path):
    """A file that holds draws of local moves, as earlier versions made, and one of what is chosen now."""
    path = tmp_path / "a.h5"
    assert generate_file(run(128, streams=2), path, draws=1)
    assert generate_file(run(128), path, draws=2, resume=True)
    assert generate_file(run(128), tmp_path / "b.h5", draws=1)
    assert generate_file(run(128), tmp_path / "b.h5", draws=2, resume=True)
    with pytest.raises(InputError, match="sampler"):
        generate_file(run(128, sampler="auto_clusters"), path, draws=3, resume=True)


def test_costs_follow_the_table():
    for size, measured in COSTS.items():
        for name, taus in measured.taus.items():
            for T, tau in zip(TEMPERATURES, taus, strict=True):
                found = np.divide(costs(name, size, T), costs(name, size, T, 1.0 if name == "auto" else 0.5))
                assert np.all(found <= 1)
                if name == "auto":
                    assert np.allclose(costs(name, size, T), 2 * measured.local * np.array(tau))
    assert costs("auto", 1024, 0.9)[1] > costs("auto", 256, 0.9)[1]
    assert cheapest(1024, [0.9]) == cheapest(128, [0.9]) == "auto_clusters_every_step"
