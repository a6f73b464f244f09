"""Neural MCMC from checkpoint to ensemble file: the flow's counterpart of `mcmc.run.generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from latticeflow import checkpoint
from latticeflow.neural_mcmc import SERIES, UNIT, NeuralChains
from mcmc import InputError
from mcmc.ensemble import Ensemble
from mcmc.progress import Progress
from mcmc.provenance import origin
from mcmc.run import fill
from mcmc.stop import Stop


def sample(
    flow_path: str | Path,
    out: str | Path,
    *,
    draws: int,
    temperatures: Sequence[float] | None = None,
    chains: int = 1,
    seed: int = 0,
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
    temperatures = tuple(temperatures or metadata["source"]["temperatures"])
    how = {
        "sampler": "neural MCMC",
        "flow": checkpoint.fingerprint(flow),
        "seed": seed,
        "unit": UNIT,
        "device": flow.device.type,
    }
    out = Path(out)
    if resume and out.exists():
        ensemble = Ensemble.append_to(out)
        same = {name: ensemble.attributes.get(name) for name in how} == how
        if not same or tuple(ensemble.temperatures) != temperatures or ensemble.chains != chains:
            ensemble.close()
            raise InputError(f"{out} was drawn with another flow, seed, device or grid: name another file")
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
        source = NeuralChains(flow, temperatures, chains=chains, seed=seed, state=ensemble.state())
        fill(ensemble, source, draws, stop or Stop(), progress)
        return ensemble.draws >= draws
