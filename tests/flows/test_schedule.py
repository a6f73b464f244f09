"""The order in which a lattice is drawn, and the spin waves that a flow starts from."""

import math

import numpy as np
import pytest

from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import regression, stiffness
from mcmc import XY, ExtendedXY, InputError, Lattice

every_model = pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=lambda model: model.name)


@every_model
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (6, 6), (8, 8), (4, 16), (5, 5)])
def test_schedule_draws_every_site_once_from_what_is_known(model, shape):
    lattice = Lattice(*shape)
    schedule = coarse_to_fine(lattice, model)
    drawn = {0}
    for group in schedule.groups:
        assert set(group.table.ravel()) <= drawn
        assert not drawn & set(group.sites)
        drawn |= set(group.sites.tolist())
        # Offsets lead from the first site to what it sees, nearest first.
        (x, y), offsets = group.place(lattice), group.offsets(lattice)
        assert [int(lattice.site(x + dx, y + dy)) for dx, dy in offsets.tolist()] == group.table[0].tolist()
        assert (np.abs(offsets) <= np.array([lattice.Lx, lattice.Ly]) // 2).all()
        assert (np.diff(np.linalg.norm(offsets, axis=1)) >= 0).all()
        # A table's column is one offset for all sites of the group.
        for axis, side in ((0, lattice.Lx), (1, lattice.Lx)):
            coordinate = [g % side if axis == 0 else g // side for g in (group.table, group.sites[:, None])]
            steps = (coordinate[0] - coordinate[1]) % lattice.shape[1 - axis]
            assert (steps == steps[0]).all()
    assert not drawn & set(schedule.last)
    assert len(drawn | set(schedule.last)) == lattice.N
    # Sites of the last colour do not act on each other.
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, lattice.shape)
    h = model.field(theta).ravel()[schedule.last]
    theta.ravel()[schedule.last] += 1.0
    np.testing.assert_allclose(model.field(theta).ravel()[schedule.last], h, atol=1e-12)


def test_lattice_without_halvings_is_refused():
    with pytest.raises(InputError, match="a 7x7 lattice halves only down to 7x7"):
        coarse_to_fine(Lattice(7, 7), XY())


@every_model
def test_spin_waves_are_the_harmonic_model(model):
    lattice = Lattice(4, 4)
    Q = stiffness(model, lattice)
    theta = 1e-4 * np.random.default_rng(1).normal(size=lattice.shape)
    energy = model.energy(theta) - model.energy(np.zeros(lattice.shape))
    assert energy == pytest.approx(theta.ravel() @ Q @ theta.ravel() / 2, rel=1e-5)
    # Given all others, the regression is the harmonic conditional itself.
    weights, precision = regression(Q, 5, np.delete(np.arange(16), 5))
    np.testing.assert_allclose(weights, -np.delete(Q[5], 5) / Q[5, 5], atol=1e-12)
    assert precision == pytest.approx(Q[5, 5])
    # Given some, the weights still sum to one, and the law is wider.
    weights, fewer = regression(Q, 5, np.array([0, 2, 8, 10]))
    assert weights.sum() == pytest.approx(1)
    assert 0 < fewer < precision


def test_spin_waves_of_an_antiferromagnet_are_uniform():
    lattice = Lattice(4, 4)
    weights, precision = regression(stiffness(XY(-1.0), lattice), 5, np.array([0, 2, 8, 10]))
    assert precision == 0
    assert not weights.any()


@pytest.mark.parametrize(("model", "ceiling"), [(XY(), 0.974), (ExtendedXY(1.0, 1.0), 0.966)])
def test_independent_draws_of_a_group_cost_little(model, ceiling):
    """Acceptance of the best flow of this order in the harmonic limit, where log weights have variance 2 KL."""
    lattice = Lattice(16, 16)
    Q, known, kl = stiffness(model, lattice), [0], 0.0
    for group in coarse_to_fine(lattice, model).groups:
        rest = np.setdiff1d(np.arange(lattice.N), known)
        among = np.searchsorted(rest, group.sites)
        covariance = np.linalg.inv(Q[np.ix_(rest, rest)])[np.ix_(among, among)]
        kl += (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]) / 2
        known += group.sites.tolist()
    assert math.erfc(math.sqrt(2 * kl) / 2) == pytest.approx(ceiling, abs=1e-3)
