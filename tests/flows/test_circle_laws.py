"""Laws on the circle: the von Mises law and its generalisation."""

import math

import pytest
import torch
from scipy.stats import kstest, vonmises

from latticeflow.flows import generalised_von_mises, von_mises


@pytest.mark.parametrize("rounds", [None, 24])
def test_no_concentration_gives_no_angle_rather_than_no_end(rounds):
    kappa = torch.tensor([math.nan, 1.0, math.inf])
    draws = von_mises.sample(kappa, generator=torch.Generator().manual_seed(1), rounds=rounds)
    assert draws.isfinite().tolist() == [False, True, False]


@pytest.mark.parametrize("kappa", [0.0, 0.3, 5.0, 800.0])
@pytest.mark.parametrize("rounds", [None, 24])
def test_von_mises_draws_follow_their_density(kappa, rounds):
    generator = torch.Generator().manual_seed(6)
    draws = von_mises.sample(torch.full((20_000,), kappa), generator=generator, rounds=rounds).double()
    law = vonmises(kappa).cdf if kappa else lambda x: (x + math.pi) / (2 * math.pi)
    assert kstest(draws.numpy(), law).pvalue > 1e-6
    # The check tells a concentration that is off by 20 %.
    if kappa > 1:
        assert kstest(draws.numpy(), vonmises(1.2 * kappa).cdf).pvalue < 1e-6
        expected = torch.as_tensor(vonmises(kappa).logpdf(draws.numpy()))
        torch.testing.assert_close(
            von_mises.log_prob(draws, torch.tensor(kappa).double()), expected, rtol=1e-6, atol=1e-6
        )


def random_coefficients(*shape, M=3, scale=1.0):
    return scale * torch.randn(2, *shape, M, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def directions(theta):
    return torch.stack((theta.cos(), theta.sin()))


@pytest.mark.parametrize("nodes", [3, 8, 64])
def test_generalised_law_is_normalised_for_every_number_of_nodes(nodes):
    c = random_coefficients(5)[:, :, None]
    # A fine grid that holds the nodes through each of its points: the sum is exact but for rounding.
    theta = torch.arange(64 * nodes, dtype=torch.float64) * (2 * math.pi / (64 * nodes))
    density = generalised_von_mises.log_prob(c, directions(theta)[:, None], nodes=nodes).exp()
    torch.testing.assert_close(density.mean(-1) * 2 * math.pi, torch.ones(5, dtype=torch.float64))


def test_generalised_law_of_order_one_is_von_mises():
    for kappa in (0.0, 0.7, 30.0, 800.0):
        mean, theta = 0.4, torch.linspace(-3, 3, 41, dtype=torch.float64)
        c = kappa * torch.tensor([math.cos(mean), math.sin(mean)], dtype=torch.float64).view(2, 1, 1)
        nodes = generalised_von_mises.nodes_for(kappa)
        found = generalised_von_mises.log_prob(c, directions(theta), nodes=nodes)
        expected = von_mises.log_prob(theta - mean, torch.tensor(kappa, dtype=torch.float64))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-6)


def test_generalised_draws_follow_their_density():
    c = random_coefficients(1, scale=0.8)
    generator = torch.Generator().manual_seed(8)
    theta, u, log_q = generalised_von_mises.sample(c.expand(2, 40_000, 3), nodes=32, generator=generator)
    torch.testing.assert_close(u, directions(theta))
    torch.testing.assert_close(log_q, generalised_von_mises.log_prob(c, u, nodes=32))
    grid = torch.arange(4097, dtype=torch.float64) * (2 * math.pi / 4096)

    def cdf(coefficients):
        density = generalised_von_mises.log_prob(coefficients, directions(grid), nodes=32).exp()
        below = torch.cumulative_trapezoid(density, grid)
        return lambda x: torch.cat((torch.zeros(1), below))[(torch.as_tensor(x) * 4096 / (2 * math.pi)).long()].numpy()

    assert kstest(theta.numpy(), cdf(c)).pvalue > 1e-6
    assert kstest(theta.numpy(), cdf(0.8 * c)).pvalue < 1e-6


def test_generalised_law_turns_with_its_coefficients():
    c, theta, turn = random_coefficients(6), torch.linspace(0, 6, 6, dtype=torch.float64), 1.1
    m = torch.arange(1, 4) * turn
    turned = torch.stack((c[0] * m.cos() - c[1] * m.sin(), c[0] * m.sin() + c[1] * m.cos()))
    torch.testing.assert_close(
        generalised_von_mises.log_prob(turned, directions(theta + turn), nodes=16),
        generalised_von_mises.log_prob(c, directions(theta), nodes=16),
    )


def test_gradients_of_the_generalised_law():
    c, u = random_coefficients(4).requires_grad_(), directions(torch.linspace(0, 6, 4, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda c: generalised_von_mises.log_prob(c, u, nodes=16), (c,))


def test_single_precision_of_a_sharp_law():
    theta = torch.linspace(-0.1, 0.1, 21)
    c = torch.tensor([800.0, 0.0]).view(2, 1, 1)
    found = generalised_von_mises.log_prob(c, directions(theta), nodes=generalised_von_mises.nodes_for(800))
    expected = torch.as_tensor(vonmises(800.0).logpdf(theta.double().numpy())).float()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_moments_of_a_von_mises_law():
    """Against quadrature, for concentrations from none to sharp."""
    kappa = torch.tensor([0.0, 0.02, 0.5, 3.0, 200.0])
    delta = torch.linspace(-math.pi, math.pi, 20001, dtype=torch.float64)[:-1]
    weights = torch.softmax(kappa.double()[:, None] * delta.cos(), 1)
    orders = torch.arange(1, 5, dtype=torch.float64)
    expected = weights @ torch.cos(delta[:, None] * orders)
    torch.testing.assert_close(von_mises.moments(kappa, 4), expected, rtol=0, atol=6e-3)
    torch.testing.assert_close(von_mises.moments(kappa[1:], 4), expected[1:], rtol=0, atol=1e-6)
