"""The multistate acceptance ratio (MBAR): free energies from draws at several temperatures.

Draws at beta_k, n at each, come from a mixture. A draw of total energy E belongs to beta_k with the odds

    p_k(E) = n exp(f_k - beta_k E) / sum_l n exp(f_l - beta_l E),

and the dimensionless free energies f_k = -ln Z(beta_k) are those for which the odds of all draws add up to n for every
k. They are known up to a common constant.

Errors follow from the same equations to first order (the infinitesimal jackknife): a draw shifts f by -H^-1 p(E), with
H_kl = sum (delta_kl p_k - p_k p_l) over all draws. The series of these shifts goes through the Gamma method, so that
the errors account for autocorrelation, and for correlations between temperatures that exchange their configurations.
For independent draws it is the asymptotic covariance of Shirts and Chodera.

References:
    M. R. Shirts, J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), arXiv:0801.1426.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mcmc.analysis.statistics import Estimate, estimate
from mcmc.errors import InputError

LEAST_OVERLAP = 10.0
"""Draws that must belong to both sides of any gap between temperatures: then f is known across it to about 0.3."""
_PIECE = 20000
"""Draws whose odds are held in memory at a time."""


def solve(energies: Sequence[np.ndarray], beta: np.ndarray) -> np.ndarray:
    """Dimensionless free energies f_k = -ln Z(beta_k), up to a constant that makes the first one zero.

    Args:
        energies: total energies drawn at each beta, one array (n_k,) for each.
        beta: inverse temperatures (K,).

    Raises:
        InputError: the energies at two neighbouring temperatures do not overlap.

    Example:
        An oscillator, Z(beta) ~ beta^(-1/2):

        >>> rng = np.random.default_rng(0)
        >>> f = solve([rng.normal(size=5000) ** 2 / (2 * beta) for beta in (1.0, 2.0)], np.array([1.0, 2.0]))
        >>> abs(f[1] - np.log(2) / 2) < 0.02
        np.True_
    """
    counts = np.array([len(values) for values in energies])
    E = np.concatenate([np.asarray(values, np.float64) for values in energies])
    order = np.argsort(beta)
    # A first guess integrates the mean energy over beta.
    means = np.array([np.mean(values) for values in energies])[order]
    f = np.empty(len(beta))
    f[order] = np.append(0.0, np.cumsum(np.diff(beta[order]) * (means[1:] + means[:-1]) / 2))
    f -= f[0]
    if len(beta) == 1:
        return f
    for _ in range(200):
        expected, products = np.zeros(len(beta)), np.zeros((len(beta), len(beta)))
        for piece in np.array_split(E, 1 + len(E) // _PIECE):
            p, _ = _odds(piece, beta, f + np.log(counts))
            expected += p.sum(0)
            products += p.T @ p
        missing = counts - expected
        if abs(missing).max() < 1e-10 * len(E):
            _check_overlap(products[np.ix_(order, order)], beta[order])
            return f
        # Newton where it is near, else the plain iteration, which always approaches.
        if abs(missing / counts).max() < 0.3:
            f = f + _newton_step(expected, products, missing)
        else:
            f = f + np.log(counts / np.maximum(expected, 1e-300))
        f = f - f[0]
    raise InputError("reweighting does not converge: energies at neighbouring temperatures hardly overlap")


def _odds(E: np.ndarray, beta: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Odds (n, K) of energies (n,), and the logarithm of the mixture (n,); ``f`` holds ln n_k already."""
    p = f - np.multiply.outer(E, beta)
    top = p.max(1)
    p -= top[:, None]
    np.exp(p, out=p)
    total = p.sum(1)
    p /= total[:, None]
    return p, top + np.log(total)


def _newton_step(expected: np.ndarray, products: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Change of f, the first one held, that brings ``missing`` draws to the expected ones of each temperature."""
    hessian = np.diag(expected) - products
    return np.append(0.0, np.linalg.lstsq(hessian[1:, 1:], missing[1:], rcond=1e-13)[0])


def _check_overlap(products: np.ndarray, beta: np.ndarray) -> None:
    """Refuse a gap that no draws bridge; ``products[k, l]`` sums over draws the odds of k times those of l."""
    for k in range(1, len(beta)):
        if products[:k, k:].sum() < LEAST_OVERLAP:
            raise InputError(
                f"energies at T = {1 / beta[k]:.4g} and {1 / beta[k - 1]:.4g} do not overlap: draw at temperatures in "
                "between, or reweight each side by itself"
            )


class Linearised(NamedTuple):
    """An estimate with what its error is made of."""

    value: float
    shifts: np.ndarray
    """What every draw, of all temperatures together, contributes to first order: (chains, draws); the mean is 0."""

    def estimate(self) -> Estimate:
        """Value and error by the Gamma method."""
        return estimate(self.value + self.shifts)

    def minus(self, other: Linearised) -> Estimate:
        """The difference to another estimate from the same draws."""
        return estimate(self.value - other.value + self.shifts - other.shifts)


class Mbar:
    """Free energies of draws at several temperatures.

    Args:
        energies: total energies, (K, chains, draws). Draw number t of chain c at one temperature may be correlated with
            draw number t of chain c at another, as in parallel tempering; different chains are independent.
        beta: inverse temperatures (K,), all different.

    Attributes:
        reference: mean energy of all draws.
        energies: relative to it, (K, chains, draws).
        free_energies: -ln Z(beta_k) + ln Z(beta_0), (K,).

    Raises:
        InputError: shapes that do not fit, or the energies at two neighbouring temperatures do not overlap.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> beta = np.array([1.0, 2.0])
        >>> print(Mbar(rng.normal(size=(2, 4, 5000)) ** 2 / (2 * beta[:, None, None]), beta).difference(0, 1))
        0.3464(23)
    """

    def __init__(self, energies: np.ndarray, beta: np.ndarray):
        self.energies, self.beta = np.asarray(energies, np.float64), np.asarray(beta, np.float64)
        if self.energies.ndim != 3 or len(self.energies) != len(self.beta):
            raise InputError(
                f"energies of shape {self.energies.shape} are not ({len(self.beta)} temperatures, chains, draws)"
            )
        K, C, n = self.energies.shape
        self.draws = C * n
        # Where it is cold beta E is huge, and all that matters is a small part of it: the deviation from the mean.
        self.reference = float(self.energies.mean())
        self.energies = self.energies - self.reference
        self._relative = solve(list(self.energies.reshape(K, -1)), self.beta)
        self.free_energies = self._relative + (self.beta - self.beta[0]) * self.reference
        expected, products = np.zeros(K), np.zeros((K, K))
        for _, p, _ in self._pieces():
            expected += p.sum(0)
            products += p.T @ p
        hessian = np.diag(expected) - products
        self._inverse = np.zeros((K, K))
        self._inverse[1:, 1:] = np.linalg.pinv(hessian[1:, 1:], rcond=1e-13, hermitian=True)

    def _pieces(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Which draws of a temperature, their odds (m, K), and the logarithm of the mixture (m,)."""
        f = self._relative + np.log(self.draws)
        for E in self.energies.reshape(len(self.beta), -1):
            for start in range(0, len(E), _PIECE):
                part = slice(start, start + _PIECE)
                yield (part, *_odds(E[part], self.beta, f))

    def log_mixture(self) -> np.ndarray:
        """ln sum_k n exp(f_k - beta_k E) of every draw, (K, chains, draws), with E and f relative to `reference`.

        A draw has the weight exp(-beta E - log_mixture) at any beta, with the E of `energies`; the weights add up to
        exp((beta - beta_0) reference) Z(beta) / Z(beta_0).
        """
        return np.concatenate([log_mixture for _, _, log_mixture in self._pieces()]).reshape(self.energies.shape)

    def at_drawn(self) -> list[Linearised]:
        """Free energies -ln Z at all temperatures that were drawn, relative to the first."""
        K, C, n = self.energies.shape
        shifts = np.zeros((C * n, K))
        for part, p, _ in self._pieces():
            shifts[part] -= p @ self._inverse
        shifts -= shifts.mean(0)
        return [
            Linearised(float(f), self.draws * each.reshape(C, n))
            for f, each in zip(self.free_energies, shifts.T, strict=True)
        ]

    def at(self, beta: float) -> Linearised:
        """The free energy at any inverse temperature; worth its error only where draws carry weight."""
        w, log_total = self._weights(beta)
        return Linearised((beta - self.beta[0]) * self.reference - log_total, -self._shifts(w))

    def mean(self, beta: float, values: np.ndarray) -> Linearised:
        """The mean of an observable at any inverse temperature; worth its error only where draws carry weight.

        Args:
            beta: inverse temperature.
            values: of the observable, (K, chains, draws).
        """
        w, _ = self._weights(beta)
        value = float((w * values).sum())
        return Linearised(value, self._shifts(w * (values - value)))

    def _weights(self, beta: float) -> tuple[np.ndarray, float]:
        """Weights (K, chains, draws) that add up to 1, and the logarithm of their sum before."""
        log_w = -beta * self.energies - self.log_mixture()
        top = float(log_w.max())
        w = np.exp(log_w - top)
        total = float(w.sum())
        return w / total, top + float(np.log(total))

    def _shifts(self, terms: np.ndarray) -> np.ndarray:
        """What every draw contributes to a sum of terms that are proportional to its weight, (chains, draws).

        Besides its own term it shifts the free energies in the mixture, and so the weights of all draws.
        """
        K, C, n = self.energies.shape
        flat = terms.ravel()
        response, position = np.zeros(K), 0
        for _, p, _ in self._pieces():
            response += flat[position : position + len(p)] @ p
            position += len(p)
        shifts = terms.reshape(K, -1).sum(0)
        for part, p, _ in self._pieces():
            shifts[part] += p @ (self._inverse @ response)
        return self.draws * (shifts - shifts.mean()).reshape(C, n)

    def difference(self, first: int, second: int) -> Estimate:
        """f_second - f_first = ln Z(beta_first) - ln Z(beta_second) of two of the temperatures, by their numbers."""
        found = self.at_drawn()
        return found[second].minus(found[first])

    def leave_out(self, block: np.ndarray) -> np.ndarray:
        """Factors of every draw's weight, at any temperature, once one block of draws is left out.

        Free energies without the block are one Newton step from those of all draws.

        Args:
            block: number of the block of every draw of a temperature, (chains, draws), the same at all temperatures.

        Returns:
            (blocks, K * chains * draws), 0 for the draws of the block.
        """
        K, label = len(self.beta), np.ravel(block)
        B = int(label.max()) + 1
        expected, products = np.zeros((B, K)), np.zeros((B, K, K))
        for part, p, _ in self._pieces():
            for b in np.unique(label[part]):
                mine = p[label[part] == b]
                expected[b] += mine.sum(0)
                products[b] += mine.T @ mine
        kept = self.draws - np.bincount(label, minlength=B)
        rest, square = expected.sum(0) - expected, products.sum(0) - products
        change = np.array([_newton_step(rest[b], square[b], kept[b] - rest[b]) for b in range(B)])
        # Each temperature's part in the mixture, in units of its part before.
        mixture = np.exp(change) * kept[:, None] / self.draws
        factors = np.empty((B, K * self.draws))
        position = 0
        for part, p, _ in self._pieces():
            factors[:, position : position + len(p)] = (label[part] != np.arange(B)[:, None]) / (mixture @ p.T)
            position += len(p)
        return factors
