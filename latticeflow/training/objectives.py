"""What training minimises, as weights of four terms, each with an unbiased low-noise gradient.

With log w = -E(theta) / T - log q(theta), the unnormalised log weight:

- ``nll``: forward KL, the mean of -log q over ensemble draws.
- ``model``: reverse KL by the score function, r = log w of the flow's own draws with a leave-one-out baseline; this is
  also the gradient of half the variance of log w. No gradient passes through the draws, none through the energy.
- ``ensemble``: half the variance of log w over ensemble draws; to first order in log w the forward KL, but with
  noise that vanishes as q approaches p.
- ``adversarial``: -softplus(-logit) of the critic for the flow's own draws, the loss of Goodfellow et al. that does not
  saturate, by the same score function.

References:
    Kanaujia, Scheurer, Arora, SciPost Phys. 16, 132 (2024), arXiv:2401.15948 (AdvNF).
    Richter et al., VarGrad, arXiv:2010.10436 (variance of log w and its leave-one-out form).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latticeflow.flows import Flow
from mcmc import InputError
from mcmc.runtime.registry import nearest


@dataclass(frozen=True)
class Objective:
    """Weights of the terms; see the module."""

    nll: float = 0.0
    model: float = 0.0
    ensemble: float = 0.0
    adversarial: float = 0.0

    @property
    def needs_ensemble(self) -> bool:
        """Whether training reads reference draws."""
        return bool(self.nll or self.ensemble or self.adversarial)

    @property
    def needs_draws(self) -> bool:
        """Whether training draws from the flow."""
        return bool(self.model or self.adversarial)


OBJECTIVES = {
    "forward_kl": Objective(nll=1.0),
    "reverse_kl": Objective(model=1.0),
    "jeffreys": Objective(nll=0.5, model=0.5),
    "log_variance": Objective(model=0.5, ensemble=0.5),
    "advnf_forward": Objective(nll=1.0, adversarial=0.1),
    "advnf_reverse": Objective(model=1.0, adversarial=0.1),
    "advnf": Objective(ensemble=0.5, model=0.5, adversarial=0.05),
}
"""By name. The weights serve flows that are nearly right when training begins."""


def objective_from_name(name: str, flow: Flow | type[Flow] | None = None) -> Objective:
    """Look an objective up.

    Args:
        name: a name of `OBJECTIVES`.
        flow: whose weights are wanted, where the flow has its own (`Flow.objective_weights`).

    Raises:
        InputError: there is none of that name.
    """
    if name not in OBJECTIVES:
        raise InputError(f"unknown objective {name!r}: {nearest(name, OBJECTIVES)}")
    if flow is not None and name in flow.objective_weights:
        return Objective(**flow.objective_weights[name])
    return OBJECTIVES[name]


def score_function(log_q: Tensor, reward: Tensor, *, clip: float = 3.0) -> Tensor:
    """Surrogate whose gradient raises the density of draws with more reward than the others of their temperature.

    Args:
        log_q: log density of the draws, differentiable, (temperatures, n).
        reward: (temperatures, n); only its differences within a temperature matter, no gradient flows into it.
        clip: bound of the centred reward, so that one stray draw cannot spoil a step.

    Returns:
        Scalar, -mean r log q.
    """
    n = reward.shape[1]
    if n < 2:
        raise InputError("the leave-one-out baseline needs at least 2 draws of each temperature in a batch")
    centred = (reward.detach() - reward.detach().mean(1, keepdim=True)) * (n / (n - 1))
    return -(torch.clamp(centred, -clip, clip) * log_q).mean()
