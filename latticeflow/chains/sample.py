"""Neural MCMC from flow to ensemble: the flow's counterpart of `mcmc.sampling.generate.generate`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.chains.neural_mcmc import SERIES, NeuralChains, unit_size
from latticeflow.chains.neural_streams import DESCRIPTION
from latticeflow.flows import Flow, checkpoint
from latticeflow.flows.checkpoint import open_flow
from latticeflow.flows.weights import ess_reverse, longest_run, normalise, predicted_tau_int
from mcmc import InputError
from mcmc.analysis.free_energy import from_weights
from mcmc.analysis.statistics import estimate
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.arguments import whole_number
from mcmc.runtime.choices import strict
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import Stop
from mcmc.sampling.generate import fill
from mcmc.storage.ensemble import Ensemble, require_absent
from mcmc.storage.memory_ensemble import MemoryEnsemble, ReadableEnsemble
from mcmc.storage.provenance import origin

_UNTOLD = 8  # temperatures where none are named


@strict
def sample(
    flow: Flow | str | Path,
    *,
    temperatures: float | Sequence[float] | np.ndarray | None = None,
    draws: int = 1000,
    chains: int = 4,
    seed: int = 0,
    local_sweeps: int = 0,
    redraws: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    stop: Stop | None = None,
    command: Sequence[str] | None = None,
) -> MemoryEnsemble | Ensemble:
    """Draw by chains of a flow's Metropolised proposals, which are exact however bad the flow is.

    Beside energy and magnetisation the ensemble has the series log_weight, accepted and proposal_log_weight.

    Args:
        flow: the proposal density: a flow or its file.
        temperatures: where, in units of J / k_B; None takes those of the training ensemble, or eight equally spaced
            ones over the flow's range.
        draws: of each chain, that is steps; with ``resume`` earlier ones included.
        chains: independent chains at each temperature.
        seed: root of the random streams.
        local_sweeps, redraws: moves between proposals; see `NeuralChains`.
        out: ensemble file to write; None keeps the draws in memory.
        resume: go on with ``out`` if it exists.
        device: where the flow computes; None leaves it where it is.
        stop: asked between blocks; None listens to signals.
        command: kept in the file; None takes this process's command line.

    Returns:
        The ensemble, in memory, or of ``out`` open for reading; with fewer draws if it was stopped.

    Raises:
        InputError: the flow cannot be used, or the file exists or was made otherwise.
        OSError: the disk is full or gone; what was committed is safe.

    Example:
        >>> import latticeflow as lf
        >>> chain = lf.sample("xy8", temperatures=0.9, draws=50, chains=2)
        >>> chain.theta().shape
        (1, 2, 50, 8, 8)
    """
    draws = whole_number("draws", draws, 1)
    if resume and out is None:
        raise InputError("only a file can be resumed: name one")
    flow = open_flow(flow, device)
    grid = grid_of(flow, temperatures)
    moves: dict[str, Any] = {"local_sweeps": local_sweeps, "redraws": redraws}
    if redraws:
        moves["redraw_stages"] = list(flow.stages)
    # Made first, to complain before there is a file.
    source = NeuralChains(flow, grid, chains=chains, seed=seed, local_sweeps=local_sweeps, redraws=redraws)
    how = {
        "sampler": "neural MCMC",
        "flow": checkpoint.fingerprint(flow),
        "seed": seed,
        "random_streams": DESCRIPTION,
        "unit": unit_size(flow),
        **moves,
        "device": flow.device.type,
    }
    if out is None:
        memory = MemoryEnsemble(
            flow.model, flow.lattice, grid, chains=chains, series=SERIES, attributes={**how, **origin(command)}
        )
        _fill(memory, source, draws, stop, "sampling")
        return memory
    out = Path(out)
    with _writable(out, flow, grid, chains, draws, how, resume, command) as ensemble:
        _fill(ensemble, source, draws, stop, f"sampling {out.name}")
    return Ensemble.open(out)


def _writable(
    out: Path,
    flow: Flow,
    grid: Sequence[float],
    chains: int,
    draws: int,
    how: dict[str, Any],
    resume: bool,
    command: Sequence[str] | None,
) -> Ensemble:
    """The file to write, new or to be continued."""
    if resume and out.exists():
        ensemble = Ensemble.append_to(out)
        same = {name: ensemble.attributes.get(name) for name in how} == how
        if not same or list(ensemble.temperatures) != list(grid) or ensemble.chains != chains:
            ensemble.close()
            text = f"{out} was drawn with another flow, seed, device, grid or moves, or by an earlier version"
            raise InputError(f"{text}: name another file")
        return ensemble
    require_absent(out)
    return Ensemble.create(
        out,
        model=flow.model,
        lattice=flow.lattice,
        temperatures=grid,
        chains=chains,
        series=SERIES,
        provenance={**how, "flow_history": flow.history, **origin(command)},
        draws=draws,
    )


def _fill(
    ensemble: MemoryEnsemble | Ensemble, source: NeuralChains, draws: int, stop: Stop | None, description: str
) -> None:
    replicas = len(ensemble.temperatures) * ensemble.chains
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop()) if stop is None else stop
        progress = stack.enter_context(Progress(description, draws * replicas, unit="draws"))
        progress.advance(min(ensemble.draws, draws) * replicas)
        if (state := ensemble.state()) is not None:
            source.restore(state)
        fill(ensemble, source, draws, stop, progress)


def grid_of(flow: Flow, temperatures: float | Sequence[float] | np.ndarray | None) -> tuple[float, ...]:
    """Temperatures that were asked for; or those of the training ensemble, or eight over the flow's range.

    Raises:
        InputError: they are not positive numbers, all different.

    Example:
        >>> import latticeflow as lf, mcmc
        >>> grid_of(lf.build_flow("multiscale", mcmc.XY(), 4, (0.5, 1.2)), None)[:2]
        (0.5, 0.6)
    """
    if temperatures is None:
        temperatures = (flow.history.get("source") or {}).get("temperatures")
    if temperatures is None:
        temperatures = np.unique(np.linspace(*flow.temperatures, _UNTOLD).round(12))
    return as_temperatures(temperatures, ordered=False)


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


def review(ensemble: ReadableEnsemble) -> list[ChainRow]:
    """Say how good neural chains are by their series.

    Args:
        ensemble: from `sample`.
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
    """One sentence on how correlated the draws are, as far as the chains can tell."""
    worst = max(rows, key=lambda row: np.nan_to_num(row.tau_int, nan=np.inf))
    if math.isnan(worst.tau_int):
        return "too few draws to say how good the chains are: at least 5 each"
    return (
        f"at the worst temperature, T = {worst.temperature:.4g}, an independent draw takes {2 * worst.tau_int:.2g} "
        "steps; modes that the flow never draws show only against an ensemble (latticeflow compare)"
    )
