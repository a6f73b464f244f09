"""What training minimises, as weights of four terms.

With log w = -E(theta) / T - log q(theta), the unnormalised log weight:

- ``nll``: forward KL, the mean of -log q over ensemble draws.
- ``sites``: the same, estimated on random sites (`Flow.estimate_nll`): a step takes as long on any lattice.
- ``model``: reverse KL, the mean of -log w over the flow's own draws; its gradient is also that of half the variance of
  log w. It is taken through reparameterised draws, or by the score function with a leave-one-out baseline.
- ``ensemble``: half the variance of log w over ensemble draws; to first order in log w the forward KL, but with
  noise that vanishes as q approaches p.
- ``adversarial``: softplus(-logit) of the critic for the flow's own draws, the loss of Goodfellow et al. that does not
  saturate, with the same two gradients.

``advnf_forward``, ``advnf_reverse`` and ``advnf`` are the published method with the published weights, for every flow
and density. The authors' notebook (github.com/madhavlab/2024_advnf, rnvp_reverse_forward_gan.ipynb) weighs the
adversarial term by 1, the reverse KL by 0.5 and the forward KL by 1, and differentiates through the draws; the variants
leave a term out, which the notebook does not hold. ``forward_reverse_kl`` is what is left of ``advnf`` without its
critic. The notebook trains by Adam at 1e-5 for the flow and 5e-5 for the critic (without a critic the flow at 5e-5),
times 0.95 every 1,250 steps up to the 12,500th, 512 configurations in a batch, 500 epochs of 5,120 draws at each of 32
temperatures, from an earlier checkpoint.

References:
    Kanaujia, Scheurer, Arora, SciPost Phys. 16, 132 (2024), arXiv:2401.15948 (AdvNF).
    Richter et al., VarGrad, arXiv:2010.10436 (variance of log w and its leave-one-out form).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latticeflow.training.weight_schedule import WeightSchedule
from mcmc import InputError
from mcmc.runtime.registry import nearest


@dataclass(frozen=True)
class Objective:
    """Weights of the terms; see the module."""

    nll: float = 0.0
    sites: float = 0.0
    model: float = 0.0
    ensemble: float = 0.0
    adversarial: float = 0.0

    @property
    def needs_ensemble(self) -> bool:
        """Whether training reads reference draws."""
        return bool(self.nll or self.sites or self.ensemble or self.adversarial)

    @property
    def needs_draws(self) -> bool:
        """Whether training draws from the flow."""
        return bool(self.model or self.adversarial)


OBJECTIVES = {
    "forward_kl": Objective(nll=1.0),
    "reverse_kl": Objective(model=1.0),
    "jeffreys": Objective(nll=0.5, model=0.5),
    "forward_reverse_kl": Objective(nll=1.0, model=0.5),
    "log_variance": Objective(model=0.5, ensemble=0.5),
    "ensemble_variance": Objective(ensemble=1.0),
    "forward_kl_sites": Objective(sites=1.0),
    "sites_first": Objective(sites=1.0, model=0.5, ensemble=0.5),
    "advnf_forward": Objective(nll=1.0, adversarial=1.0),
    "advnf_reverse": Objective(model=0.5, adversarial=1.0),
    "advnf": Objective(nll=1.0, model=0.5, adversarial=1.0),
    "log_variance_critic": Objective(model=0.5, ensemble=0.5, adversarial=0.05),
}
"""By name; a name means the same for every flow and every density of the laboratory."""

SCHEDULES = {
    "sites_first": {
        "sites": WeightSchedule("fall", 0.6, 0.6001),
        "model": WeightSchedule("rise", 0.6, 0.6001),
        "ensemble": WeightSchedule("rise", 0.6, 0.6001),
    }
}
"""How weights change along a training unless it is told otherwise. ``sites_first`` begins with the forward KL on random
sites, whose steps are short on any lattice, and ends with the variance of log w of whole draws, whose steps are longer
but whose noise vanishes as the flow becomes right."""


def objective_from_name(name: str) -> Objective:
    """Look an objective up.

    Raises:
        InputError: there is none of that name.
    """
    if name not in OBJECTIVES:
        raise InputError(f"unknown objective {name!r}: {nearest(name, OBJECTIVES)}")
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
