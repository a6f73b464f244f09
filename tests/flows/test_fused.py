"""The fused path of the multiscale flow on a CPU against plain torch."""

import math

import numpy as np
import pytest
import torch

from latticeflow.flows import build_flow, fused, generalised_von_mises, multiscale
from mcmc import XY, ExtendedXY, Lattice

every_model = pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=lambda model: model.name)


def make(model, side=8):
    """A flow whose parameters are not those of spin waves."""
    torch.manual_seed(3)
    flow = build_flow("multiscale", model, Lattice(side, side), (0.05, 2.05), width=32, invariants=16)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return flow


def plain(monkeypatch):
    """Take the path that serves GPUs and double precision."""
    monkeypatch.setattr(multiscale, "serves", lambda *_: False)


@every_model
def test_fused_density_and_gradient_are_those_of_plain_torch(model, monkeypatch):
    flow = make(model)
    n = 37  # no multiple of the lanes
    T = torch.linspace(0.05, 2.05, n)
    theta = flow.sample(n, T, generator=torch.Generator().manual_seed(1))[0]
    weights = torch.linspace(-1, 1, n, dtype=torch.float64)
    log_q = flow.log_prob(theta, T)
    gradients = torch.autograd.grad((weights * log_q).sum(), list(flow.parameters()))
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(theta, T), log_q.detach(), rtol=0, atol=1e-6)
    plain(monkeypatch)
    flow = flow.double()
    exact = flow.log_prob(theta.double(), T.double())
    expected = torch.autograd.grad((weights * exact).sum(), list(flow.parameters()))
    torch.testing.assert_close(log_q, exact, rtol=0, atol=1e-3)
    for (name, _), one, other in zip(flow.named_parameters(), gradients, expected, strict=True):
        error = (one - other).abs().max() / other.abs().max()
        assert error < 1e-4, name
    # A gradient that leaves a part out would be seen.
    assert min(float(each.abs().max()) for each in expected) > 1e-6


@every_model
def test_fused_draws_follow_their_density(model, monkeypatch):
    flow = make(model)
    T = torch.linspace(0.05, 2.05, 50)
    with torch.no_grad():
        theta, log_q = flow.sample(50, T, generator=torch.Generator().manual_seed(2))
        plain(monkeypatch)
        torch.testing.assert_close(log_q, flow.log_prob(theta, T), rtol=0, atol=2e-3)


def test_fused_choice_has_the_probabilities_of_the_law():
    """Frequencies of 200,000 draws from one law, with z < 5 in each of 8 sectors, and those of another law rejected."""
    torch.manual_seed(5)
    conditioner = next(iter(make(XY(), 4).conditioners))
    R, T = 16 * 12500, torch.tensor([0.7])
    u = torch.randn(2, conditioner.maps.shape[0], 1)
    seen = (u / u.norm(dim=0)).expand(-1, -1, R).contiguous()
    generator = torch.Generator().manual_seed(6)
    theta = fused.sample(
        conditioner, seen, torch.rand((2, R), generator=generator), fused.Temperatures.of(T), nodes=32
    )[0]
    counts = np.histogram(theta.numpy() % (2 * math.pi), 8, (0, 2 * math.pi))[0]

    def expected(temperature):
        with torch.no_grad():
            c = conditioner(seen[:, None, None, :, 0], temperature).expand(2, 1, 4096, -1)
        angles = torch.arange(4096) * (2 * math.pi / 4096)
        log_q = generalised_von_mises.log_prob(c[:, 0], torch.stack((angles.cos(), angles.sin())), nodes=32)
        p = log_q.double().exp().view(8, -1).mean(1).numpy() * 2 * math.pi / 8
        return p / p.sum()

    def z(p):
        return (np.abs(counts / R - p) / np.sqrt(p * (1 - p) / R)).max()

    assert z(expected(T)) < 5
    assert z(expected(0.5 * T)) > 5


@every_model
def test_pieces_change_nothing(model, monkeypatch):
    flow = make(model, 4)
    T = torch.linspace(0.05, 2.05, 100)
    theta, whole = flow.sample(100, T, generator=torch.Generator().manual_seed(1))
    gradient = torch.autograd.grad(whole.sum(), list(flow.parameters()))
    monkeypatch.setattr(multiscale, "_SITES_AT_A_TIME", {"cpu": 32 * 16})
    pieces = flow.log_prob(theta, T)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-4)
    for one, other in zip(torch.autograd.grad(pieces.sum(), list(flow.parameters())), gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
    drawn, log_q = flow.sample(100, T, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(log_q, flow.log_prob(drawn, T), rtol=0, atol=1e-3)


@every_model
def test_draws_do_not_depend_on_the_number_of_threads(model, monkeypatch):
    flow, T = make(model, 4), torch.full((100,), 0.8)
    monkeypatch.setattr(multiscale, "_SITES_AT_A_TIME", {"cpu": 32 * 16})
    before, drawn = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            theta, log_q = flow.sample(100, T.numpy(), seed=1)
            drawn.append((theta, log_q, flow.log_prob(theta, T.numpy())))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, other)
    # Every piece has a stream of its own, which the seed gives.
    assert len(np.unique(drawn[0][1])) == 100
    assert not np.isin(flow.sample(100, T.numpy(), seed=2)[1], drawn[0][1]).any()
