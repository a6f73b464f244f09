"""Moves that a neural chain makes between two proposals of the flow: partial redraws and local sweeps.

Each leaves the Boltzmann distribution at every temperature invariant by itself; so does any fixed sequence of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from latticeflow.chains.neural_streams import NeuralStreams
from latticeflow.flows import Flow
from mcmc import InputError
from mcmc.runtime.threads import available_threads
from mcmc.sampling.moves import HeatBath, OverRelaxation
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import Sampler

LOCAL_SAMPLER = Sampler((HeatBath(), OverRelaxation()))
"""A local sweep: heat bath, then over-relaxation."""


def depth_of(number: int, flow: Flow) -> int:
    """How much redraw ``number`` keeps: the `Flow.stages` in turn.

    Shallow redraws move the long waves, if they are accepted; deep ones are accepted, and move the short waves. The
    order is fixed beforehand: one that followed the state of the chain would not keep its distribution.
    """
    return flow.stages[number % len(flow.stages)]


def accept(log_u: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """The Metropolis test of `mcmc.kernels.independence.walk`, for one step of many chains, bool of any shape."""
    from mcmc.kernels.independence import walk

    held = walk(log_ratio.reshape(-1, 1), log_u.reshape(-1, 1), np.zeros(log_ratio.size))
    return held.reshape(log_ratio.shape) == 0


class Redraws:
    """Metropolised redraws of the fine part of every chain's state.

    Args:
        flow: whose factors are redrawn.
        temperatures: (T,).
        chains: at each of them.
        streams: of random numbers.

    Raises:
        InputError: the flow has no parts that could be kept.
    """

    def __init__(self, flow: Flow, temperatures: Sequence[float], chains: int, streams: NeuralStreams):
        if not flow.depths:
            raise InputError(f"flow {flow.name!r} draws all sites at once: partial redraws need a multiscale flow")
        self.flow, self.streams = flow, streams
        self.temperatures = np.repeat(np.asarray(temperatures, np.float64), chains)

    def __call__(self, theta: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Redraw number ``number`` of the run, for all chains at once.

        The density of what is kept cancels, so the test of the new state y against x is

            accept with min(1, [p(y) q(x_fine | coarse)] / [p(x) q(y_fine | coarse)]).

        Args:
            theta: states, float32 (T * C, Ly, Lx).
            number: counted from the start of the run.

        Returns:
            The states after it, and whether each was redrawn, bool (T * C,).
        """
        flow, keep = self.flow, depth_of(number, self.flow)
        seeds = self.streams.redraws(self.temperatures, number)
        generator = torch.Generator(flow.device).manual_seed(int(seeds[0]) << 32 | int(seeds[1]))
        old, T = torch.as_tensor(theta, device=flow.device), torch.as_tensor(self.temperatures)
        new, log_q_new, log_q_old = flow.redraw(old, T, keep, generator=generator)
        T = T.to(flow.device)
        log_ratio = (flow.model.energy(old) - flow.model.energy(new)) / T + log_q_old - log_q_new
        log_u = np.log1p(-np.random.default_rng(seeds).random(len(theta)))
        accepted = accept(log_u, log_ratio.cpu().numpy())
        return np.where(accepted.reshape(-1, *(1,) * (theta.ndim - 1)), new.cpu().numpy(), theta), accepted


class LocalSweeps:
    """Sweeps of heat bath and over-relaxation over every chain's state, by the kernels of `mcmc`.

    Args:
        flow: whose model and lattice they are of.
        temperatures: (T,).
        chains: at each of them.
        streams: of random numbers.
        sweeps: at each call.
    """

    def __init__(self, flow: Flow, temperatures: Sequence[float], chains: int, streams: NeuralStreams, sweeps: int):
        beta = np.repeat(1 / np.asarray(temperatures, np.float64), chains)
        keys = np.array([streams.sweeps(T, c) for T in temperatures for c in range(chains)])
        self._replicas = Replicas(flow.model, flow.lattice, beta, keys, threads=available_threads())
        self.sweeps = sweeps

    def __call__(self, theta: np.ndarray, number: int) -> np.ndarray:
        """Sweep all states, float32 (T * C, Ly, Lx), for the ``number``th time of the run."""
        replicas, flat = self._replicas, theta.reshape(len(theta), -1)
        replicas.spins = np.stack([np.cos(flat), np.sin(flat)])
        replicas.step = number * self.sweeps
        replicas.advance(LOCAL_SAMPLER, self.sweeps)
        swept = np.empty((len(theta), 1, flat.shape[1]), np.float32)
        replicas.measure(swept)
        return swept.reshape(theta.shape)
