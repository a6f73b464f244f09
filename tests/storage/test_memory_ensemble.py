"""An ensemble in memory reads like a file of the same draws."""

import numpy as np
import pytest

from mcmc import XY, InputError, Lattice
from mcmc.analysis.thermodynamics import observe
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.loader import Loader
from mcmc.storage.memory_ensemble import MemoryEnsemble, opened


def test_it_reads_like_the_file(few_draws):
    with Ensemble.open(few_draws) as file:
        memory = MemoryEnsemble(file.model, file.lattice, file.temperatures, chains=file.chains)
        for block in file.blocks(1):
            memory.append(block, state={"a": np.arange(3)}, report={"steps": 3})
        assert (memory.draws, memory.chains, memory.draw_bytes) == (file.draws, file.chains, file.draw_bytes)
        for part in (slice(None), slice(3, 9, 2)):
            np.testing.assert_array_equal(memory.theta(part, chains=slice(1, 2)), file.theta(part, chains=slice(1, 2)))
            np.testing.assert_array_equal(
                memory.series("energy", part, temperatures=slice(0, 2)),
                file.series("energy", part, temperatures=slice(0, 2)),
            )
        for axis in ("temperature", "chain", "draw", "y", "x"):
            np.testing.assert_array_equal(memory.coordinate(axis), file.coordinate(axis))
        for a, b in zip(observe(memory).rows, observe(file).rows, strict=True):
            assert a == b
        assert sum(block.theta.shape[2] for block in memory.blocks(1)) == file.draws
    assert memory.report() == {"steps": 3}
    assert Loader(memory, np.random.default_rng(1)).sample(7).shape == (4, 7, 4, 4)
    assert "4 temperatures, 0.5 to 2" in repr(memory)


def test_arrays_become_an_ensemble_that_is_known_again():
    theta = np.random.default_rng(1).uniform(-9, 9, (2, 30, 4, 6))
    first, second = (MemoryEnsemble.from_arrays(theta, model=XY(), temperatures=[0.5, 1]) for _ in range(2))
    other = MemoryEnsemble.from_arrays(theta + 1e-3, model=XY(), temperatures=[0.5, 1])
    assert first.attributes["file_id"] == second.attributes["file_id"] != other.attributes["file_id"]
    assert (first.chains, first.draws, first.lattice) == (1, 30, Lattice(6, 4))
    np.testing.assert_allclose(first.series("energy")[:, 0], XY().energy(theta) / 24, rtol=1e-5, atol=1e-6)


def test_what_is_not_an_ensemble_is_named(few_draws):
    with opened(few_draws) as file, opened(file) as same:
        assert same is file
    with pytest.raises(InputError, match="expected an ensemble or the path of one; got int"), opened(3):
        pass
    with pytest.raises(InputError, match="does not fit 3 temperatures"):
        MemoryEnsemble.from_arrays(np.zeros((2, 5, 4, 4)), model=XY(), temperatures=[1, 2, 3])
    with pytest.raises(InputError, match="not finite"):
        MemoryEnsemble.from_arrays(np.full((5, 4, 4), np.inf), model=XY(), temperatures=1.0)
    memory = MemoryEnsemble.from_arrays(np.zeros((5, 4, 4)), model=XY(), temperatures=1.0)
    with pytest.raises(InputError, match="no series 'weight'"):
        memory.series("weight")
    with pytest.raises(InputError, match="unknown axis 'temp'"):
        memory.coordinate("temp")


def test_positions_and_values_choose_as_in_a_file(few_draws):
    with Ensemble.open(few_draws) as file:
        memory = MemoryEnsemble.from_arrays(file.theta(), model=file.model, temperatures=file.temperatures)
        chosen = [
            {"temperature": 1.0, "draws": 3},
            {"temperatures": [2, 0], "chains": 1},
            {"draws": slice(None, None, -3)},
        ]
        for each in chosen:
            np.testing.assert_array_equal(memory.theta(**each), file.theta(**each))
            np.testing.assert_allclose(memory.series("energy", **each), file.series("energy", **each), rtol=1e-5)
        assert memory.to_xarray().sizes == file.to_xarray().sizes
    for wrong in ({"temperature": 0.7}, {"chains": 7}, {"temperatures": 0.5}):
        with pytest.raises(InputError):
            memory.theta(**wrong)
