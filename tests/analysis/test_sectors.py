"""Free energies of sectors against draws of independent angles, weighted; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import mcmc
from mcmc import XY, InputError
from mcmc.analysis.sectors import sector_free_energies, vortex_pairs, winding

T, SIDES = 2.0, (3, 3)


@pytest.fixture(scope="module")
def ensemble():
    return mcmc.generate(XY(), size=SIDES, temperatures=T, draws=4000, chains=16, seed=4)


def weighted(sector, batches=40, size=20_000):
    """F(1) - F(0) and its error, from the shares of the Boltzmann weight of uniform angles."""
    rng, found = np.random.default_rng(1), []
    for _ in range(batches):
        theta = rng.uniform(-np.pi, np.pi, (size, *SIDES[::-1]))
        weight, kind = np.exp(-XY().energy(theta) / T - SIDES[0] * SIDES[1]), sector(theta, XY())
        found.append([weight[kind == k].sum() for k in (0, 1)])
    sums = np.array(found)
    without = sums.sum(0) - sums
    values = -T * np.log(without[:, 1] / without[:, 0])
    return values.mean(), np.sqrt((batches - 1) * values.var())


@pytest.mark.parametrize("sector", [vortex_pairs, winding], ids=lambda sector: sector.__name__)
def test_sectors_cost_what_their_weight_says(ensemble, sector):
    value, error = weighted(sector)
    found = sector_free_energies(ensemble, sector)[0][1]
    sigma = np.hypot(found.error, error)
    assert sigma < 0.12
    assert abs(found.value - value) < 5 * sigma
    assert abs(1.3 * found.value - value) > 5 * sigma  # a temperature that is wrong by three tenths


def test_a_reference_of_another_sector_shifts_all(ensemble):
    base, other = (sector_free_energies(ensemble, reference=k)[0] for k in (0, 1))
    assert other[0].value == pytest.approx(-base[1].value)
    assert other[2].value == pytest.approx(base[2].value - base[1].value)


def test_pairs_and_turns_are_counted():
    x = np.arange(16)
    pair = np.angle(np.exp(2j * np.pi * x / 16) * np.ones((16, 1))) * (np.arange(16)[:, None] < 8)
    assert vortex_pairs(mcmc.wrap(pair)) >= 1
    turned = mcmc.wrap(2 * np.pi * 2 * x / 16 * np.ones((16, 1)) + 0.1)
    assert (winding(turned), winding(turned, axis=1), vortex_pairs(turned)) == (2, 0, 0)


@pytest.mark.parametrize(
    ("sector", "reference", "words"),
    [
        (lambda theta, model: theta.mean((-2, -1)), 0, "whole numbers"),
        (lambda theta, model: np.zeros(3, int), 0, "one for each configuration"),
        (vortex_pairs, 9, "another reference of"),
        (3, 0, "must be a function"),
        (lambda theta, model: 1 / 0, 0, "failed: ZeroDivisionError"),
        (lambda theta, model: winding(theta, model, axis=2), 0, "axis = 2"),
        (lambda theta, model: vortex_pairs(theta, XY(dimensions=3)), 0, "they are lines"),
    ],
)
def test_what_is_refused(ensemble, sector, reference, words):
    with pytest.raises(InputError, match=words):
        sector_free_energies(ensemble, sector, reference=reference)
