"""Flows of models whose couplings repeat after two sites."""

import numpy as np
import pytest
import torch

import latticeflow as lf
import mcmc
from latticeflow.flows import build_flow
from latticeflow.flows.last_colour import LocalField
from latticeflow.flows.schedule import coarse_to_fine
from mcmc import XY, InputError, Lattice, Model, Term
from mcmc.models.presets import fully_frustrated, gauge_glass, plus_minus_j

SMALL = {"invariants": 8, "vectors": 4, "products": 3, "width": 16}


def columns(size):
    """Bonds of every other column twice as strong, which leaves the ferromagnetic state where it is."""
    strong = np.where(np.arange(size) % 2, 2.0, 1.0) * np.ones((size, size))
    return Model((XY().terms[0], Term((1, -1), ((0, 0), (0, 1)), strong)), "columns")


def disturbed(model, side):
    torch.manual_seed(1)
    flow = build_flow("multiscale", model, Lattice(side, side), (0.3, 2.0), **SMALL)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("make", [fully_frustrated, columns])
@pytest.mark.parametrize("side", [2, 4, 6, 8])
def test_schedule_takes_cell_by_cell_and_sites_of_a_group_see_the_same_couplings(make, side):
    lattice, model = Lattice(side, side), make(side)
    schedule = coarse_to_fine(lattice, model)
    drawn, places = {0}, np.array(lattice.places())
    fields = [np.array(term.coupling) * np.ones(lattice.shape) for term in model.terms]
    for group in schedule.groups:
        assert set(group.table.ravel()) <= drawn
        assert not drawn & set(group.sites)
        drawn |= set(group.sites.tolist())
        offsets = group.offsets(lattice)
        for site, seen in zip(group.sites, group.table, strict=True):
            np.testing.assert_array_equal(lattice.site(*(places[:, site][:, None] + offsets.T)), seen)
        for each in fields:
            moved = each.ravel()[np.column_stack((group.sites, group.table))]
            assert (moved == moved[0]).all()
    assert not drawn & set(schedule.last)
    assert len(drawn | set(schedule.last)) == lattice.N
    assert len(schedule.last) == lattice.N // 2
    # Both kinds of sites that are modelled, of one cell, come before all other cells.
    assert side == 2 or [group.sites.tolist() for group in schedule.groups[:1]] == [[side + 1]]
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, lattice.shape)
    h = model.field(theta).ravel()[schedule.last]
    theta.ravel()[schedule.last] += 1.0
    np.testing.assert_allclose(model.field(theta).ravel()[schedule.last], h, atol=1e-12)


def test_density_is_normalised():
    flow = disturbed(fully_frustrated(2), 2).double()
    grid = torch.arange(18, dtype=torch.float64) * (2 * np.pi / 18) - np.pi
    with torch.no_grad():
        theta = torch.cartesian_prod(grid, grid, grid, grid).view(-1, 2, 2)
        total = float(flow.log_prob(theta, 1.5).exp().sum()) * (2 * np.pi / 18) ** 4
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("make", [fully_frustrated, columns])
def test_weights_of_draws_bring_the_energy_of_markov_chains(make):
    """Of a flow that was not trained, z < 5; without weights it is off by more."""
    model, T = make(4), 1.2
    flow = disturbed(model, 4)
    theta, log_q = flow.sample(20_000, T, seed=2)
    np.testing.assert_allclose(flow.log_prob(theta[:50], T), log_q[:50], atol=1e-3)
    e = model.energy(theta) / 16
    chains = mcmc.generate(model, size=4, temperatures=[T], draws=1000, chains=4, seed=3, thin=5)
    blocks = (model.energy(chains.theta(slice(0, 1000))[0]) / 16).reshape(-1, 40).mean(1)
    exact, exact_error = blocks.mean(), blocks.std(ddof=1) / np.sqrt(len(blocks))

    def deviation(log_w):
        w = np.exp(log_w - log_w.max())
        w /= w.sum()
        mean = w @ e
        return abs(mean - exact) / np.hypot(np.sqrt((w**2) @ (e - mean) ** 2), exact_error)

    assert deviation(-16 * e / T - log_q) < 5
    assert deviation(np.zeros_like(e)) > 5


def test_the_field_of_single_sites_is_that_of_the_model():
    """Phases, too, and in double precision."""
    lattice = Lattice(6, 4)
    for model in (fully_frustrated(lattice), XY(0.5), gauge_glass(lattice, seed=1)):
        theta = torch.rand(3, 24, dtype=torch.float64) * 6
        rows, sites = torch.tensor([0, 2, 1, 1]), torch.tensor([3, 17, 8, 9])
        expected = model.field(theta.view(3, 4, 6)).flatten(1)[rows, sites]
        field = LocalField(model, lattice).to(torch.float64)
        torch.testing.assert_close(field(theta, rows, sites), expected, rtol=1e-6, atol=1e-6)


def test_training_keeps_what_it_learns(tmp_path):
    ensemble = mcmc.generate(fully_frustrated(4), size=4, temperatures=[0.4, 0.8, 1.2], draws=100, chains=4, seed=3)
    flow = disturbed(fully_frustrated(4), 4)

    def variance(flow):
        theta = np.ascontiguousarray(ensemble.theta(slice(0, 100))).reshape(3, -1, 4, 4)
        log_w = [
            -ensemble.model.energy(x) / T - flow.log_prob(x, T)
            for x, T in zip(theta, ensemble.temperatures, strict=True)
        ]
        return float(np.var(log_w, axis=1).mean())

    trained = lf.train(
        ensemble, flow=flow, steps=40, objective="forward_kl_sites", rows=1024, out=tmp_path / "flow.pt", device="cpu"
    )
    assert variance(trained) < 0.5 * variance(flow)
    again = lf.load(tmp_path / "flow.pt", device="cpu")
    np.testing.assert_array_equal(again.sample(5, 0.5, seed=1)[1], trained.sample(5, 0.5, seed=1)[1])


def test_larger_cells_and_odd_sides_are_refused():
    with pytest.raises(InputError, match="repeat after 6x6 sites"):
        build_flow("multiscale", plus_minus_j(6, seed=1), 6, (0.5, 1.5))
    with pytest.raises(InputError, match="side of the lattice is odd"):
        build_flow("multiscale", fully_frustrated(Lattice(4, 5)), Lattice(4, 5), (0.5, 1.5))
