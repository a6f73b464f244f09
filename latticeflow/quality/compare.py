"""Judge a flow against a reference ensemble, by the measures of the AdvNF paper and by its log weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from latticeflow.chains.neural_mcmc import log_weights, propose
from latticeflow.flows import Flow
from latticeflow.flows.weights import coverage, ess_forward, ess_reverse, longest_run, overlap, predicted_tau_int
from latticeflow.quality import mode_coverage as modes
from latticeflow.quality.mode_coverage import Kinds
from mcmc import InputError
from mcmc.analysis.free_energy import bridge, log_partition
from mcmc.analysis.statistics import estimate
from mcmc.kernels.independence import walk
from mcmc.models import observables
from mcmc.sampling.rng import key
from mcmc.storage.ensemble import Ensemble


class FlowQuality(NamedTuple):
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
    log_weight_variance_per_site: float
    """The same over N: what compares flows on lattices of different sizes."""
    coverage: float
    """Share of the ensemble that the flow's draws reach; 1 at best, less where modes are missed."""
    coverage_error: float
    """One standard deviation of ``coverage``."""
    missed_share: float
    """Share of the ensemble in kinds of vortex number, winding or magnetisation that the flow hardly ever draws."""
    tau_int: float
    """Integrated autocorrelation time of the chain's energy, in steps; NaN for a chain too short to show one."""
    tau_int_predicted: float
    """The same as the log weights predict it for states of the ensemble; infinite where a chain would never move on."""
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
    overlap_vortices: float
    """Per cent, numbers of vortices, chain against ensemble."""
    overlap_winding: float
    """Per cent, winding sectors, chain against ensemble."""
    proposal_overlap_energy: float
    """As overlap_energy, of the flow's draws before the Metropolis test."""
    proposal_overlap_magnetization: float
    """As overlap_magnetization, of the flow's draws before the Metropolis test."""
    proposal_overlap_vortices: float
    """As overlap_vortices, of the flow's draws before the Metropolis test."""
    proposal_overlap_winding: float
    """As overlap_winding, of the flow's draws before the Metropolis test."""
    free_energy: float
    """Per site, from the weights of the flow's draws."""
    free_energy_error: float
    """One standard deviation."""
    free_energy_bridge: float
    """Per site, from the flow's draws and the ensemble's together (`mcmc.analysis.free_energy.bridge`)."""
    free_energy_bridge_error: float
    """One standard deviation."""
    kinds: tuple[Kinds, ...]
    """Shares of vortex numbers, winding sectors and magnetisations in ensemble, flow and chain."""

    def as_json(self) -> dict[str, Any]:
        """The row in JSON's types; numbers that do not exist or are infinite are None."""
        row: dict[str, Any] = {
            name: value if math.isfinite(value) else None for name, value in self._asdict().items() if name != "kinds"
        }
        row["kinds"] = {
            each.name: {
                "labels": each.labels,
                **{of: getattr(each, of).round(6).tolist() for of in ("ensemble", "flow", "chain")},
            }
            for each in self.kinds
        }
        return row


def compare(
    flow: Flow,
    ensemble: Ensemble,
    *,
    draws: int = 1000,
    seed: int = 0,
    report: Callable[[FlowQuality], None] = lambda row: None,
) -> list[FlowQuality]:
    """Compare temperature by temperature, as many draws of the chain as of the ensemble.

    The measures are those of Kanaujia, Scheurer, Arora 2024 (arXiv:2401.15948). Their code bins energies on [-2, 0],
    which drops those of EXY; here the range is [-2 J - K, 0].

    Args:
        flow: to be judged.
        ensemble: of the same model and lattice; where its temperatures leave the flow's range this warns.
        draws: at each temperature; of the ensemble the latest of each chain.
        seed: of the chain.
        report: called with each row when it is ready.

    Returns:
        One row for each temperature of the ensemble.

    Raises:
        InputError: model, couplings or lattice of the two differ, or the ensemble has too few draws.
    """
    if draws < 2:
        raise InputError(f"draws = {draws} must be at least 2")
    check_same_system(flow, ensemble)
    n = min(draws, ensemble.draws * ensemble.chains)
    if n < 2:
        raise InputError(f"{ensemble.path} holds {n} draws per temperature: a comparison needs at least 2")
    latest = slice(max(ensemble.draws - -(-n // ensemble.chains), 0), ensemble.draws)
    flow.warn_outside(ensemble.temperatures.tolist())
    rows = []
    for t, T in enumerate(ensemble.temperatures.tolist()):
        # Draw index first, so that all chains are in what is kept.
        reference = ensemble.theta(latest, temperatures=slice(t, t + 1))[0].swapaxes(0, 1)
        row = judge(flow, reference.reshape(-1, *flow.lattice.shape)[:n], T, seed=key(seed, t))
        report(row)
        rows.append(row)
    return rows


def judge(flow: Flow, reference: np.ndarray, temperature: float, *, seed: np.ndarray) -> FlowQuality:
    """Compare a flow with draws of the ensemble at one temperature.

    Args:
        flow: to be judged.
        reference: draws of the ensemble, (n, Ly, Lx).
        temperature: theirs.
        seed: of the chain, uint32 (4,).
    """
    T, n, N = temperature, len(reference), flow.lattice.N
    generator = torch.Generator(flow.device).manual_seed(int(seed[0]))
    proposed, log_w = propose(flow, T, n, generator=generator)
    log_u = np.log1p(-np.random.default_rng(seed).random((1, n)))
    held = walk(log_w[None], log_u, np.array([-np.inf]))[0]
    accepted = held == np.arange(n)
    reference_log_w = log_weights(flow, reference, T)
    log_q = -flow.model.energy(reference) / T - reference_log_w

    J, K = (abs(coupling) for coupling in flow.model.couplings.values())
    energies = [flow.model.energy(theta) / N for theta in (reference, proposed)]
    magnetizations = [observables.magnetization(theta) for theta in (reference, proposed)]
    histogram = {"energy": (80, (-2 * J - K, 0.0)), "magnetization": (40, (0.0, 1.0))}
    distances = {}
    for name, (real, fake) in {"energy": energies, "magnetization": magnetizations}.items():
        distances[f"overlap_{name}"] = overlap(fake[held], real, *histogram[name])
        distances[f"proposal_overlap_{name}"] = overlap(fake, real, *histogram[name])
        distances[f"emd_{name}"] = float(wasserstein_distance(fake[held], real))
    found = modes.kinds(reference, proposed, held)
    for each in found[:2]:
        distances[f"overlap_{each.name}"] = each.overlap(each.chain)
        distances[f"proposal_overlap_{each.name}"] = each.overlap(each.flow)
    covered = coverage(log_w, reference_log_w)
    # A density of zero makes log w infinite; its variance then is too, not NaN.
    variance = float(reference_log_w.var(ddof=1)) if np.isfinite(reference_log_w).all() else math.inf
    ln_z, bridged = log_partition(log_w), bridge(log_w, reference_log_w)
    return FlowQuality(
        temperature=T,
        acceptance=float(accepted[1:].mean()),
        ess_reverse=float(ess_reverse(log_w)),
        ess_forward=float(ess_forward(reference_log_w)),
        log_weight_variance=variance,
        log_weight_variance_per_site=variance / N,
        coverage=covered.value,
        coverage_error=covered.error,
        missed_share=max(each.missed_share for each in found),
        tau_int=estimate(energies[1][held]).tau_int,
        tau_int_predicted=predicted_tau_int(reference_log_w, log_w),
        nll=float(-log_q.mean()),
        longest_rejection_run=longest_run(accepted),
        free_energy=-T / N * ln_z.value,
        free_energy_error=T / N * ln_z.error,
        free_energy_bridge=-T / N * bridged.value,
        free_energy_bridge_error=T / N * bridged.error,
        kinds=tuple(found),
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


def mean_row(rows: Sequence[FlowQuality]) -> dict[str, float]:
    """Averages over the temperatures, each weighing the same."""
    names = [name for name in FlowQuality._fields if name not in ("temperature", "kinds")]
    return {name: float(np.mean([getattr(row, name) for row in rows])) for name in names}
