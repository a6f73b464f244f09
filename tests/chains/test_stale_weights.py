"""Sweeps between proposals change the weight of the state; a chain that forgets to weigh it anew is wrong.

The chain that keeps the weight of the last accepted proposal still accepts the right ensemble of proposals, but a state
of large weight is held for longer and swept more often. Its energies are biased by the covariance of energy and odds to
leave: not at all where weights are alike, or where one sweep forgets the energy. It shows with proposals that are too
cold, whose weights grow with the energy.
"""

from itertools import product

import numpy as np
import pytest

from latticeflow.chains.neural_mcmc import NeuralChains
from mcmc import XY
from mcmc.analysis.statistics import estimate
from tests import oracle
from tests.helpers import make

COLD = 0.5  # temperature of the proposals, in units of that of the chain


class Stale(NeuralChains):
    """The negative control never weighs a state again after sweeping it."""

    def _weigh(self):
        return self._log_weight


def three_state_model():
    """2x2 XY with angles 0, 120, 240 degrees, one fixed: energies (27,), and heat bath over the others, (27, 27)."""
    states = np.array([(0, *rest) for rest in product(range(3), repeat=3)])
    energy = XY().energy((2 * np.pi / 3 * states).reshape(-1, 2, 2))
    p = np.exp(-energy)
    sweep = np.eye(len(p))
    for site in (1, 2, 3):
        others = np.delete(states, site, axis=1)
        same = (others[:, None] == others[None]).all(-1)
        sweep = sweep @ (same * p / (same * p).sum(1, keepdims=True))
    return energy, p / p.sum(), sweep


def laws(p, q, sweep):
    """A step of the right chain, (n, n), and the control's stationary law over (state, remembered), (n, n)."""
    n, w = len(p), p / q
    move = np.minimum(1, w[None] / w[:, None]) * q
    stay = 1 - move.sum(1)
    # The negative control goes by the state whose weight it knows: (state, remembered) -> (state, remembered).
    stale = np.zeros((n, n, n, n))
    for known in range(n):
        stale[:, known] += np.einsum("y,yx->xy", move[known], sweep)
        stale[:, known, :, known] += stay[known] * sweep
    # Its stationary law, by elimination: proposals so cold leave the rarest states too seldom to iterate.
    equations = stale.reshape(n * n, n * n).T - np.eye(n * n)
    equations[-1] = 1
    law = np.linalg.solve(equations, np.eye(n * n)[-1])
    assert abs(equations[:-1] @ law).max() < 1e-12
    return (move + np.diag(stay)) @ sweep, law.reshape(n, n)


def test_transition_matrix_with_sweeps_is_stationary_and_that_of_the_stale_is_not():
    energy, p, sweep = three_state_model()
    spread = np.sqrt(p @ energy**2 - (p @ energy) ** 2)
    q = np.exp(-energy / COLD)
    honest, law = laws(p, q / q.sum(), sweep)
    np.testing.assert_allclose(p @ honest, p, atol=1e-14)
    np.testing.assert_allclose(law.sum(0), p, atol=1e-8)  # what the negative control accepts is right,
    assert (law.sum(1) @ energy - p @ energy) / spread < -0.05  # where it then is, is not
    # Where all weights are alike there is nothing to forget.
    _, law = laws(p, p, sweep)
    np.testing.assert_allclose(law.sum(1), p, atol=1e-8)


@pytest.mark.parametrize(("kind", "right"), [(NeuralChains, True), (Stale, False)])
def test_energy_of_swept_chains_needs_weights_of_the_swept_states(kind, right, monkeypatch):
    flow, side = make("multiscale", XY(), 3, 3, disturb=0.0), 3
    draw, density = flow._sample, flow._log_prob
    monkeypatch.setattr(flow, "_sample", lambda T, generator: draw(COLD * T, generator))
    monkeypatch.setattr(flow, "_log_prob", lambda theta, T: density(theta, COLD * T))
    chains = kind(flow, [1.0], chains=64, seed=3, local_sweeps=1)
    chains.block(10)
    found = estimate(chains.block(150).series["energy"][0])
    assert found.error < 0.006
    assert (abs(found.value - oracle.exact(XY(), side, side, 1.0)["energy"]) < 5 * found.error) == right
