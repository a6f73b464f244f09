"""Neural MCMC: a flow proposes whole configurations, a Metropolis test makes the chain exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from latticeflow.chains.neural_moves import LocalSweeps, Redraws, accept, depth_of
from latticeflow.chains.neural_streams import NeuralStreams
from latticeflow.flows import Flow, captured_draws
from mcmc import InputError
from mcmc.models import observables
from mcmc.runtime.text import counted, grid_in_words
from mcmc.storage.block import Block

SERIES = ("energy", "magnetization", "log_weight", "accepted", "proposal_log_weight")


class Proposals(NamedTuple):
    """Independent draws of a flow at one temperature with their unnormalised log weights."""

    theta: np.ndarray
    """Angles in [-pi, pi), float32 (n, Ly, Lx)."""
    log_weight: np.ndarray
    """-E / T - log q, float64 (n,)."""


def unit_size(flow: Flow) -> int:
    """Proposals that one call of the flow makes: a function of lattice and kind of device alone.

    Rounding in matrix products, and so the bytes of a run, depend on the shape of the call. On a CPU a unit of a large
    lattice should not leave the cache; on a GPU the time of a call hardly depends on its size.
    """
    return 4096 if flow.device.type == "cuda" else min(512, max(128, 2**16 // flow.lattice.N))


def propose(flow: Flow, temperature: float, n: int, *, generator: torch.Generator | None = None) -> Proposals:
    """Draw proposals at one temperature.

    Args:
        flow: the proposal density.
        temperature: in units of J / k_B.
        n: how many.
        generator: on the flow's device.
    """
    theta, log_q = captured_draws.sample(flow, n, temperature, generator)
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


def unit(
    flow: Flow, temperature: float, streams: NeuralStreams, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One unit of n = `unit_size` proposals: number ``number`` of the stream of the temperature.

    Returns:
        theta, float32 (n, Ly, Lx); log weights and the logarithms of uniform numbers, float64 (n,).
    """
    n = unit_size(flow)
    seeds = streams.proposals(temperature, number)
    generator = torch.Generator(flow.device).manual_seed(int(seeds[0]) << 32 | int(seeds[1]))
    theta, log_w = propose(flow, temperature, n, generator=generator)
    log_u = np.log1p(-np.random.default_rng(seeds).random(n))  # of (0, 1]: never -inf
    return theta, log_w, log_u


class NeuralChains:
    """Metropolis chains of a flow, with the interface of `mcmc.sampling.simulation.Simulation`.

    A step proposes a whole new configuration; then, if asked to, redraws the fine part of the state, and sweeps over
    it by heat bath and over-relaxation. Each chain starts at its first proposal. Proposals of one temperature form one
    stream, dealt to its chains in turn, and random numbers are a function of (seed, flow, temperature, position in the
    stream), see `latticeflow.chains.neural_streams`: draws do not depend on how they are divided into blocks, nor on
    restarts, nor, without redraws, on the other temperatures.

    Args:
        flow: proposal density.
        temperatures: where to run; outside of the flow's range it warns, the chain stays exact.
        chains: independent chains at each temperature.
        seed: root of the random streams.
        local_sweeps: in each step; all series are of the state after them.
        redraws: partial redraws in each step, of depths `Flow.stages` in turn; of flows that have `Flow.depths`.
        state: where to go on, from `state`; None starts.

    Raises:
        InputError: a temperature or a number of chains that is not positive, a negative number of moves, or redraws of
            a flow that has none.
    """

    def __init__(
        self,
        flow: Flow,
        temperatures: Sequence[float],
        *,
        chains: int = 1,
        seed: int = 0,
        local_sweeps: int = 0,
        redraws: int = 0,
        state: Mapping[str, np.ndarray] | None = None,
    ):
        for name, value, least in (("chains", chains, 1), ("local sweeps", local_sweeps, 0), ("redraws", redraws, 0)):
            if value < least:
                raise InputError(f"{name} = {value} must be at least {least}")
        for T in temperatures:
            if not (np.isfinite(T) and T > 0):
                raise InputError(f"temperature {T!r} must be a positive finite number")
        flow.warn_outside(temperatures)
        self.flow, self.temperatures, self.chains, self.seed = flow, tuple(temperatures), chains, seed
        self.redraws = redraws
        self._streams = streams = NeuralStreams.of(flow, seed)
        self._redraw = Redraws(flow, self.temperatures, chains, streams) if redraws else None
        self._sweep = LocalSweeps(flow, self.temperatures, chains, streams, local_sweeps) if local_sweeps else None
        # The unit last made for each temperature: blocks may be smaller.
        self._units: dict[int, tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        shape = (len(self.temperatures), chains)
        self._theta = np.zeros((*shape, *flow.lattice.shape), np.float32)
        self._log_weight = np.full(shape, -np.inf)
        self._accepted = np.zeros(shape, np.int64)
        self._rejections = np.zeros(shape, np.int64)
        self._longest = np.zeros(shape, np.int64)
        self._redrawn = np.zeros((len(self.temperatures), flow.depths), np.int64)
        self._steps = 0
        if state is not None:
            self.restore(state)

    def __repr__(self) -> str:
        """Flow, temperatures, chains and how far they are."""
        T = self.temperatures
        return (
            f"NeuralChains of a {self.flow.name} flow of {self.flow.model} on "
            f"{self.flow.lattice} sites\n"
            f"  {grid_in_words(T)}; {counted(self.chains, 'chain')} at each; {counted(self._steps, 'step')} made"
        )

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned."""
        self._theta, self._log_weight = np.array(state["theta"]), np.array(state["log_weight"])
        self._accepted, self._rejections = np.array(state["accepted"]), np.array(state["rejections"])
        self._longest, self._redrawn = np.array(state["longest"]), np.array(state["redrawn"])
        self._steps = int(state["steps"])

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, arrays by name."""
        return {
            "theta": self._theta.copy(),
            "log_weight": self._log_weight.copy(),
            "accepted": self._accepted.copy(),
            "rejections": self._rejections.copy(),
            "longest": self._longest.copy(),
            "redrawn": self._redrawn.copy(),
            "steps": np.array(self._steps),
        }

    def report(self) -> dict[str, Any]:
        """Steps, acceptance (the first state not counted) and longest run of rejections, by temperature.

        With partial redraws also the odds of each depth that was tried, by its number of kept groups.
        """
        found: dict[str, Any] = {
            "steps": self._steps,
            "acceptance": (self._accepted.mean(1) / max(self._steps - 1, 1)).tolist(),
            "longest_rejection_run": self._longest.max(1).tolist(),
        }
        if self.redraws:
            depths = [depth_of(number, self.flow) for number in range(self._steps * self.redraws)]
            tried = np.bincount(depths, minlength=self.flow.depths)
            rates = self._redrawn / np.maximum(self.chains * tried, 1)
            found["redraw_acceptance"] = {str(k): rates[:, k].round(6).tolist() for k in np.flatnonzero(tried)}
        return found

    def block(self, draws: int) -> Block:
        """Advance every chain by ``draws`` steps.

        Returns:
            Configurations and the series of `SERIES`: energy per site, magnetisation, log weight of the state, whether
            the proposal was accepted, log weight of the proposal; the last is what importance sampling needs.
        """
        T, C = len(self.temperatures), self.chains
        theta = np.empty((T, C, draws, *self.flow.lattice.shape), np.float32)
        series = {name: np.empty((T, C, draws)) for name in ("log_weight", "accepted", "proposal_log_weight")}
        if self._redraw or self._sweep:
            self._advance_step_by_step(theta, series)
        else:
            for t in range(T):
                self._advance(t, theta[t], {name: values[t] for name, values in series.items()})
        self._count(series["accepted"])
        self._steps += draws
        series["energy"] = self.flow.model.energy(theta) / self.flow.lattice.N
        series["magnetization"] = observables.magnetization(theta, self.flow.model)
        return Block(theta, series)

    def _advance(self, t: int, theta: np.ndarray, series: dict[str, np.ndarray]) -> None:
        """Walk the chains of temperature number ``t``, (C, n) steps, filling ``theta`` and ``series`` in place."""
        from mcmc.kernels.independence import walk

        n = theta.shape[1]
        proposed, log_w, log_u = self._dealt(t, n)
        held = walk(log_w, log_u, self._log_weight[t])
        for c in range(self.chains):
            before = held[c] < 0
            theta[c] = np.where(_by_site(before, theta[c]), self._theta[t, c], proposed[c, held[c]])
            series["log_weight"][c] = np.where(before, self._log_weight[t, c], log_w[c, held[c]])
            series["accepted"][c] = held[c] == np.arange(n)
        series["proposal_log_weight"][:] = log_w
        self._theta[t], self._log_weight[t] = theta[:, -1], series["log_weight"][:, -1]

    def _advance_step_by_step(self, theta: np.ndarray, series: dict[str, np.ndarray]) -> None:
        """Walk all chains, (T, C, n) steps, with the other moves between the proposals; see `_advance`."""
        n = theta.shape[2]
        streams = [self._dealt(t, n) for t in range(len(self.temperatures))]
        proposed, log_w, log_u = (np.stack(parts) for parts in zip(*streams, strict=True))
        for i in range(n):
            accepted = accept(log_u[:, :, i], log_w[:, :, i] - self._log_weight)
            self._theta = np.where(_by_site(accepted, self._theta), proposed[:, :, i], self._theta)
            self._log_weight = np.where(accepted, log_w[:, :, i], self._log_weight)
            self._move(self._steps + i)
            # Whatever has moved, the next test must know the weight of where the state is now.
            self._log_weight = self._weigh()
            theta[:, :, i], series["log_weight"][:, :, i] = self._theta, self._log_weight
            series["accepted"][:, :, i] = accepted
        series["proposal_log_weight"][:] = log_w

    def _move(self, step: int) -> None:
        """Partial redraws, then local sweeps, of all states."""
        flat = self._theta.reshape(-1, *self.flow.lattice.shape)
        if self._redraw:
            for number in range(step * self.redraws, (step + 1) * self.redraws):
                flat, redrawn = self._redraw(flat, number)
                keep = depth_of(number, self.flow)
                self._redrawn[:, keep] += redrawn.reshape(self._log_weight.shape).sum(1)
        if self._sweep:
            flat = self._sweep(flat, step)
        self._theta = flat.reshape(self._theta.shape)

    def _weigh(self) -> np.ndarray:
        """Log weights of the states, (T, C)."""
        flat = torch.as_tensor(self._theta.reshape(-1, *self.flow.lattice.shape), device=self.flow.device)
        T = torch.as_tensor(np.repeat(self.temperatures, self.chains), device=self.flow.device)
        with torch.no_grad():
            log_w = -self.flow.model.energy(flat) / T - self.flow.log_prob(flat, T)
        return log_w.cpu().numpy().reshape(self._log_weight.shape)

    def _count(self, accepted: np.ndarray) -> None:
        tries = accepted if self._steps else accepted[:, :, 1:]  # the first state was never tried
        self._accepted += tries.sum(-1).astype(np.int64)
        for moves in np.moveaxis(tries, -1, 0):
            self._rejections = np.where(moves, 0, self._rejections + 1)
            self._longest = np.maximum(self._longest, self._rejections)

    def _dealt(self, t: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The next ``n`` proposals of every chain of temperature number ``t``, (C, n, ...); see `_stream`."""
        C = self.chains
        # Position p of the stream is step p // C of chain p % C.
        theta, *logs = (
            values.reshape(n, C, *values.shape[1:]).swapaxes(0, 1)
            for values in self._stream(t, self._steps * C, (self._steps + n) * C)
        )
        log_w, log_u = (np.ascontiguousarray(values) for values in logs)
        return theta, log_w, log_u

    def _stream(self, t: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Proposals ``start`` to ``stop`` of temperature number ``t``: theta, log weights, log uniforms."""
        pieces, size = [], unit_size(self.flow)
        for number in range(start // size, -(-stop // size)):
            if self._units.get(t, (None,))[0] != number:
                self._units[t] = (number, unit(self.flow, self.temperatures[t], self._streams, number))
            first = number * size
            wanted = slice(max(start - first, 0), min(stop - first, size))
            pieces.append([values[wanted] for values in self._units[t][1]])
        theta, log_w, log_u = (np.concatenate(values) for values in zip(*pieces, strict=True))
        return theta, log_w, log_u


def _by_site(values: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """One value for each configuration, in a shape that combines with their angles."""
    return values.reshape(*values.shape, *(1,) * (theta.ndim - values.ndim))
