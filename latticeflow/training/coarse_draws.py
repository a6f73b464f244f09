"""Draws for training the coarse groups of a multiscale flow alone, whose cost hardly grows with the lattice."""

from __future__ import annotations

import torch
from torch import Tensor

from latticeflow.flows import Multiscale

KEPT = 256
"""Additions."""


class CoarseDraws:
    """The latest draws of an ensemble, each with its log w but for the coarse groups of a flow.

    What the energy and the finer groups, which keep their nets, make of a draw stays the same along a training. It is
    computed once, for a few new draws at every step, and a step learns from the latest of all of them.

    Args:
        flow: of which the groups before number ``end`` are trained, and no others.
        end: at least 1.
    """

    def __init__(self, flow: Multiscale, end: int):
        self.flow, self.end, self._added = flow, end, 0
        self._theta = self._rest = torch.empty(0)
        self._temperatures = torch.empty(0)

    @torch.no_grad()
    def add(self, theta: Tensor, temperatures: Tensor) -> None:
        """Take new draws, in place of the oldest where there are many.

        Args:
            theta: (T, n, Ly, Lx), of the same shape every time.
            temperatures: (T, n).
        """
        flat, T, n = theta.flatten(0, 1), temperatures.flatten(), theta.shape[1]
        fine = self.flow.log_prob(flat, T) - self.flow.log_prob_of_coarse(flat, T, self.end)
        rest = -self.flow.model.energy(flat) / T - fine
        if not self._added:
            self._theta = theta.new_empty(len(theta), KEPT * n, *theta.shape[2:])
            self._rest = rest.new_empty(len(theta), KEPT * n)
            self._temperatures = temperatures[:, :1]
        place = self._added % KEPT * n
        self._theta[:, place : place + n] = theta
        self._rest[:, place : place + n] = rest.view(temperatures.shape)
        self._added += 1

    def batch(self, temperatures: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random draws of those that are kept.

        Args:
            temperatures: the most, picked at random.
            n: of each.
            generator: on the CPU.

        Returns:
            theta (T, n, Ly, Lx); temperatures (T, n); and log w + log q of the coarse groups, float64 (T, n).
        """
        rows = torch.randperm(len(self._theta), generator=generator)[:temperatures].sort().values[:, None]
        filled = min(self._added, KEPT) * (self._theta.shape[1] // KEPT)
        which = torch.randint(filled, (len(rows), n), generator=generator)
        return self._theta[rows, which], self._temperatures[rows[:, 0]].expand(len(rows), n), self._rest[rows, which]
