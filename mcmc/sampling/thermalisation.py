"""Bring chains to equilibrium, and check that they are there."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mcmc.models.lattice import Lattice
from mcmc.models.observables import sectors, vortex_density, winding_numbers
from mcmc.models.presets import Model
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler
from mcmc.storage.provenance import start_warnings

logger = logging.getLogger(__name__)

PROBES = 2
"""Chains at each temperature that start hot, and as many that start cold, to be compared with the run's own."""
STAGES = 20
"""Stages of each half: of annealing and of tuning in the first, of averaging in the second."""
DISAGREEMENT = 6.0
"""Standard errors at which starts disagree; with 96 comparisons of some 20 averages a false alarm is rare."""
WAVES = 0.1
"""Temperature, in units of the largest coupling, below which a ferromagnet holds spin waves only: the pair of vortices
that costs least has a weight of some exp(-7 / WAVES)."""


def forbidden_winding(model: Model, lattice: Lattice, beta: np.ndarray) -> np.ndarray:
    """Where a winding state has no weight to speak of (< 1e-8) though local moves never leave it: bool (R, 2).

    Windings count from what the bonds want; an antiferromagnet with an odd side, whose own state winds, has none.
    """
    aspect = np.array([lattice.Ly / lattice.Lx, lattice.Lx / lattice.Ly])
    # 2 pi^2 J per turn on a square, less what spin waves and vortices soften at the temperatures in question.
    return 0.5 * 2 * math.pi**2 * _ferromagnetic_coupling(model, lattice) * np.multiply.outer(beta, aspect) > 18.5


def _ferromagnetic_coupling(model: Model, lattice: Lattice) -> float:
    """J of the ferromagnet that the model is, its own or by turning every other spin; 0 if it is none."""
    J = model.square.J if model.square else 0.0
    return abs(J) if J > 0 or not any(side % 2 for side in lattice.shape) else 0.0


def ground_state(model: Model, lattice: Lattice) -> np.ndarray:
    """Angles (N,) that satisfy the bonds as far as the sides allow, 0 for J > 0.

    For J < 0 neighbours differ by pi along an even side; along an odd one by as little less as closes the ring.
    """
    if not model.square or model.square.J >= 0:
        return np.zeros(lattice.N)
    y, x = np.divmod(np.arange(lattice.N), lattice.Lx)
    turns = (along * (1 - side % 2 / side) for along, side in ((x, lattice.Lx), (y, lattice.Ly)))
    return math.pi * np.sum([*turns], axis=0)


def cooling(model: Model, temperatures: np.ndarray) -> np.ndarray:
    """Inverse temperatures of the stages of annealing, (STAGES, T); the last quarter of them is the end.

    Equal steps of beta from 15 T serve where that is hot. Below, most of it would be skipped: there they lead from the
    largest coupling down to `WAVES` times it, in half of the stages, and equal ratios lead on.
    """
    cold = model.scale * WAVES
    stages = 3 * STAGES // 4
    linear = np.minimum(1, np.arange(1, STAGES + 1) / stages)[:, None] / temperatures
    first = stages // 2
    hot = np.arange(1, first + 1) / first / cold * np.ones((len(temperatures), 1))
    ratio = np.minimum(1, np.arange(1, STAGES - first + 1) / (stages - first))
    waves = (cold / temperatures[:, None]) ** ratio / cold
    return np.where(15 * temperatures < model.scale, np.concatenate([hot, waves], 1).T, linear)


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
    name: str = "",
    strips: int = 1,
) -> tuple[Replicas, dict[str, np.ndarray]]:
    """Replicas in equilibrium, after ``steps`` steps.

    The chains start hot and are cooled to their temperatures through the first half (see `cooling`). Chains that end
    it in a winding state, or with vortices, which have no weight there start again from an ordered state. Beside them
    run `PROBES` chains that are quenched from a hot state, and as many that start ordered; over the last three quarters
    of the second half the mean energies of the three kinds of start must agree.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        sampler: what a step does.
        temperatures: (T,).
        keys: (T * C, 4) keys of the chains.
        probe_keys: (T * 2 * `PROBES`, 4) keys of the chains that only check the start.
        steps: how many; 0 returns ordered chains, unchecked.
        threads: how many to use.
        name: of the sampler, for messages.
        strips: lanes of each chain, see `mcmc.sampling.strip_layout.choose_strips`.

    Returns:
        The T * C chains, and what was found, arrays (T * C,): ``disagreement`` of the starts at the chain's
        temperature in standard errors, ``windings_cured`` and ``windings_left`` (0 or 1), and where a discrete symmetry
        of the model may be broken ``frozen_chirality``, ``frozen_direction`` or ``frozen_stripes`` (1 where a chain was
        in one of the states that it joins at all of `STAGES` looks). See `summary`.
    """
    T, R = len(temperatures), len(keys)
    beta = 1 / np.concatenate([np.repeat(temperatures, R // T), *[np.repeat(temperatures, 2 * PROBES)]])
    cold = np.arange(len(beta)) >= R
    cold[R:] = np.tile(np.arange(2 * PROBES) < PROBES, T)
    ordered = ground_state(model, lattice)
    if not steps:
        replicas = Replicas(model, lattice, beta[:R], keys, threads=threads, strips=strips)
        replicas.spins = np.broadcast_to(_unit_vectors(ordered)[:, None], (2, R, lattice.N))
        return replicas, {}
    everything = Replicas(model, lattice, beta, np.concatenate([keys, probe_keys]), threads=threads, strips=strips)
    hot = np.stack([np.random.default_rng(key).uniform(-np.pi, np.pi, lattice.N) for key in everything.keys])
    hot[cold] = ordered
    everything.spins = _unit_vectors(hot)
    stage = max(1, steps // (2 * STAGES))
    for betas in cooling(model, temperatures):
        # The run's own chains are cooled; the probes feel their temperature at once.
        everything.beta = np.concatenate([np.repeat(betas, R // T), beta[R:]])
        before = _counts(everything, sampler)
        everything.advance(sampler, stage)
        _tune(everything, sampler, before, stage)
    everything.beta = beta
    wound = _trapped(everything)
    spins = everything.spins
    spins[:, wound] = _unit_vectors(ordered)[:, None]
    everything.spins = spins
    before = _counts(everything, sampler)
    energies, frozen = _watched_run(everything, sampler, max(STAGES, steps - STAGES * stage), R)
    settling = min(energies.shape[1] // 4, energies.shape[1] - STAGES)
    z = _disagreement(energies[:, settling:] - model.floor, temperatures, R // T)
    findings = {
        "disagreement": np.repeat(z, R // T),
        "windings_cured": wound[:R].astype(np.int64),
        "windings_left": _trapped(everything)[:R].astype(np.int64),
        **{f"frozen_{name}": chains.astype(np.int64) for name, chains in frozen.items()},
    }
    found = {"steps": steps, **summary(findings, temperatures)}
    for line in start_warnings({"sampler": name, "thermalisation": found}):
        logger.warning("thermalisation: %s", line)
    most = sampler.proposals(lattice)
    for move in sampler.moves:
        counted = (everything.accepted[move.name] - before[move.name])[:R].reshape(T, -1).mean(1)
        if complaint := move.complaint(counted / (energies.shape[1] * most.get(move.name, 1.0)), temperatures):
            logger.warning("%s", complaint)
    return everything.subset(R), findings


def summary(findings: Mapping[str, np.ndarray], temperatures: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """The findings of `thermalise` over all chains, (T * C,), in JSON's types; with the temperature of the largest."""
    if not findings:
        return {"checked": False}
    worst, left = float(findings["disagreement"].max()), int(findings["windings_left"].sum())
    size = len(findings["disagreement"])
    frozen = {name.partition("_")[2]: each for name, each in findings.items() if name.startswith("frozen_")}
    return {
        "checked": True,
        "agree": worst < DISAGREEMENT and not left,
        "largest_disagreement": round(worst, 2),
        "temperature": float(temperatures[int(findings["disagreement"].argmax()) * len(temperatures) // size]),
        "windings_cured": int(findings["windings_cured"].sum()),
        "windings_left": left,
        **({"frozen": {name: _frozen(each, temperatures) for name, each in frozen.items()}} if frozen else {}),
    }


def _frozen(chains: np.ndarray, temperatures: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """How many chains kept to one state, of how many, and up to which temperature."""
    at = np.flatnonzero(chains) * len(temperatures) // len(chains)
    highest = max((float(temperatures[t]) for t in at.tolist()), default=None)
    return {"chains": int(chains.sum()), "of": len(chains), "highest_temperature": highest}


def _watched_run(replicas: Replicas, sampler: Sampler, steps: int, R: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Energies per site (replicas, steps), and which of the first R kept to one of an order's `sectors`, bool (R,)."""
    model, lattice = replicas.model, replicas.lattice
    if not sectors(np.zeros((1, *lattice.shape), np.float32), model):
        return replicas.run(sampler, steps, 1)[0] / lattice.N, {}
    energies, seen = [], dict[str, list[np.ndarray]]()
    for part in np.array_split(np.arange(steps), STAGES):
        energies.append(replicas.run(sampler, len(part), 1)[0] / lattice.N)
        x, y = replicas.spins[:, :R]
        for name, sector in sectors(np.arctan2(y, x).reshape(R, *lattice.shape), model).items():
            seen.setdefault(name, []).append(sector)
    return np.concatenate(energies, 1), {name: (np.stack(each) == each[0]).all(0) for name, each in seen.items()}


def _unit_vectors(theta: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(theta), np.sin(theta)]).astype(np.float32)


def _trapped(replicas: Replicas) -> np.ndarray:
    """Which replicas wind, or hold vortices, where that has no weight; relative to what the bonds want."""
    model, lattice, beta = replicas.model, replicas.lattice, replicas.beta
    if not model.square:
        return np.zeros(replicas.size, bool)
    x, y = replicas.spins
    theta = np.arctan2(y, x).reshape(replicas.size, *lattice.shape)
    wound = (np.abs(winding_numbers(theta, model)) > 0.5) & forbidden_winding(model, lattice, beta)
    waves = _ferromagnetic_coupling(model, lattice) > 0 and model.square.K >= 0
    return wound.any(-1) | (waves & (beta * model.scale * WAVES > 1) & (vortex_density(theta, model) > 0))


def _disagreement(energies: np.ndarray, temperatures: np.ndarray, C: int) -> np.ndarray:
    """Largest difference between the kinds of start in standard errors, (T,); energies are (R, n)."""
    T, n = len(temperatures), energies.shape[1] // STAGES
    averages = energies[:, -n * STAGES :].reshape(len(energies), STAGES, n).mean(-1)
    own = averages[: T * C].reshape(T, -1)
    probes = averages[T * C :].reshape(T, 2, -1)
    kinds = [own, probes[:, 0], probes[:, 1]]
    means = [kind.mean(-1) for kind in kinds]
    errors = [kind.var(-1, ddof=1) / kind.shape[-1] for kind in kinds]
    # Frozen chains have no error: differences far below the temperature mean nothing.
    least = (1e-6 * temperatures) ** 2
    return np.max(
        [np.abs(means[a] - means[b]) / np.sqrt(errors[a] + errors[b] + least) for a, b in ((0, 1), (0, 2), (1, 2))],
        axis=0,
    )
