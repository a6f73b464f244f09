"""Neural MCMC from checkpoint to ensemble file: the flow's counterpart of `mcmc.sampling.generate.generate`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.chains.neural_mcmc import SERIES, NeuralChains, unit_size
from latticeflow.flows import checkpoint
from latticeflow.flows.weights import ess_reverse, longest_run, normalise, predicted_tau_int
from mcmc import InputError
from mcmc.analysis.free_energy import from_weights
from mcmc.analysis.statistics import estimate
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import Stop
from mcmc.sampling.generate import fill
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.provenance import origin


def sample(
    flow_path: str | Path,
    out: str | Path,
    *,
    draws: int,
    temperatures: Sequence[float] | None = None,
    chains: int = 1,
    seed: int = 0,
    local_sweeps: int = 0,
    redraws: int = 0,
    device: torch.device | str = "cpu",
    resume: bool = False,
    stop: Stop | None = None,
    command: Sequence[str] | None = None,
) -> bool:
    """Draw from a trained flow by Metropolised proposals into an ordinary ensemble file.

    Beside energy and magnetisation it holds the series log_weight, accepted and proposal_log_weight.

    Args:
        flow_path: checkpoint.
        out: the ensemble file.
        draws: total of steps of each chain, earlier ones included.
        temperatures: where; None takes those of the training ensemble.
        chains: independent chains at each temperature.
        seed: root of the random streams.
        local_sweeps, redraws: moves between proposals; see `NeuralChains`.
        device: where the flow computes.
        resume: go on with the file if it exists.
        stop: asked between blocks.
        command: kept in the file; None takes this process's command line.

    Returns:
        Whether the file is complete.

    Raises:
        InputError: the checkpoint cannot be used, or the file exists or was made otherwise.
        OSError: the disk is full or gone; what was committed is safe.
    """
    if draws < 1:
        raise InputError(f"draws = {draws} must be at least 1")
    flow, metadata, _ = checkpoint.load(flow_path, device)
    temperatures = tuple(temperatures or trained_temperatures(flow_path, metadata))
    moves: dict[str, Any] = {"local_sweeps": local_sweeps, "redraws": redraws}
    if redraws:
        moves["redraw_stages"] = list(flow.stages)
    # Made first, to complain before there is a file.
    source = NeuralChains(flow, temperatures, chains=chains, seed=seed, local_sweeps=local_sweeps, redraws=redraws)
    how = {
        "sampler": "neural MCMC",
        "flow": checkpoint.fingerprint(flow),
        "seed": seed,
        "unit": unit_size(flow),
        **moves,
        "device": flow.device.type,
    }
    out = Path(out)
    if resume and out.exists():
        ensemble = Ensemble.append_to(out)
        same = {name: ensemble.attributes.get(name) for name in how} == how
        if not same or tuple(ensemble.temperatures) != temperatures or ensemble.chains != chains:
            ensemble.close()
            raise InputError(f"{out} was drawn with another flow, seed, device, grid or moves: name another file")
    else:
        ensemble = Ensemble.create(
            out,
            model=flow.model,
            lattice=flow.lattice,
            temperatures=temperatures,
            chains=chains,
            series=SERIES,
            provenance={**how, "flow_file": str(flow_path), **origin(command)},
            draws=draws,
        )
    with ensemble, Progress(f"sampling {out.name}", draws * len(temperatures) * chains, unit="draws") as progress:
        progress.advance(min(ensemble.draws, draws) * len(temperatures) * chains)
        if (state := ensemble.state()) is not None:
            source.restore(state)
        fill(ensemble, source, draws, stop or Stop(), progress)
        return ensemble.draws >= draws


def trained_temperatures(path: str | Path, metadata: Mapping[str, Any]) -> list[float]:
    """Temperatures of the ensemble that a flow was trained on.

    Args:
        path: of the checkpoint, for the complaint.
        metadata: the checkpoint's.

    Raises:
        InputError: it does not say.
    """
    try:
        return metadata["source"]["temperatures"]
    except (LookupError, TypeError):
        raise InputError(f"{path} does not say where it was trained: name some --temperatures") from None


class ChainRow(NamedTuple):
    """What neural chains say of themselves at one temperature; what they never saw only `comparison` can tell."""

    temperature: float
    acceptance: float
    """Accepted proposals over proposals, the first state not counted."""
    ess_reverse: float
    """Effective sample size of the proposals, as a fraction."""
    log_weight_variance_per_site: float
    """Variance of the proposals' log weights over N."""
    tau_int: float
    """Integrated autocorrelation time of the energy, in steps; NaN for chains too short to show one."""
    tau_int_predicted: float
    """The same as the proposals' weights predict it, without other moves between them."""
    longest_rejection_run: int
    """Most proposals in a row that were rejected."""
    free_energy: float
    """Per site, from the weights."""
    free_energy_error: float
    """One standard deviation."""


def review(ensemble: Ensemble) -> list[ChainRow]:
    """Judge neural chains by their series.

    Args:
        ensemble: a file of `sample`.
    """
    rows = []
    for t, T in enumerate(ensemble.temperatures.tolist()):
        log_w, accepted, energy = (
            ensemble.series(name, temperatures=slice(t, t + 1))[0]
            for name in ("proposal_log_weight", "accepted", "energy")
        )
        flat, N = log_w.ravel(), ensemble.lattice.N
        free = from_weights(log_w, energy, N, T)["free_energy"]
        rows.append(
            ChainRow(
                temperature=T,
                acceptance=float(accepted[:, 1:].mean()) if accepted.shape[1] > 1 else math.nan,
                ess_reverse=float(ess_reverse(flat)),
                log_weight_variance_per_site=float(flat.var()) / N,
                tau_int=estimate(energy).tau_int,
                tau_int_predicted=predicted_tau_int(flat, flat, normalise(flat)),
                longest_rejection_run=max(longest_run(each) for each in accepted),
                free_energy=free.value,
                free_energy_error=free.error,
            )
        )
    return rows


def verdict(rows: Sequence[ChainRow]) -> str:
    """One sentence on what the draws are worth, as far as the chains can know."""
    worst = max(rows, key=lambda row: np.nan_to_num(row.tau_int, nan=np.inf))
    if math.isnan(worst.tau_int):
        return "too few draws to judge the chains: at least 5 each"
    return (
        f"at the worst temperature, T = {worst.temperature:.4g}, an independent draw takes {2 * worst.tau_int:.2g} "
        "steps; modes that the flow never draws show only against an ensemble (latticeflow compare)"
    )
