"""Inference by optimisation finds what a generator can make, and nothing else; an encoder brings draws back."""

import pytest
import torch
from torch import nn

from latticeflow.laboratory import Effort, get_method
from latticeflow.laboratory.measures.inference import nearest_generated, reconstructed
from latticeflow.laboratory.methods.adversarial import AdversarialNetworks, GeneratorSampler
from latticeflow.laboratory.methods.networks import Untouched
from latticeflow.laboratory.targets import build_target
from latticeflow.plots import figures as plots
from latticeflow.plots import mode_figures as mode_plots
from mcmc import InputError

X = torch.tensor([[1.0, 0.5], [-2.0, 1.0], [0.3, -0.7]])


def linear(weight: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return layer


def sampler(generator: list[list[float]], encoder: list[list[float]] | None = None) -> GeneratorSampler:
    auxiliary = None if encoder is None else linear(encoder)
    networks = AdversarialNetworks(linear(generator), linear([[0.0, 0.0]]), auxiliary, noise=len(generator[0]))
    return GeneratorSampler(networks, Untouched())


def test_what_a_generator_makes_is_found():
    found = nearest_generated(sampler([[2.0, 0.0], [0.0, 1.0]]), X)
    assert float(found.distance.max()) < 0.01
    torch.testing.assert_close(found.nearest, X, atol=0.02, rtol=0)


def test_what_it_cannot_make_is_as_far_as_it_is():
    """A generator of a line: the distance is that to the line, over the root of the number of coordinates."""
    found = nearest_generated(sampler([[1.0], [0.0]]), X)
    torch.testing.assert_close(found.distance, X[:, 1].abs() / 2**0.5, atol=0.01, rtol=0)


def test_encoder_and_generator_bring_draws_back():
    exact = sampler([[2.0, 0.0], [0.0, 1.0]], [[0.5, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(reconstructed(exact, X), X)
    wrong = sampler([[2.0, 0.0], [0.0, 1.0]], [[0.5, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]])
    assert not torch.allclose(reconstructed(wrong, X), X)
    with pytest.raises(InputError, match="no encoder"):
        reconstructed(sampler([[1.0], [0.0]]), X)


def test_picture_of_digits(tmp_path):
    pytest.importorskip("sklearn")
    target = build_target("digits")
    trained = get_method("veegan").fit(target, Effort(steps=2, batch=16, width=8))
    x = target.sample(6, generator=torch.Generator().manual_seed(0))
    figure = mode_plots.digits({"held out": x, "reconstructed": reconstructed(trained, x)})
    assert len(figure.axes) == 12
    plots.save(figure, tmp_path / "digits.png")
