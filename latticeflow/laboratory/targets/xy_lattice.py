"""The XY model on a small lattice, at a few temperatures, as one more test density."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from latticeflow.laboratory.targets.target import Assignment, Target, device_of
from mcmc import XY, Lattice, wrap


class XYLattice(Target):
    """Angles of an L x L lattice of XY spins, p proportional to exp(-E / T) on [-pi, pi)^N, given the temperature.

    Draws come from a reference ensemble of Markov chains, turned and reflected at random, which is exact; the
    normalising constant is unknown. The condition is T scaled to [0, 1] over the grid. The modes are eight sectors of
    the direction of the magnetisation, equally likely by symmetry; a draw is of high quality if its energy lies within
    3 standard deviations of the ensemble's mean at its temperature.

    Args:
        name: in the registry.
        L: side.
        temperatures: ascending, at least two; low enough for a magnetisation.
        draws: configurations of the ensemble at each temperature.
    """

    normalised = False
    bounds = (-math.pi, math.pi)
    sectors = 8

    def __init__(self, name: str, L: int, temperatures: tuple[float, ...], draws: int = 2000):
        super().__init__(name, L * L, self.sectors, condition_size=1)
        self.model, self.lattice, self.temperatures, self._draws = XY(), Lattice(L, L), temperatures, draws

    def temperature(self, condition: Tensor) -> Tensor:
        """T in units of J / k_B, float64 (n,)."""
        low, high = self.temperatures[0], self.temperatures[-1]
        return low + (high - low) * condition[:, 0].double()

    def conditions(self) -> Tensor:
        """Those of the grid of temperatures; see `Target.conditions`."""
        grid = torch.tensor(self.temperatures)
        return ((grid - grid[0]) / (grid[-1] - grid[0]))[:, None]

    def sample_conditions(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Conditions of random temperatures of the grid, float32 (n, 1)."""
        device = device_of(generator)
        grid = self.conditions()[:, 0].to(device)
        return grid[torch.randint(len(grid), (n, 1), generator=generator, device=device)]

    def _row(self, condition: Tensor) -> Tensor:
        """Number of the nearest temperature of the grid, int64 (n,)."""
        grid = torch.tensor(self.temperatures, dtype=torch.float64, device=condition.device)
        return (self.temperature(condition)[:, None] - grid).abs().argmin(1)

    def _sample(self, n: int, condition: Tensor | None, generator: torch.Generator | None) -> Tensor:
        assert condition is not None  # Target has checked it
        device = device_of(generator)
        known = _ensemble(self.lattice.shape, self.temperatures, self._draws)[0].to(device)
        picked = torch.randint(known.shape[1], (n,), generator=generator, device=device)
        u = torch.rand(2, n, 1, generator=generator, device=device)
        theta = known[self._row(condition.to(device)), picked]
        return wrap(torch.where(u[0] < 0.5, -theta, theta) + 2 * math.pi * u[1])

    def _log_prob(self, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        return -self.model.energy(x.view(-1, *self.lattice.shape)) / self.temperature(condition)

    def _assign(self, x: Tensor, condition: Tensor | None) -> Assignment:
        assert condition is not None
        direction = torch.atan2(x.double().sin().sum(1), x.double().cos().sum(1))
        mode = ((direction + math.pi) / (2 * math.pi) * self.sectors).long().clamp(0, self.sectors - 1)
        mean, deviation = _ensemble(self.lattice.shape, self.temperatures, self._draws)[1].to(x.device)
        energy, row = self.model.energy(x.view(-1, *self.lattice.shape)), self._row(condition)
        return Assignment(mode, (energy - mean[row]).abs() < 3 * deviation[row])


@cache
def _ensemble(shape: tuple[int, int], temperatures: tuple[float, ...], draws: int) -> tuple[Tensor, Tensor]:
    """Configurations, float32 (T, draws, N), and mean and deviation of their energies, float64 (2, T)."""
    from mcmc.sampling.settings import Settings
    from mcmc.sampling.simulation import Simulation

    chains = 8
    settings = Settings(XY(), Lattice(shape[1], shape[0]), temperatures, chains=chains, seed=0)
    theta = Simulation(settings).block(-(-draws // chains)).theta.reshape(len(temperatures), -1, *shape)
    energy = np.asarray(XY().energy(theta))
    moments = torch.as_tensor(np.stack((energy.mean(1), energy.std(1))))
    return torch.as_tensor(theta.reshape(*theta.shape[:2], -1)), moments


def xy8() -> XYLattice:
    """8x8 spins at T = 0.4, 0.6, 0.8, 1.0."""
    return XYLattice("xy8", 8, (0.4, 0.6, 0.8, 1.0))


def xy8_paper() -> XYLattice:
    """8x8 spins at the 32 temperatures of the AdvNF paper, 0.05 to 2.05; above 1 its modes mean little."""
    return XYLattice("xy8_paper", 8, tuple(np.linspace(0.05, 2.05, 32).round(12).tolist()))
