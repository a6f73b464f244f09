"""Functions of anybody become flows: checked at once, exact in chains and weights."""

import math

import numpy as np
import pytest
import torch

from latticeflow.chains.importance import importance
from latticeflow.chains.sample import sample
from latticeflow.flows import checkpoint
from latticeflow.flows.wrapped import wrap
from latticeflow.quality.compare import compare
from latticeflow.training.train import train
from mcmc import XY, InputError
from mcmc.analysis.thermodynamics import observe
from tests import oracle

N = 4
LOG_2PI = math.log(2 * math.pi)


def ring(n, T, rng):
    """Independent steps along the four sites, von Mises about zero."""
    steps = rng.vonmises(0, 2 / T, (n, N))
    theta = np.cumsum(steps, axis=1)
    theta[:, 0] = rng.uniform(-np.pi, np.pi, n)
    theta[:, 1:] = theta[:, :1] + np.cumsum(steps[:, 1:], axis=1)
    theta = theta.reshape(n, 2, 2)
    return theta, ring_density(theta, T)


def ring_density(theta, T):
    flat = np.asarray(theta, np.float64).reshape(len(theta), N)
    kappa = 2 / T
    return -LOG_2PI + (kappa * np.cos(np.diff(flat)) - LOG_2PI - np.log(np.i0(kappa))).sum(-1)


def test_chains_and_weights_of_wrapped_functions_are_exact():
    flow, T = wrap(ring, ring_density, "xy", 2, temperatures=(0.8, 1.5)), 1.0
    expected = oracle.exact(XY(), 2, 2, 1 / T)["energy"]
    chain = sample(flow, temperatures=T, draws=2000, chains=4, seed=3)
    for table in (observe(chain), importance(flow, T, draws=8000, seed=3)):
        found = table.rows[0]["energy"]
        assert found.error < 0.02
        assert abs(found.value - expected) < 5 * found.error
        assert abs(found.value - 1.2 * expected) > 5 * found.error
    again = sample(flow, temperatures=T, draws=2000, chains=4, seed=3)
    np.testing.assert_array_equal(chain.theta(), again.theta())
    report = compare(flow, chain, draws=1000)
    assert report.verdict.grade in ("good", "usable")
    assert report[0].ess_reverse > 0.2


def test_torch_functions_are_given_tensors():
    def draw(n, T, generator):
        theta = 2 * math.pi * torch.rand(n, 4, 4, generator=generator) - math.pi
        return theta, density(theta, T)

    def density(theta, T):
        assert isinstance(theta, torch.Tensor)
        return torch.full((len(theta),), -16 * LOG_2PI)

    flow = wrap(draw, density, XY(), 4, temperatures=9.0)
    theta, _ = flow.sample(5, 9.0, seed=1)
    assert theta.dtype == np.float32
    np.testing.assert_allclose(flow.log_prob(theta, 9.0), -16 * LOG_2PI, rtol=1e-6)
    assert "flow of test_torch_functions" in repr(flow)


@pytest.mark.parametrize(
    ("draw", "density", "message"),
    [
        (ring, lambda theta, T: ring_density(theta, T) + math.log(1.01), "differ by up to 0.00995"),
        (ring, lambda theta, T: ring_density(theta, T)[:, None], "log_prob must return the shape"),
        (lambda n, T: np.zeros((n, 2, 2)), ring_density, "sample must return"),
        (lambda n, T: (np.zeros((n, 4)), np.zeros(n)), ring_density, r"angles of shape \(16, 2, 2\); got \(16, 4\)"),
        (lambda n, T: (np.zeros((n, 2, 2)), np.zeros((n, 1))), ring_density, r"log densities of shape \(16,\)"),
        (lambda n, T: (np.full((n, 2, 2), np.nan), np.zeros(n)), ring_density, "not finite at T = 0.8"),
    ],
)
def test_functions_that_do_not_fit_are_refused(draw, density, message):
    with pytest.raises(InputError, match=message):
        wrap(draw, density, "xy", 2, temperatures=(0.8, 1.5))


def test_what_functions_cannot_do_is_said(tmp_path):
    flow = wrap(ring, ring_density, "xy", 2, temperatures=(0.8, 1.5))
    with pytest.raises(InputError, match="which a file cannot hold"):
        flow.save(tmp_path / "flow.pt")
    with pytest.raises(InputError, match="has no parameters to train"):
        train(np.zeros((1, 9, 2, 2)), model="xy", temperatures=1.0, flow=flow, steps=1)
    narrower = wrap(ring, ring_density, "xy", 2, temperatures=(0.9, 1.5))
    assert checkpoint.fingerprint(flow) != checkpoint.fingerprint(narrower)
