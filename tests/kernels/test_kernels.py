"""Every sampler gives exact values on small lattices, and leaves equilibrium alone; negative controls do not."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, Lattice
from mcmc.analysis.thermodynamics import simulate, thermodynamics
from mcmc.kernels.conventions import OFFSETS
from mcmc.sampling import rng
from mcmc.sampling.moves import OverRelaxation
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler
from mcmc.sampling.settings import Settings
from tests.oracle import exact, quadrature, square_magnetization

F = np.float32


def samplers_of(model):
    """Names of the registered samplers whose moves all support the model."""
    return [name for name, each in SAMPLERS.items() if not any(m.obstacle(model, Lattice(4, 4)) for m in each.moves)]


CASES = [(model, name) for model in (XY(), ExtendedXY(1.0, 0.5)) for name in samplers_of(model)]


def replicas(model, lattice, beta, count, threads=1, seed=1, strips=1):
    keys = np.array([rng.key(seed, 0, c) for c in range(count)])
    return Replicas(model, lattice, np.full(count, beta), keys, threads=threads, strips=strips)


def averages(model, lattice, sampler, beta, *, chains, draws, thin, threads=1, damage=None, strips=1):
    """Means and errors of energy and m^2 per site over independent chains; ``damage`` breaks the replicas first."""
    r = replicas(model, lattice, beta, chains, threads, strips=strips)
    r.tuned = {"wolff": np.full(chains, 2)}
    if damage:
        damage(r)
    r.advance(sampler, 100)
    N, parts = lattice.N, []
    for start in range(0, draws, 2000):
        energy, mx, my = r.run(sampler, min(2000, draws - start), thin)
        parts.append([energy.mean(-1) / N, (mx**2 + my**2).mean(-1) / N**2])
    values = np.mean(parts, 0)
    return values.mean(-1), values.std(-1, ddof=1) / np.sqrt(chains)


@lru_cache
def truth(model, Lx, Ly, beta):
    return np.array([exact(model, Lx, Ly, beta)["energy"], square_magnetization(model, Lx, Ly, beta)])


@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
@pytest.mark.parametrize("sides", [(2, 2), (3, 2)], ids=str)
def test_exact_values(model, sampler, sides):
    means, errors = averages(model, Lattice(*sides), SAMPLERS[sampler], 1.0, chains=256, draws=1500, thin=3)
    assert errors.max() < 2e-3
    assert np.abs((means - truth(model, *sides, 1.0)) / errors).max() < 5


def other_field(r):
    """A negative control: west and east are the same neighbour."""
    for block in r.blocks:
        block.neighbours[:, 1] = block.neighbours[:, 0]


def other_temperature(r):
    """A negative control: 2 per cent too cold."""
    r.beta = r.beta * 1.02


@pytest.mark.parametrize(
    ("damage", "sampler"),
    [
        (other_field, "auto"),
        (other_temperature, "auto"),
        (other_temperature, "swendsen_wang"),
        (other_temperature, "wolff"),
    ],
)
def test_damaged_kernels_are_rejected(damage, sampler):
    settings = {"chains": 256, "draws": 1500, "thin": 3, "damage": damage}
    means, errors = averages(XY(), Lattice(3, 2), SAMPLERS[sampler], 1.0, **settings)
    assert np.abs((means - truth(XY(), 3, 2, 1.0)) / errors).max() > 5


@pytest.mark.slow
@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
@pytest.mark.parametrize(("L", "threads"), [(2, 1), (3, 1), (3, 2), (4, 1)])
def test_exact_values_to_four_digits(model, sampler, threads, L):
    """`pytest -m slow tests/kernels/test_kernels.py -k four_digits -s` prints the table of deviations."""
    # Slow walkers are measured seldom, and L = 2 fluctuates most.
    thin = {"metropolis": 20, "swendsen_wang": 12}.get(sampler, 6)
    settings = {"chains": 3200, "draws": 8000, "thin": thin, "threads": threads}
    means, errors = averages(model, Lattice(L, L), SAMPLERS[sampler], 1.0, **settings)
    if L < 4:
        target = truth(model, L, L, 1.0)
    else:
        # <m^2> of the 4x4 lattices by `square_magnetization` with cut 5, which takes a while.
        m2 = {"xy": 0.6718492, "exy": 0.7486472}[model.name]
        target = np.array([exact(model, L, L, 1.0)["energy"], m2])
    z = (means - target) / errors
    print(f"{model} {L}x{L} {sampler}, {threads} threads: E/N {means[0]:.6f}({errors[0]:.6f}), z = {z.round(2)}")
    assert errors[0] < 1.0e-4
    assert np.abs(z).max() < 5


def equilibrium(model, beta, count, seed=0):
    """Exact independent configurations of the 2x2 lattice by rejection, (count, 2, 2)."""
    random = np.random.default_rng(seed)
    kept = []
    while sum(map(len, kept)) < count:
        theta = random.uniform(-np.pi, np.pi, (400_000, 2, 2))
        least = 4 * model.floor
        kept.append(theta[random.random(len(theta)) < np.exp(-beta * (model.energy(theta) - least))])
    return np.concatenate(kept)[:count]


@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
def test_one_step_leaves_equilibrium_alone(model, sampler):
    beta, count = 0.6, 20_480
    theta = equilibrium(model, beta, count).reshape(count, 4)
    r = replicas(model, Lattice(2, 2), beta, count)
    r.spins = np.stack([np.cos(theta), np.sin(theta)]).astype(F)
    before = r.measure()[0]
    every_step = Sampler([update._replace(every=1) for update in SAMPLERS[sampler].updates])
    r.advance(every_step, 1)
    change = r.measure()[0] - before
    assert change.std() > 0.1
    assert abs(change.mean()) < 5 * change.std() / np.sqrt(count)
    target = quadrature(model, beta)["energy"] * 4
    assert abs(before.mean() - target) < 5 * before.std() / np.sqrt(count)
    # The negative control believes in another temperature.
    r.beta = np.full(count, 1.3 * beta)
    r.advance(every_step, 3)
    change = r.measure()[0] - before
    assert abs(change.mean()) > 5 * change.std() / np.sqrt(count)


def test_elongated_lattice_needs_twists():
    """Its windings have weight, but no local move changes them in the cold; without twists the energy is wrong."""
    target, settings = exact(XY(), 2, 64, 5.0, 12)["energy"], {"chains": 64, "draws": 800, "thin": 8}
    distances = []
    untwisted = Sampler([update for update in SAMPLERS["auto"].updates if update.move.name != "twist"])
    for sampler in (SAMPLERS["auto"], untwisted):
        means, errors = averages(XY(), Lattice(2, 64), sampler, 5.0, **settings)
        distances.append(abs(means[0] - target) / errors[0])
    assert distances[0] < 5
    assert distances[1] > 5


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 2.0)], ids=str)
def test_over_relaxation_keeps_energy_and_moves_every_spin(model):
    lattice = Lattice(6, 5)
    r = replicas(model, lattice, 1.0, 32)
    r.advance(SAMPLERS["heat_bath"], 50)
    spins, energy = r.spins, r.measure()[0]
    r.advance(Sampler((OverRelaxation(),)), 1)
    assert np.allclose(r.measure()[0], energy, atol=1e-4)
    assert np.abs(r.spins - spins).max((0, 1)).min() > 1e-3


def test_energies_and_norms_after_many_steps():
    """Kernel energies are those of the stored angles, and float32 lengths do not drift."""
    for model in (XY(), ExtendedXY()):
        for name in samplers_of(model):
            lattice = Lattice(8, 6)
            r = replicas(model, lattice, 1.0, 20)
            theta = np.empty((20, 2, lattice.N), F)
            energy = r.run(SAMPLERS[name], 2, 2000, theta)[0]
            norms = np.hypot(*r.spins.astype(float))
            assert np.abs(norms - 1).max() < 2e-6, name
            recomputed = model.energy(theta.astype(float).reshape(20, 2, 6, 8))
            assert np.abs(recomputed - energy).max() < 1e-4, name


def test_renormalisation_is_what_bounds_the_drift():
    """The control of the test above: a norm that is off is seen by it, and healed by the kernels."""
    r = replicas(XY(), Lattice(8, 6), 1.0, 16)
    r.spins = r.spins * F(1.001)
    assert np.abs(np.hypot(*r.spins) - 1).max() > 2e-6
    r.advance(SAMPLERS["metropolis"], 200)
    assert np.abs(np.hypot(*r.spins.astype(float)) - 1).max() < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("model", [XY(), ExtendedXY()], ids=str)
def test_samplers_agree_at_16(model):
    names = samplers_of(model)
    for T in (0.4, 0.9, 1.3, 1.9):
        results = []
        for name in names:
            thin = 30 if name == "metropolis" else 4
            r = averages(model, Lattice(16, 16), SAMPLERS[name], 1 / T, chains=64, draws=300, thin=thin)
            results.append(r)
        best, error = results[0]
        for name, (means, errors) in zip(names[1:], results[1:], strict=True):
            assert np.abs((means - best) / np.hypot(errors, error)).max() < 5, (name, T)


def test_offsets_are_what_the_kernels_expect():
    assert OFFSETS[:4] == ((1, 0), (-1, 0), (0, 1), (0, -1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "strips"), [("auto", 1), ("auto", 2), ("auto", 8), ("wolff", 8), ("swendsen_wang", 8)]
)
def test_hasenbusch_at_parts_in_ten_thousand(sampler, strips):
    """Hasenbusch 2005 (cond-mat/0502556, table 1), L = 16 at beta = 1.1199: within 3 sigma, errors of 2e-4 or so."""
    beta, model, lattice = 1.1199, XY(), Lattice(16, 16)
    runs = []
    for seed in (8, 9, 10):
        thin = 12 if sampler == "auto" else 6
        settings = Settings(
            model, lattice, (1 / beta,), chains=128, sampler=sampler, thin=thin, seed=seed, strips=strips
        )
        runs.append(thermodynamics(simulate(settings, 12_000)[0], model, lattice, 1 / beta))
    published = {
        "helicity_modulus": (beta, 0.72536, 0.00007),
        "correlation_length": (1 / 16, 0.79953, 0.00017),
        "structure_factor": (1.0, 133.011, 0.009),
    }
    for name, (factor, value, error) in published.items():
        ours = factor * np.mean([run[name].value for run in runs])
        bar = factor * np.sqrt(np.mean([run[name].error ** 2 for run in runs]) / len(runs))
        sigma = (ours - value) / np.hypot(bar, error)
        print(f"{name}: {ours:.5f} +- {bar:.5f}, published {value} +- {error}, {sigma:+.1f} sigma")
        assert bar < (2e-4 if sampler == "auto" else 2.5e-4) * value  # clusters move xi less in the same time
        assert abs(sigma) < 3
