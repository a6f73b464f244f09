"""Every preset by every move that supports it, against exact values of small lattices."""

import numpy as np
import pytest
from scipy.special import i0, i1

from mcmc import Lattice
from mcmc.models import presets
from mcmc.models.presets import XY, ExtendedXY
from mcmc.models.terms import Model, Term
from mcmc.sampling import rng
from mcmc.sampling.moves import HeatBath, Metropolis, OverRelaxation, SwendsenWang, Symmetry, Wolff
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler, Update, find_sampler
from tests.oracle import cube, torus

SQUARE = Lattice(2, 2)
MODELS = {
    "xy": XY(),
    "exy": ExtendedXY(1.0, -1.0),
    "field": XY() + presets.field(0.7, direction=0.5),
    "random_field": XY() + presets.random_field(SQUARE, 0.8, seed=4),
    "clock": presets.clock(3, h=0.8),
    "generalised": presets.generalised_xy(0.5),
    "nematic": presets.generalised_xy(0.0),
    "j1j2": presets.j1j2(),
    "triangular": presets.triangular(-1.0),
    "antiferromagnet": presets.antiferromagnet(),
    "fully_frustrated": presets.fully_frustrated(SQUARE),
    "plus_minus_j": presets.plus_minus_j(SQUARE, seed=3),
    "gauge_glass": presets.gauge_glass(SQUARE, seed=1),
    "twisted": presets.twisted(XY(), SQUARE, (0.9, 0.2)),
    "antiperiodic": presets.antiperiodic(ExtendedXY(1.0, 0.5), SQUARE),
    "open": presets.open_boundaries(XY(), SQUARE),
    "own": Model((Term((1, -2, 1), ((0, 0), (1, 0), (1, 1)), 0.8), Term((1, -1), ((0, 0), (0, 1)), -0.6, 0.4))),
}
SAMPLER = {
    "metropolis": Sampler((Update(Metropolis(), times=2),)),
    "heat_bath": Sampler((HeatBath(),)),
    "over_relaxation": Sampler((HeatBath(), OverRelaxation())),
    "wolff": Sampler((Wolff(),)),
    "swendsen_wang": Sampler((SwendsenWang(),)),
    "symmetry": Sampler((Metropolis(), Symmetry())),
}


def supported():
    for name, model in MODELS.items():
        for label, sampler in SAMPLER.items():
            if not any(move.obstacle(model, SQUARE) for move in sampler.moves):
                yield pytest.param(name, label, id=f"{name}-{label}")


def run(model, lattice, sampler, *, beta=1.0, replicas=128, draws=150, thin=4, seed=1):
    """Energies per site (replicas, draws) and configurations, from an ordered start."""
    keys = np.array([rng.key(seed, k) for k in range(replicas)])
    chains = Replicas(model, lattice, np.full(replicas, beta), keys)
    chains.advance(sampler, 40)
    theta = np.empty((replicas, draws, lattice.N), np.float32)
    energies = chains.run(sampler, draws, thin, theta)[0] / lattice.N
    return energies, theta.reshape(replicas, draws, *lattice.shape)


def z_of(series, expected):
    """Deviation in standard errors, from the means of independent replicas."""
    means = series.mean(1)
    return abs(means.mean() - expected) / (means.std(ddof=1) / np.sqrt(len(means)) + 1e-6)


def deviations(model, energies, theta, beta=1.0):
    """z of every exact value of the 2x2 lattice."""
    exact, spins = torus(model, beta), np.exp(1j * theta.astype(np.float64))
    series = {
        "energy": energies,
        "energy_square": energies**2,
        "square_magnetization": np.abs(spins.mean((-1, -2))) ** 2,
        "square_nematic": np.abs((spins**2).mean((-1, -2))) ** 2,
        "square_first": spins[..., 0, 0].real ** 2,
    }
    return {name: z_of(values, exact[name]) for name, values in series.items()}


@pytest.mark.parametrize(("name", "label"), [*supported()])
def test_every_preset_by_every_move_has_exact_averages(name, label):
    model = MODELS[name]
    energies, theta = run(model, SQUARE, SAMPLER[label])
    np.testing.assert_allclose(energies, model.energy(theta.astype(np.float64)) / 4, atol=2e-5)
    found = deviations(model, energies, theta)
    assert max(found.values()) < 5, found


@pytest.mark.parametrize("name", ["field", "clock", "generalised", "fully_frustrated", "gauge_glass", "open", "own"])
def test_the_same_averages_reject_another_model(name):
    model = MODELS[name]
    energies, theta = run(
        Model(tuple(term.scaled(0.95) for term in model.terms)), SQUARE, find_sampler("auto", model, SQUARE)
    )
    assert deviations(model, energies / 0.95, theta)["energy"] > 5


@pytest.mark.parametrize("label", SAMPLER)
def test_a_cube_of_spins(label):
    energies, _ = run(XY(dimensions=3), Lattice(2, 2, 2), SAMPLER[label], beta=0.5)
    assert z_of(energies, cube(1.0, 0.5)) < 5
    assert z_of(energies, cube(0.97, 0.5)) > 5


def test_published_values_of_the_small_torus():
    assert torus(MODELS["fully_frustrated"], 1.0, 40)["energy"] == pytest.approx(-1.0211188211, abs=1e-9)
    assert torus(MODELS["generalised"], 1.0, 40)["energy"] == pytest.approx(-1.3606708761, abs=1e-9)
    assert torus(MODELS["exy"], 1.0, 40)["energy"] == pytest.approx(-1.0949867887, abs=1e-9)
    assert torus(MODELS["nematic"], 1.0, 40)["energy"] == pytest.approx(torus(XY(), 1.0, 40)["energy"], abs=1e-9)


def test_symmetry_moves_keep_a_broken_symmetry_from_freezing():
    """K = -1: two sublattices canted by +- arccos(J / 2 |K|); the energy leaves the sign open."""
    model, lattice = ExtendedXY(1.0, -1.0), Lattice(8, 8)
    y, x = np.indices(lattice.shape)

    def changes(sampler):
        energies, theta = run(model, lattice, sampler, beta=5.0, replicas=16, draws=60)
        assert energies.mean() == pytest.approx(-1 - 1 / 2 + 0.1, abs=0.03)  # ground state + T / 2
        chirality = (np.sin(theta - np.roll(theta, 1, -1)) * (-1.0) ** (x + y)).mean((-1, -2))
        assert np.abs(chirality).mean() > 0.6
        return (np.sign(chirality[:, 1:]) != np.sign(chirality[:, :-1])).mean()

    assert 0.4 < changes(find_sampler("auto", model, lattice)) < 0.6
    assert changes(SAMPLERS["auto"]) < 0.02  # the same moves without it


def test_the_nishimori_line():
    """Gauge glass: E / N = -2 I1 / I0 (beta), averaged over realisations, for any size."""
    glasses = (presets.gauge_glass(4, concentration=1.0, seed=seed) for seed in range(100))
    sampler = SAMPLER["over_relaxation"]
    means = np.array([run(glass, Lattice(4, 4), sampler, draws=20)[0].mean() for glass in glasses])
    exact = -2 * i1(1.0) / i0(1.0)
    error = means.std(ddof=1) / 10
    assert abs(means.mean() - exact) < 5 * error
    assert error < 0.01
    assert abs(means.mean() - 1.05 * exact) > 5 * error
