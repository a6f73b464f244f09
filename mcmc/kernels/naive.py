"""The yardstick of the benchmark: Metropolis for XY as a textbook has it. Nothing else uses it."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def naive_metropolis(theta, beta, width, sweeps, seed):
    """Sweep one lattice of float64 angles (Ly, Lx) in place; numba's own generator, the C library's cosine."""
    np.random.seed(seed)
    Ly, Lx = theta.shape
    for _ in range(sweeps):
        for y in range(Ly):
            for x in range(Lx):
                old = theta[y, x]
                new = old + width * (2 * np.random.random() - 1)
                change = 0.0
                for other in (
                    theta[y, (x + 1) % Lx],
                    theta[y, (x - 1) % Lx],
                    theta[(y + 1) % Ly, x],
                    theta[(y - 1) % Ly, x],
                ):
                    change += math.cos(old - other) - math.cos(new - other)
                if change <= 0 or np.random.random() < math.exp(-beta * change):
                    theta[y, x] = new
