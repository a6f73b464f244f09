"""Neural MCMC: a flow proposes whole configurations, a Metropolis test makes the chain exact."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.flows import Flow
from mcmc import InputError, observables
from mcmc.rng import key
from mcmc.simulation import Block

UNIT = 512
"""Proposals that one call of the flow makes. A constant: rounding in matrix products, and so the bytes of a run, depend
on the shape of the call."""

SERIES = ("energy", "magnetization", "log_weight", "accepted", "proposal_log_weight")


class Proposals(NamedTuple):
    """Independent draws of a flow at one temperature with their unnormalised log weights."""

    theta: np.ndarray
    """Angles in [-pi, pi), float32 (n, Ly, Lx)."""
    log_weight: np.ndarray
    """-E / T - log q, float64 (n,)."""


def propose(flow: Flow, temperature: float, n: int, *, generator: torch.Generator | None = None) -> Proposals:
    """Draw proposals at one temperature.

    Args:
        flow: the proposal density.
        temperature: in units of J / k_B.
        n: how many.
        generator: on the flow's device.
    """
    with torch.no_grad():
        theta, log_q = flow.sample(n, temperature, generator=generator)
    log_weight = -flow.model.energy(theta) / temperature - log_q
    return Proposals(theta.cpu().numpy(), log_weight.cpu().numpy())


def log_weights(flow: Flow, theta: np.ndarray, temperature: float, *, batch: int = 4096) -> np.ndarray:
    """Log weights -E / T - log q of given configurations, float64 (n,).

    Args:
        flow: the proposal density.
        theta: angles, float32 (n, Ly, Lx).
        temperature: of all of them.
        batch: configurations evaluated at once.
    """
    pieces = []
    for start in range(0, len(theta), batch):
        piece = torch.as_tensor(theta[start : start + batch], device=flow.device)
        with torch.no_grad():
            log_q = flow.log_prob(piece, temperature)
        pieces.append((-flow.model.energy(piece) / temperature - log_q).cpu().numpy())
    return np.concatenate(pieces)


class NeuralChains:
    """Independence Metropolis chains of a flow, with the interface of `mcmc.simulation.Simulation`.

    Each chain starts at its first proposal. Proposals of one temperature form one stream, dealt to its chains in turn,
    and random numbers are a function of (seed, temperature, position in the stream): draws do not depend on how
    they are divided into blocks, nor on restarts.

    Args:
        flow: proposal density.
        temperatures: where to run; outside of the flow's range it warns, the chain stays exact.
        chains: independent chains at each temperature.
        seed: root of the random streams.
        state: where to go on, from `state`; None starts.

    Raises:
        InputError: a temperature or a number of chains that is not positive.
    """

    def __init__(
        self,
        flow: Flow,
        temperatures: Sequence[float],
        *,
        chains: int = 1,
        seed: int = 0,
        state: Mapping[str, np.ndarray] | None = None,
    ):
        if chains < 1:
            raise InputError(f"chains = {chains} must be at least 1")
        for T in temperatures:
            if not (np.isfinite(T) and T > 0):
                raise InputError(f"temperature {T!r} must be a positive finite number")
        low, high = flow.temperatures
        outside = [f"{T:g}" for T in temperatures if not low - 1e-9 <= T <= high + 1e-9]
        if outside:
            warnings.warn(
                f"the flow was trained for temperatures {low:g} to {high:g}: at {', '.join(outside)} expect few "
                "accepted proposals (the draws are exact all the same)",
                stacklevel=2,
            )
        self.flow, self.temperatures, self.chains, self.seed = flow, tuple(temperatures), chains, seed
        # The unit last made for each temperature: blocks may be smaller.
        self._units: dict[int, tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        shape = (len(self.temperatures), chains)
        if state is None:
            self._theta = np.zeros((*shape, *flow.lattice.shape), np.float32)
            self._log_weight = np.full(shape, -np.inf)
            self._accepted = np.zeros(shape, np.int64)
            self._rejections = np.zeros(shape, np.int64)
            self._longest = np.zeros(shape, np.int64)
            self._steps = 0
        else:
            self._theta, self._log_weight = np.array(state["theta"]), np.array(state["log_weight"])
            self._accepted, self._rejections = np.array(state["accepted"]), np.array(state["rejections"])
            self._longest, self._steps = np.array(state["longest"]), int(state["steps"])

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, arrays by name."""
        return {
            "theta": self._theta.copy(),
            "log_weight": self._log_weight.copy(),
            "accepted": self._accepted.copy(),
            "rejections": self._rejections.copy(),
            "longest": self._longest.copy(),
            "steps": np.array(self._steps),
        }

    def report(self) -> dict[str, Any]:
        """Steps, acceptance (the first state not counted) and longest run of rejections, by temperature."""
        return {
            "steps": self._steps,
            "acceptance": (self._accepted.mean(1) / max(self._steps - 1, 1)).tolist(),
            "longest_rejection_run": self._longest.max(1).tolist(),
        }

    def block(self, draws: int) -> Block:
        """Advance every chain by ``draws`` steps.

        Returns:
            Configurations and the series of `SERIES`: energy per site, magnetisation, log weight of the state, whether
            the proposal was accepted, log weight of the proposal; the last is what importance sampling needs.
        """
        T, C = len(self.temperatures), self.chains
        theta = np.empty((T, C, draws, *self.flow.lattice.shape), np.float32)
        series = {name: np.empty((T, C, draws)) for name in ("log_weight", "accepted", "proposal_log_weight")}
        for t in range(T):
            self._advance(t, theta[t], {name: values[t] for name, values in series.items()})
        self._steps += draws
        series["energy"] = self.flow.model.energy(theta) / self.flow.lattice.N
        series["magnetization"] = observables.magnetization(theta)
        return Block(theta, series)

    def _advance(self, t: int, theta: np.ndarray, series: dict[str, np.ndarray]) -> None:
        """Walk the chains of temperature number ``t``, (C, n) steps, filling ``theta`` and ``series`` in place."""
        from mcmc.kernels.independence import walk

        C, n = self.chains, theta.shape[1]
        proposed, log_w, log_u = self._stream(t, self._steps * C, (self._steps + n) * C)
        # Position p of the stream is step p // C of chain p % C.
        proposed = proposed.reshape(n, C, *proposed.shape[1:]).swapaxes(0, 1)
        log_w, log_u = (np.ascontiguousarray(values.reshape(n, C).T) for values in (log_w, log_u))
        held = walk(log_w, log_u, self._log_weight[t])
        for c in range(C):
            before = held[c] < 0
            theta[c] = np.where(before[:, None, None], self._theta[t, c], proposed[c, held[c]])
            series["log_weight"][c] = np.where(before, self._log_weight[t, c], log_w[c, held[c]])
            series["accepted"][c] = held[c] == np.arange(n)
            self._count(t, c, series["accepted"][c])
        series["proposal_log_weight"][:] = log_w
        self._theta[t], self._log_weight[t] = theta[:, -1], series["log_weight"][:, -1]

    def _count(self, t: int, c: int, accepted: np.ndarray) -> None:
        tries = accepted if self._steps else accepted[1:]  # the first state was never tried
        self._accepted[t, c] += int(tries.sum())
        for move in tries:
            self._rejections[t, c] = 0 if move else self._rejections[t, c] + 1
            self._longest[t, c] = max(self._longest[t, c], self._rejections[t, c])

    def _stream(self, t: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Proposals ``start`` to ``stop`` of temperature number ``t``: theta, log weights, log uniforms."""
        pieces = []
        for number in range(start // UNIT, -(-stop // UNIT)):
            if self._units.get(t, (None,))[0] != number:
                self._units[t] = (number, self._unit(t, number))
            first = number * UNIT
            wanted = slice(max(start - first, 0), min(stop - first, UNIT))
            pieces.append([values[wanted] for values in self._units[t][1]])
        theta, log_w, log_u = (np.concatenate(values) for values in zip(*pieces, strict=True))
        return theta, log_w, log_u

    def _unit(self, t: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        seeds = key(self.seed, t, number)
        generator = torch.Generator(self.flow.device).manual_seed(int(seeds[0]) << 32 | int(seeds[1]))
        theta, log_w = propose(self.flow, self.temperatures[t], UNIT, generator=generator)
        log_u = np.log1p(-np.random.default_rng(seeds).random(UNIT))  # of (0, 1]: never -inf
        return theta, log_w, log_u
