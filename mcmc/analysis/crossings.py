"""Critical temperatures from curves of several sizes that cross: xi / L, Y L^(d - 2), Binder cumulants.

At a continuous transition a quantity without dimension is the same for all sizes, up to corrections that fall as
L^(-1/nu - omega); the curves of two sizes cross near the transition, and the crossings of ever larger ones approach it.
The curves come from reweighting, so that they are smooth and one simulation near the transition serves.

References:
    K. Binder, Z. Phys. B 43, 119 (1981), doi:10.1007/BF01293604: crossings.
    M. Hasenbusch, Phys. Rev. B 100, 224517 (2019), arXiv:1910.05916: the XY model in three dimensions, corrections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mcmc.analysis.observable_registry import chosen
from mcmc.analysis.reweighting import LEAST_SHARE, Reweighting
from mcmc.analysis.statistics import format_uncertainty
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice

POINTS = 25
"""Temperatures at which curves are compared before the crossing is found."""


class Crossing(NamedTuple):
    """Where the curves of two sizes cross."""

    smaller: Lattice
    larger: Lattice
    temperature: float
    """In units of J / k_B."""
    error: float
    """One standard deviation, statistical; corrections to scaling come on top, see `crossings`."""
    value: float
    """Of the quantity without dimension, there."""
    value_error: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.smaller} and {self.larger} cross at T = {format_uncertainty(self.temperature, self.error)}, "
            f"value {format_uncertainty(self.value, self.value_error)}"
        )

    def as_json(self) -> dict[str, Any]:
        """The crossing in JSON's types."""
        numbers = {name: getattr(self, name) for name in ("temperature", "error", "value", "value_error")}
        return {"sizes": [[*self.smaller.sides], [*self.larger.sides]], **numbers}


def scaling_power(name: str, dimensions: int) -> int:
    """Power of L that takes the dimension from an observable: -1 for lengths, d - 2 for the helicity modulus.

    Example:
        >>> [scaling_power(name, 3) for name in ("correlation_length", "helicity_modulus", "binder_cumulant")]
        [-1, 1, 0]
    """
    if name == "correlation_length":
        return -1
    return dimensions - 2 if name.startswith("helicity_modulus") else 0


def crossings(
    sizes: Sequence[Reweighting], name: str = "correlation_length", *, power: int | None = None
) -> list[Crossing]:
    """Crossings of the curves of neighbouring sizes, from the smallest pair to the largest.

    How much they move from pair to pair shows the corrections to scaling: the last one is the best, and is off by a
    part of its distance from the one before.

    Args:
        sizes: one for each size of one shape, each of a file near the transition.
        name: of the observable, such as ``"correlation_length"``, ``"helicity_modulus"``, ``"chirality_binder"``.
        power: of L that the observable is multiplied by; None takes `scaling_power`.

    Raises:
        InputError: fewer than two sizes, lattices of several shapes, curves that do not cross once within the
            temperatures that both sizes have, or too few draws near the crossing.
    """
    for each in sizes:
        if not isinstance(each, Reweighting):
            raise InputError(f"{each!r} is not a reweighting: give mcmc.Reweighting of a file of each size")
    ordered = sorted(sizes, key=lambda each: each.lattice.N)
    shapes = {tuple(side / each.lattice.Lx for side in each.lattice.sides) for each in ordered}
    if len({each.lattice for each in ordered}) < 2 or len({each.lattice.N for each in ordered}) < len(ordered):
        raise InputError("a crossing needs two or more sizes: give one ensemble for each")
    if len(shapes) > 1:
        raise InputError("a crossing needs lattices of one shape, such as cubes of several sides")
    for each in ordered:
        chosen(name, each.model, each.lattice, 2)
    if power is None:
        power = scaling_power(name, ordered[0].lattice.dimensions)
    return [_crossing(a, b, name, power) for a, b in pairwise(ordered)]


def _scaled(of: Reweighting, name: str, power: int, T: float) -> tuple[float, float]:
    """Value and error at a temperature."""
    curve, scale = of.curve(name, T), float(of.lattice.Lx) ** power
    return float(curve.value[0]) * scale, float(curve.error[0]) * scale


def _crossing(smaller: Reweighting, larger: Reweighting, name: str, power: int) -> Crossing:
    from scipy.optimize import brentq

    both = f"{name} of {smaller.lattice} and {larger.lattice}"
    low = max(float(each.temperatures.min()) for each in (smaller, larger))
    high = min(float(each.temperatures.max()) for each in (smaller, larger))
    if low >= high:
        raise InputError(f"{both}: the two have no temperatures in common")

    functions = [(each.function(name), float(each.lattice.Lx) ** power) for each in (smaller, larger)]

    def difference(T: float) -> float:
        first, second = (function(T) * scale for function, scale in functions)
        return second - first

    grid = np.linspace(low, high, POINTS)
    above = np.array([difference(T) for T in grid.tolist()]) > 0
    changes = np.flatnonzero(above[1:] != above[:-1])
    if len(changes) != 1:
        found = f"cross {len(changes)} times" if len(changes) else "do not cross"
        raise InputError(
            f"{both} {found} between T = {low:.5g} and {high:.5g}: look at other temperatures, or draw more"
        )
    T = float(brentq(difference, grid[changes[0]], grid[changes[0] + 1], xtol=1e-7 * high))
    for each in (smaller, larger):
        if each.share(T) < LEAST_SHARE:
            raise InputError(
                f"too few draws of {each.lattice} carry weight at T = {T:.5g}: draw at temperatures nearby"
            )
    step = 0.05 * (grid[1] - grid[0])
    (value, of_smaller), (_, of_larger) = _scaled(smaller, name, power, T), _scaled(larger, name, power, T)
    slopes = [scale * (function(T + step) - function(T - step)) / (2 * step) for function, scale in functions]
    gap = slopes[1] - slopes[0]
    error = math.hypot(of_smaller, of_larger) / abs(gap)
    # The common value is what both lines give: its slopes with the two curves are those of their point of intersection.
    value_error = math.hypot(slopes[1] * of_smaller, slopes[0] * of_larger) / abs(gap)
    return Crossing(smaller.lattice, larger.lattice, T, error, value, value_error)
