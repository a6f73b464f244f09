"""The coarse-to-fine flow in a uniform field, which one spin more stands for."""

import numpy as np
import pytest
import torch

import latticeflow as lf
import mcmc
from latticeflow.flows import build_flow
from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.models.presets import clock, field
from tests.flows.test_schedule import dense_regression, dense_stiffness

MODEL = XY() + field(0.4)
SMALL = {"invariants": 8, "vectors": 4, "products": 3, "width": 16}


def disturbed(model, side, **sizes):
    torch.manual_seed(1)
    flow = build_flow("multiscale", model, Lattice(side, side), (0.3, 2.0), **SMALL, **sizes)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow


def test_density_in_a_field_is_normalised_and_not_symmetric():
    flow = disturbed(MODEL, 2).double()
    grid = torch.arange(18, dtype=torch.float64) * (2 * np.pi / 18) - np.pi
    with torch.no_grad():
        theta = torch.cartesian_prod(grid, grid, grid, grid).view(-1, 2, 2)
        total = float(flow.log_prob(theta, 1.5).exp().sum()) * (2 * np.pi / 18) ** 4
        assert total == pytest.approx(1, abs=1e-5)
        one = theta[1000:1010]
        torch.testing.assert_close(flow.log_prob(-one, 1.5), flow.log_prob(one, 1.5))
        assert float((flow.log_prob(one + 1.0, 1.5) - flow.log_prob(one, 1.5)).abs().max()) > 0.1


@pytest.mark.parametrize("model", [MODEL, ExtendedXY() + field(0.2)], ids=lambda model: model.name)
def test_spin_waves_in_a_field_are_the_harmonic_model(model):
    lattice = Lattice(4, 4)
    Q, waves = dense_stiffness(model, lattice), SpinWaves(model, lattice)
    for group in coarse_to_fine(lattice, model).groups:
        weights, precision = waves.regression(group.sites[0], group.table[0])
        expected = dense_regression(Q, group.sites[0], group.table[0])
        np.testing.assert_allclose(weights, expected[0], atol=1e-12)
        assert precision == pytest.approx(expected[1], rel=1e-12)
        assert weights.sum() < 1 - 1e-6


@pytest.mark.parametrize("model", [MODEL, ExtendedXY() + field(0.3)], ids=lambda model: model.name)
def test_weights_of_draws_bring_the_magnetisation_of_markov_chains(model):
    """Along the field, of a flow that was not trained; z < 5, without weights it is off by more."""
    flow, T = disturbed(model, 8), 1.2
    theta, log_q = flow.sample(4000, T, seed=2)
    np.testing.assert_allclose(flow.log_prob(theta[:50], T), log_q[:50], atol=1e-3)
    log_w = -model.energy(theta) / T - log_q
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    along = np.cos(theta).mean((1, 2))
    mean = w @ along
    error = np.sqrt((w**2) @ (along - mean) ** 2)
    chains = mcmc.generate(model, size=8, temperatures=[T], draws=1000, chains=4, seed=3, thin=5)
    blocks = np.cos(chains.theta(slice(0, 1000))[0]).mean((-1, -2)).reshape(-1, 20).mean(1)
    exact, exact_error = blocks.mean(), blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert abs(mean - exact) < 5 * np.hypot(error, exact_error)
    assert abs(along.mean() - exact) > 5 * np.hypot(error, exact_error)


def test_flows_in_a_field_are_trained_kept_and_doubled(tmp_path):
    ensemble = mcmc.generate(MODEL, size=4, temperatures=[0.5, 1.0, 1.5], draws=60, chains=4, seed=3)
    flow = lf.train(ensemble, out=tmp_path / "field.pt", sizes=SMALL, steps=6, device="cpu", seed=1)
    again = lf.load(tmp_path / "field.pt", device="cpu")
    log_q = again.sample(5, 1.0, seed=1)[1]
    np.testing.assert_array_equal(log_q, flow.sample(5, 1.0, seed=1)[1])
    chain = lf.sample(flow, temperatures=[1.0], draws=50)
    assert np.cos(chain.theta(slice(0, 50))).mean() > 0.2
    from latticeflow.flows.transfer import double

    larger = double(flow)
    assert larger.lattice == Lattice(8, 8)
    assert larger.depths > flow.depths


def test_other_broken_symmetries_are_refused_with_the_reason():
    for model in (XY() + field(0.3, direction=0.5), XY() + clock(4, h=0.1)):
        with pytest.raises(InputError, match="cannot draw"):
            build_flow("multiscale", model, Lattice(4, 4), (0.5, 1.5))
    with pytest.raises(InputError, match="symmetry of turning all spins"):
        build_flow("spline", MODEL, Lattice(4, 4), (0.5, 1.5))
