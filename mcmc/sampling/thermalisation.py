"""Bring chains to equilibrium, and check that they are there."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mcmc.models.lattice import Lattice
from mcmc.models.observables import winding_numbers
from mcmc.models.presets import Model
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler

logger = logging.getLogger(__name__)

PROBES = 2
"""Chains at each temperature that start hot, and as many that start cold, to be compared with the run's own."""
STAGES = 20
"""Stages of each half: of annealing and of tuning in the first, of averaging in the second."""
DISAGREEMENT = 6.0
"""Standard errors at which starts disagree; with 96 comparisons of some 20 averages a false alarm is rare."""


def forbidden_winding(model: Model, lattice: Lattice, beta: np.ndarray) -> np.ndarray:
    """Where a winding state has no weight to speak of (< 1e-8) though local moves never leave it: bool (R, 2)."""
    aspect = np.array([lattice.Ly / lattice.Lx, lattice.Lx / lattice.Ly])
    # 2 pi^2 J per turn on a square, less what spin waves and vortices soften at the temperatures in question.
    return 0.5 * 2 * math.pi**2 * model.couplings["J"] * np.multiply.outer(beta, aspect) > 18.5


def _counts(replicas: Replicas, sampler: Sampler) -> dict[str, np.ndarray]:
    """What the moves have counted so far, by name."""
    return {name: replicas.accepted.get(name, np.zeros(replicas.size)).copy() for name in sampler.move_names}


def _tune(replicas: Replicas, sampler: Sampler, before: Mapping[str, np.ndarray], steps: int) -> None:
    """Let every move choose a better parameter, from what it has counted over some steps."""
    most = sampler.proposals(replicas.lattice)
    tuned = replicas.tuned
    for move in sampler.moves:
        if move.name in tuned:
            rate = (replicas.accepted[move.name] - before[move.name]) / (steps * most[move.name])
            tuned[move.name] = move.tune(tuned[move.name], rate, replicas.lattice).astype(np.float32)
    replicas.tuned = tuned


def thermalise(
    model: Model,
    lattice: Lattice,
    sampler: Sampler,
    *,
    temperatures: np.ndarray,
    keys: np.ndarray,
    probe_keys: np.ndarray,
    steps: int,
    threads: int,
) -> tuple[Replicas, dict[str, np.ndarray]]:
    """Replicas in equilibrium, after ``steps`` steps.

    The chains start hot and are cooled to their temperatures through the first half. Chains that end it in a winding
    state which has no weight there start again from an ordered state. Beside them run `PROBES` chains that are
    quenched from a hot state, and as many that start ordered; over the second half the mean energies of the three
    kinds of start must agree.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        sampler: what a step does.
        temperatures: (T,).
        keys: (T * C, 4) keys of the chains.
        probe_keys: (T * 2 * `PROBES`, 4) keys of the chains that only check the start.
        steps: how many; 0 returns ordered chains, unchecked.
        threads: how many to use.

    Returns:
        The T * C chains, and what was found, arrays (T * C,): ``disagreement`` of the starts at the chain's
        temperature in standard errors, ``windings_cured`` and ``windings_left`` (0 or 1). See `summary`.
    """
    T, R = len(temperatures), len(keys)
    beta = 1 / np.concatenate([np.repeat(temperatures, R // T), *[np.repeat(temperatures, 2 * PROBES)]])
    cold = np.arange(len(beta)) >= R
    cold[R:] = np.tile(np.arange(2 * PROBES) < PROBES, T)
    if not steps:
        return Replicas(model, lattice, beta[:R], keys, threads=threads), {}
    everything = Replicas(model, lattice, beta, np.concatenate([keys, probe_keys]), threads=threads)
    hot = np.stack([np.random.default_rng(key).uniform(-np.pi, np.pi, lattice.N) for key in everything.keys])
    hot[cold] = 0
    everything.spins = np.stack([np.cos(hot), np.sin(hot)]).astype(np.float32)
    stage = max(1, steps // (2 * STAGES))
    for k in range(STAGES):
        # The run's own chains are cooled; the probes feel their temperature at once.
        everything.beta = np.where(np.arange(len(beta)) < R, beta * min(1, (k + 1) / (0.75 * STAGES)), beta)
        before = _counts(everything, sampler)
        everything.advance(sampler, stage)
        _tune(everything, sampler, before, stage)
    everything.beta = beta
    forbidden = forbidden_winding(model, lattice, beta)
    wound = _wound(everything, forbidden)
    spins = everything.spins
    spins[0, wound], spins[1, wound] = 1, 0
    everything.spins = spins
    before = _counts(everything, sampler)
    energies = everything.run(sampler, max(STAGES, steps - STAGES * stage), 1)[0] / lattice.N
    z = _disagreement(energies, R // T, T)
    findings = {
        "disagreement": np.repeat(z, R // T),
        "windings_cured": wound[:R].astype(np.int64),
        "windings_left": _wound(everything, forbidden)[:R].astype(np.int64),
    }
    found = summary(findings)
    if not found["agree"]:
        logger.warning(
            "thermalisation: energies after cold, hot and annealed starts differ by %.1f standard errors at T = %.4g, "
            "and %d chains are wound: thermalise longer, say %d steps",
            z.max(),
            temperatures[z.argmax()],
            found["windings_left"],
            4 * steps,
        )
    most = sampler.proposals(lattice)
    for move in sampler.moves:
        counted = (everything.accepted[move.name] - before[move.name])[:R].reshape(T, -1).mean(1)
        if complaint := move.complaint(counted / (energies.shape[1] * most.get(move.name, 1.0)), temperatures):
            logger.warning("%s", complaint)
    return everything.subset(R), findings


def summary(findings: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The findings of `thermalise` over all chains, in JSON's types."""
    if not findings:
        return {"checked": False}
    worst, left = float(findings["disagreement"].max()), int(findings["windings_left"].sum())
    return {
        "checked": True,
        "agree": worst < DISAGREEMENT and not left,
        "largest_disagreement": round(worst, 2),
        "windings_cured": int(findings["windings_cured"].sum()),
        "windings_left": left,
    }


def _wound(replicas: Replicas, forbidden: np.ndarray) -> np.ndarray:
    x, y = replicas.spins
    theta = np.arctan2(y, x).reshape(replicas.size, *replicas.lattice.shape)
    return ((np.abs(winding_numbers(theta)) > 0.5) & forbidden).any(-1)


def _disagreement(energies: np.ndarray, C: int, T: int) -> np.ndarray:
    """Largest difference between the kinds of start in standard errors, (T,); energies are (R, n)."""
    n = energies.shape[1] // STAGES
    averages = energies[:, -n * STAGES :].reshape(len(energies), STAGES, n).mean(-1)
    own = averages[: T * C].reshape(T, -1)
    probes = averages[T * C :].reshape(T, 2, -1)
    kinds = [own, probes[:, 0], probes[:, 1]]
    means = [kind.mean(-1) for kind in kinds]
    errors = [kind.var(-1, ddof=1) / kind.shape[-1] for kind in kinds]
    return np.max(
        [
            np.abs(means[a] - means[b]) / np.sqrt(np.maximum(errors[a] + errors[b], 1e-30))
            for a, b in ((0, 1), (0, 2), (1, 2))
        ],
        axis=0,
    )
