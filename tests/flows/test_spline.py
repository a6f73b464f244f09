"""Circular splines and what is made of them: one map either way, with the slope that it says."""

import math

import pytest
import torch

from latticeflow.flows import build_flow
from latticeflow.flows.circular_spline import circular_spline, knot_parameters, mirrored, stretch
from latticeflow.flows.densities import MASSES
from mcmc import XY, ExtendedXY, InputError, Lattice
from tests.helpers import make


def splines(n, bins=8, size=2.0):
    """Parameters of n splines that are far from the identity, and angles."""
    generator = torch.Generator().manual_seed(30)
    even, odd = (
        size * torch.randn(n, k, generator=generator, dtype=torch.float64).clamp(-1, 1) for k in knot_parameters(bins)
    )
    return even, odd, math.pi * (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)


def test_parameters_of_zero_are_the_identity():
    x = torch.linspace(-math.pi, math.pi, 101, dtype=torch.float64)
    y, log_slope = circular_spline(x, torch.zeros(101, 24, dtype=torch.float64))
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_spline_and_its_inverse_are_one_map(dtype, tolerance):
    even, odd, x = (part.to(dtype) for part in splines(20_000))
    parameters = mirrored(even, odd)
    y, log_slope = circular_spline(x, parameters)
    back, same = circular_spline(y, parameters, inverse=True)
    # An angle is known as well as the slope allows.
    assert float(((back - x).abs() * log_slope.exp().clamp(max=1)).max()) < tolerance
    assert float((same - log_slope).abs().median()) < tolerance
    assert float((y - x).abs().max()) > 0.5


def test_slope_of_a_spline_is_that_of_autograd():
    even, odd, x = splines(2_000)
    x.requires_grad_()
    y, log_slope = circular_spline(x, mirrored(even, odd))
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())
    _, same = circular_spline(y.detach(), mirrored(even, odd), inverse=True)
    torch.testing.assert_close(same, log_slope, rtol=1e-6, atol=1e-6)


def test_spline_closes_around_the_circle():
    even, odd, _ = splines(500)
    ends = torch.tensor([[-math.pi], [math.pi]], dtype=torch.float64).expand(2, 500)
    for bins in (2, 4, 8):
        even, odd, _ = splines(500, bins)
        y, log_slope = circular_spline(ends, mirrored(even, odd).expand(2, -1, -1))
        torch.testing.assert_close(y, ends)
        torch.testing.assert_close(log_slope[0], log_slope[1])


def test_odd_parameters_reflect_the_spline():
    even, odd, x = splines(500)
    forth, _ = circular_spline(x, mirrored(even, odd))
    back, _ = circular_spline(-x, mirrored(even, -odd))
    torch.testing.assert_close(back, -forth)
    assert float((circular_spline(-x, mirrored(even, odd))[0] + forth).abs().max()) > 0.1


def test_stretching_is_undone_by_the_reciprocal():
    x = torch.linspace(-3.1, 3.1, 301, dtype=torch.float64, requires_grad=True)
    factor = torch.tensor(4.5, dtype=torch.float64)
    y, log_slope = stretch(x, factor)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope + factor.log(), slope.log())
    back, log_back = stretch(y, 1 / factor)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_back, -log_slope)


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=lambda model: model.name)
def test_log_det_of_all_couplings_is_that_of_autograd(model):
    flow = make("spline", model, 4, 4).double()
    T = torch.full((1,), 0.8, dtype=torch.float64)
    n = len(flow.base._weights)
    theta = 2 * math.pi * torch.rand(n, generator=torch.Generator().manual_seed(31), dtype=torch.float64) - math.pi

    def through(theta):
        colours = list(theta[None].split(flow._colour_sizes, dim=-1))
        log_slope = sum(flow._move(k, colours, T) for k in reversed(range(len(flow.couplings))))
        return torch.cat(colours, -1)[0], log_slope

    z, log_slope = through(theta)
    jacobian = torch.autograd.functional.jacobian(lambda theta: through(theta)[0], theta)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_slope[0], rtol=1e-8, atol=1e-8)
    assert float((z - theta).detach().abs().max()) > 0.1
    # And the inverse leads back.
    colours = list(z.detach()[None].split(flow._colour_sizes, dim=-1))
    with torch.no_grad():
        again = sum(flow._move(k, colours, T, inverse=True) for k in range(len(flow.couplings)))
    torch.testing.assert_close(torch.cat(colours, -1)[0], theta, rtol=0, atol=1e-8)
    torch.testing.assert_close(again, log_slope.detach(), rtol=0, atol=1e-8)


def test_density_stays_continuous_where_a_direction_vanishes():
    """Four neighbours in two opposite pairs have no direction; nearby it may be any."""
    torch.manual_seed(2)
    flow = build_flow("spline", XY(), Lattice(4, 4), (0.5, 2.0), couplings=2, seen=4, vectors=1, invariants=4, width=8)
    flow = flow.double()
    with torch.no_grad():
        for coupling in flow.couplings:
            coupling.net[-1].bias.add_(0.5)  # far from the identity
            coupling.maps[:, -2:] = 0.25  # directions: the plain sum
    theta = torch.zeros(1, 4, 4, dtype=torch.float64)
    theta[0, 1, 1] = theta[0, 3, 3] = math.pi  # the site (0, 0) sees (1, 1), (3, 1), (1, 3) and (3, 3)
    theta[0, 0, 0] = 1.0
    nearby = [theta.clone() for _ in range(2)]
    for sign, other in zip((1, -1), nearby, strict=True):
        other[0, 1, 1] += sign * 1e-9
        other[0, 3, 3] -= sign * 3e-9
    here, *there = (flow.log_prob(each, 1.0).item() for each in (theta, *nearby))
    assert there == pytest.approx([here, here], abs=1e-6)


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, 0.5)], ids=lambda model: model.name)
def test_cold_spin_waves_are_nearly_exact(model):
    """For T -> 0 the untrained flow is the model but for terms of relative order T; uniform spins are not."""

    def spread(base, T):
        torch.manual_seed(3)
        flow = build_flow("spline", model, Lattice(4, 4), (T, 2.0), base=base, invariants=4, width=8)
        with torch.no_grad():
            for coupling in flow.couplings:
                coupling.net[-1].weight.zero_()
            theta, log_q = flow.sample(1000, T, generator=torch.Generator().manual_seed(32))
        return float((-model.energy(theta) / T - log_q).std())

    assert spread("spin_wave", 0.01) < 0.05
    assert spread("spin_wave", 0.01) < 0.5 * spread("spin_wave", 0.05)
    assert spread("uniform", 0.01) > 10


def test_waves_with_mass_are_shorter():
    weights = make("spline", XY(), 8, 8).base._weights[18, :, :18]
    assert len(weights) == len(MASSES)
    # The part of the two rows before this site grows with the mass.
    near = weights[:, -8:].sum(-1) / weights.sum(-1)
    assert bool((near[1:] > near[:-1]).all())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"base": "gauss"}, "unknown base density 'gauss': choose one of uniform, spin_wave"),
        ({"bins": 5}, "bins = 5 must be an even number"),
        ({"couplings": 1}, "couplings = 1 must be at least 2"),
    ],
)
def test_sizes_that_no_spline_has_are_named(sizes, message):
    with pytest.raises(InputError, match=message):
        build_flow("spline", XY(), Lattice(4, 4), (0.5, 2.0), **sizes)
