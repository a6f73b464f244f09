"""Annealed importance sampling and population annealing against exact values."""

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis import annealing
from mcmc.analysis.annealing import anneal, schedule
from tests import oracle

METHODS = pytest.mark.parametrize(("populations", "walkers"), [(1024, 1), (32, 32)], ids=("importance", "populations"))
SYSTEMS = pytest.mark.parametrize(
    ("model", "side"), [(XY(), 2), (XY(), 3), (XY(), 4), (ExtendedXY(), 3), (ExtendedXY(1.0, -0.5), 2)], ids=str
)


@METHODS
@SYSTEMS
def test_free_energies_and_entropies_are_exact(model, side, populations, walkers):
    found = anneal(model, Lattice(side, side), [1.0, 2.0], steps=60, populations=populations, walkers=walkers, seed=1)
    assert found.temperatures.tolist() == [2.0, 1.0]
    for T, ln_z, s in zip(found.temperatures, found.log_partition(), found.entropy(), strict=True):
        exact = oracle.exact(model, side, side, 1 / T)
        assert 0 < ln_z.error < 0.06
        assert abs(ln_z.value - exact["log_partition"]) < 5 * ln_z.error
        assert abs(s.value - (exact["energy"] / T + exact["log_partition"] / side**2)) < 5 * s.error


@METHODS
def test_ring_exchange_alone_on_16x16(populations, walkers):
    model, exact = ExtendedXY(0.0, 1.0), oracle.ring_exchange(16, 16, 1.0)
    found = anneal(model, Lattice(16, 16), [1.0], steps=150, populations=populations, walkers=walkers, seed=7)
    ln_z, s = found.log_partition()[0], found.entropy()[0]
    assert abs(ln_z.value - exact["log_partition"]) < 5 * ln_z.error < 0.5
    assert abs(s.value - exact["energy"] - exact["log_partition"] / 256) < 5 * s.error
    wrong = anneal(XY(), Lattice(16, 16), [1.0], steps=150, populations=populations, walkers=walkers, seed=7)
    assert abs(wrong.log_partition()[0].value - exact["log_partition"]) > 5 * wrong.log_partition()[0].error


def test_a_wrong_temperature_and_the_mean_of_the_logarithm_are_rejected():
    exact = oracle.exact(XY(), 4, 4, 1.0)["log_partition"]
    found = anneal(XY(), Lattice(4, 4), [1.0], steps=20, seed=2)
    ln_z = found.log_partition()[0]
    assert abs(ln_z.value - exact) < 5 * ln_z.error
    # Few steps leave walkers behind equilibrium; the mean of ln w shows it, the mean of w does not.
    assert found.log_weight[0].mean() < exact - 5 * ln_z.error
    wrong = anneal(XY(), Lattice(4, 4), [1.05], steps=60, seed=2).log_partition()[0]
    assert abs(wrong.value - exact) > 5 * wrong.error


def test_walkers_are_drawn_anew_without_bias(monkeypatch):
    exact = oracle.exact(XY(), 4, 4, 1.0)["log_partition"]
    how = {"steps": 6, "populations": 64, "walkers": 64, "sampler": "heat_bath", "seed": 3}
    monkeypatch.setattr(annealing, "LEAST_EFFECTIVE", 1.01)  # at every step
    found = anneal(XY(), Lattice(4, 4), [1.0], **how)
    assert found.resamplings == 5
    ln_z = found.log_partition()[0]
    assert abs(ln_z.value - exact) < 5 * ln_z.error < 0.4
    # Weights start again from 1, but all walkers go on: the same check notices.
    monkeypatch.setattr(annealing, "_systematic", lambda w, random: np.arange(w.size))
    broken = anneal(XY(), Lattice(4, 4), [1.0], **how).log_partition()[0]
    assert abs(broken.value - exact) > 5 * broken.error


def test_errors_of_populations_cover_the_truth():
    exact = oracle.exact(XY(), 2, 2, 1.0)["log_partition"]
    found = [
        anneal(XY(), Lattice(2, 2), [1.0], steps=20, populations=32, walkers=8, seed=seed).log_partition()[0]
        for seed in range(60)
    ]
    pulls = np.array([(each.value - exact) / each.error for each in found])
    assert abs(pulls.mean()) < 5 / np.sqrt(len(pulls))
    assert 0.7 < pulls.std() < 1.4


def test_systematic_resampling_keeps_to_the_weights():
    rng = np.random.default_rng(4)
    w = rng.random((5, 40)) ** 4
    w /= w.sum(1, keepdims=True)
    copies = np.zeros((5, 40))
    for _ in range(400):
        places = annealing._systematic(w, rng).reshape(5, 40)
        assert (places // 40 == np.arange(5)[:, None]).all()
        count = np.bincount(places.ravel(), minlength=200).reshape(5, 40)
        assert (abs(count - 40 * w) < 1).all()
        copies += count
    # A count is one of two neighbouring integers: its variance is at most 1/4.
    assert (abs(copies / 400 - 40 * w) < 5 * 0.5 / np.sqrt(400)).all()


def test_the_schedule_stops_at_every_temperature():
    beta = schedule(XY(), Lattice(4, 4), [0.5, 3.0, 1.0], 100)
    assert beta[0] == 0
    assert (np.diff(beta) > 0).all()
    assert beta[-1] == 2.0
    assert {1 / 3.0, 1.0} <= set(beta.tolist())
    assert 98 <= len(beta) <= 104


@pytest.mark.parametrize("unit", [1e-5, 1e5])
def test_units_of_energy_do_not_matter(unit):
    exact = oracle.exact(XY(), 4, 4, 1.0)["log_partition"]
    ln_z = anneal(XY(unit), Lattice(4, 4), [unit], steps=60, seed=5).log_partition()[0]
    assert abs(ln_z.value - exact) < 5 * ln_z.error < 0.3


def test_temperatures_are_those_asked_for():
    asked = np.linspace(0.5, 2.0, 31).tolist()  # 1 / (1 / T) is another number for some of them
    assert any(1 / (1 / T) != T for T in asked)
    assert anneal(XY(), Lattice(2, 2), asked, steps=31, populations=16).temperatures.tolist() == asked[::-1]


def test_draws_do_not_depend_on_threads():
    one, two = (anneal(XY(), Lattice(4, 4), [1.0], steps=10, seed=6, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.log_weight, two.log_weight)


def test_bad_input():
    with pytest.raises(InputError, match="steps = 0 must be at least 1"):
        anneal(XY(), Lattice(2, 2), [1.0], steps=0)
    with pytest.raises(InputError, match="populations = 1 must be at least 2"):
        anneal(XY(), Lattice(2, 2), [1.0], steps=5, populations=1)
    with pytest.raises(InputError, match="must be a positive finite number"):
        anneal(XY(), Lattice(2, 2), [0.0], steps=5)
    with pytest.raises(InputError, match="must be tuned"):
        anneal(XY(), Lattice(2, 2), [1.0], steps=5, sampler="metropolis")


@pytest.mark.parametrize(("populations", "walkers", "few", "many"), [(256, 1, 6, 200), (32, 32, 4, 40)])
def test_effective_populations_tell_too_short_runs(populations, walkers, few, many, caplog):
    """A cold lattice reached in a few steps: few populations carry the weight, and ln Z is too low by many errors."""
    exact = oracle.exact(XY(), 4, 4, 2.0)["log_partition"]
    short, long = (
        anneal(XY(), Lattice(4, 4), [0.5], steps=steps, populations=populations, walkers=walkers, seed=2)
        for steps in (few, many)
    )
    assert short.effective()[0] < populations / 4 < populations / 2 < long.effective()[0]
    assert (short.trusted().tolist(), long.trusted().tolist()) == ([False], [True])
    found = long.log_partition()[0]
    assert abs(found.value - exact) < 5 * found.error
    assert not caplog.text
    short.log_partition()
    assert f"of {populations} populations carry the weight at T = 0.5" in caplog.text
