"""Free energies that compare models: domain walls, and the mutual information of two parts of a lattice.

Each partition function comes from an annealing of its own (`mcmc.analysis.annealing`), with random streams of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mcmc.analysis.annealing import anneal
from mcmc.analysis.statistics import Estimate, independent
from mcmc.models.glued import glued
from mcmc.models.lattice import Lattice, Size, as_lattice
from mcmc.models.presets import require_known, twisted
from mcmc.models.temperatures import as_temperatures
from mcmc.models.terms import Model
from mcmc.sampling import rng


def domain_wall(
    model: Model,
    size: Size,
    temperatures: float | Sequence[float],
    *,
    angles: Sequence[float] = (math.pi, 0.0),
    steps: int = 200,
    seed: int = 0,
    **annealing: Any,
) -> list[Estimate]:
    """What it costs to twist the boundaries: F(twisted) - F(periodic), in units of energy.

    In the ordered or critical phase a small twist phi along x costs Y phi^2 Ly / (2 Lx), with Y the helicity modulus;
    with `angles` of pi it is the free energy of a domain wall between periodic and antiperiodic boundaries.

    Args:
        model: the spin model.
        size: of the lattice.
        temperatures: in units of J / k_B.
        angles: of the twist in radians, along x, y (and z).
        steps: of each annealing; see `mcmc.analysis.annealing.anneal`.
        seed: root of the random streams.
        **annealing: further arguments of `mcmc.analysis.annealing.anneal`.

    Returns:
        One estimate a temperature, in the given order.

    Raises:
        InputError: as `mcmc.models.presets.twisted` and `mcmc.analysis.annealing.anneal`.

    Example:
        Far above the transition a twist costs nothing:

        >>> from mcmc import XY
        >>> cost = domain_wall(XY(), 4, [5.0], steps=20)[0]
        >>> abs(cost.value) < 0.05 + 5 * cost.error
        True
    """
    require_known(model)
    lattice, grid = as_lattice(size, model.dimensions), as_temperatures(temperatures, ordered=False)
    periodic, turned = (
        _log_partition(each, lattice, grid, steps, rng.key(seed, number), annealing)
        for number, each in enumerate((model, twisted(model, lattice, angles)))
    )
    return [independent(lambda a, b, T=T: T * (a - b), periodic[T], turned[T]) for T in grid]


def mutual_information(
    model: Model,
    size: Size,
    temperatures: float | Sequence[float],
    *,
    columns: Sequence[int] | None = None,
    steps: int = 200,
    seed: int = 0,
    **annealing: Any,
) -> list[Estimate]:
    """Renyi-2 mutual information of some columns and the others, in nats.

        I_2 = ln Z(2 beta) + 2 ln Z(beta) - ln Z_A(beta) - ln Z_B(beta)

    with Z_A of two replicas that share the columns A, and Z_B of two that share the others (`mcmc.models.glued`).
    I_2 / L of different sizes crosses near T_c and near 2 T_c, even for transitions without an order parameter: J.
    Iaconis, S. Inglis, A. B. Kallin, R. G. Melko, arXiv:1210.2403.

    Args:
        model: on a lattice with two axes.
        size: of the lattice.
        temperatures: in units of J / k_B; half of each is reached too.
        columns: numbers x of part A; None takes the left half.
        steps: of each annealing; see `mcmc.analysis.annealing.anneal`.
        seed: root of the random streams.
        **annealing: further arguments of `mcmc.analysis.annealing.anneal`.

    Returns:
        One estimate a temperature, in the given order.

    Raises:
        InputError: as `mcmc.models.glued.glued` and `mcmc.analysis.annealing.anneal`.

    Example:
        >>> from mcmc import XY
        >>> low, high = mutual_information(XY(), 4, [1.0, 10.0], steps=40)
        >>> low.value > 0.5 > 0.1 > abs(high.value)
        True
    """
    require_known(model)
    lattice, grid = as_lattice(size, model.dimensions), as_temperatures(temperatures, ordered=False)
    columns = range(lattice.Lx // 2) if columns is None else columns
    others = [x for x in range(lattice.Lx) if x not in columns]
    systems: list[tuple[Model, Lattice, Sequence[float]]] = [
        (model, lattice, grid),
        (model, lattice, [T / 2 for T in grid]),
        (*glued(model, lattice, columns), grid),
        (*glued(model, lattice, others), grid),
    ]
    once, cold, left, right = (
        _log_partition(each, where, T, steps, rng.key(seed, number), annealing)
        for number, (each, where, T) in enumerate(systems)
    )
    return [independent(lambda a, b, c, d: 2 * a + b - c - d, once[T], cold[T / 2], left[T], right[T]) for T in grid]


def _log_partition(
    model: Model, lattice: Lattice, temperatures: Sequence[float], steps: int, key: Any, annealing: dict[str, Any]
) -> dict[float, Estimate]:
    """ln Z by temperature."""
    found = anneal(model, lattice, temperatures, steps=steps, seed=int(key[0]), **annealing)
    return dict(zip(found.temperatures.tolist(), found.log_partition(), strict=True))
