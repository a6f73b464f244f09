"""Draws that move with the parameters: their gradients are those of finite differences and of expectations."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from latticeflow.flows import FLOWS, von_mises
from mcmc import XY, ExtendedXY, InputError
from tests.helpers import make

OFFERED = sorted(name for name, flow in FLOWS.items() if flow.reparameterised)


def test_which_flows_offer_it():
    assert OFFERED == ["realnvp", "spline"]
    with pytest.raises(InputError, match="flow 'multiscale' offers no reparameterised draws"):
        make("multiscale", XY(), 4, 4).rsample(2, 1.0)


@pytest.mark.parametrize("name", OFFERED)
@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=["xy", "exy"])
def test_moving_draws_are_the_draws(name, model):
    flow = make(name, model, 4, 4)
    T = torch.linspace(0.5, 2.0, 40)
    theta, log_q = flow.rsample(40, T, generator=torch.Generator().manual_seed(3))
    plain, _ = flow.sample(40, T, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(torch.sin(theta - plain), torch.zeros_like(theta), rtol=0, atol=1e-4)
    torch.testing.assert_close(flow.log_prob(theta, T), log_q, rtol=1e-5, atol=1e-4)
    assert theta.requires_grad
    assert bool(((theta >= -math.pi) & (theta < math.pi)).all())


@pytest.mark.parametrize("kappa", [0.01, 0.7, 5.0, 80.0, 4000.0])
def test_von_mises_draws_move_as_their_quantiles_do(kappa):
    width = min(3.0, 3.5 / math.sqrt(kappa))
    delta = torch.linspace(-width, width, 9, dtype=torch.float64)
    concentration = torch.full_like(delta, kappa, requires_grad=True)
    von_mises._Moving.apply(concentration, delta).sum().backward()
    h = 1e-4 * kappa
    level = scipy.stats.vonmises(kappa).cdf(delta.numpy())
    density = scipy.stats.vonmises(kappa).pdf(delta.numpy())
    change = [scipy.stats.vonmises(kappa + sign * h).cdf(delta.numpy()) - level for sign in (1, -1)]
    expected = -(change[0] - change[1]) / (2 * h * density)
    scale = np.abs(expected).max()
    # scipy's own distribution function is a normal approximation above kappa = 50, which is right to a few per cent.
    np.testing.assert_allclose(
        concentration.grad.numpy(), expected, rtol=0, atol=scale * (2e-2 if kappa > 50 else 1e-4)
    )


def test_gradients_of_realnvp_are_those_of_finite_differences():
    flow = make("realnvp", XY(), 4, 4).double()
    T = torch.linspace(0.5, 2.0, 16, dtype=torch.float64)

    def mean():
        theta, log_q = flow.rsample(16, T, generator=torch.Generator().manual_seed(5))
        return (log_q + flow.model.energy(theta) / T).mean()

    mean().backward()
    for parameter in list(flow.parameters())[::5]:
        k = int(parameter.grad.abs().argmax())
        values = []
        with torch.no_grad():
            for shift in (1e-5, -2e-5):
                parameter.view(-1)[k] += shift
                values.append(mean())
            parameter.view(-1)[k] += 1e-5
        assert float(values[0] - values[1]) / 2e-5 == pytest.approx(float(parameter.grad.view(-1)[k]), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("spline", ExtendedXY(1.0, 0.5)),
        ("spline:uniform", XY()),
        pytest.param("spline", XY(), marks=pytest.mark.slow),
        pytest.param("spline:uniform", ExtendedXY(1.0, 0.5), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_gradients_of_the_spline_flow_are_those_of_the_expectation(name, model):
    """Along a random direction, against the score function; draws without their motion would have no gradient at all.

    The noise of its draws passes through rejections, so that finite differences at one seed say nothing.
    """
    flow = make(name, model, 4, 4, disturb=0.1)
    parameters = list(flow.parameters())
    directions = [torch.randn_like(p, generator=torch.Generator().manual_seed(k)) for k, p in enumerate(parameters)]

    def along(loss):
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        return sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)

    moving, score = [], []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        theta, log_q = flow.rsample(200, 1.0, generator=generator)
        f = model.energy(theta)
        moving.append(along(f.mean()))
        theta, log_q = flow.sample(200, 1.0, generator=generator)
        f = model.energy(theta)
        score.append(along(((f - f.mean()) * log_q).sum() / 199))
    mean, error = np.mean(moving) - np.mean(score), math.hypot(*(np.std(x) / math.sqrt(40) for x in (moving, score)))
    assert abs(mean) < 5 * error
    assert abs(np.mean(score)) > 5 * error  # no gradient at all would not do
    assert np.std(moving) < np.std(score)
