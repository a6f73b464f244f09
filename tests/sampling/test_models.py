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
from tests.oracle import cube, ring_exchange, torus

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


def run(model, lattice, sampler, *, beta=1.0, replicas=128, draws=150, thin=4, seed=1, rest=40):
    """Energies per site (replicas, draws) and configurations, from an ordered start."""
    keys = np.array([rng.key(seed, k) for k in range(replicas)])
    chains = Replicas(model, lattice, np.full(replicas, beta), keys)
    chains.advance(sampler, rest)
    theta = np.empty((replicas, draws, lattice.N), np.float32)
    energies = chains.run(sampler, draws, thin, theta)[0] / lattice.N
    return energies, theta.reshape(replicas, draws, *lattice.shape)


def z_of(series, expected):
    """Deviation in standard errors, from the means of independent replicas."""
    means = series.mean(1)
    return abs(means.mean() - expected) / (means.std(ddof=1) / np.sqrt(len(means)) + 1e-6)


def series_of(energies, theta):
    """What has an exact value on the 2x2 lattice, of every draw."""
    spins = np.exp(1j * theta.astype(np.float64))
    return {
        "energy": energies,
        "energy_square": energies**2,
        "square_magnetization": np.abs(spins.mean((-1, -2))) ** 2,
        "square_nematic": np.abs((spins**2).mean((-1, -2))) ** 2,
        "square_first": spins[..., 0, 0].real ** 2,
    }


def deviations(model, series, beta=1.0):
    """z of every exact value of the 2x2 lattice."""
    exact = torus(model, beta)
    return {name: z_of(values, exact[name]) for name, values in series.items()}


@pytest.mark.parametrize(("name", "label"), [*supported()])
def test_every_preset_by_every_move_has_exact_averages(name, label):
    model = MODELS[name]
    energies, theta = run(model, SQUARE, SAMPLER[label])
    np.testing.assert_allclose(energies, model.energy(theta.astype(np.float64)) / 4, atol=2e-5)
    found = deviations(model, series_of(energies, theta))
    assert max(found.values()) < 5, found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "label"), [*supported()])
def test_every_preset_by_every_move_to_four_digits(name, label):
    """The table of all is `docs/background/exactness.md`, by ``python -m tests.sampling.exactness``."""
    found = four_digits(name, label)
    print(found)
    assert max(found["z"].values()) < 5, found
    assert found["error"] < found["least"]
    assert found["control"] > 5


def four_digits(name, label):
    """Energy per site with error, z of every exact value, and z if the couplings were off by 2 %."""
    model, means = MODELS[name], []
    # Moves that take a call a step do more in each.
    step_by_step = label in ("wolff", "swendsen_wang", "symmetry")
    rounds, least, replicas, draws = (2, 7e-4, 1024, 2000) if step_by_step else (4, 3e-4, 128, 16000)
    for seed in range(rounds):
        series = series_of(*run(model, SQUARE, SAMPLER[label], replicas=replicas, draws=draws, rest=300, seed=seed))
        means.append({key: values.mean(1, keepdims=True) for key, values in series.items()})
    joined = {key: np.concatenate([each[key] for each in means]) for key in means[0]}
    energy = joined["energy"]
    other = Model(tuple(term.scaled(1.02) for term in model.terms))
    return {
        "model": name,
        "move": label,
        "energy": float(energy.mean()),
        "error": float(energy.std(ddof=1) / np.sqrt(len(energy))),
        "least": least,
        "z": {key: float(z) for key, z in deviations(model, joined).items()},
        "control": float(z_of(energy, torus(other, 1.0)["energy"])),
    }


@pytest.mark.parametrize("name", ["field", "clock", "generalised", "fully_frustrated", "gauge_glass", "open", "own"])
def test_the_same_averages_reject_another_model(name):
    model = MODELS[name]
    energies, theta = run(
        Model(tuple(term.scaled(0.95) for term in model.terms)), SQUARE, find_sampler("auto", model, SQUARE)
    )
    assert deviations(model, series_of(energies / 0.95, theta))["energy"] > 5


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
        energies, theta = run(model, lattice, sampler, beta=5.0, replicas=16, draws=60, thin=8)
        assert energies.mean() == pytest.approx(-1 - 1 / 2 + 0.1, abs=0.03)  # ground state + T / 2
        chirality = (np.sin(theta - np.roll(theta, 1, -1)) * (-1.0) ** (x + y)).mean((-1, -2))
        assert np.abs(chirality).mean() > 0.6
        return (np.sign(chirality[:, 1:]) != np.sign(chirality[:, :-1])).mean()

    assert 0.4 < changes(find_sampler("auto", model, lattice)) < 0.6
    assert changes(SAMPLERS["auto"]) < 0.02  # the same moves without it


LOCAL = ("metropolis", "heat_bath", "over_relaxation", "auto")


def ring_exchange_alone(label, L, beta, draws):
    """Energies per site with J = 0, the exact ones at this and at a coupling that is off by 2 %, and the error."""
    model, lattice = ExtendedXY(0.0, 1.0), Lattice(L, L)
    sampler = SAMPLER.get(label) or find_sampler("auto", model, lattice)
    energies, _ = run(model, lattice, sampler, beta=beta, draws=draws, thin=2, rest=300)
    cut = 3 if L == 8 else 2
    exact, other = (ring_exchange(L, L, factor * beta, cut)["energy"] for factor in (1.0, 1.02))
    return energies, exact, other, energies.mean(1).std(ddof=1) / np.sqrt(len(energies))


@pytest.mark.parametrize("label", LOCAL)
@pytest.mark.parametrize(("L", "beta"), [(8, 1.0), (16, 2.0)])
def test_ring_exchange_alone_is_exact_on_large_lattices(label, L, beta):
    """J = 0: the angles integrate out and leave charges of rows and columns, see `tests.oracle.ring_exchange`."""
    energies, exact, other, error = ring_exchange_alone(label, L, beta, 160 if L == 8 else 80)
    assert z_of(energies, exact) < 5
    assert error < 1.5e-3
    assert z_of(energies, other) > 5
    if L == 8:  # the law of independent plaquettes is another one
        assert z_of(energies, -i1(beta) / i0(beta)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("label", LOCAL)
@pytest.mark.parametrize(("L", "beta"), [(8, 1.0), (8, 2.0), (16, 1.0), (16, 2.0)])
def test_ring_exchange_alone_to_four_digits(label, L, beta):
    energies, exact, other, error = ring_exchange_alone(label, L, beta, 30000 if L == 8 else 9000)
    z = z_of(energies, exact)
    found = f"{energies.mean():.5f}({error:.5f}), exact {exact:.5f}, z {z:.1f}"
    print(f"J = 0, {L}x{L}, beta K = {beta:g}, {label}: {found}")
    assert z < 5
    assert error < 2e-4
    assert z_of(energies, other) > 5


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
