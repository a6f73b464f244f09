"""Absolute free energies by annealing from infinite temperature: annealed importance sampling, population annealing.

Walkers start with free angles, where ln Z = N ln 2 pi, and are cooled through beta_0 = 0 < beta_1 < ... Before the
moves at beta_k each walker's weight is multiplied by exp(-(beta_k - beta_(k-1)) E). The mean weight is an unbiased
estimate of Z(beta_k) / Z(0) however few the moves are: walkers that lag behind equilibrium only spread the weights.

In populations of one walker this is annealed importance sampling. In larger ones walkers are drawn anew in proportion
to their weights (by systematic resampling) whenever the weights in one of the populations are worth fewer than half of
its walkers, which is population annealing; the mean weight of a population stays unbiased. Populations are independent,
and errors come from their differences.

References:
    R. M. Neal, *Annealed importance sampling*, Statistics and Computing 11, 125 (2001), arXiv:physics/9803008.
    K. Hukushima, Y. Iba, AIP Conf. Proc. 690, 200 (2003), doi:10.1063/1.1632130.
    J. Machta, *Population annealing with weighted averages*, Phys. Rev. E 82, 026704 (2010), arXiv:1002.4180.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcmc.analysis.free_energy import log_partition, weighted_entropy
from mcmc.analysis.free_energy_ladder import thermodynamic_length
from mcmc.analysis.statistics import Estimate
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, require_known
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.threads import available_threads
from mcmc.sampling import rng
from mcmc.sampling.moves import HeatBath
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler, find_sampler

logger = logging.getLogger(__name__)

LEAST_EFFECTIVE = 0.5
"""Effective walkers of a population, as a share, below which they are drawn anew."""
LEAST_CARRYING = 100
"""Populations that must carry the weight, or half of them if they are fewer than twice as many."""
_RESAMPLING_STREAM = 2**31


class Annealed(NamedTuple):
    """What annealed populations say of each temperature, in descending order."""

    temperatures: np.ndarray
    """In units of J / k_B, (T,)."""
    sites: int
    """N."""
    log_weight: np.ndarray
    """ln of each population's estimate of Z, (T, populations)."""
    energy: np.ndarray
    """Weighted mean of each population's energy per site, (T, populations)."""
    steps: np.ndarray
    """Inverse temperatures on the way to each temperature, (T,)."""
    resamplings: int
    """How often walkers were drawn anew on the way to the last temperature."""

    def effective(self) -> np.ndarray:
        """Populations that carry the weight at each temperature, (T,): (sum w)^2 / sum w^2.

        Below some hundred the mean weight misses the few large ones: ln Z comes out too low, by more than its error
        (EXY K = 1, 16x16, 1,024 walkers for 2 s: by 6 errors at T = 0.1, on average over five runs).
        """
        w = np.exp(self.log_weight - self.log_weight.max(1, keepdims=True))
        return np.asarray(w.sum(1) ** 2 / (w**2).sum(1))

    def trusted(self) -> np.ndarray:
        """Whether enough populations are `effective` for the errors to hold, (T,)."""
        return np.asarray(self.effective() >= min(LEAST_CARRYING, self.log_weight.shape[1] / 2))

    def log_partition(self) -> list[Estimate]:
        """ln Z at each temperature; warns where it is not `trusted`: it may be too low by more than its error."""
        if not self.trusted().all():
            logger.warning(
                "annealing: only %.0f of %d populations carry the weight at T = %g: ln Z may be too low by more than "
                "its error; take more steps",
                self.effective().min(),
                self.log_weight.shape[1],
                self.temperatures[self.effective().argmin()],
            )
        return [log_partition(each) for each in self.log_weight]

    def entropy(self) -> list[Estimate]:
        """Entropy per site at each temperature."""
        return [
            weighted_entropy(log_w, e, self.sites, float(T))
            for log_w, e, T in zip(self.log_weight, self.energy, self.temperatures, strict=True)
        ]


def schedule(model: Model, lattice: Lattice, temperatures: Sequence[float], steps: int, *, seed: int = 0) -> np.ndarray:
    """Inverse temperatures from 0 to the last one, about evenly spaced in thermodynamic length.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: where the walk must stop by, in any order; in units of J / k_B.
        steps: about how many; at least one goes to each of the temperatures.
        seed: of short chains that measure the fluctuations of the energy.

    Returns:
        Ascending, (steps + 1,), the first 0.
    """
    wanted = 1 / np.array(sorted(set(temperatures), reverse=True))
    beta, length = thermodynamic_length(model, lattice, temperatures, seed=seed)
    beta[0] = 0.0
    stops = np.append(0.0, np.interp(wanted, beta, length))
    parts = [np.zeros(1)]
    for k, (start, stop) in enumerate(pairwise(stops.tolist())):
        count = max(1, round(steps * (stop - start) / stops[-1]))
        between = np.interp(np.linspace(start, stop, count + 1)[1:-1], length, beta)
        parts.append(np.append(between, wanted[k]))
    return np.concatenate(parts)


def anneal(
    model: Model,
    lattice: Lattice,
    temperatures: Sequence[float],
    *,
    steps: int,
    populations: int = 1024,
    walkers: int = 1,
    sampler: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    report: Callable[[int], None] = lambda steps: None,
) -> Annealed:
    """Cool independent populations of walkers from infinite temperature.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: where Z is wanted, in units of J / k_B.
        steps: inverse temperatures on the way, evenly spaced in thermodynamic length, with one step of the sampler at
            each.
        populations: independent ones; the more, the better the error is known.
        walkers: of each population; 1 is annealed importance sampling, more is population annealing.
        sampler: one of `mcmc.sampling.samplers.SAMPLERS`, or ``module:name``, whose moves need no tuning.
        seed: root of the random streams.
        threads: how many to use; None takes what the process may use.
        report: called with the number of steps made since the last call.

    Raises:
        InputError: a temperature, or a number of steps, populations or walkers that is not positive; fewer than two
            populations; or a sampler that must be tuned.

    Example:
        >>> from mcmc import XY
        >>> found = anneal(XY(), Lattice(2, 2), [1.0], steps=40, seed=1)
        >>> ln_z = found.log_partition()[0]
        >>> abs(ln_z.value - 11.04690) < 4 * ln_z.error < 0.1  # the exact value, by quadrature
        True
    """
    for name, count, least in (("steps", steps, 1), ("populations", populations, 2), ("walkers", walkers, 1)):
        if count < least:
            raise InputError(f"{name} = {count} must be at least {least}")
    require_known(model)
    temperatures = as_temperatures(temperatures)
    moves = find_sampler(sampler, model, lattice)
    if sampler == "auto" and any(isinstance(move, HeatBath) for move in moves.moves):
        # Clusters that must be tuned help where chains are long; here heat bath alone leads to any configuration.
        untuned = [update for update in moves.updates if update.move.initial is None]
        moves = Sampler(untuned, moves.spacing, moves.thermalisation)
    if any(move.initial is not None for move in moves.moves):
        raise InputError(
            f"sampler {sampler!r} has moves that must be tuned at each temperature: anneal by heat_bath, which needs "
            "a model whose charges are 1 and -1"
        )
    R, N = populations * walkers, lattice.N
    beta = schedule(model, lattice, temperatures, steps, seed=int(rng.key(seed, 0)[0]))
    random = np.random.default_rng(rng.key(seed, _RESAMPLING_STREAM))
    keys = np.array([rng.key(seed, 1, k) for k in range(R)])
    replicas = Replicas(model, lattice, np.zeros(R), keys, threads=threads or available_threads())
    theta = random.uniform(-np.pi, np.pi, (R, N))
    replicas.spins = np.stack([np.cos(theta), np.sin(theta)]).astype(np.float32)
    offset = np.full(populations, N * math.log(2 * math.pi))
    log_w = np.zeros((populations, walkers))
    grid = np.array(sorted(set(temperatures), reverse=True), np.float64)
    wanted = 1 / grid
    log_z, energies, steps_to, resamplings = [], [], [], 0
    for k in range(1, len(beta)):
        E = replicas.measure()[0].reshape(populations, walkers)
        log_w -= (beta[k] - beta[k - 1]) * E
        if beta[k] in wanted:
            w, total = _normalised(log_w)
            log_z.append(offset + total)
            energies.append((w * E).sum(1) / N)
            steps_to.append(k)
            if beta[k] == wanted[-1]:
                break
        if walkers > 1:
            w, total = _normalised(log_w)
            if (1 / (w**2).sum(1)).min() < LEAST_EFFECTIVE * walkers:
                replicas.spins = replicas.spins[:, _systematic(w, random)]
                offset, log_w = offset + total, np.zeros_like(log_w)
                resamplings += 1
        replicas.beta = np.full(R, beta[k])
        replicas.advance(moves, 1)
        report(1)
    return Annealed(grid, N, np.array(log_z), np.array(energies), np.array(steps_to), resamplings)


def _normalised(log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights that add up to 1 in each population, and ln of the mean weight before, (populations,)."""
    top = log_w.max(1, keepdims=True)
    w = np.exp(log_w - top)
    total = w.sum(1, keepdims=True)
    return w / total, (top + np.log(total / log_w.shape[1]))[:, 0]


def _systematic(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Numbers of the walkers, each population's own, that take the places of all: (populations * walkers,)."""
    populations, walkers = w.shape
    points = (np.arange(walkers) + random.random((populations, 1))) / walkers
    # The cumulative weights of population p run from p to p + 1, so that one search serves all.
    edges = np.minimum(w.cumsum(1), 1.0)
    edges[:, -1] = 1.0
    number = np.arange(populations)[:, None]
    places = np.searchsorted((edges + number).ravel(), (points + number).ravel(), side="right")
    return np.minimum(places, np.repeat((number + 1) * walkers - 1, walkers))
