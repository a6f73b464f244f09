"""Many steps of several kernels in one call, so that small lattices are not slowed by Python."""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import overload

from mcmc.kernels.conventions import HEAT_BATH, LINES, METROPOLIS, OVER_RELAXATION, TWIST, Square
from mcmc.kernels.field import sites
from mcmc.kernels.heat_bath import heat_bath
from mcmc.kernels.lines import lines
from mcmc.kernels.measure import angles, moments, term_moments
from mcmc.kernels.metropolis import metropolis
from mcmc.kernels.over_relaxation import over_relaxation
from mcmc.kernels.strips import copy_first_row, copy_last_row, copy_rows
from mcmc.kernels.twist import twist


@njit(cache=True, nogil=True)
def run(
    x,
    y,
    beta,
    width,
    keys,
    shared,
    interaction,
    owned,
    Lx,
    strips,
    program,
    numbers_per_step,
    step,
    draws,
    thin,
    accepted,
    sums,
    theta,
):
    """Advance a block by ``thin`` steps, measure it, and so on, in place; see `mcmc.kernels` for common arguments.

    Args:
        width: float32 (W,), step widths of Metropolis.
        shared: uint32 (4 * W,), keys that the lanes of a replica have in common.
        owned: as `mcmc.kernels.measure` takes it.
        strips: lanes of a replica; see `mcmc.kernels.strips`.
        program: int64 (n, 5): which kernel (`conventions.HEAT_BATH`, ...), how often in a step, every how many steps,
            the first of the step's random moves that it uses, and an axis.
        numbers_per_step: random moves that a step owns.
        step: number of the first step since the start of the run.
        draws: how many times.
        thin: steps before each measurement.
        accepted: float32 (n, W), to which each line's accepted proposals are added.
        sums: float64 (draws, 3, W), receives what `mcmc.kernels.measure.moments` finds; of no draws if nothing is
            measured.
        theta: float32 (draws, n * W), receives the angles; of no draws if they are not wanted.
    """
    W, n = len(beta), sites(interaction) * len(beta)
    for draw in range(draws):
        for now in range(step + draw * thin, step + (draw + 1) * thin):
            first = np.uint64(now) * np.uint64(numbers_per_step)
            _step(x, y, beta, width, keys, shared, interaction, Lx, strips, program, now, first, accepted)
        if len(sums):
            _moments(x, y, W, interaction, owned, Lx, sums[draw])
        if len(theta):
            angles(x[:n], y[:n], theta[draw])


@njit(cache=True, nogil=True)
def _step(x, y, beta, width, keys, shared, interaction, Lx, strips, program, step, first, accepted):
    """One step, whose random moves begin at ``first``; see `run`."""
    W, N = len(beta), sites(interaction)
    # All rows but the last of every strip, then the last; or one sequence of sites.
    parts = 2 if strips > 1 else 1
    for k in range(len(program)):
        kernel, times, period, number, axis = program[k]
        if step % period:
            continue
        for again in range(times):
            move = first + np.uint64(number + again)
            columns = axis == 0
            if kernel == TWIST or (kernel == LINES and columns):
                whole = np.int64(0), Lx
                _turn(x, y, beta, shared, interaction, Lx, strips, kernel, columns, move, accepted[k], *whole)
                copy_rows(x, y, W, N, Lx, strips)
                continue
            for part in range(parts):
                begin, end = (0, N - Lx * (parts - 1)) if part == 0 else (N - Lx, N)
                order = (begin, end, Lx, 2) if strips > 1 else (0, N, N, 1)
                if kernel == HEAT_BATH:
                    heat_bath(x, y, beta, keys, interaction, move, accepted[k], order)
                elif kernel == METROPOLIS:
                    metropolis(x, y, beta, width, keys, interaction, move, accepted[k], order)
                elif kernel == OVER_RELAXATION:
                    over_relaxation(x, y, W, interaction, order)
                else:
                    rows = begin // Lx, end // Lx
                    _turn(x, y, beta, keys, interaction, Lx, strips, kernel, columns, move, accepted[k], *rows)
                if strips > 1 and part == 0:
                    copy_first_row(x, y, W, N, Lx, strips)
                elif strips > 1:
                    copy_last_row(x, y, W, N, Lx, strips)


def _moments(x, y, W, interaction, owned, Lx, total):
    """What `mcmc.kernels.measure` finds, by what suits the interaction."""


@overload(_moments)
def _moments_of(x, y, W, interaction, owned, Lx, total):
    if interaction.instance_class is not Square:
        return lambda x, y, W, interaction, owned, Lx, total: term_moments(x, y, W, owned, Lx, total)

    def of_a_square(x, y, W, interaction, owned, Lx, total):
        moments(x, y, W, interaction.neighbours, interaction.J, interaction.K, Lx, total)

    return of_a_square


def _turn(x, y, beta, keys, interaction, Lx, strips, kernel, columns, move, accepted, first, last):
    """Turns of columns, of rows, and twists, which the other interactions do not have."""


@overload(_turn)
def _turn_of(x, y, beta, keys, interaction, Lx, strips, kernel, columns, move, accepted, first, last):
    if interaction.instance_class is not Square:

        def nothing(x, y, beta, keys, interaction, Lx, strips, kernel, columns, move, accepted, first, last):
            pass

        return nothing

    def of_a_square(x, y, beta, keys, interaction, Lx, strips, kernel, columns, move, accepted, first, last):
        neighbours, J = interaction.neighbours, interaction.J
        if kernel == TWIST:
            twist(x, y, beta, keys, neighbours, J, Lx, columns, move, accepted, strips)
        else:
            lines(x, y, beta, keys, neighbours, J, Lx, columns, move, accepted, first, last, strips)

    return of_a_square
