"""Evaluate a flow against a reference ensemble, by the measures of the AdvNF paper and by its log weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from latticeflow.chains.neural_mcmc import log_weights, propose
from latticeflow.flows import Flow
from latticeflow.flows.checkpoint import open_flow
from latticeflow.flows.weights import coverage, ess_forward, ess_reverse, longest_run, overlap, predicted_tau_int
from latticeflow.quality import mode_coverage as modes
from latticeflow.quality.comparison import Comparison
from latticeflow.quality.flow_quality import FlowQuality
from mcmc import InputError
from mcmc.analysis.free_energy import bridge, log_partition
from mcmc.analysis.statistics import estimate
from mcmc.kernels.independence import walk
from mcmc.models import observables
from mcmc.runtime.choices import strict
from mcmc.runtime.progress import Progress
from mcmc.sampling.rng import key, temperature_words
from mcmc.storage.memory_ensemble import ReadableEnsemble, opened


@strict
def compare(
    flow: Flow | str | Path,
    ensemble: Any,
    *,
    draws: int = 1000,
    temperatures: Any = None,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Comparison:
    """Compare a flow with an ensemble, temperature by temperature, as many draws of its chain as of the ensemble.

    The measures are those of Kanaujia, Scheurer, Arora 2024 (arXiv:2401.15948). Their code bins energies on [-2, 0],
    which drops those of EXY; here the range is [-2 J - K, 0].

    Args:
        flow: to be evaluated: a flow or its file.
        ensemble: of the same model and lattice, not the flow's training draws: an open ensemble, the path of one, or
            angles (T, C, n, Ly, Lx) or (T, n, Ly, Lx) with ``temperatures``. Temperatures outside of the flow's range
            make it warn.
        draws: at each temperature; of the ensemble the latest of each chain.
        temperatures: of arrays, (T,), in units of J / k_B.
        seed: of the chain.
        device: where the flow computes; None leaves it where it is.

    Returns:
        One row for each temperature of the ensemble, with a verdict; it says so if the ensemble is that which the flow
        was trained on.

    Raises:
        InputError: model, couplings or lattice of the two differ, or the ensemble has too few draws.

    Example:
        >>> import latticeflow as lf, mcmc
        >>> flow = lf.build_flow("multiscale", mcmc.XY(), 4, (5.0, 9.0))
        >>> theta, _ = flow.sample(200, 9.0, seed=1)
        >>> lf.compare(flow, theta[None], temperatures=9.0, draws=100).verdict.grade
        'good'
    """
    if draws < 2:
        raise InputError(f"draws = {draws} must be at least 2")
    flow = open_flow(flow, device)
    with opened(ensemble, model=flow.model if temperatures is not None else None, temperatures=temperatures) as draw:
        check_same_system(flow, draw)
        n = min(draws, draw.draws * draw.chains)
        if n < 2:
            raise InputError(f"{draw.path} holds {n} draws per temperature: a comparison needs at least 2")
        latest = slice(max(draw.draws - -(-n // draw.chains), 0), draw.draws)
        flow.warn_outside(draw.temperatures.tolist())
        rows = []
        with Progress("comparing", len(draw.temperatures), unit="temperatures") as progress:
            for t, T in enumerate(draw.temperatures.tolist()):
                # Draw index first, so that all chains are in what is kept.
                reference = draw.theta(latest, temperatures=slice(t, t + 1))[0].swapaxes(0, 1)
                rows.append(
                    evaluate(
                        flow, reference.reshape(-1, *flow.lattice.shape)[:n], T, seed=key(seed, *temperature_words(T))
                    )
                )
                progress.advance(1)
        return Comparison(
            rows, draws=n, warnings=[*training_draws(flow, draw), *(f"{draw.path}: {line}" for line in draw.warnings())]
        )


def training_draws(flow: Flow, ensemble: ReadableEnsemble) -> list[str]:
    """A warning if the ensemble is that which the flow was trained on, by its id or by the seed of its run."""
    source, found = flow.history.get("source") or {}, ensemble.attributes
    advice = "evaluate the flow on draws of another seed"
    if source.get("file_id") and source["file_id"] == found.get("file_id"):
        return [f"{ensemble.path} is what the flow was trained on: {advice}"]
    same = all(source.get(name) is not None and source[name] == found.get(name) for name in ("sampler", "seed"))
    if same and source.get("temperatures") == ensemble.temperatures.tolist():
        return [f"{ensemble.path} was drawn from the same seed as what the flow was trained on: {advice}"]
    return []


def evaluate(flow: Flow, reference: np.ndarray, temperature: float, *, seed: np.ndarray) -> FlowQuality:
    """Compare a flow with draws of the ensemble at one temperature.

    Args:
        flow: to be evaluated.
        reference: draws of the ensemble, (n, Ly, Lx) or (n, Lz, Ly, Lx).
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

    energies = [flow.model.energy(theta) / N for theta in (reference, proposed)]
    magnetizations = [observables.magnetization(theta, flow.model) for theta in (reference, proposed)]
    histogram = {"energy": (80, (flow.model.floor, 0.0)), "magnetization": (40, (0.0, 1.0))}
    distances = {}
    for name, (real, fake) in {"energy": energies, "magnetization": magnetizations}.items():
        distances[f"overlap_{name}"] = overlap(fake[held], real, *histogram[name])
        distances[f"proposal_overlap_{name}"] = overlap(fake, real, *histogram[name])
        distances[f"emd_{name}"] = float(wasserstein_distance(fake[held], real))
    found = modes.kinds(reference, proposed, held, flow.model)
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


def check_same_system(flow: Flow, ensemble: ReadableEnsemble) -> None:
    """Refuse an ensemble of another model, coupling or lattice than the flow's.

    Raises:
        InputError: naming both.
    """
    if flow.model != ensemble.model or flow.lattice != ensemble.lattice:
        raise InputError(
            f"the flow is for {flow.model} on {flow.lattice}, but {ensemble.path} holds {ensemble.model} on "
            f"{ensemble.lattice}: choose files of the same system"
        )
