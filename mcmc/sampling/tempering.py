"""Parallel tempering: replicas of a chain exchange their temperatures.

Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996), doi:10.1143/JPSJ.65.1604.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler

logger = logging.getLogger(__name__)

ROUNDS = 4
"""Rounds of proposals between two draws, as far as there are steps."""
LEAST_TRIES = 400
"""Tries of a pair before its acceptance is assessed."""
_NAMES = ("replica", "tried", "swapped", "heading", "trips")


class Ladder:
    """Which replica is at which temperature, for C chains of T temperatures, and how replicas wander.

    Args:
        temperatures: (T,), any order; neighbours in the list exchange.
        keys: (C, 4), of the streams that decide on exchanges.
        tuned: (T * C,) tuned parameters by name of the move; they belong to the temperatures.
        accepted: (T * C,) what each move has counted so far, by its name.
    """

    def __init__(
        self,
        temperatures: np.ndarray,
        keys: np.ndarray,
        *,
        tuned: Mapping[str, np.ndarray],
        accepted: Mapping[str, np.ndarray],
    ):
        T, C = len(temperatures), len(keys)
        self.beta = 1 / temperatures
        self.keys = keys.astype(np.uint64)
        self.rounds, self._warned = 0, False
        self.replica = np.repeat(np.arange(T)[:, None], C, axis=1)
        self.tried, self.swapped = np.zeros((T, C), np.int64), np.zeros((T, C), np.int64)
        # By replica: +1 after the first temperature, -1 after the last, 0 before either; and ends reached in turn.
        self.heading, self.trips = np.zeros((T, C), np.int64), np.zeros((T, C), np.int64)
        self.tuned_at = {name: values.reshape(T, C).copy() for name, values in tuned.items()}
        self.accepted_at = {name: values.reshape(T, C).copy() for name, values in accepted.items()}

    def _arrays(self) -> dict[str, np.ndarray]:
        """Everything that changes, arrays (T, C) by name; they are the ladder's own."""
        return {
            **{f"ladder_{name}": getattr(self, name) for name in _NAMES},
            **{f"ladder_tuned_{name}": values for name, values in self.tuned_at.items()},
            **{f"ladder_accepted_{name}": values for name, values in self.accepted_at.items()},
        }

    def state(self) -> dict[str, np.ndarray]:
        """Arrays (T, C) by name, and the number of rounds, 0-d."""
        arrays = {name: values.copy() for name, values in self._arrays().items()}
        return {**arrays, "ladder_rounds": np.array(self.rounds)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a `state`."""
        for name, values in self._arrays().items():
            values[...] = state[name]
        self.rounds = int(state["ladder_rounds"])

    def exchange(self, replicas: Replicas) -> None:
        """One round of proposals, with the replicas' present energies."""
        from mcmc.kernels.exchange import exchange

        T, C = self.replica.shape
        self._collect(replicas)
        energy = replicas.measure()[0].reshape(T, C)
        exchange(self.replica, energy, self.beta, self.keys, self.rounds, self.tried, self.swapped)
        self.rounds += 1
        self.assign(replicas)
        columns = np.arange(C)
        for end, heading in ((0, 1), (T - 1, -1)):
            there = self.replica[end]
            self.trips[there, columns] += self.heading[there, columns] == -heading
            self.heading[there, columns] = heading

    def run(self, replicas: Replicas, sampler: Sampler, draws: int, thin: int, theta: np.ndarray) -> np.ndarray:
        """As `Replicas.run`, with rounds of exchange between the steps; results are ordered by temperature."""
        T, C = self.replica.shape
        series, angles = np.empty((3, T * C, draws)), np.empty((T * C, 1, replicas.lattice.N), np.float32)
        rounds = min(ROUNDS, thin)
        for n in range(draws):
            for k in range(rounds):
                replicas.advance(sampler, thin * (k + 1) // rounds - thin * k // rounds)
                self.exchange(replicas)
            order = (self.replica * C + np.arange(C)).ravel()
            series[..., n] = replicas.measure(angles)[:, order]
            theta[:, n] = angles[order, 0]
        self._warn()
        return series

    def _warn(self) -> None:
        """Name, once, the pairs of temperatures that hardly exchange: the ladder is broken there."""
        tried, swapped = self.tried[:-1].sum(1), self.swapped[:-1].sum(1)
        broken = np.flatnonzero((tried >= LEAST_TRIES) & (swapped < 0.01 * tried))
        if broken.size and not self._warned:
            self._warned = True
            pairs = ", ".join(f"{1 / self.beta[t]:.4g} and {1 / self.beta[t + 1]:.4g}" for t in broken[:3])
            logger.warning(
                "tempering: %d pairs of temperatures exchange in less than 1 %% of the tries (%s%s): "
                "set more temperatures there",
                broken.size,
                pairs,
                ", ..." if broken.size > 3 else "",
            )

    def _collect(self, replicas: Replicas) -> None:
        """Book the accepted moves to the temperatures at which they were made."""
        for name, counts in replicas.accepted.items():
            self.accepted_at[name] += np.take_along_axis(counts.reshape(self.replica.shape), self.replica, 0)
            counts[:] = 0

    def assign(self, replicas: Replicas) -> None:
        """Give the replicas their temperatures, and what is tuned to these."""
        rung = np.argsort(self.replica, 0)
        replicas.beta = self.beta[rung].ravel()
        replicas.tuned = {name: np.take_along_axis(values, rung, 0).ravel() for name, values in self.tuned_at.items()}

    def report(self) -> dict[str, Any]:
        """Acceptance of each pair's swaps and the replicas' round trips, in JSON's types."""
        rates = self.swapped[:-1].sum(1) / np.maximum(1, self.tried[:-1].sum(1))
        return {
            "rounds": self.rounds,
            "swap_acceptance": rates.round(4).tolist(),
            "round_trips": int(self.trips.sum()) // 2,
        }
