"""Many steps of several kernels in one call, so that small lattices are not slowed by Python."""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import overload

from mcmc.kernels.conventions import HEAT_BATH, LINES, METROPOLIS, OVER_RELAXATION, TWIST, Square
from mcmc.kernels.heat_bath import heat_bath
from mcmc.kernels.lines import lines
from mcmc.kernels.metropolis import metropolis
from mcmc.kernels.over_relaxation import over_relaxation
from mcmc.kernels.twist import twist


@njit(cache=True, nogil=True)
def run_steps(x, y, beta, width, keys, interaction, Lx, step, steps, numbers_per_step, program, accepted):
    """Advance a block, in place; see `mcmc.kernels` for the arguments that kernels share.

    Args:
        width: float32 (W,), step widths of Metropolis.
        step: number of the first step since the start of the run.
        steps: how many to make.
        numbers_per_step: random moves that a step owns.
        program: int64 (n, 5): which kernel (`conventions.HEAT_BATH`, ...), how often in a step, every how many steps,
            the first of the step's random moves that it uses, and an axis.
        accepted: float32 (n, W), to which each line's accepted proposals are added.
    """
    W = len(beta)
    for n in range(step, step + steps):
        first = np.uint64(n) * np.uint64(numbers_per_step)
        for k in range(len(program)):
            kernel, times, period, number, axis = program[k]
            if n % period:
                continue
            for again in range(times):
                move = first + np.uint64(number + again)
                if kernel == HEAT_BATH:
                    heat_bath(x, y, beta, keys, interaction, move, accepted[k])
                elif kernel == METROPOLIS:
                    metropolis(x, y, beta, width, keys, interaction, move, accepted[k])
                elif kernel == OVER_RELAXATION:
                    over_relaxation(x, y, W, interaction)
                else:
                    _along_lines(x, y, beta, keys, interaction, Lx, kernel, axis == 0, move, accepted[k])


def _along_lines(x, y, beta, keys, interaction, Lx, kernel, columns, move, accepted):
    """Moves of whole lines, which the other interactions do not have."""


@overload(_along_lines)
def _lines_or_twist(x, y, beta, keys, interaction, Lx, kernel, columns, move, accepted):
    if interaction.instance_class is not Square:
        return lambda x, y, beta, keys, interaction, Lx, kernel, columns, move, accepted: None

    def lines_or_twist(x, y, beta, keys, interaction, Lx, kernel, columns, move, accepted):
        neighbours, J = interaction.neighbours, interaction.J
        if kernel == LINES:
            lines(x, y, beta, keys, neighbours, J, Lx, columns, move, accepted)
        elif kernel == TWIST:
            twist(x, y, beta, keys, neighbours, J, Lx, columns, move, accepted)

    return lines_or_twist
