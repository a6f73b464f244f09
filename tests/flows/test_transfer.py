"""New flows from trained ones: fewer sites drawn together, larger nets, the best nets of several."""

import copy

import pytest
import torch

from latticeflow.flows import build_flow
from latticeflow.flows.transfer import combine, double, refine, widen
from mcmc import XY, ExtendedXY, InputError, Lattice, generate

SMALL = {"invariants": 8, "vectors": 4, "products": 3, "directions": 2, "width": 16}
LARGER = {"invariants": 11, "vectors": 6, "products": 5, "directions": 3, "width": 20}
T = torch.linspace(0.3, 2.0, 12)


def disturbed(model, side=8, scale=0.1, **sizes):
    """A flow whose nets are not those it starts from."""
    torch.manual_seed(1)
    flow = build_flow("multiscale", model, Lattice(side, side), (0.3, 2.0), **SMALL, **sizes)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("model", [XY(), ExtendedXY()], ids=lambda model: model.name)
def test_wider_nets_have_the_same_density_and_every_part_of_them_can_learn(model):
    flow = disturbed(model)
    wide, unchanged = widen(flow, **LARGER).double(), widen(flow, width=16) is flow
    assert unchanged
    flow = flow.double()
    theta, log_q = flow.sample(len(T), T.double(), generator=torch.Generator().manual_seed(2))
    found = wide.log_prob(theta, T.double())
    torch.testing.assert_close(found, log_q, rtol=0, atol=1e-9)
    assert wide.parameter_count > flow.parameter_count
    (found * torch.randn(len(T), dtype=torch.float64)).sum().backward()
    for conditioner in wide.conditioners:
        old = flow.conditioners[0].net[4].out_features
        gradient = conditioner.net[4].weight.grad
        assert (gradient != 0).any(1).sum() > old  # outputs that the old net had not move too


def test_nets_do_not_become_smaller_and_harmonics_stay():
    flow = disturbed(XY(), 4)
    with pytest.raises(InputError, match="width = 8 is smaller than 16"):
        widen(flow, width=8)
    with pytest.raises(InputError, match="harmonics of a trained flow stays as it is"):
        widen(flow, harmonics=8)


@pytest.mark.parametrize("model", [XY(), ExtendedXY()], ids=lambda model: model.name)
def test_a_refined_flow_keeps_the_law_of_groups_that_are_not_divided(model):
    flow = disturbed(model)
    theta = flow.sample(len(T), T, generator=torch.Generator().manual_seed(2))[0]
    refined = refine(flow)
    assert refine(refined) is refined
    old, new = (dict(zip(sites(each), each.log_prob_by_group(theta, T), strict=True)) for each in (flow, refined))
    same, divided = old.keys() & new.keys(), old.keys() - new.keys()
    assert len(same) >= 10
    assert divided
    for group in same:
        torch.testing.assert_close(new[group], old[group], rtol=0, atol=1e-4)
    for group in divided:  # their first sites see what they saw before, and stay nearly as they were
        parts = [part for part in new if set(part) < set(group)]
        assert sorted(site for part in parts for site in part) == sorted(group)


def sites(flow):
    return [tuple(table.tolist()) for _, _, table, _ in flow._groups()]


def test_combined_flows_take_every_net_from_the_flow_that_has_it_right():
    model, sizes = XY(), {**SMALL, "finer": True}
    torch.manual_seed(1)
    right = build_flow("multiscale", model, Lattice(4, 4), (0.3, 0.6), **sizes)
    wrong = [copy.deepcopy(right), copy.deepcopy(right)]
    with torch.no_grad():
        for g in range(len(right.conditioners)):
            wrong[g % 2].conditioners[g].net[4].bias.add_(0.7)
    ensemble = generate(model, size=4, temperatures=[0.3, 0.6], draws=60, chains=2, seed=3)
    theta = torch.as_tensor(ensemble.theta().reshape(2, -1, 4, 4))
    found = combine(wrong, theta, torch.tensor([0.3, 0.6]))
    for g, (a, b) in enumerate(zip(found.conditioners, right.conditioners, strict=True)):
        assert torch.equal(a.net[4].bias, b.net[4].bias), g
    with pytest.raises(InputError, match="has other nets"):
        combine([right, widen(right, width=20)], theta, torch.tensor([0.3, 0.6]))


def test_a_flow_that_draws_fewer_sites_together_doubles():
    larger = double(disturbed(XY(), 4, finer=True))
    assert larger.sizes["finer"]
    theta, log_q = larger.sample(8, 1.0, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(larger.log_prob(theta, 1.0), log_q, rtol=0, atol=1e-3)
