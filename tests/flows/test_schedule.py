"""The order in which a lattice is drawn, and the spin waves that a flow starts from."""

import math
import time

import numpy as np
import pytest

from latticeflow.flows import build_flow
from latticeflow.flows.harmonic_ceiling import harmonic_ceiling
from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import XY, ExtendedXY, InputError, Lattice

every_model = pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=lambda model: model.name)


@every_model
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (6, 6), (8, 8), (4, 16), (5, 5), (7, 7), (4, 6)])
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


def dense_stiffness(model, lattice):
    """Hessian of the energy at the ferromagnetic state by its definition, (N, N)."""
    unit = np.eye(lattice.N).reshape(lattice.N, *lattice.shape)
    rows = [(term.coupling, term.angle(unit).reshape(lattice.N, -1)) for term in model.terms]
    return sum(coupling * row @ row.T for coupling, row in rows)


def dense_regression(Q, site, seen):
    """The harmonic conditional by eliminating all other sites from the whole matrix."""
    kept = np.append(seen, site)
    rest = np.setdiff1d(np.arange(len(Q)), kept)
    S = Q[np.ix_(kept, kept)]
    if rest.size:
        S = S - Q[np.ix_(kept, rest)] @ np.linalg.solve(Q[np.ix_(rest, rest)], Q[np.ix_(rest, kept)])
    return -S[-1, :-1] / S[-1, -1], S[-1, -1]


@every_model
def test_spin_waves_are_the_harmonic_model(model):
    lattice = Lattice(4, 4)
    Q, waves = dense_stiffness(model, lattice), SpinWaves(model, lattice)
    assert waves.stiffness == pytest.approx(Q[0, 0])
    theta = 1e-4 * np.random.default_rng(1).normal(size=lattice.shape)
    energy = model.energy(theta) - model.energy(np.zeros(lattice.shape))
    assert energy == pytest.approx(theta.ravel() @ Q @ theta.ravel() / 2, rel=1e-5)
    # Given all others, the regression is the harmonic conditional itself.
    weights, precision = waves.regression(5, np.delete(np.arange(16), 5))
    np.testing.assert_allclose(weights, -np.delete(Q[5], 5) / Q[5, 5], atol=1e-12)
    assert precision == pytest.approx(Q[5, 5])
    # Given some, the weights still sum to one, and the law is wider.
    weights, fewer = waves.regression(5, np.array([0, 2, 8, 10]))
    assert weights.sum() == pytest.approx(1)
    assert 0 < fewer < precision


def test_spin_waves_of_an_antiferromagnet_are_uniform():
    lattice = Lattice(4, 4)
    weights, precision = SpinWaves(XY(-1.0), lattice).regression(5, np.array([0, 2, 8, 10]))
    assert precision == 0
    assert not weights.any()


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 1.0), ExtendedXY(2.0, -0.4)], ids=str)
@pytest.mark.parametrize("shape", [(2, 4), (8, 8), (12, 6), (5, 5), (16, 16)])
def test_kriging_equals_the_dense_regression(model, shape):
    lattice = Lattice(*shape)
    Q, waves = dense_stiffness(model, lattice), SpinWaves(model, lattice)
    assert waves.stable
    for group in coarse_to_fine(lattice, model).groups:
        weights, precision = waves.regression(group.sites[0], group.table[0])
        expected = dense_regression(Q, group.sites[0], group.table[0])
        np.testing.assert_allclose(weights, expected[0], atol=1e-12)
        assert precision == pytest.approx(expected[1], rel=1e-12)
    # A Green function of the wrong range would be seen: that of a mass.
    far = SpinWaves(model, lattice, 0.1).regression(0, np.array([lattice.N - 1, lattice.N // 2]))[0]
    assert abs(far.sum() - 1) > 1e-3


@pytest.mark.parametrize("mass", [0.0, 0.4])
@every_model
def test_one_factorisation_gives_every_regression_in_sequence(model, mass):
    lattice = Lattice(6, 4)
    Q = dense_stiffness(model, lattice)
    Q = Q + mass * np.abs(Q).max() * np.eye(lattice.N)
    order = np.random.default_rng(3).permutation(lattice.N)[:18]
    rows = SpinWaves(model, lattice, mass).sequential(order)
    assert not np.triu(rows).any()
    for i in range(1, len(order)):
        weights, precision = dense_regression(Q, order[i], order[:i])
        np.testing.assert_allclose(rows[i, :i], weights * precision, atol=1e-12)


def dense_losses(model, lattice):
    """KL and variance of log w of each group's independent draws, from inverses of the whole stiffness."""
    Q, known, losses = dense_stiffness(model, lattice), [0], []
    for group in coarse_to_fine(lattice, model).groups:
        rest = np.setdiff1d(np.arange(lattice.N), known)
        among = np.searchsorted(rest, group.sites)
        covariance = np.linalg.inv(Q[np.ix_(rest, rest)])[np.ix_(among, among)]
        v = np.diag(covariance)
        kl = (np.log(v).sum() - np.linalg.slogdet(covariance)[1]) / 2
        losses.append((kl, ((covariance**2 / np.outer(v, v)).sum() - len(v)) / 2))
        known += group.sites.tolist()
    return np.array(losses)


@pytest.mark.parametrize(
    ("model", "shape", "ceiling"),
    [
        (XY(), (16, 16), 0.974),
        (ExtendedXY(1.0, 1.0), (16, 16), 0.965),
        (XY(), (12, 20), None),
        (ExtendedXY(1.0, 0.3), (5, 7), None),
    ],
)
def test_ceiling_of_independent_draws_is_exact(model, shape, ceiling):
    lattice = Lattice(*shape)
    found, expected = harmonic_ceiling(model, lattice), dense_losses(model, lattice)
    np.testing.assert_allclose([group.kl for group in found.groups], expected[:, 0], atol=1e-9)
    np.testing.assert_allclose([group.variance for group in found.groups], expected[:, 1], atol=1e-9)
    assert all(group.kl_seen > group.kl - 1e-9 for group in found.groups)
    assert math.erfc(math.sqrt(2 * expected[:, 0].sum()) / 2) + 1e-9 > found.acceptance_seen > 0.9 * found.acceptance
    if ceiling is not None:
        assert found.acceptance == pytest.approx(ceiling, abs=1e-3)
        assert math.erfc(math.sqrt(2 * expected[:, 0].sum()) / 2) == pytest.approx(ceiling, abs=1.5e-3)


def test_ceilings_of_large_lattices():
    """Golden digits; a flow of 128x128 can accept nine proposals in ten as T -> 0."""
    sides = (8, 16, 32, 64, 128)
    found = [harmonic_ceiling(XY(), Lattice(side, side)).acceptance for side in sides]
    np.testing.assert_allclose(found, [0.9887, 0.9742, 0.9613, 0.9453, 0.9165], atol=1e-4)
    found = [harmonic_ceiling(ExtendedXY(), Lattice(side, side)).acceptance for side in sides]
    np.testing.assert_allclose(found, [0.9767, 0.9654, 0.9300, 0.8653, 0.7404], atol=1e-4)


def test_models_without_spin_waves_have_no_ceiling():
    with pytest.raises(InputError, match="no spin waves"):
        harmonic_ceiling(XY(-1.0), Lattice(4, 4))


def test_large_lattices_build_at_once():
    started = time.monotonic()
    flow = build_flow("multiscale", ExtendedXY(), Lattice(128, 128), (0.05, 2.05))
    assert time.monotonic() - started < 20  # 0.2 s on a quiet core; eliminating sites from the whole matrix took hours
    assert flow.depths > 60
