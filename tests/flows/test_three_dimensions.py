"""The coarse-to-fine flow on cuboids."""

import numpy as np
import pytest
import torch

import latticeflow as lf
import mcmc
from latticeflow.flows import build_flow
from latticeflow.flows.harmonic_ceiling import harmonic_ceiling
from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from latticeflow.flows.transfer import double
from mcmc import XY, InputError, Lattice
from tests.flows.test_schedule import dense_losses, dense_regression, dense_stiffness

MODEL = XY(dimensions=3)
SMALL = {"invariants": 8, "vectors": 4, "products": 3, "width": 16, "seen": 26}


def small(*sides):
    torch.manual_seed(1)
    return build_flow("multiscale", MODEL, Lattice(*sides), (1.0, 3.5), **SMALL)


@pytest.mark.parametrize("sides", [(2, 2, 2), (4, 4, 4), (8, 4, 4), (3, 5, 3), (8, 8, 8)])
def test_schedule_draws_every_site_once_and_half_of_them_exactly(sides):
    lattice = Lattice(*sides)
    schedule = coarse_to_fine(lattice, MODEL, seen=20)
    drawn = {0}
    for group in schedule.groups:
        assert set(group.table.ravel()) <= drawn
        assert not drawn & set(group.sites)
        drawn |= set(group.sites.tolist())
        places, offsets = np.array(lattice.places()), group.offsets(lattice)
        for site, seen in zip(group.sites, group.table, strict=True):
            expected = lattice.site(*(places[:, site][:, None] + offsets.T))
            np.testing.assert_array_equal(expected, seen)
    assert not drawn & set(schedule.last)
    assert len(drawn | set(schedule.last)) == lattice.N
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, lattice.shape)
    h = MODEL.field(theta).ravel()[schedule.last]
    theta.ravel()[schedule.last] += 1.0
    np.testing.assert_allclose(MODEL.field(theta).ravel()[schedule.last], h, atol=1e-12)
    if all(side % 2 == 0 for side in sides):
        assert len(schedule.last) == lattice.N // 2


def test_spin_waves_and_ceilings_equal_dense_matrices():
    lattice = Lattice(4, 2, 6)
    Q, waves = dense_stiffness(MODEL, lattice), SpinWaves(MODEL, lattice)
    for group in coarse_to_fine(lattice, MODEL).groups:
        weights, precision = waves.regression(group.sites[0], group.table[0])
        expected = dense_regression(Q, group.sites[0], group.table[0])
        np.testing.assert_allclose(weights, expected[0], atol=1e-12)
        assert precision == pytest.approx(expected[1], rel=1e-12)
    lattice = Lattice(8, 8, 4)
    found = np.array([(group.kl, group.variance) for group in harmonic_ceiling(MODEL, lattice).groups])
    np.testing.assert_allclose(found, dense_losses(MODEL, lattice), atol=1e-9)
    assert found.sum() > 1e-3


def test_weights_of_draws_bring_the_energy_of_markov_chains():
    """Of a flow that was not trained, against chains, z < 5; without weights it is off by more."""
    flow = small(4, 4, 4)
    T = 2.5
    theta, log_q = flow.sample(10_000, T, seed=2)
    np.testing.assert_allclose(flow.log_prob(theta[:50], T), log_q[:50], atol=1e-4)
    e = MODEL.energy(theta) / 64
    log_w = -64 * e / T - log_q
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    mean = w @ e
    error = np.sqrt((w**2) @ (e - mean) ** 2)
    chains = mcmc.generate(MODEL, size=4, temperatures=T, draws=2000, chains=4, seed=3, thin=5)
    energies = MODEL.energy(chains.theta(slice(0, 2000))[0]) / 64
    means = energies.reshape(-1, 20).mean(1)  # blocks of 100 sweeps
    exact, exact_error = means.mean(), means.std(ddof=1) / np.sqrt(len(means))
    combined = np.hypot(error, exact_error)
    assert abs(mean - exact) < 5 * combined
    assert abs(e.mean() - exact) > 5 * combined


@pytest.mark.slow
def test_training_and_doubling_lower_the_variance_of_weights():
    ensemble = mcmc.generate(MODEL, size=(4, 4, 4), temperatures=np.linspace(1.5, 3.0, 4), draws=100, chains=4, seed=3)
    flow = small(4, 4, 4)
    assert flow.lattice.shape == (4, 4, 4)

    def variance(flow, ensemble):
        theta = np.ascontiguousarray(ensemble.theta(slice(0, 50))).reshape(4, -1, *ensemble.lattice.shape)
        T = ensemble.temperatures
        log_w = [-MODEL.energy(x) / t - flow.log_prob(x, t) for x, t in zip(theta, T, strict=True)]
        return float(np.var(log_w, axis=1).mean())

    before = variance(flow, ensemble)
    trained = lf.train(ensemble, flow=flow, steps=60, objective="forward_kl_sites", rows=2000, device="cpu")
    assert variance(trained, ensemble) < 0.7 * before
    larger = double(trained)
    assert larger.lattice.sides == (8, 8, 8)
    judge = mcmc.generate(MODEL, size=(8, 8, 8), temperatures=ensemble.temperatures, draws=50, chains=4, seed=4)
    assert variance(larger, judge) < variance(small(8, 8, 8), judge)


def test_chains_and_comparisons_take_cuboids():
    flow = small(4, 4, 4)
    chain = lf.sample(flow, temperatures=[2.0], draws=40, seed=1)
    theta = chain.theta(slice(0, 40))
    assert theta.shape[-3:] == (4, 4, 4)
    assert lf.sample(flow, temperatures=[2.0], draws=6, seed=1, redraws=1, local_sweeps=1).draws == 6
    table = lf.compare(flow, mcmc.generate(MODEL, size=(4, 4, 4), temperatures=[2.0], draws=50, chains=4, seed=3))
    assert 0.1 < table.mean["acceptance"] < 1
    assert table.mean["overlap_winding"] > 50


def test_flows_of_two_axes_say_so():
    with pytest.raises(InputError, match="two axes"):
        build_flow("spline", MODEL, Lattice(4, 4, 4), (1.0, 3.5))
