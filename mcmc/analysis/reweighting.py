"""Reweighting in temperature: smooth curves and peaks from draws at one temperature or at many.

All draws are combined by the multistate acceptance ratio (MBAR), which is multiple-histogram reweighting without
histograms; with one temperature it is the method of Ferrenberg and Swendsen. Draws at beta_k of energy E_i get, at any
other beta, the weight

    w_i(beta) = exp(-beta E_i) / sum_k n_k exp(f_k - beta_k E_i),      exp(-f_k) = sum_i w_i(beta_k),

see `mcmc.analysis.mbar`. Errors of observables come from a jackknife over blocks of every chain, errors of free
energies from the Gamma method.

References:
    A. M. Ferrenberg, R. H. Swendsen, Phys. Rev. Lett. 63, 1195 (1989), doi:10.1103/PhysRevLett.63.1195.
    M. R. Shirts, J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), arXiv:0801.1426.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from mcmc.analysis.mbar import Linearised, Mbar
from mcmc.analysis.observable_registry import Moments, System, chosen
from mcmc.analysis.statistics import Estimate, jackknife_error
from mcmc.analysis.thermodynamics import read_moments
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.text import grid_in_words
from mcmc.runtime.threads import available_threads
from mcmc.storage.memory_ensemble import opened
from mcmc.storage.selection import position_of

if TYPE_CHECKING:
    from mcmc.storage.memory_ensemble import ReadableEnsemble

LEAST_SHARE = 0.1
"""Effective draws, as a share of those of one temperature, below which a reweighted value is not trusted.

For one Gaussian histogram of width s in energy it is reached at abs(beta - beta_0) s = 1.5.
"""


class Curve(NamedTuple):
    """An observable at temperatures between those drawn; all arrays (n,)."""

    temperature: np.ndarray
    """In units of J / k_B."""
    value: np.ndarray
    error: np.ndarray
    """One standard deviation, by jackknife."""
    share: np.ndarray
    """Effective draws (Kish) in units of the draws at one temperature."""

    @property
    def trusted(self) -> np.ndarray:
        """Where enough draws carry the weight, bool."""
        return self.share >= LEAST_SHARE


class Peak(NamedTuple):
    """Where an observable is largest."""

    temperature: float
    temperature_error: float
    value: float
    value_error: float


class FreeEnergyDifferences(NamedTuple):
    """Differences of dimensionless free energies, ln Z(T_row) - ln Z(T_column), between all temperatures drawn."""

    temperatures: np.ndarray
    """In units of J / k_B, (T,)."""
    value: np.ndarray
    """(T, T)."""
    error: np.ndarray
    """One standard deviation, (T, T)."""


class Reweighting:
    """Draws at one or many temperatures, made to speak about the temperatures between.

    The draws of a file are streamed over; what is measured stays in memory.

    Args:
        ensemble: open for reading, or a path.
        temperatures: some of the ensemble's, in units of J / k_B; None takes all.
        blocks: about how many jackknife blocks; blocks must be much longer than the autocorrelation time.

    Raises:
        InputError: the ensemble has no such temperature, too few draws, or histograms that do not overlap.

    Example:
        >>> import mcmc
        >>> ensemble = mcmc.generate(mcmc.XY(), size=4, temperatures=[0.9, 1.0], draws=50, thermalise=50)
        >>> curve = mcmc.Reweighting(ensemble).curve("specific_heat", [0.92, 0.95])
        >>> curve.value.shape, bool(curve.trusted.all())
        ((2,), True)
    """

    def __init__(
        self,
        ensemble: ReadableEnsemble,
        temperatures: float | Sequence[float] | np.ndarray | None = None,
        *,
        blocks: int = 32,
    ):
        with opened(ensemble) as source:
            held = source.temperatures
            asked = held if temperatures is None else as_temperatures(temperatures, ordered=False)
            rows = [position_of(T, held) for T in asked]
            moments = [read_moments(source, t, threads=available_threads()) for t in rows]
            self._combine(moments, source.model, source.lattice, held[rows], blocks)

    @classmethod
    def from_moments(
        cls,
        moments: Sequence[Moments],
        model: Model,
        lattice: Lattice,
        temperatures: Sequence[float] | np.ndarray,
        *,
        blocks: int = 32,
    ) -> Self:
        """Reweight what was measured before, without an ensemble.

        Args:
            moments: what `mcmc.analysis.thermodynamics.measure` returns, (chains, draws), for each temperature.
            model: the spin model.
            lattice: the periodic rectangle.
            temperatures: in units of J / k_B, (T,), all different.
            blocks: about how many jackknife blocks.

        Raises:
            InputError: numbers of temperatures and moments differ, too few draws, or histograms that do not overlap.
        """
        reweighting = cls.__new__(cls)
        reweighting._combine(moments, model, lattice, np.asarray(temperatures, np.float64), blocks)
        return reweighting

    def _combine(
        self, moments: Sequence[Moments], model: Model, lattice: Lattice, temperatures: np.ndarray, blocks: int
    ) -> None:
        self.model, self.lattice, self.temperatures = model, lattice, temperatures
        if len(moments) != len(temperatures) or len(set(temperatures.tolist())) != len(moments):
            raise InputError(f"{len(moments)} sets of moments do not fit {len(temperatures)} different temperatures")
        beta = 1 / temperatures
        C, n = moments[0]["energy"].shape
        per_chain = max(1, -(-blocks // C))
        if C * per_chain < 2 or n < per_chain:
            raise InputError(f"{C} chains of {n} draws are too few for {blocks} blocks: draw more")
        # Block number of every draw, the same for all temperatures: neighbours of a tempering run are correlated.
        block = np.add.outer(np.arange(C) * per_chain, np.arange(n) * per_chain // n)
        self._moments = moments
        self._mbar = Mbar(np.stack([lattice.N * np.asarray(each["energy"]) for each in moments]), beta)
        self.free_energies = self._mbar.free_energies
        self._E, self._log_mixture = self._mbar.energies.ravel(), self._mbar.log_mixture().ravel()
        # Row 0 leaves nothing out, row b the block b - 1.
        self._factors = np.concatenate([np.ones((1, len(self._E))), self._mbar.leave_out(block)])

    def __repr__(self) -> str:
        """Model, size, and the temperatures and draws behind it."""
        T = self.temperatures
        return f"Reweighting of {self.model} on {self.lattice} sites\n  {self._E.size:,} draws at {grid_in_words(T)}"

    def _weights(self, temperature: float) -> np.ndarray:
        """Weights of all draws at a temperature, up to a factor."""
        log_w = -self._E / temperature - self._log_mixture
        return np.exp(log_w - log_w.max())

    def _values(self, name: str) -> Callable[[slice, float], np.ndarray]:
        """The observable as a function of the jackknife samples (0 leaves nothing out) and the temperature."""
        [observable] = chosen(name, self.model, self.lattice, len(self._moments[0]["energy"])).values()
        parts = zip(*observable.series_of(self._moments), strict=True)
        series = np.stack([np.concatenate([np.ravel(part) for part in each]) for each in parts])
        if series.shape[1] != len(self._E):
            raise InputError(f"{name} is measured on pairs of chains, which have no one energy to reweight by")

        def values(samples: slice, T: float) -> np.ndarray:
            w, factors = self._weights(T), self._factors[samples]
            means = (w * series) @ factors.T / (factors @ w)
            if not observable.function:
                return means[0]
            return np.array([observable.function(System(self.model, self.lattice, T), *each) for each in means.T])

        return values

    def share(self, temperature: float) -> float:
        """Effective draws (Kish) at a temperature, in units of the draws at one of the drawn temperatures."""
        w = self._weights(temperature)
        return float(w.sum() ** 2 / (w @ w) / len(w) * len(self.temperatures))

    def _free_energy(self, temperature: float) -> Linearised:
        drawn = np.flatnonzero(self.temperatures == temperature)
        return self._mbar.at_drawn()[drawn[0]] if drawn.size else self._mbar.at(1 / temperature)

    def free_energy_difference(self, first: float, second: float) -> Estimate:
        """ln Z(first) - ln Z(second), of the whole lattice.

        The error is that of the multistate acceptance ratio to first order, with the autocorrelation of the draws
        (`mcmc.analysis.mbar`).

        Args:
            first, second: temperatures in units of J / k_B, drawn or not.

        Raises:
            InputError: a temperature that is not positive, or at which too few draws carry weight.

        Example:
            One oscillator, for which ln Z(2) - ln Z(1) = ln(2) / 2:

            >>> from mcmc import XY, Lattice
            >>> x = np.random.default_rng(0).normal(size=(2, 4, 1000))
            >>> moments = [{"energy": T * each**2 / 2 / 4} for T, each in zip((1.0, 2.0), x)]
            >>> pair = Reweighting.from_moments(moments, XY(), Lattice(2, 2), (1.0, 2.0))
            >>> print(pair.free_energy_difference(2.0, 1.0))
            0.3498(52)
        """
        for T in (first, second):
            if not (np.isfinite(T) and T > 0):
                raise InputError(f"temperature {T!r} must be a positive finite number")
            if self.share(T) < LEAST_SHARE:
                raise InputError(f"too few draws carry weight at T = {T:.4g}: draw at a temperature nearby")
        return self._free_energy(second).minus(self._free_energy(first))

    def free_energy_differences(self) -> FreeEnergyDifferences:
        """`free_energy_difference` between all temperatures drawn, by row and column."""
        found = self._mbar.at_drawn()
        pairs = [[second.minus(first) if first is not second else None for second in found] for first in found]
        error = np.array([[pair.error if pair else 0.0 for pair in row] for row in pairs])
        return FreeEnergyDifferences(
            self.temperatures, np.subtract.outer(-self.free_energies, -self.free_energies), error
        )

    def curve(self, name: str, temperatures: Any) -> Curve:
        """An observable at any temperatures.

        Args:
            name: of the observable, see `mcmc.analysis.observable_registry.observables_of`.
            temperatures: in units of J / k_B, (n,). Look at ``trusted`` of the result before believing them.

        Raises:
            InputError: unknown observable, or a temperature that is not positive.
        """
        grid = np.atleast_1d(np.asarray(temperatures, np.float64))
        if not (np.isfinite(grid).all() and (grid > 0).all()):
            raise InputError(f"temperatures {temperatures!r} must be positive finite numbers")
        values = self._values(name)
        table = np.array([values(slice(None), T) for T in grid]).T
        return Curve(grid, table[0], jackknife_error(table[1:]), np.array([self.share(T) for T in grid]))

    def function(self, name: str) -> Callable[[float], float]:
        """An observable as a function of temperature, without errors: for finding zeros and crossings.

        Args:
            name: of the observable, see `mcmc.analysis.observable_registry.observables_of`.

        Raises:
            InputError: unknown observable.
        """
        values = self._values(name)
        return lambda temperature: float(values(slice(0, 1), temperature)[0])

    def peak(self, name: str, *, between: tuple[float, float] | None = None) -> Peak:
        """The temperature at which an observable is largest.

        Args:
            name: of the observable, see `mcmc.analysis.observable_registry.observables_of`.
            between: where to look; None takes the whole range of the drawn temperatures.

        Raises:
            InputError: the maximum lies at the end of the range, or where too few draws carry weight.
        """
        from scipy.optimize import minimize_scalar

        low, high = between or (float(self.temperatures.min()), float(self.temperatures.max()))
        values = self._values(name)

        def value(sample: int, T: float) -> float:
            return float(values(slice(sample, sample + 1), T)[0])

        coarse = np.linspace(low, high, 41)
        top = int(np.argmax([value(0, T) for T in coarse]))
        if top in (0, len(coarse) - 1):
            raise InputError(f"{name} is largest at T = {coarse[top]:.4g}, the end of the range: look in a wider one")
        bounds = (float(coarse[top - 1]), float(coarse[top + 1]))
        if self.share(float(coarse[top])) < LEAST_SHARE:
            raise InputError(f"too few draws carry weight near T = {coarse[top]:.4g}: draw at a temperature nearby")
        # A jackknife sample may peak a little outside the bracket of all draws: give it three times the width.
        wide = (max(low, 2 * bounds[0] - bounds[1]), min(high, 2 * bounds[1] - bounds[0]))
        found = []
        for sample in range(len(self._factors)):
            best = minimize_scalar(
                lambda T, s=sample: -value(s, T),
                bounds=wide,
                method="bounded",
                options={"xatol": 1e-4 * (wide[1] - wide[0])},
            )
            found.append((best.x, -best.fun))
        table = np.array(found)
        (T, height), (T_error, height_error) = table[0].tolist(), jackknife_error(table[1:]).tolist()
        return Peak(T, T_error, height, height_error)
