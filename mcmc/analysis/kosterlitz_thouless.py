"""The Kosterlitz-Thouless transition temperature from the helicity modulus of several sizes.

At the transition the helicity modulus of an L x L torus follows

    Y(L) / T = 0.63650818 + 0.31889945 / (u + ln(u) / 2),        u = ln L + C,

with universal numbers (the first is 2 / pi less what winding states take) and one constant C of the model; above and
below it no C serves all sizes. The logarithm is why Y(L) = 2 T / pi alone, without it, lands several per cent too high;
its own logarithm still moves the result by two parts in a thousand for L up to 64.

References:
    M. Hasenbusch, J. Phys. A 38, 5869 (2005), cond-mat/0502556: the universal numbers.
    H. Weber, P. Minnhagen, Phys. Rev. B 37, 5986 (1988), doi:10.1103/PhysRevB.37.5986: the method.
    Y.-D. Hsieh, Y.-J. Kao, A. W. Sandvik, J. Stat. Mech. (2013) P09001, arXiv:1302.2900: the second logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcmc.analysis.observable_registry import OBSERVABLES
from mcmc.analysis.statistics import format_uncertainty
from mcmc.analysis.table import Table
from mcmc.errors import InputError
from mcmc.runtime.text import counted

JUMP = 0.63650818
"""Y / T at the transition of an infinite square torus (Hasenbusch, eq. 20)."""
APPROACH = 0.31889945
"""Its leading correction, times ln L (Hasenbusch, eq. 20)."""


class Transition(NamedTuple):
    """Outcome of `transition`."""

    temperature: float
    """In units of J / k_B."""
    error: float
    """One standard deviation, statistical. What the formula lacks comes on top: fit again without the smallest size
    to see them."""
    constant: float
    """C of the model."""
    constant_error: float
    chi_square: float
    freedom: int
    """Degrees of freedom; chi_square should be about as large."""

    def __str__(self) -> str:
        """One line."""
        return (
            f"Kosterlitz-Thouless transition at T = {format_uncertainty(self.temperature, self.error)}, "
            f"C = {format_uncertainty(self.constant, self.constant_error)}, "
            f"chi^2 = {self.chi_square:.1f} for {self.freedom} degrees of freedom"
        )


class _Size(NamedTuple):
    """What one lattice size brings to the fit; arrays over its temperatures."""

    log_L: float
    T: np.ndarray
    Y: np.ndarray
    error: np.ndarray

    @property
    def degree(self) -> int:
        """Degree of the polynomial in T that this many temperatures allow."""
        return 2 if len(self.T) >= 4 else 1


def _require_helicity(table: Table) -> None:
    """Refuse a table without a helicity modulus: the model has none, or it was not measured."""
    if "helicity_modulus" in table.observables:
        return
    if reason := OBSERVABLES["helicity_modulus"].obstacle(table.model, table.lattice, table.chains):
        raise InputError(
            f"a Kosterlitz-Thouless transition is read from the helicity modulus, which makes no sense for "
            f"{table.model}: {reason}; look where curves of several sizes cross instead, such as the binder_cumulant"
        )
    raise InputError("the table has no helicity_modulus, from which the transition is read: observe it too")


def crossing(table: Table) -> float:
    """Where the helicity modulus of one size crosses 2 T / pi, by linear interpolation: above the transition.

    Raises:
        InputError: it does not cross within the table's temperatures, or the table has none.
    """
    _require_helicity(table)
    order = np.argsort(table.temperatures)
    T = table.temperatures[order]
    excess = table["helicity_modulus"].values[order] - 2 * T / math.pi
    falls = np.nonzero((excess[:-1] > 0) & (excess[1:] <= 0))[0]
    if not len(falls):
        raise InputError(
            f"the helicity modulus does not cross 2 T / pi between T = {T[0]:.4g} and {T[-1]:.4g}: draw at others"
        )
    k = falls[0]
    return float(T[k] + (T[k + 1] - T[k]) * excess[k] / (excess[k] - excess[k + 1]))


def approach(log_L: float, C: float, *, subleading: bool = True) -> float:
    """Y / T at the transition, given ln L and the model's constant C; ``subleading`` False leaves ln(u) / 2 out."""
    u = max(log_L + C, 0.1)  # a fit may try any C
    return JUMP + APPROACH / (u + (math.log(u) / 2 if subleading and u > 1 else 0))


def transition(tables: Sequence[Table], *, window: float = 0.06, subleading: bool = True) -> Transition:
    """Fit the transition temperature to square lattices of several sizes.

    Near the transition T_0 every size has its own smooth dependence on temperature, so the fit is

        Y(L, T) / T = approach(ln L, C) + a_L (T - T_0) + b_L (T - T_0)^2,

    without b_L for sizes with fewer than four temperatures.

    Args:
        tables: one for each size, of one model, at temperatures around the transition.
        window: temperatures farther than this share of T_0 are left out.
        subleading: keep the logarithm of the logarithm; see `approach`.

    Raises:
        InputError: fewer than two sizes, lattices that are not square, different models, no helicity modulus, or
            too few temperatures or draws.
    """
    from scipy.optimize import least_squares

    for table in tables:
        if not isinstance(table, Table):
            raise InputError(f"the transition is fitted to tables, such as observe makes; got {type(table).__name__}")
        _require_helicity(table)
    if len({table.lattice for table in tables}) < max(2, len(tables)):
        raise InputError("the transition needs ensembles of at least two sizes, each size once")
    if (
        any(table.lattice.dimensions != 2 or table.lattice.Lx != table.lattice.Ly for table in tables)
        or len({table.model for table in tables}) > 1
    ):
        raise InputError("the transition needs square lattices of one model with the same couplings")
    largest = max(tables, key=lambda table: table.lattice.N)
    # With any C of order one: good enough to tell which temperatures are near.
    expected = approach(math.log(largest.lattice.Lx), 0.5)
    ratio = largest["helicity_modulus"].values / largest.temperatures
    start = float(largest.temperatures[np.argmin(abs(ratio - expected))])
    data: list[_Size] = []
    for table in tables:
        near = abs(table.temperatures - start) < window * start
        values, errors = table["helicity_modulus"].values, table["helicity_modulus"].errors
        if not (np.isfinite(errors) & (errors > 0))[near].all():
            raise InputError(
                f"L = {table.lattice.Lx} has helicity moduli without errors near T = {start:.4g}: draw more"
            )
        if near.sum() < 2:
            raise InputError(
                f"L = {table.lattice.Lx} has {counted(int(near.sum()), 'temperature')} within {window:.0%} of "
                f"T = {start:.4g}: "
                "draw at two or more"
            )
        data.append(_Size(math.log(table.lattice.Lx), table.temperatures[near], values[near], errors[near]))

    def residuals(parameters: np.ndarray) -> np.ndarray:
        T0, C, *rest = parameters.tolist()
        parts = []
        for size in data:
            slopes, rest = rest[: size.degree], rest[size.degree :]
            smooth = sum(slope * (size.T - T0) ** (power + 1) for power, slope in enumerate(slopes))
            parts.append(
                (size.Y / size.T - approach(size.log_L, C, subleading=subleading) - smooth) * size.T / size.error
            )
        return np.concatenate(parts)

    slopes = [slope for size in data for slope in (-2.0, 0.0)[: size.degree]]
    fit = least_squares(residuals, [start, 0.5, *slopes], x_scale=[0.01, 0.3, *(1.0 for _ in slopes)])
    jacobian = np.asarray(fit.jac)
    covariance = np.linalg.pinv(jacobian.T @ jacobian)
    errors = np.sqrt(np.diag(covariance))
    return Transition(
        float(fit.x[0]),
        float(errors[0]),
        float(fit.x[1]),
        float(errors[1]),
        float(2 * fit.cost),
        len(fit.fun) - len(fit.x),
    )
