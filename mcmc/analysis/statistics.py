"""Error bars of Markov chains: the Gamma method, its projection for derived quantities, jackknife, R-hat.

Draws of a Markov chain are correlated, so n of them are worth only n / (2 tau_int) independent ones. Everything here
takes series of shape ``(chains, draws)``, the chains being independent runs of equal length, and says what the mean
of all draws is worth.

References:
    U. Wolff, *Monte Carlo errors with less errors*, hep-lat/0306017 (cited below as Wolff).
    A. Vehtari et al., *Rank-normalization, folding, and localization: an improved R-hat*, arXiv:1903.08008.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcmc.errors import InputError

LEAST_DRAWS = 5
"""Draws a chain needs before its autocorrelation can be looked at."""
DRAWS_PER_TAU = 50
"""Draws in units of tau_int below which tau_int, and so the error, is not to be trusted (the rule of emcee)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its error and the autocorrelation time that went into it.

    It prints as ``0.31498(72)``, converts to a float and to an array of its value, and takes numbers as factors and
    summands. Two estimates are not combined by ``+`` or ``*``: whether their errors are correlated only you know. Use
    `derived` for quantities measured on the same draws, `independent` for those of independent runs. Estimates have no
    order: compare their ``value``, or look at the `deviation` in standard errors.

    ``missing`` is zero for an error that can be trusted. Otherwise the chains are shorter than the error analysis needs
    (50 tau_int in all, 10 tau_int each), and about so many more draws, over all chains, have to be added. The true
    tau_int may be longer still: a chain cannot show a time longer than itself.

    Example:
        >>> print(Estimate(0.314983, 0.00072, 2.0, 0.1, 10000))
        0.31498(72)
        >>> print(Estimate(0.314983, 0.00072, 20.0, 9.0, 400, missing=600))
        0.31498(72)?
        >>> print(2 * Estimate(0.314983, 0.00072, 2.0, 0.1, 10000) - 1)
        -0.3700(14)
    """

    value: float
    """The estimate."""
    error: float
    """One standard deviation; NaN where the chains are too short to have one."""
    tau_int: float
    """Integrated autocorrelation time, 1/2 + sum_{t>=1} rho(t), in draws."""
    tau_int_error: float
    """One standard deviation of ``tau_int``."""
    draws: int
    """Draws of all chains together."""
    missing: int = 0
    """Further draws needed before the error can be trusted."""

    def __str__(self) -> str:
        """Value with the error of its last digits in brackets; a question mark if draws are missing."""
        return format_uncertainty(self.value, self.error) + ("?" if self.missing else "")

    def __repr__(self) -> str:
        """The number, what it is worth and what is missing."""
        missing = f", {self.missing} draws missing" if self.missing else ""
        return f"Estimate({self}, tau_int = {self.tau_int:.3g}, {self.draws} draws{missing})"

    def __format__(self, spec: str) -> str:
        """The value by a number's format, such as ``.3f``; as `str` without one, or where only a width is given."""
        if "." in spec or spec[-1:] in tuple("eEfFgGn%"):
            return format(self.value, spec)
        return format(str(self), spec)

    def __float__(self) -> float:
        """The value."""
        return float(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The value as an array without axes, so that lists of estimates become arrays of values."""
        return np.array(self.value, dtype or np.float64)

    def deviation(self, other: Estimate | float) -> float:
        """Difference from an independent estimate, or from a number, in standard errors.

        Example:
            >>> Estimate(1.0, 0.3, 0.5, 0.0, 100).deviation(Estimate(0.0, 0.4, 0.5, 0.0, 100))
            2.0
        """
        error = math.hypot(self.error, getattr(other, "error", 0.0))
        return (self.value - float(other)) / error if error else math.copysign(math.inf, self.value - float(other))

    def scaled(self, factor: float, summand: float = 0.0) -> Estimate:
        """``factor * self + summand``, for exact numbers: the autocorrelation time is the same."""
        return replace(self, value=factor * self.value + summand, error=abs(factor) * self.error)

    def __neg__(self) -> Estimate:
        """With the other sign."""
        return self.scaled(-1.0)

    def __add__(self, other: object) -> Estimate:
        """Sum with an exact number."""
        return self.scaled(1.0, _number(other))

    __radd__ = __add__

    def __sub__(self, other: object) -> Estimate:
        """Difference from an exact number."""
        return self.scaled(1.0, -_number(other))

    def __rsub__(self, other: object) -> Estimate:
        """An exact number less this."""
        return self.scaled(-1.0, _number(other))

    def __mul__(self, other: object) -> Estimate:
        """Product with an exact number."""
        return self.scaled(_number(other))

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Estimate:
        """Quotient by an exact number."""
        return self.scaled(1.0 / _number(other))

    def _unordered(self, other: object) -> bool:
        raise TypeError("estimates have no order: compare their .value, or use .deviation(other) in standard errors")

    __lt__ = __le__ = __gt__ = __ge__ = _unordered


def _number(other: object) -> float:
    if isinstance(other, Estimate):
        raise TypeError(
            "two estimates may be correlated: use mcmc.derived for quantities of the same draws, mcmc.independent for "
            "those of independent runs"
        )
    if not isinstance(other, int | float | np.number):
        raise TypeError(f"an estimate and a {type(other).__name__} cannot be combined: take the estimate's .value")
    return float(other)


def independent(function: Callable[..., float], *estimates: Estimate) -> Estimate:
    """A function of estimates from independent runs, with its error by linear propagation.

    The result's ``tau_int`` is that of independent draws, and ``draws`` and ``missing`` are the smallest and the sum of
    those that went in.

    Args:
        function: takes the values as floats and returns a float.
        estimates: of runs that share no draws and no random numbers.

    Raises:
        InputError: no estimates.

    Example:
        >>> small, large = Estimate(1.0, 0.03, 0.5, 0.0, 100), Estimate(2.0, 0.04, 0.5, 0.0, 100)
        >>> print(independent(lambda a, b: b - a, small, large))
        1.000(50)
    """
    if not estimates:
        raise InputError("nothing to combine: give estimates after the function")
    values = [each.value for each in estimates]
    slopes = _gradient(function, values, [each.error for each in estimates])
    error = math.hypot(*(slope * each.error for slope, each in zip(slopes, estimates, strict=True)))
    draws, missing = min(each.draws for each in estimates), sum(each.missing for each in estimates)
    return Estimate(float(function(*values)), error, 0.5, 0.0, draws, missing)


def format_uncertainty(value: float, error: float) -> str:
    """Write a value with two digits of its error in brackets.

    Example:
        >>> format_uncertainty(-1.44991, 0.00014), format_uncertainty(12.31, 1.24), format_uncertainty(1234.0, 56.0)
        ('-1.44991(14)', '12.3(1.2)', '1234(56)')
        >>> format_uncertainty(-1.73387e-21, 6.1e-25)
        '-1.73387(61)e-21'
        >>> format_uncertainty(math.nan, math.nan)
        'undefined'
    """
    if math.isnan(value):
        return "undefined"
    if not math.isfinite(error) or not math.isfinite(value):
        return f"{value:.6g}(?)"
    if error <= 0:
        return f"{value:.6g}"
    power = math.floor(math.log10(max(abs(value), error)))
    if not -7 < power < 8 and power > -300:  # far from 1, as another unit of energy makes it
        return f"{format_uncertainty(value / 10.0**power, error / 10.0**power)}e{power:+03d}"
    # Rounding to two digits first lets 0.0996 become 0.10 rather than 0.100.
    exponent = math.floor(math.log10(float(f"{error:.1e}")))
    decimals = 1 - exponent
    if decimals <= 0:
        return f"{value:.0f}({error:.0f})"
    digits = f"{error:.{decimals}f}" if exponent >= 0 else f"{error * 10.0**decimals:.0f}"
    return f"{value:.{decimals}f}({digits})"


def _chains(series: Any) -> np.ndarray:
    """Series as float64 (chains, draws); one chain may come as a plain sequence."""
    try:
        chains = np.asarray(series, np.float64)
    except (TypeError, ValueError):
        raise InputError("a series must hold real numbers, (chains, draws)") from None
    if chains.ndim == 1:
        chains = chains[None]
    if chains.ndim != 2 or not chains.size:
        raise InputError(f"a series of shape {np.shape(series)} is not (chains, draws) with at least one draw")
    if not np.isfinite(chains).all():
        raise InputError("a series holds NaN or infinity: find the draw with numpy.isfinite before averaging")
    return chains


def _centred(chains: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of all draws and the deviations from it, exactly zero for a series that never changes."""
    mean = float(chains.mean())
    return mean, chains - mean if np.ptp(chains) else np.zeros_like(chains)


def _unit(deltas: np.ndarray) -> float:
    """A power of two near the largest deviation, in which squares neither vanish nor overflow; 1 if all are zero."""
    return math.ldexp(0.5, math.frexp(float(np.abs(deltas).max()))[1]) if deltas.any() else 1.0


def _autocovariance(deltas: np.ndarray) -> np.ndarray:
    """Gamma(t) of deviations from the mean, (chains, draws) -> (draws // 2,); Wolff eq. (31), by FFT."""
    C, n = deltas.shape
    window = n // 2
    power = np.abs(np.fft.rfft(deltas, n + window + (n + window) % 2)) ** 2
    sums = np.fft.irfft(power.sum(0))[:window]
    return sums / (C * (n - np.arange(window)))


def _gamma_method(value: float, deltas: np.ndarray, S: float) -> Estimate:
    """Estimate from the value and the deviations (chains, draws) that propagate to it."""
    C, n = deltas.shape
    N = C * n
    if n < LEAST_DRAWS:
        return Estimate(value, math.nan, math.nan, math.nan, N, max(C * (LEAST_DRAWS - n), DRAWS_PER_TAU // 2 - N))
    largest = float(np.abs(deltas).max())
    if not math.isfinite(value) or not math.isfinite(largest):
        return Estimate(value if math.isfinite(value) else math.nan, math.nan, math.nan, math.nan, N)
    if largest == 0:
        return Estimate(value, 0.0, 0.5, 0.0, N)
    unit = _unit(deltas)
    gamma = _autocovariance(deltas / unit)
    t = np.arange(len(gamma))
    tau = np.cumsum(gamma / gamma[0]) - 0.5
    tau[tau <= 0.5] = 0.5 + np.finfo(float).eps
    # Automatic window: the first t where the statistical error outgrows the truncation error, Wolff eqs. (50-52).
    decay = S / np.log((2 * tau[1:] + 1) / (2 * tau[1:] - 1))
    worth_adding = np.exp(-t[1:] / decay) - decay / np.sqrt(t[1:] * N) >= 0
    W = int(np.argmin(np.append(worth_adding[:-1], False))) + 1
    # Deviations are taken from the mean of all chains, which costs Gamma the variance of that mean, Wolff eq. (49).
    tau_int = tau[W] * (1 + (2 * W + 1) / N) / (1 + 1 / N)
    error = unit * math.sqrt(2 * tau_int * gamma[0] * (1 + 1 / N) / N)
    tau_int_error = tau[W] * 2 * math.sqrt(abs(W + 0.5 - tau[W]) / N)
    missing = max(math.ceil(DRAWS_PER_TAU * tau_int) - N, C * (math.ceil(DRAWS_PER_TAU / 5 * tau_int) - n), 0)
    return Estimate(value, error, float(tau_int), float(tau_int_error), N, missing)


def estimate(series: Any, *, S: float = 2.0) -> Estimate:
    """Mean of a series with its error by the Gamma method.

    The autocorrelation function is averaged over the chains, with deviations from the mean of *all* chains: chains
    that are stuck in different places then show a long autocorrelation time and a wide bar. For one chain the result
    is that of ``pyerrors`` (which takes deviations from each chain's own mean).

    Args:
        series: (chains, draws), or (draws,) for one chain.
        S: assumed ratio of exponential to integrated autocorrelation time, which sets the summation window.

    Raises:
        InputError: wrong shape, or values that are not finite.

    Example:
        >>> estimate([[1.0, 2.0, 1.0, 3.0, 2.0, 1.0, 2.0, 2.0]]).value
        1.75
    """
    mean, deltas = _centred(_chains(series))
    return _gamma_method(mean, deltas, S)


def derived(
    function: Callable[..., float], *moments: Any, gradient: Sequence[float] | None = None, S: float = 2.0
) -> Estimate:
    """A function of means, with its error by the projected Gamma method (Wolff section 3.1).

    The error is that of the series ``sum_k (df/dm_k) moment_k``, so correlations between the moments, and their
    autocorrelations, are all accounted for. The bias of the value, of relative order 2 tau_int / draws, is well
    below the error for chains that are long enough and is not corrected.

    Args:
        function: takes the means of the moments as floats and returns a float; NaN where there is no such quantity.
        moments: series of equal shape, (chains, draws) or (draws,), measured on the same draws.
        gradient: derivatives of ``function`` at the means; None differentiates numerically.
        S: see `estimate`.

    Raises:
        InputError: moments of different shapes, or values that are not finite.

    Example:
        The variance of a series:

        >>> x = np.random.default_rng(0).normal(size=10000)
        >>> print(derived(lambda square, mean: square - mean**2, x**2, x))
        0.996(14)
    """
    series = [_chains(moment) for moment in moments]
    if not series or len({chains.shape for chains in series}) != 1:
        raise InputError(f"moments of shapes {[chains.shape for chains in series]} must be of the same draws")
    means, deltas = zip(*map(_centred, series), strict=True)
    if gradient is None:
        scales = [_unit(delta) * float((delta / _unit(delta)).std()) for delta in deltas]
        gradient = _gradient(function, list(means), scales)
    projected = sum(slope * delta for slope, delta in zip(gradient, deltas, strict=True))
    return _gamma_method(float(function(*means)), np.asarray(projected), S)


def _gradient(function: Callable[..., float], point: list[float], scales: list[float]) -> list[float]:
    """Five-point derivatives; steps of a thousandth of each moment's spread leave a relative error near 1e-12."""

    def slope(k: int, h: float) -> float:
        def at(steps: int) -> float:
            return float(function(*point[:k], point[k] + steps * h, *point[k + 1 :]))

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)

    return [slope(k, 1e-3 * scale) if scale > 0 else 0.0 for k, scale in enumerate(scales)]


def autocorrelation(series: Any) -> np.ndarray:
    """Normalised autocorrelation function rho(t), t = 0, 1, ..., draws // 2 - 1, averaged over the chains.

    Args:
        series: (chains, draws) or (draws,).

    Raises:
        InputError: wrong shape, values that are not finite, or fewer than 5 draws.
    """
    chains = _chains(series)
    if chains.shape[1] < LEAST_DRAWS:
        raise InputError(f"{chains.shape[1]} draws show no autocorrelation: give at least {LEAST_DRAWS}")
    gamma = _autocovariance(chains - chains.mean())
    return gamma / gamma[0] if gamma[0] > 0 else np.eye(1, len(gamma))[0]


def block_means(series: Any, blocks: int = 32) -> np.ndarray:
    """Cut every chain into consecutive blocks and average within each.

    Args:
        series: (chains, draws, ...).
        blocks: about how many blocks to make in all; no chain's block is shorter than one draw. Draws left over at
            the start of a chain are dropped.

    Returns:
        (made blocks, ...) float64.
    """
    series = np.asarray(series, np.float64)
    C, n = series.shape[:2]
    per_chain = min(n, max(1, -(-blocks // C)))
    length = n // per_chain
    kept = series[:, n - per_chain * length :]
    return kept.reshape(C * per_chain, length, *series.shape[2:]).mean(1)


def jackknife(function: Callable[[np.ndarray], Any], blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A function of block means with its error, by leaving one block out at a time.

    For what `derived` cannot do: functions that return many values, or that fit or search. Blocks must be much
    longer than the autocorrelation time; see `block_means`.

    Args:
        function: takes the mean over blocks, shape ``blocks.shape[1:]``, and returns a number or an array.
        blocks: (number of blocks, ...), at least two.

    Returns:
        The function of the mean of all blocks, and its standard deviation.

    Raises:
        InputError: fewer than two blocks.
    """
    B = len(blocks)
    if B < 2:
        raise InputError(f"{B} block leaves nothing to compare: the jackknife needs at least two")
    total = blocks.sum(0)
    without = np.array([function((total - block) / (B - 1)) for block in blocks])
    return np.asarray(function(total / B)), jackknife_error(without)


def jackknife_error(without: np.ndarray) -> np.ndarray:
    """Standard deviation from the values with one block left out, (blocks, ...) -> (...)."""
    return np.sqrt((len(without) - 1) * without.var(0))


def r_hat(series: Any) -> float:
    """Rank-normalised split R-hat: do the chains, and both halves of each, agree (arXiv:1903.08008)?

    1 when they do; above 1.01 the chains have not mixed, and no error bar made from them means anything.

    Args:
        series: (chains, draws) or (draws,), at least 4 draws.

    Returns:
        R-hat; 1 for a constant series, infinity for chains stuck at different constants.

    Raises:
        InputError: wrong shape, values that are not finite, or fewer than 4 draws.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    chains = _chains(series)
    n = chains.shape[1] // 2
    if n < 2:
        raise InputError(f"{chains.shape[1]} draws a chain are too few to compare halves: give at least 4")
    halves = np.concatenate([chains[:, :n], chains[:, -n:]])
    ranks = rankdata(halves).reshape(halves.shape)
    z = ndtri((ranks - 0.375) / (halves.size + 0.25))
    within, between = float(z.var(1, ddof=1).mean()), float(z.mean(1).var(ddof=1))
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt((n - 1) / n + between / within)


def r_hat_limit(chains: int, draws: int, tau_int: float) -> float:
    """The R-hat above which something is wrong: 1.01, or what mixed chains this short exceed once in 100,000 runs.

    The squared differences of the halves' means, in units of their variance 2 tau_int / draws, follow chi-squared.

    Args:
        chains: their number.
        draws: of each chain.
        tau_int: integrated autocorrelation time, in draws.
    """
    from scipy.stats import chi2

    freedom = 2 * chains - 1
    return max(1.01, math.sqrt(1 + 4 * tau_int / draws * float(chi2.isf(1e-5, freedom)) / freedom))
