"""Down to the lowest temperature that single precision carries, energies are those of spin waves; below it is refused.

In the harmonic limit each of N - 1 modes has the energy T / 2, on any lattice and whatever J and K are.
"""

from __future__ import annotations

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.models import observables
from mcmc.sampling import thermalisation
from mcmc.sampling.replicas import Replicas, lowest_temperature
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

HARMONIC = 0.5 * (1 - 1 / 64)
CASES = [
    (XY(), "auto"),
    (XY(), "heat_bath"),
    (XY(), "metropolis"),
    (XY(-1.0), "auto"),
    (ExtendedXY(1.0, 0.5), "auto"),
    (ExtendedXY(1.0, 0.5), "plaquette_cluster"),
]


def z(series, expected):
    means = series.mean(-1)
    return (means.mean() - expected) / (means.std(ddof=1) / np.sqrt(len(means)))


@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
def test_energies_are_those_of_spin_waves(model, sampler):
    temperatures = (1.01 * lowest_temperature(model), 1e-8, 1e-6, 1e-3)
    run = Simulation(Settings(model, Lattice(8, 8), temperatures, 16, sampler, thermalise=1500, seed=4))
    assert run.report()["thermalisation"]["agree"]
    block = run.block(150)
    for T, theta, stored in zip(temperatures, block.theta, block.series["energy"], strict=True):
        measured = (observables.energy(theta, model) - model.floor) / T
        for excess in ((stored - model.floor) / T, measured):
            anharmonic = 0.1 * T  # e = -2 + T / 2 + T^2 / 16 + ...
            assert abs(z(excess, HARMONIC)) < 5 + anharmonic * 1e3, T
            assert abs(z(excess, 1.05 * HARMONIC)) > 5, T  # the control


def test_a_measurement_in_single_precision_would_be_seen():
    """The control of the measured energies: cosines near 1 lose what is left of the temperature."""
    T = 1e-8
    theta = Simulation(Settings(XY(), Lattice(8, 8), (T,), 16, thermalise=1500, seed=4)).block(150).theta[0]
    right, below = (theta - np.roll(theta, -1, axis) for axis in (-1, -2))
    naive = (2 - (np.cos(right) + np.cos(below)).mean((-2, -1), dtype=np.float64)) / T
    assert abs(naive.mean() - HARMONIC) > 0.05 * HARMONIC  # five per cent are seen above


def test_magnetisations_keep_their_fluctuations():
    """1 - m = sum of the modes' amplitudes / 2, linear in T: its mean and spread scale down to the lowest T."""
    found = []
    for T in (1e-3, 1e-9):
        theta = Simulation(Settings(XY(), Lattice(8, 8), (T,), 16, thermalise=1500, seed=4)).block(150).theta[0]
        lost = (1 - observables.magnetization(theta)) / T
        found.append((lost.mean(), lost.std(), lost.mean(-1).std(ddof=1) / 4))
    (warm, warm_spread, error), (cold, cold_spread, _) = found
    assert abs(warm - cold) < 5 * 1.5 * error
    assert cold_spread == pytest.approx(warm_spread, rel=0.1)


@pytest.mark.parametrize("model", [XY(), XY(300.0), ExtendedXY(1.0, 10.0), XY(1e-21)], ids=str)
def test_lower_temperatures_are_refused_with_the_limit(model):
    least = lowest_temperature(model)
    Settings(model, Lattice(4, 4), (least,))
    with pytest.raises(InputError, match=f"T = {least:.3g}"):
        Settings(model, Lattice(4, 4), (0.99 * least,))
    with pytest.raises(InputError, match="too low"):
        Replicas(model, Lattice(4, 4), np.array([1.0, 2.0]) / least, np.zeros((2, 4), np.uint32))


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("model", [XY(), XY(-1.0)], ids=str)
def test_a_run_without_thermalisation_starts_ordered(model, side):
    replicas = Simulation(Settings(model, Lattice(side, side), (1e-6,), thermalise=0))._replicas
    energy = replicas.measure()[0] / side**2
    # The best ring of an odd number of antiferromagnetic bonds turns by pi (1 - 1 / side) at each.
    best = -2 * np.cos(np.pi / side) if side % 2 and model.square.J < 0 else -2.0
    assert energy == pytest.approx(best, abs=1e-6)


def test_cold_starts_agree_on_a_large_lattice():
    """A run that quenched its chains would stick above the energy of spin waves."""
    T = 1e-3
    run = Simulation(Settings(XY(), Lattice(48, 48), (T,), 2, seed=1))
    assert run.report()["thermalisation"]["agree"]
    energy = run.block(100).series["energy"][0]
    assert energy.mean() == pytest.approx(-1.9995, abs=5e-6)
    assert abs(energy.mean() - -1.97886) > 1e-2  # where a quench ends


def quench(model, temperatures):
    """Equal steps of beta from 15 T, whatever the couplings are: a quench where T is far below them."""
    return np.minimum(1, np.arange(1, 21) / 15)[:, None] / temperatures


def test_annealing_reaches_what_a_quench_does_not(monkeypatch):
    found = []
    for schedule in (thermalisation.cooling, quench):
        monkeypatch.setattr(thermalisation, "cooling", schedule)
        monkeypatch.setattr(thermalisation, "_trapped", lambda replicas: np.zeros(replicas.size, bool))
        run = Simulation(Settings(XY(), Lattice(48, 48), (1e-3,), 4, seed=1))
        found.append((run.block(50).series["energy"][0].mean() + 2) / 1e-3)
    assert found[0] == pytest.approx(0.5, abs=0.02)
    assert found[1] > 0.6


def test_strong_ring_exchange_is_reached_by_the_default_sampler():
    """K / T = 100: turning lines cures windings, and ring exchange is not quenched."""
    found = []
    for sampler in ("auto", "metropolis"):
        run = Simulation(Settings(ExtendedXY(1.0, 50.0), Lattice(8, 8), (0.5,), 8, sampler, seed=1))
        if sampler == "auto":
            assert run.report()["thermalisation"]["agree"]
        means = run.block(100).series["energy"][0].mean(-1)
        found.append((means.mean(), means.std(ddof=1) / np.sqrt(8)))
    (ours, error), (theirs, other) = found
    assert abs(ours - theirs) < 5 * np.hypot(error, other)
    assert max(error, other) < 0.01
