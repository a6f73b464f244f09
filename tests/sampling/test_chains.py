"""How many chains a run takes that does not say so."""

from __future__ import annotations

import numpy as np
import pytest

import mcmc
from latticeflow.cli import main
from mcmc import XY, InputError, Lattice
from mcmc.sampling.executors import share
from mcmc.sampling.settings import Settings
from mcmc.storage.ensemble import Ensemble

RUN = ["generate", "--size", "4", "-T", "0.9", "--draws", "5", "--thermalise", "4", "--thin", "1"]


@pytest.mark.parametrize(
    ("size", "temperatures", "changes", "chains"),
    [
        (8, 1, {}, 16),
        (8, 2, {}, 8),
        (8, 3, {}, 4),
        (8, 32, {}, 4),
        (16, 1, {}, 4),  # strips fill the vector
        (16, 1, {"strips": 1}, 16),
        (63, 1, {}, 16),  # cannot be cut
        (65, 1, {}, 4),  # large files
        (64, 1, {}, 4),
        (8, 1, {"sampler": "wolff"}, 4),  # chain after chain
    ],
)
def test_at_least_four_and_more_where_they_cost_nothing(size, temperatures, changes, chains):
    grid = tuple(np.linspace(0.5, 1.5, temperatures))
    run = Settings(XY(), Lattice(size, size), grid, chains=None, **changes)
    assert run.shape == (temperatures, chains)
    assert run.resolved().chains == chains
    assert Settings(XY(), Lattice(size, size), grid, chains=3, **changes).resolved().chains == 3


def test_the_number_is_said_and_kept(tmp_path, caplog):
    path = tmp_path / "a.h5"
    with caplog.at_level("INFO"):
        assert main([*RUN, "--out", str(path)]) == 0
        assert main([*RUN, "--chains", "2", "--out", str(tmp_path / "b.h5")]) == 0
    assert "16 chains at each temperature, as fast as 4: they fill the processor's vectors" in caplog.messages
    assert "16 chains at each temperature would take no longer than 2: vectors are not full" in caplog.messages
    with Ensemble.open(path) as automatic, Ensemble.open(tmp_path / "b.h5") as two:
        assert (automatic.chains, two.chains) == (16, 2)
        # A chain's draws do not depend on how many others there are.
        np.testing.assert_array_equal(automatic.theta(chains=slice(0, 2)), two.theta())


def test_a_file_that_exists_keeps_its_chains(tmp_path):
    path = tmp_path / "a.h5"
    assert main([*RUN, "--chains", "1", "--out", str(path)]) == 0
    longer = [*RUN, "--out", str(path), "--resume", "--draws", "8"]
    assert main([*longer, "--chains", "auto"]) == 0
    assert main([*longer, "--chains", "16"]) == 2
    with Ensemble.open(path) as ensemble:
        assert (ensemble.chains, ensemble.draws) == (1, 8)


@pytest.mark.parametrize("chains", ["auto", None])
def test_the_library_chooses_too(chains):
    assert mcmc.generate("xy", size=4, temperatures=[0.9], draws=2, thermalise=4, chains=chains).chains == 16
    with pytest.raises(InputError, match="chains = 'many' must be an integer"):
        mcmc.generate("xy", size=4, temperatures=[0.9], draws=2, chains="many")


def test_shares_of_a_run_have_the_chains_of_the_whole():
    whole = Settings(XY(), Lattice(8, 8), (0.9,), chains=None, thermalise=4, thin=1)
    parts = [share(whole, k, 3) for k in range(3)]
    assert sum(part.shape[1] for part in parts) == 16
    assert [part.first_chain for part in parts] == [0, 5, 10]
