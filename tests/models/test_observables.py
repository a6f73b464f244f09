"""Observables against loops written from their definitions, against each other, and against torch."""

import cmath
import itertools
import math

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice, wrap
from mcmc.analysis.observable_registry import observables_of
from mcmc.analysis.thermodynamics import measure, thermodynamics
from mcmc.models import observables

SCALARS = {
    "energy xy": lambda theta: observables.energy(theta, XY(1.3)),
    "energy exy": lambda theta: observables.energy(theta, ExtendedXY(1.0, -0.7)),
    "magnetization": observables.magnetization,
    "nematic_order": observables.nematic_order,
    "plaquette_term": observables.plaquette_term,
    "helicity_terms": observables.helicity_terms,
    "vortex_density": observables.vortex_density,
    "winding_numbers": observables.winding_numbers,
    "long_wave_factors": observables.long_wave_factors,
}
FIELDS = {
    "vorticity": observables.vorticity,
    "structure_factor": observables.structure_factor,
    "correlation": observables.correlation,
}
EVERY = SCALARS | FIELDS


def configurations(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, shape).astype(dtype)


def by_hand(t):
    """Every observable of one configuration by loops over sites, from the definitions."""
    Ly, Lx = t.shape
    N = Lx * Ly
    sites = [(x, y) for y in range(Ly) for x in range(Lx)]

    def at(x, y):
        return t[y % Ly, x % Lx]

    def turn(difference):
        return (difference + math.pi) % (2 * math.pi) - math.pi

    def fourier(f, kx, ky):
        return sum(
            f(x, y) * cmath.exp(-2j * math.pi * (kx * x / Lx + ky * y / Ly)) for x in range(Lx) for y in range(Ly)
        )

    cos = [sum(math.cos(at(x, y) - at(x + a, y + b)) for x, y in sites) for a, b in ((1, 0), (0, 1))]
    sin = [sum(math.sin(at(x, y) - at(x + a, y + b)) for x, y in sites) for a, b in ((1, 0), (0, 1))]
    ring = sum(math.cos(at(x, y) - at(x + 1, y) + at(x + 1, y + 1) - at(x, y + 1)) for x, y in sites)
    q = np.zeros((Ly, Lx))
    for x, y in sites:
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1), (x, y)]
        q[y, x] = sum(turn(at(*b) - at(*a)) for a, b in itertools.pairwise(corners)) / (2 * math.pi)
    wx = sum(turn(at(x + 1, y) - at(x, y)) for x, y in sites) / (2 * math.pi * Ly)
    wy = sum(turn(at(x, y + 1) - at(x, y)) for x, y in sites) / (2 * math.pi * Lx)

    def spin(x, y):
        return cmath.exp(1j * at(x, y))

    S = np.array([[abs(fourier(spin, kx, ky)) ** 2 / N for kx in range(Lx)] for ky in range(Ly)])
    G = [[sum(math.cos(at(x, y) - at(x + a, y + b)) for x, y in sites) / N for a in range(Lx)] for b in range(Ly)]
    return {
        "energy xy": -1.3 * sum(cos) / N,
        "energy exy": (-sum(cos) + 0.7 * ring) / N,
        "magnetization": abs(fourier(spin, 0, 0)) / N,
        "nematic_order": abs(sum(spin(x, y) ** 2 for x, y in sites)) / N,
        "plaquette_term": ring / N,
        "helicity_terms": [cos[0] / N, cos[1] / N, sin[0] ** 2 / N, sin[1] ** 2 / N],
        "vortex_density": abs(q).sum() / N,
        "winding_numbers": [wx, wy],
        "long_wave_factors": [S[0, 1], S[1, 0]],
        "vorticity": q,
        "structure_factor": S,
        "correlation": np.array(G),
    }


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (4, 6), (5, 3)])
def test_definitions(shape):
    theta = configurations(*shape, seed=1)
    for name, value in by_hand(theta).items():
        np.testing.assert_allclose(EVERY[name](theta), value, atol=1e-12, err_msg=name)


def test_the_model_may_be_given_by_its_keyword():
    theta = np.zeros((2, 4, 4))
    assert observables.energy(theta, model=XY(1.3)).tolist() == [-2.6, -2.6]
    with pytest.raises(TypeError, match="modle"):
        observables.energy(theta, XY(), modle=XY())


@pytest.mark.parametrize("name", EVERY)
def test_leading_shapes_pieces_and_precision(name, monkeypatch):
    function = EVERY[name]
    theta = configurations(3, 5, 4, 6)
    whole = function(theta)
    assert whole.shape[:2] == (3, 5)
    np.testing.assert_allclose(whole[2, 3], function(theta[2, 3]), atol=1e-12)
    monkeypatch.setattr(observables, "PIECE", 50)  # two configurations at a time, one left over
    np.testing.assert_array_equal(function(theta), whole)
    assert function(theta[:0]).shape == (0, *whole.shape[1:])
    if name != "vorticity":
        single = function(theta.astype(np.float32))
        assert single.dtype == np.float64
        np.testing.assert_allclose(single, whole, atol=3e-6 * (24 if "S" in name or "factor" in name else 1))


@pytest.mark.parametrize("name", EVERY)
def test_torch_agrees(name):
    torch = pytest.importorskip("torch")
    theta = configurations(2, 3, 4, 6)
    found = EVERY[name](torch.tensor(theta))
    np.testing.assert_allclose(found.numpy(), EVERY[name](theta), atol=1e-12)


def test_gradients_flow_through_torch():
    torch = pytest.importorskip("torch")
    theta = torch.tensor(configurations(2, 4, 4), requires_grad=True)
    (observables.energy(theta, ExtendedXY()) + observables.magnetization(theta)).sum().backward()
    assert torch.isfinite(theta.grad).all()
    assert (theta.grad != 0).any()


def test_laws_of_symmetry():
    theta = configurations(20, 6, 6)
    turned = wrap(theta + 1.0)
    for name in ("energy xy", "energy exy", "magnetization", "nematic_order", "correlation", "vorticity"):
        np.testing.assert_allclose(EVERY[name](turned), EVERY[name](theta), atol=1e-12, err_msg=name)
    moved = np.roll(theta, (2, 3), (-2, -1))
    for name in SCALARS:
        np.testing.assert_allclose(SCALARS[name](moved), SCALARS[name](theta), atol=1e-12, err_msg=name)
    assert (observables.vorticity(theta).sum((-2, -1)) == 0).all()
    np.testing.assert_allclose(observables.structure_factor(theta).sum((-2, -1)), 36, rtol=1e-12)
    np.testing.assert_allclose(observables.correlation(theta)[:, 0, 0], 1, rtol=1e-12)


def test_a_vortex_pair_is_found_where_it_was_put():
    L = 16
    y, x = np.mgrid[:L, :L]
    theta = wrap(np.arctan2(y - 4.5, x - 3.5) - np.arctan2(y - 4.5, x - 11.5))
    found = observables.vortices(theta)
    charges = {(px, py): c for px, py, c in zip(found.x, found.y, found.charge, strict=True)}
    # The field is not periodic, which may put further pairs on the seam, never inside.
    inside = {at: c for at, c in charges.items() if max(at) < L - 1}
    assert inside == {(3.5, 4.5): 1, (11.5, 4.5): -1}
    assert sum(charges.values()) == 0


def test_windings_are_whole_numbers():
    x = np.arange(12)
    theta = wrap(np.tile(2 * np.pi * 2 * x / 12, (6, 1)))
    assert observables.winding_numbers(theta).tolist() == [2.0, 0.0]
    assert observables.winding_numbers(wrap(-theta.T)).tolist() == [0.0, -2.0]
    assert observables.vortex_density(theta) == 0


def test_random_angles_have_the_vortex_density_of_infinite_temperature():
    density = observables.vortex_density(configurations(4000, 8, 8, seed=3))
    error = density.std() / math.sqrt(len(density))
    assert abs(density.mean() - 1 / 3) < 5 * error


@pytest.mark.parametrize(
    ("theta", "words"),
    [
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((3, 1)), r"shape \(3, 1\)"),
        (np.zeros((4, 4), int), "int64"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), 3.5), "3.5"),
        (np.full((2, 4, 4), -4.0), "-4"),
        (np.full((2, 4, 4), np.inf), "inf"),
    ],
)
@pytest.mark.parametrize("name", EVERY)
def test_bad_input(name, theta, words):
    with pytest.raises(InputError, match=words):
        EVERY[name](theta)


def test_positions_of_one_configuration_only():
    with pytest.raises(InputError, match="not one configuration"):
        observables.vortices(np.zeros((2, 4, 4)))


@pytest.mark.parametrize("model", [XY(1.5), ExtendedXY(1.0, 0.5)])
def test_the_table_follows_from_its_definitions(model):
    theta, T, lattice = 0.8 * configurations(2, 300, 4, 6, seed=4), 0.8, Lattice(6, 4)
    found = thermodynamics(measure(theta, model), model, lattice, T)
    E, m = model.energy(theta), observables.magnetization(theta)
    J, N = model.couplings["J"], 24
    terms = observables.helicity_terms(theta).mean((0, 1))
    S = observables.structure_factor(theta).mean((0, 1))
    momentum = 2 * (math.sin(math.pi / 6) ** 2 + math.sin(math.pi / 4) ** 2)
    expected = {
        "energy": E.mean() / N,
        "specific_heat": E.var() / (N * T**2),
        "magnetization": m.mean(),
        "susceptibility": N * m.var() / T,
        "structure_factor": N * (m**2).mean(),
        "binder_cumulant": 1 - (m**4).mean() / (3 * (m**2).mean() ** 2),
        "vortex_density": observables.vortex_density(theta).mean(),
        "helicity_modulus_x": J * terms[0] - J**2 / T * terms[2],
        "helicity_modulus_y": J * terms[1] - J**2 / T * terms[3],
        "helicity_modulus": J * terms[:2].mean() - J**2 / T * terms[2:].mean(),
        "correlation_length": math.sqrt((S[0, 0] * (1 / S[0, 1] + 1 / S[1, 0]) / 2 - 1) / momentum),
        "nematic_order": observables.nematic_order(theta).mean(),
        "plaquette_term": observables.plaquette_term(theta).mean(),
        "winding_square": (observables.winding_numbers(theta) ** 2).sum(-1).mean(),
    }
    kinds = {f"energy_{kind}" for kind in model.kinds} if len(model.kinds) > 1 else set()
    assert set(expected) | kinds == set(observables_of(model, lattice)) == set(found)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-9, abs=1e-12), name
        assert found[name].error > 0
