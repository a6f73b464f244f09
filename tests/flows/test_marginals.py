"""Neighbours that are not drawn yet, integrated out."""

import math

import numpy as np
import pytest
import torch

from latticeflow.flows import build_flow
from latticeflow.flows.marginals import Marginals
from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import XY, ExtendedXY, Lattice
from mcmc.models.presets import field

LATTICE = Lattice(8, 8)


def untrained(model, marginals):
    """A flow whose nets give nothing."""
    flow = build_flow("multiscale", model, LATTICE, (0.3, 2.0), width=8, marginals=marginals).double()
    with torch.no_grad():
        for conditioner in flow.conditioners:
            conditioner.net[-1].weight.zero_()
    return flow


def test_last_group_before_the_exact_colour_has_its_exact_law_untrained():
    """Of the extended XY model: log q against the marginal energy, all that is drawn later integrated by hand."""
    model, generator = ExtendedXY(1.0, 0.8), torch.Generator().manual_seed(1)
    theta = 2 * math.pi * torch.rand(30, 8, 8, generator=generator, dtype=torch.float64)
    theta[:10] *= 0.1
    T = torch.linspace(0.3, 2.0, 30, dtype=torch.float64)
    site = int(coarse_to_fine(LATTICE, model).groups[-1].sites[0])
    moved = theta.clone().flatten(1)
    moved[:, site] += 1.0
    moved = moved.view_as(theta)
    last = coarse_to_fine(LATTICE, model).last

    def exact(x):
        bonds = sum(torch.cos(x.roll(1, axis) - x).sum((1, 2)) for axis in (1, 2))
        touching = sum((torch.cos(x.roll(d, a) - x)).flatten(1)[:, last].sum(1) for a in (1, 2) for d in (1, -1))
        h = model.field(x).flatten(1)[:, last].abs() / T[:, None]
        return (bonds - touching) / T + (torch.special.i0e(h).log() + h).sum(1)

    errors = {}
    for marginals in (True, False):
        flow = untrained(model, marginals)
        with torch.no_grad():
            whole = [flow.log_prob(x, T) - flow.last.log_prob(x, T) for x in (theta, moved)]
        errors[marginals] = float(((whole[1] - whole[0]) - (exact(moved) - exact(theta))).abs().max())
    assert errors[True] < 2e-3
    assert errors[False] > 0.5


@pytest.mark.parametrize("model", [XY(), ExtendedXY(), ExtendedXY(1.0, 0.3)], ids=str)
def test_with_marginals_the_law_at_low_temperature_is_that_of_spin_waves(model):
    """Small angles, T = 1e-4: mean and precision of the untrained conditional against the regression."""
    waves, T, epsilon = SpinWaves(model, LATTICE), 1e-4, 1e-3
    generator = torch.Generator().manual_seed(2)
    for group in coarse_to_fine(LATTICE, model).groups[-6:]:
        site, seen = int(group.sites[0]), group.table[0]
        weights, precision = waves.regression(site, seen)
        around = Marginals(model, LATTICE, site, seen, 4).double()
        x = epsilon * torch.randn(len(seen), generator=generator, dtype=torch.float64)
        u = torch.polar(torch.ones_like(x), x)
        c = torch.zeros(4, dtype=torch.complex128)
        c[0] = (torch.tensor(weights * precision - around.harmonic()) * u).sum() / T
        if around.short:
            found = around(torch.stack((u.real, u.imag))[..., None], torch.tensor([T], dtype=torch.float64))[1]
            c = c + torch.complex(*found)[:, 0]
        orders = torch.arange(1, 5)
        slope, curvature = (orders * c.imag).sum(), (orders**2 * c.real).sum()
        assert float(curvature * T) == pytest.approx(precision, rel=1e-3)
        assert float(slope / curvature) == pytest.approx(float(weights @ x.numpy()), abs=2e-3 * epsilon)


def test_marginals_turn_with_the_spins():
    model = ExtendedXY()
    group = coarse_to_fine(LATTICE, model).groups[-1]
    around = Marginals(model, LATTICE, int(group.sites[0]), group.table[0], 4).double()
    x = torch.tensor(np.random.default_rng(3).uniform(-3, 3, (len(group.table[0]), 5)))
    T = torch.full((5,), 0.7, dtype=torch.float64)

    def of(angles):
        return [torch.complex(*found) for found in around(torch.stack((angles.cos(), angles.sin())), T)]

    vectors, c = of(x)
    turned, c_turned = of(x + 0.4)
    torch.testing.assert_close(turned, vectors * np.exp(0.4j))
    torch.testing.assert_close(c_turned, c * torch.exp(0.4j * torch.arange(1, 5))[:, None])
    mirrored, c_mirrored = of(-x)
    torch.testing.assert_close(mirrored, vectors.conj())
    torch.testing.assert_close(c_mirrored, c.conj())
    assert vectors.abs().max() < 1.0 + 1e-9
    assert c.abs().min() > 0


@pytest.mark.parametrize(
    ("model", "lattice"),
    [
        (XY(), LATTICE),
        (ExtendedXY(1.0, 0.7), LATTICE),
        (ExtendedXY() + field(0.3), LATTICE),
        (XY(dimensions=3), Lattice(4, 4, 4)),
    ],
    ids=str,
)
def test_fused_marginals_are_those_of_plain_torch(model, lattice):
    """In single precision against double; a neighbour of the wrong sign or scale would be seen."""
    group = coarse_to_fine(lattice, model).groups[-1]
    around = Marginals(model, lattice, int(group.sites[0]), group.table[0], 4)
    n, T = len(group.table[0]) + (not model.rotation), torch.linspace(0.05, 2.05, 48)
    x = torch.randn(n, 48, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 3, 48)
    seen = torch.stack((x.cos(), x.sin()))
    vectors, c = around(seen, T)
    expected = around.double()(seen.double(), T.double())
    torch.testing.assert_close(vectors.double(), expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(c.double(), expected[1], rtol=1e-5, atol=1e-4)
    assert float(expected[0].abs().min(2).values.max()) > 1e-4
