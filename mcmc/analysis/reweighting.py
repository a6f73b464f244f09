"""Reweighting in temperature: smooth curves and peaks from draws at one temperature or at many.

All draws are combined by the multistate acceptance ratio (MBAR), which is multiple-histogram reweighting without
histograms; with one temperature it is the method of Ferrenberg and Swendsen. Draws at beta_k of energy E_i get, at any
other beta, the weight

    w_i(beta) = exp(-beta E_i) / sum_k n_k exp(f_k - beta_k E_i),      exp(-f_k) = sum_i w_i(beta_k).

Errors come from a jackknife over blocks of every chain, with the f_k solved anew each time.

References:
    A. M. Ferrenberg, R. H. Swendsen, Phys. Rev. Lett. 63, 1195 (1989), doi:10.1103/PhysRevLett.63.1195.
    M. R. Shirts, J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), arXiv:0801.1426.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcmc.analysis.thermodynamics import OBSERVABLES, Moments, System
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model

LEAST_SHARE = 0.1
"""Effective draws, as a share of those of one temperature, below which a reweighted value is not trusted.

For one Gaussian histogram of width s in energy it is reached at abs(beta - beta_0) s = 1.5.
"""
LEAST_OVERLAP = 10.0
"""Draws that must belong to both sides of any gap between temperatures: then f is known across it to about 0.3."""


def solve(energies: Sequence[np.ndarray], beta: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Dimensionless free energies f_k = -log Z(beta_k), up to a constant that makes the first one zero.

    Args:
        energies: total energies drawn at each beta, one array (n_k,) for each.
        beta: inverse temperatures (K,).
        start: a first guess, (K,); None integrates the mean energy over beta.

    Raises:
        InputError: the energies at two neighbouring temperatures do not overlap.
    """
    counts = np.array([len(values) for values in energies])
    E = np.concatenate([np.asarray(values, np.float64) for values in energies])
    order = np.argsort(beta)
    if start is None:
        means = np.array([np.mean(values) for values in energies])[order]
        areas = np.diff(beta[order]) * (means[1:] + means[:-1]) / 2
        start = np.empty(len(beta))
        start[order] = np.concatenate([[0.0], np.cumsum(areas)])
    f = start - start[0]
    if len(beta) == 1:
        return f
    for _ in range(200):
        expected, covariance = np.zeros(len(beta)), np.zeros((len(beta), len(beta)))
        for piece in np.array_split(E, 1 + len(E) // 20000):
            log_p = np.log(counts) + f - np.multiply.outer(piece, beta)
            p = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))
            expected += p.sum(0)
            covariance += p.T @ p
        missing = counts - expected
        if abs(missing).max() < 1e-10 * len(E):
            _check_overlap(covariance[np.ix_(order, order)], beta[order])
            return f
        # Newton where it is near, else the plain iteration, which always approaches.
        if abs(missing / counts).max() < 0.3:
            hessian = np.diag(expected) - covariance
            f = f + np.append(0.0, np.linalg.lstsq(hessian[1:, 1:], missing[1:], rcond=1e-13)[0])
        else:
            f = f + np.log(counts / np.maximum(expected, 1e-300))
        f = f - f[0]
    raise InputError("reweighting does not converge: energies at neighbouring temperatures hardly overlap")


def _check_overlap(covariance: np.ndarray, beta: np.ndarray) -> None:
    """Refuse a gap that no draws bridge; ``covariance[k, l]`` sums over draws the odds of k times those of l."""
    for k in range(1, len(beta)):
        if covariance[:k, k:].sum() < LEAST_OVERLAP:
            raise InputError(
                f"energies at T = {1 / beta[k]:.4g} and {1 / beta[k - 1]:.4g} do not overlap: draw at temperatures in "
                "between, or reweight each side by itself"
            )


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


class Reweighting:
    """Draws at one or many temperatures, made to speak about the temperatures between.

    Args:
        moments: what `mcmc.analysis.thermodynamics.measure` returns, (chains, draws), for each temperature.
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: in units of J / k_B, (T,), all different.
        blocks: about how many jackknife blocks; blocks must be much longer than the autocorrelation time.

    Raises:
        InputError: numbers of temperatures and moments differ, too few draws, or histograms that do not overlap.
    """

    def __init__(
        self,
        moments: Sequence[Moments],
        model: Model,
        lattice: Lattice,
        temperatures: Sequence[float] | np.ndarray,
        *,
        blocks: int = 32,
    ):
        self.model, self.lattice = model, lattice
        self.temperatures = np.asarray(temperatures, np.float64)
        if len(moments) != len(self.temperatures) or len(set(self.temperatures.tolist())) != len(moments):
            raise InputError(
                f"{len(moments)} sets of moments do not fit {len(self.temperatures)} different temperatures"
            )
        beta = 1 / self.temperatures
        C, n = moments[0]["energy"].shape
        per_chain = max(1, -(-blocks // C))
        if C * per_chain < 2 or n < per_chain:
            raise InputError(f"{C} chains of {n} draws are too few for {blocks} blocks: draw more")
        # Block number of every draw, the same for all temperatures: neighbours of a tempering run are correlated.
        block = np.add.outer(np.arange(C) * per_chain, np.arange(n) * per_chain // n).ravel()
        self._flat = [{name: np.asarray(series).ravel() for name, series in each.items()} for each in moments]
        self._energies = [lattice.N * each["energy"] for each in self._flat]
        self._samples: list[tuple[np.ndarray, np.ndarray]] = []
        f: np.ndarray | None = None
        for left_out in (None, *range(C * per_chain)):
            kept = np.ones(C * n, bool) if left_out is None else block != left_out
            energies = [values[kept] for values in self._energies]
            f = solve(energies, beta, f)
            E = np.concatenate(energies)
            log_mixture = np.empty(len(E))
            for part in np.array_split(np.arange(len(E)), 1 + len(E) // 20000):
                terms = np.log(kept.sum()) + f - np.multiply.outer(E[part], beta)
                log_mixture[part] = np.logaddexp.reduce(terms, axis=1)
            self._samples.append((np.tile(kept, len(moments)), log_mixture))
            if left_out is None:
                self.free_energies = f
        self._E = np.concatenate(self._energies)

    def _weights(self, sample: int, beta: float) -> tuple[np.ndarray, np.ndarray]:
        kept, log_mixture = self._samples[sample]
        log_w = -beta * self._E[kept] - log_mixture
        w = np.exp(log_w - log_w.max())
        return kept, w / w.sum()

    def _values(self, name: str) -> Callable[[int, float], float]:
        """The observable as a function of the jackknife sample (0 leaves nothing out) and the temperature."""
        if name not in OBSERVABLES:
            raise InputError(f"unknown observable {name!r}: choose one of {', '.join(OBSERVABLES)}")
        observable = OBSERVABLES[name]
        series = [np.concatenate(parts) for parts in zip(*map(observable.series, self._flat), strict=True)]

        def value(sample: int, T: float) -> float:
            kept, w = self._weights(sample, 1 / T)
            means = [float(w @ values[kept]) for values in series]
            return observable.function(System(self.model, self.lattice, T), *means) if observable.function else means[0]

        return value

    def share(self, temperature: float) -> float:
        """Effective draws (Kish) at a temperature, in units of the draws at one of the drawn temperatures."""
        _, w = self._weights(0, 1 / temperature)
        return float(1 / (w @ w) / len(w) * len(self.temperatures))

    def curve(self, name: str, temperatures: Any) -> Curve:
        """An observable at any temperatures.

        Args:
            name: one of `mcmc.analysis.thermodynamics.OBSERVABLES`.
            temperatures: in units of J / k_B, (n,). Look at ``trusted`` of the result before believing them.

        Raises:
            InputError: unknown observable, or a temperature that is not positive.
        """
        grid = np.atleast_1d(np.asarray(temperatures, np.float64))
        if not (np.isfinite(grid).all() and (grid > 0).all()):
            raise InputError(f"temperatures {temperatures!r} must be positive finite numbers")
        value = self._values(name)
        table = np.array([[value(sample, T) for T in grid] for sample in range(len(self._samples))])
        return Curve(grid, table[0], _jackknife_error(table[1:]), np.array([self.share(T) for T in grid]))

    def peak(self, name: str, *, between: tuple[float, float] | None = None) -> Peak:
        """The temperature at which an observable is largest.

        Args:
            name: one of `mcmc.analysis.thermodynamics.OBSERVABLES`.
            between: where to look; None takes the whole range of the drawn temperatures.

        Raises:
            InputError: the maximum lies at the end of the range, or where too few draws carry weight.
        """
        from scipy.optimize import minimize_scalar

        low, high = between or (float(self.temperatures.min()), float(self.temperatures.max()))
        value = self._values(name)
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
        for sample in range(len(self._samples)):
            best = minimize_scalar(lambda T, s=sample: -value(s, T), bounds=wide, method="bounded")
            found.append((best.x, -best.fun))
        table = np.array(found)
        (T, height), (T_error, height_error) = table[0].tolist(), _jackknife_error(table[1:]).tolist()
        return Peak(T, T_error, height, height_error)


def _jackknife_error(without: np.ndarray) -> np.ndarray:
    """Standard deviation from the values with one block left out, (blocks, ...) -> (...)."""
    return np.sqrt((len(without) - 1) * without.var(0))
