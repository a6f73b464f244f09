"""Many steps of a mix of local moves in one call, so that small lattices are not slowed by Python."""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.conventions import MOVES_PER_STEP
from mcmc.kernels.heat_bath import heat_bath
from mcmc.kernels.lines import lines
from mcmc.kernels.metropolis import metropolis
from mcmc.kernels.over_relaxation import over_relaxation
from mcmc.kernels.twist import twist


@njit(cache=True, nogil=True)
def local_steps(
    x,
    y,
    beta,
    width,
    keys,
    neighbours,
    J,
    K,
    Lx,
    step,
    steps,
    heat,
    over_relaxations,
    turn_lines,
    twist_period,
    accepted,
):
    """Advance a block, in place; see `mcmc.kernels` for the arguments that kernels share.

    Args:
        width: float32 (W,), step widths of Metropolis.
        step: number of the first step since the start of the run.
        steps: how many to make.
        heat: heat bath if 2, Metropolis if 1, neither if 0.
        over_relaxations: sweeps of over-relaxation a step.
        turn_lines: whether each step turns rows and columns.
        twist_period: steps between proposals of a twist each way; 0 proposes none.
        accepted: float32 (3, W): of the local moves, lines, twists.
    """
    W = len(beta)
    for n in range(step, step + steps):
        move = np.uint64(n) * np.uint64(MOVES_PER_STEP)
        if heat == 2:
            heat_bath(x, y, beta, keys, neighbours, J, K, move, accepted[0])
        elif heat == 1:
            metropolis(x, y, beta, width, keys, neighbours, J, K, move, accepted[0])
        for _ in range(over_relaxations):
            over_relaxation(x, y, W, neighbours, J, K)
        for k in range(2):
            if turn_lines:
                lines(x, y, beta, keys, neighbours, J, Lx, k == 0, move + np.uint64(1 + k), accepted[1])
            if twist_period > 0 and n % twist_period == 0:
                twist(x, y, beta, keys, neighbours, J, Lx, k == 0, move + np.uint64(3 + k), accepted[2])
