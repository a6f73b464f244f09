"""Nothing depends on the unit of energy: draws are a function of J / T and K / T."""

from __future__ import annotations

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.correlations import correlation_function
from mcmc.sampling.generate import generate_file
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, find_sampler
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble
from tests.oracle import exact

TEMPERATURES = (0.3, 1.0, 4.0)
MODELS = [XY(), XY(-0.7), ExtendedXY(1.0, 0.5), ExtendedXY(0.01, -0.3), XY(0.0)]


def scaled(model, unit):
    return model.in_units_of(1 / unit)


def run(sampler, model, unit=1.0, chains=3, draws=3, seed=5, side=5, **changes):
    temperatures = tuple(unit * T for T in TEMPERATURES)
    # Streams of version 1 are named by position, those of today by the temperature too.
    changes = {"thermalise": 60, "thin": 3, "streams": 1, **changes}
    settings = Settings(scaled(model, unit), Lattice(side, 4), temperatures, chains, sampler, seed=seed, **changes)
    return Simulation(settings).block(draws)


def takes(sampler, model):
    try:
        find_sampler(sampler, model, Lattice(4, 4))
    except InputError:
        return False
    return True


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_powers_of_two_give_the_same_bytes(sampler, model):
    if not takes(sampler, model):
        pytest.skip("the sampler is not for this model")
    here = run(sampler, model)
    for unit in (2.0**-70, 2.0**-10, 2.0**17, 2.0**40, 2.0**-300):
        there = run(sampler, model, unit)
        assert there.theta.tobytes() == here.theta.tobytes(), unit
        assert (there.series["energy"] == unit * here.series["energy"]).all(), unit
    if any(term.scale for term in model.terms):  # the control
        assert run(sampler, scaled(model, 1.1)).theta.tobytes() != here.theta.tobytes()


def test_tempering_in_another_unit_gives_the_same_bytes():
    here, there = (run("auto", XY(), unit, tempering=True) for unit in (1.0, 2.0**-70))
    assert there.theta.tobytes() == here.theta.tobytes()


@pytest.mark.parametrize("sampler", ["auto", "heat_bath", "metropolis", "wolff", "swendsen_wang"])
@pytest.mark.parametrize("unit", [1e-21, 1e-3, 1e5, 1e12])
def test_other_units_give_exact_energies(sampler, unit):
    settings = Settings(XY(unit), Lattice(3, 2), (unit,), 256, sampler, thermalise=100, thin=10, seed=2)
    means = Simulation(settings).block(250).series["energy"][0].mean(-1) / unit
    error = means.std(ddof=1) / 16
    assert error < 5e-3
    assert abs(means.mean() - exact(XY(), 3, 2, 1.0)["energy"]) < 5 * error
    assert abs(means.mean() - exact(XY(), 3, 2, 1.1)["energy"]) > 5 * error  # the control


def test_weak_bonds_beside_strong_ring_exchange_still_act():
    """Lines turn in the field of J alone, which may be far below K."""
    J, T = 1e-8, 1e-8
    model = ExtendedXY(J, 1.0)
    theta = Simulation(Settings(model, Lattice(2, 2), (T,), 64, thermalise=200, thin=5, seed=1)).block(50).theta[0]
    # Where ring exchange is frozen a 2x2 lattice is a column and a row: each an angle in a field 4 J.
    right = np.cos(theta - np.roll(theta, -1, -1)).mean((-2, -1))
    from scipy.special import ive

    means = right.mean(-1)
    error = means.std(ddof=1) / 8
    assert abs(means.mean() - ive(1, 4.0) / ive(0, 4.0)) < 5 * error
    assert means.mean() > 10 * error


def test_inverse_temperatures_of_replicas_are_given_back_in_their_unit():
    for unit in (1.0, 3.0, 1e-21):
        beta = np.array([0.5, 2.0]) / unit
        found = Replicas(XY(unit), Lattice(2, 2), beta, np.zeros((2, 4), np.uint32)).beta
        assert np.allclose(found, beta, rtol=1e-6, atol=0)


def test_temperatures_are_found_by_their_ratio(tmp_path):
    generate_file(Settings(XY(1e-9), Lattice(4, 4), (1e-9, 2e-9), thermalise=20), tmp_path / "a.h5", draws=8)
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert len(correlation_function(ensemble, 2e-9 * (1 + 1e-9)).blocks)
        with pytest.raises(InputError, match="no draws at T"):
            correlation_function(ensemble, 1.5e-9)


@pytest.mark.parametrize("J", [5e-324, -1e-150, 1e150, [[1.0, 1e-200]]])
def test_couplings_that_leave_no_room_for_their_squares_are_refused(J):
    with pytest.raises(InputError, match=r"must be 0, or of a size from 1e-100 to 1e\+100: choose another unit"):
        XY(J)
    assert [XY(J).square.J for J in (0.0, 1e-99, -1e99)] == [0.0, 1e-99, -1e99]
