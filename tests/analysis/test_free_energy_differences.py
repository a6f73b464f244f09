"""Domain walls and mutual information against direct quadrature, and glued replicas against the sum of two."""

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.free_energy_differences import domain_wall, mutual_information
from mcmc.models.glued import glued
from mcmc.models.presets import clock, field, fully_frustrated, gauge_glass, triangular, twisted

GRID = 24
"""Angles of a quadrature; periodic functions converge exponentially."""


def boltzmann(model, T):
    """Weights of the 2x2 lattice on a grid of its four angles, (GRID,) * 4, with d theta; sites in rows."""
    angles = 2 * np.pi * np.arange(GRID) / GRID
    theta = np.stack(np.meshgrid(*[angles] * 4, indexing="ij"), -1).reshape(-1, 2, 2)
    weights = np.exp(-model.energy(theta) / T) * (2 * np.pi / GRID) ** 4
    return weights.reshape([GRID] * 4)


@pytest.mark.parametrize("columns", [[0, 1], [1, 3, 4], [2]], ids=str)
@pytest.mark.parametrize(
    "model",
    [
        XY(),
        ExtendedXY(1.0, -0.7),
        triangular(),
        fully_frustrated((6, 4)),
        gauge_glass((6, 4), seed=2),
        XY() + field(0.3),
    ],
    ids=lambda model: model.name,
)
def test_energy_of_glued_replicas_is_the_sum(model, columns):
    both, lattice = glued(model, Lattice(6, 4), columns)
    others = [x for x in range(6) if x not in columns]
    assert lattice == Lattice(len(columns) + 2 * len(others), 4)
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (5, *lattice.shape))
    copies = np.empty((2, 5, 4, 6))
    copies[..., columns] = theta[..., : len(columns)]
    copies[0][..., others], copies[1][..., others] = np.split(theta[..., len(columns) :], 2, axis=-1)
    np.testing.assert_allclose(both.energy(theta), model.energy(copies).sum(0), rtol=1e-10)
    swapped = copies[:, ::-1].copy()  # other configurations have another energy
    assert not np.allclose(both.energy(theta), model.energy(swapped).sum(0), rtol=1e-3)


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=str)
def test_mutual_information_is_exact(model):
    T = 1.0
    found = mutual_information(model, 2, [T], steps=60, seed=1)[0]
    weights = boltzmann(model, T)
    step = (2 * np.pi / GRID) ** 2
    left = (weights.sum((1, 3)) ** 2).sum() / step  # sites 0 and 2 are the left column
    right = (weights.sum((0, 2)) ** 2).sum() / step
    exact = np.log((weights**2).sum() / step**2) + 2 * np.log(weights.sum()) - np.log(left) - np.log(right)
    assert found.error < 0.05
    assert abs(found.value - exact) < 5 * found.error
    assert abs(1.2 * found.value - exact) > 5 * found.error


@pytest.mark.parametrize("angles", [(np.pi, 0.0), (0.0, 1.0)], ids=str)
def test_cost_of_a_twist_is_exact(angles):
    T = 0.7
    found = domain_wall(XY(), 2, [T, 2.0], angles=angles, steps=60, seed=3)[0]
    exact = -T * np.log(boltzmann(twisted(XY(), 2, angles), T).sum() / boltzmann(XY(), T).sum())
    assert found.error < 0.05
    assert abs(found.value - exact) < 5 * found.error
    assert abs(found.value + exact) > 5 * found.error


def test_columns_that_cannot_be_shared_are_refused():
    for columns in ([], [0, 0], [4], [-1], [0, 1, 2, 3]):
        with pytest.raises(InputError, match="must be some, not all, of 0 to 3"):
            glued(XY(), 4, columns)
    with pytest.raises(InputError, match="must be some, not all"):
        glued(XY(), 4, ["a"])
    with pytest.raises(InputError, match="two axes"):
        glued(XY(dimensions=3), (4, 4, 4), [0])


@pytest.mark.parametrize("function", [domain_wall, mutual_information])
def test_nonsense_gets_one_line(function):
    for temperatures, words in ([], "name at least one"), ("abc", "must be numbers"), ([-1.0], "positive finite"):
        with pytest.raises(InputError, match=words):
            function(XY(), 4, temperatures)
    with pytest.raises(InputError, match="is not a sum of terms"):
        function("xy", 4, [1.0])
    with pytest.raises(InputError, match="must be tuned"):
        function(clock(6), 4, 1.0)
