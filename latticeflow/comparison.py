"""Judge a flow against a reference ensemble, by the measures of the AdvNF paper and by its log weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from latticeflow.diagnostics import ess_forward, ess_reverse, longest_run, overlap
from latticeflow.flows import Flow
from latticeflow.neural_mcmc import log_weights, propose
from mcmc import InputError, observables
from mcmc.ensemble import Ensemble
from mcmc.kernels.independence import walk
from mcmc.rng import key


class Row(NamedTuple):
    """Quality of a flow at one temperature; overlaps and distances compare chain and ensemble."""

    temperature: float
    acceptance: float
    """Accepted proposals over proposals of the independence chain, its first state not counted."""
    ess_reverse: float
    """Effective sample size as a fraction, from the flow's draws."""
    ess_forward: float
    """The same from the ensemble's draws, which know of modes that the flow misses."""
    log_weight_variance: float
    """Variance of log w over the ensemble's draws; where log w is Gaussian the ESS is exp(-variance)."""
    overlap_energy: float
    """Per cent, 80 bins of the energy per site on [-2 J - K, 0]."""
    overlap_magnetization: float
    """Per cent, 40 bins on [0, 1]."""
    emd_energy: float
    """Earth mover's distance of energies per site, in units of J."""
    emd_magnetization: float
    """Earth mover's distance of magnetisations."""
    nll: float
    """Mean of -log q over the ensemble's draws, for all sites together."""
    longest_rejection_run: float
    """Most steps that the chain stood still."""
    proposal_overlap_energy: float
    """As overlap_energy, of the flow's draws before the Metropolis test."""
    proposal_overlap_magnetization: float
    """As overlap_magnetization, of the flow's draws before the Metropolis test."""


def compare(
    flow: Flow,
    ensemble: Ensemble,
    *,
    draws: int = 1000,
    seed: int = 0,
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Compare temperature by temperature, as many draws of the chain as of the ensemble.

    The measures are those of Kanaujia, Scheurer, Arora 2024 (arXiv:2401.15948). Their code bins energies on [-2, 0],
    which drops those of EXY; here the range is [-2 J - K, 0].

    Args:
        flow: to be judged.
        ensemble: of the same model and lattice.
        draws: at each temperature; of the ensemble the latest of each chain.
        seed: of the chain.
        report: called with each row when it is ready.

    Returns:
        One row for each temperature of the ensemble.

    Raises:
        InputError: model, couplings or lattice of the two differ, or the ensemble has too few draws.
    """
    check_same_system(flow, ensemble)
    n = min(draws, ensemble.draws * ensemble.chains)
    if n < 2:
        raise InputError(f"{ensemble.path} holds {n} draws per temperature: a comparison needs at least 2")
    latest = slice(max(ensemble.draws - -(-n // ensemble.chains), 0), ensemble.draws)
    rows = []
    for t, T in enumerate(ensemble.temperatures.tolist()):
        # Draw index first, so that all chains are in what is kept.
        reference = ensemble.theta(latest, temperatures=slice(t, t + 1))[0].swapaxes(0, 1)
        row = _row(flow, reference.reshape(-1, *flow.lattice.shape)[:n], T, key(seed, t))
        report(row)
        rows.append(row)
    return rows


def _row(flow: Flow, reference: np.ndarray, T: float, seeds: np.ndarray) -> Row:
    n = len(reference)
    generator = torch.Generator(flow.device).manual_seed(int(seeds[0]))
    proposed, log_w = propose(flow, T, n, generator=generator)
    log_u = np.log1p(-np.random.default_rng(seeds).random((1, n)))
    held = walk(log_w[None], log_u, np.array([-np.inf]))[0]
    accepted = held == np.arange(n)
    reference_log_w = log_weights(flow, reference, T)
    log_q = -flow.model.energy(reference) / T - reference_log_w

    J, K = (abs(coupling) for coupling in flow.model.couplings.values())
    energies = [flow.model.energy(theta) / flow.lattice.N for theta in (reference, proposed)]
    magnetizations = [observables.magnetization(theta) for theta in (reference, proposed)]
    histogram = {"energy": (80, (-2 * J - K, 0.0)), "magnetization": (40, (0.0, 1.0))}
    distances = {}
    for name, (real, fake) in {"energy": energies, "magnetization": magnetizations}.items():
        distances[f"overlap_{name}"] = overlap(fake[held], real, *histogram[name])
        distances[f"proposal_overlap_{name}"] = overlap(fake, real, *histogram[name])
        distances[f"emd_{name}"] = float(wasserstein_distance(fake[held], real))
    return Row(
        temperature=T,
        acceptance=float(accepted[1:].mean()),
        ess_reverse=float(ess_reverse(log_w)),
        ess_forward=float(ess_forward(reference_log_w)),
        log_weight_variance=float(reference_log_w.var(ddof=1)),
        nll=float(-log_q.mean()),
        longest_rejection_run=longest_run(accepted),
        **distances,
    )


def check_same_system(flow: Flow, ensemble: Ensemble) -> None:
    """Refuse an ensemble of another model, coupling or lattice than the flow's.

    Raises:
        InputError: naming both.
    """
    if flow.model != ensemble.model or flow.lattice != ensemble.lattice:
        raise InputError(
            f"the flow is for {flow.model} on {flow.lattice}, but {ensemble.path} holds {ensemble.model} on "
            f"{ensemble.lattice}: choose files of the same system"
        )


def mean_row(rows: list[Row]) -> dict[str, float]:
    """Averages over the temperatures, each weighing the same."""
    return {name: float(np.mean([getattr(row, name) for row in rows])) for name in Row._fields if name != "temperature"}
