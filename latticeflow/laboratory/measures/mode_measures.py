"""What the laboratory measures of a sampler, on draws that it has not learned from."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latticeflow.flows.weights import acceptance_of_weights, ess_forward, ess_reverse
from latticeflow.laboratory.methods.method_registry import DivergedError, Sampler
from latticeflow.laboratory.targets import Target

EMD_DRAWS = 500
"""Draws of the exact earth mover's distance, whose cost grows as their cube."""
PROJECTIONS = 128


class Measures(NamedTuple):
    """The measures; NaN where there is no density. A conditional target's are means over its `conditions`."""

    kept: float
    """Modes whose share of all draws, counting draws of high quality alone, is at least half of their weight."""
    fidelity: float
    """Per cent, sum_k min(g_k, w_k) with g_k the share of draws that are good and of mode k, and w the exact weights.

    What a perfect sampler reads is its quality, about 99; one Gaussian over all modes reads little.
    """
    modes: float
    """Modes nearest to at least one draw of high quality, as published (VEEGAN, arXiv:1705.07761)."""
    high_quality: float
    """Per cent of draws that are close to a mode."""
    weight_kl: float
    """sum_k f_k ln(f_k / w_k), with f the draws' shares of the modes and w the exact weights."""
    nll: float
    """Mean of -log q over draws of the target; none where these lie on a manifold."""
    sliced_emd: float
    """Mean over random directions of the earth mover's distance of the projections."""
    emd: float
    """Earth mover's distance, exact between `EMD_DRAWS` draws and as many of the target; not zero for exact draws."""
    acceptance: float
    """Of the Metropolised independence chain."""
    ess_reverse: float
    """Effective sample size per draw, from the sampler's draws; blind to modes that it misses."""
    ess_forward: float
    """The same from draws of the target; sees them."""


def measure(sampler: Sampler, target: Target, *, seed: int = 0) -> Measures:
    """Evaluate a sampler.

    Args:
        sampler: to evaluate.
        target: the truth.
        seed: of all draws.

    Raises:
        DivergedError: draws or densities are not finite.
    """
    generator = torch.Generator().manual_seed(1_000_003 + seed)
    conditions = target.conditions()
    slices = [None] if conditions is None else [*conditions]
    n = target.draws // len(slices)
    rows = [_slice(sampler, target, None if c is None else c.expand(n, -1).contiguous(), n, generator) for c in slices]
    return Measures(*np.array(rows, np.float64).mean(0).tolist())


def _slice(sampler: Sampler, target: Target, condition: Tensor | None, n: int, generator: torch.Generator) -> Measures:
    """The measures at one condition."""
    x = sampler.sample(n, condition=condition, generator=generator)
    if not bool(x.isfinite().all()):
        raise DivergedError("the trained sampler's draws are not finite")
    truth = target.sample(n, condition=condition, generator=generator)
    mode, good = target.assign(x, condition)
    share = mode.bincount(minlength=target.mode_count).double() / n
    weight = target.mode_weights(condition)[0]
    good_share = mode[good].bincount(minlength=target.mode_count).double() / n
    present = share > 0
    weight_kl = float((share[present] * (share[present] / weight[present]).log()).sum())
    points, true_points = features(target, x), features(target, truth)
    nll = acceptance = reverse = forward = math.nan
    if sampler.has_density:
        log_q = sampler.log_prob(truth, condition)
        nll = math.nan if target.blur else -float(log_q.mean())  # on a singular target there is no bound to it
        if target.has_density:
            log_w = (target.log_prob(x, condition) - sampler.log_prob(x, condition)).numpy()
            if not (np.isfinite(log_w).all() and bool(log_q.isfinite().all())):
                raise DivergedError("the trained sampler's densities are not finite")
            acceptance, reverse = float(acceptance_of_weights(log_w)), float(ess_reverse(log_w))
            forward = float(ess_forward((target.log_prob(truth, condition) - log_q).numpy()))
    return Measures(
        kept=float((good_share >= weight / 2).sum()),
        fidelity=100 * float(torch.minimum(good_share, weight).sum()),
        modes=float(len(mode[good].unique())),
        high_quality=100 * float(good.double().mean()),
        weight_kl=weight_kl,
        nll=nll,
        sliced_emd=sliced_emd(points[:2500], true_points[:2500], generator),
        emd=emd(points[:EMD_DRAWS], true_points[:EMD_DRAWS]),
        acceptance=acceptance,
        ess_reverse=reverse,
        ess_forward=forward,
    )


def features(target: Target, x: Tensor) -> Tensor:
    """Coordinates in which distances mean something: angles on the circle, others as they are."""
    return x if target.bounds is None else torch.cat((x.cos(), x.sin()), dim=1)


def emd(x: Any, y: Any) -> float:
    """Earth mover's distance of two sets of points, (n, d) each, by the best assignment."""
    from scipy.optimize import linear_sum_assignment

    distances = torch.cdist(torch.as_tensor(x).double(), torch.as_tensor(y).double()).numpy()
    return float(distances[linear_sum_assignment(distances)].mean())


def sliced_emd(x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> float:
    """Mean earth mover's distance of projections of two sets of points, (n, d) each, on random directions."""
    directions = torch.randn(x.shape[1], PROJECTIONS, generator=generator)
    directions = directions / directions.norm(dim=0)
    return float(((x @ directions).sort(0).values - (y @ directions).sort(0).values).abs().mean())
