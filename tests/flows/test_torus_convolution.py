"""Periodic convolutions as matrix products: the same as torch's general ones, and with the right gradients."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from latticeflow import RealNVP
from latticeflow.flows import torus_convolution
from latticeflow.flows.torus_convolution import Neighbours, three_convolutions
from mcmc import XY, Lattice


def _case(shape: tuple[int, int]) -> tuple[list[torch.Tensor], list[Neighbours], tuple[np.ndarray, np.ndarray]]:
    generator = torch.Generator().manual_seed(0)
    Ly, Lx = shape
    stay, move = Lattice(Lx, Ly).sublattices(1)
    sizes = [(len(stay), 3), (5, 3), (5, 1, 3, 3), (4, 5, 3, 3), (2, 4, 3, 3), (4,), (2,)]
    given = [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]
    return given, [Neighbours(shape, inputs=stay), Neighbours(shape), Neighbours(shape, outputs=move)], (stay, move)


@pytest.mark.parametrize("shape", [(4, 6), (2, 4)])
def test_as_the_general_convolution_with_a_pad_of_the_torus(shape):
    (x, bias, *others), places, (stay, move) = _case(shape)
    w1, w2, w3, b2, b3 = others
    full = torch.zeros(3, 1, *shape, dtype=torch.float64)
    full.view(3, -1)[:, stay] = x.t()

    def general(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(nn.functional.pad(h, (1, 1, 1, 1), mode="circular"), weight)

    h = torch.relu(general(full, w1) + bias.t()[..., None, None])
    h = torch.relu(general(h, w2) + b2[:, None, None])
    expected = (general(h, w3) + b3[:, None, None]).flatten(2)[..., move].permute(1, 2, 0)
    found = three_convolutions(x, bias, [w1, w2, w3], [b2, b3], places)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # Negative control: the places of the other colour.
    wrong = three_convolutions(x, bias, [w1, w2, w3], [b2, b3], [*places[:2], Neighbours(shape, outputs=stay)])
    assert not torch.allclose(wrong, expected, rtol=1e-3)


def test_gradients_are_those_of_finite_differences():
    (x, bias, *others), places, _ = _case((4, 4))
    given = [each.requires_grad_() for each in (x, bias, *others)]

    def made(x, bias, w1, w2, w3, b2, b3):
        return three_convolutions(x, bias, [w1, w2, w3], [b2, b3], places)

    assert torch.autograd.gradcheck(made, given)


def test_only_where_gradients_are_recorded_may_a_gpu_round_more(monkeypatch):
    asked = []

    def coarser(where, *, allowed=True):
        asked.append(allowed)
        return contextlib.nullcontext()

    monkeypatch.setattr(torus_convolution, "_coarser", coarser)
    (x, bias, *others), places, _ = _case((4, 4))
    w1, w2, w3, b2, b3 = (each.requires_grad_() for each in others)
    with torch.no_grad():
        three_convolutions(x, bias, [w1, w2, w3], [b2, b3], places)
    assert asked == [False]
    three_convolutions(x, bias, [w1, w2, w3], [b2, b3], places).sum().backward()
    assert asked == [False, True, True]


def test_densities_of_the_flow_are_those_of_earlier_releases():
    torch.manual_seed(1)
    flow = RealNVP(XY(), Lattice(8, 6), (0.05, 2.05), couplings=5, filters=6).double()
    T = torch.linspace(0.3, 1.5, 10, dtype=torch.float64)
    theta = (torch.rand(10, 6, 8, dtype=torch.float64) - 0.5) * 6
    # Printed by the release that used torch.nn.Conv2d.
    expected = torch.tensor([-94.03692771, -92.91987632, -84.90084226], dtype=torch.float64)
    torch.testing.assert_close(flow.log_prob(theta, T)[:3].detach(), expected, rtol=1e-9, atol=0)
    _, log_q = flow.rsample(10, T, generator=torch.Generator().manual_seed(3))
    expected = torch.tensor([-78.73802591, -83.35068946], dtype=torch.float64)
    torch.testing.assert_close(log_q[:2].detach(), expected, rtol=1e-9, atol=0)
