"""Observables: pure functions of configurations.

``theta`` holds angles in radians in [-pi, pi), of shape ``(..., Ly, Lx)`` with any leading shape: a numpy array, or a
torch tensor, through which gradients flow where they exist. Sums are float64. Numpy arrays are checked and worked on
in pieces that stay in the cache; torch tensors are taken whole and only their shape is checked, as looking at their
values would stall a GPU.

Every function raises `InputError` for a shape without two sides of at least 2, for NaN and for angles outside
[-pi, pi). The conventions are those of `mcmc.models.lattice`: each site owns its right and its lower bond and the
plaquette below-right.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mcmc.errors import InputError
from mcmc.models.presets import XY
from mcmc.models.terms import Model, namespace

_ORDERED = 0.99
_XY = XY()
PIECE = 1 << 15
"""Angles worked on at a time: with their intermediates they stay in a core's cache."""


def checked(theta: Any) -> Any:
    """Configurations as an array of floats, refused if they are none.

    Raises:
        InputError: wrong shape or type, NaN, or an angle outside [-pi, pi).
    """
    if namespace(theta) is np:
        theta = np.asarray(theta)
        if not np.issubdtype(theta.dtype, np.floating):
            raise InputError(f"angles of type {theta.dtype} are not a configuration: give float32 or float64 radians")
    if theta.ndim < 2 or min(theta.shape[-2:]) < 2:
        raise InputError(
            f"an array of shape {tuple(theta.shape)} is not a configuration: give (..., Ly, Lx), sides >= 2"
        )
    if isinstance(theta, np.ndarray) and theta.size:
        low, high = float(theta.min()), float(theta.max())
        # float32 cannot tell pi from its nearest number, which lies above.
        if not (low >= -np.float32(math.pi) and high <= np.float32(math.pi)):
            found = "NaN" if math.isnan(low) else f"{high if high > math.pi else low:.6g}"
            raise InputError(f"an angle of {found} is outside [-pi, pi): map angles there with mcmc.wrap")
    return theta


def _per_configuration(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the configurations, and hand them to ``function`` piece by piece."""

    @functools.wraps(function)
    def wrapper(theta: Any, *arguments: Any) -> Any:
        theta = checked(theta)
        d = next((each.dimensions for each in arguments if isinstance(each, Model)), 2)
        shape = theta.shape[-d:]
        step = max(1, PIECE // math.prod(shape))
        if not isinstance(theta, np.ndarray) or math.prod(theta.shape[:-d]) <= step:
            return function(theta, *arguments)
        flat = theta.reshape(-1, *shape)
        first = function(flat[:step], *arguments)
        result = np.empty((len(flat), *first.shape[1:]), first.dtype)
        result[:step] = first
        for start in range(step, len(flat), step):
            result[start : start + step] = function(flat[start : start + step], *arguments)
        return result.reshape(*theta.shape[:-d], *first.shape[1:])

    return wrapper


def seen_along(theta: np.ndarray, axis: int) -> np.ndarray:
    """Configurations (..., Lz, Ly, Lx) as rows along one axis (0 is x): (..., N / L, L)."""
    moved = np.moveaxis(theta, -1 - axis, -1)
    return np.ascontiguousarray(moved).reshape(*theta.shape[:-3], -1, moved.shape[-1])


def planes(theta: np.ndarray) -> list[np.ndarray]:
    """Configurations (..., Lz, Ly, Lx) as layers in the planes xy, xz and yz: the plane's axes last."""
    return [np.ascontiguousarray(np.moveaxis(theta, -1 - across, -3)) for across in (2, 1, 0)]


def _mean(values: Any) -> Any:
    """Mean over the lattice in float64."""
    return values.mean((-2, -1), dtype=namespace(values).float64)


def _stack(xp: Any, *values: Any) -> Any:
    """Join along a new last axis."""
    return xp.stack(values, -1)


@_per_configuration
def energy(theta: Any, model: Model) -> Any:
    """Energy per site e = E / N, in units of energy; ``(..., Ly, Lx) -> (...)``."""
    return model.energy(theta) / math.prod(theta.shape[-model.dimensions :])


@_per_configuration
def magnetization(theta: Any, model: Model = _XY) -> Any:
    """m = abs(sum_i exp(i theta_i)) / N, in [0, 1]; ``(..., Ly, Lx) -> (...)``; a model of three axes takes three."""
    xp = namespace(theta)
    lead = theta.shape[: -model.dimensions]
    theta = theta.reshape(*lead, math.prod(theta.shape[len(lead) : -1]), theta.shape[-1])
    c, s = _mean(xp.cos(theta)), _mean(xp.sin(theta))
    m = xp.hypot(c, s)
    if xp is not np or not (ordered := m > _ORDERED).any():
        return m
    # 1 - m by half angles to the mean direction, at which m is stationary: where it is cold m itself rounds to 1.
    direction = np.arctan2(s, c).astype(theta.dtype)[..., None, None]
    return np.where(ordered, 1 - 2 * _mean(np.sin((theta - direction) * theta.dtype.type(0.5)) ** 2), m)


@_per_configuration
def nematic_order(theta: Any) -> Any:
    """abs(sum_i exp(2 i theta_i)) / N, in [0, 1]: order of the axes, blind to heads and tails; ``-> (...)``."""
    xp = namespace(theta)
    return xp.hypot(_mean(xp.cos(2 * theta)), _mean(xp.sin(2 * theta)))


@_per_configuration
def plaquette_term(theta: Any) -> Any:
    """Mean of cos(theta_1 - theta_2 + theta_3 - theta_4) over plaquettes; -K times it is EXY's ring energy per site."""
    xp = namespace(theta)
    right = theta - xp.roll(theta, -1, -1)
    return _mean(xp.cos(right - xp.roll(right, -1, -2)))


@_per_configuration
def helicity_terms(theta: Any, model: Model = _XY) -> Any:
    """What the helicity modulus is made of: the answer of the energy to a twist, by the dipoles p of the charges.

    Args:
        theta: configurations.
        model: by default XY with J = 1.

    Returns:
        (..., 2 d) on a lattice of d axes, in units of energy: for every axis a the mean over sites of
        sum_t J_t p_ta^2 cos(..), then for every axis N times the squared mean of sum_t J_t p_ta sin(..). On two axes
        Y_x = <[0]> - <[2]> / T.
    """
    xp, d = namespace(theta), model.dimensions
    N = math.prod(theta.shape[-d:])
    axes = tuple(range(-d, 0))
    zero = 0.0 * theta.mean(axes, dtype=xp.float64)
    stiffness, current = [zero] * d, [zero] * d
    for term in model.terms:
        if not any(term.dipole):
            continue
        angle = term.angle(theta)
        J = term.values("coupling", theta)
        cosine, sine = ((J * function(angle)).mean(axes, dtype=xp.float64) for function in (xp.cos, xp.sin))
        for axis, p in enumerate(term.dipole):
            if p:
                stiffness[axis], current[axis] = stiffness[axis] + p * p * cosine, current[axis] + p * sine
    return _stack(xp, *stiffness, *(N * sine**2 for sine in current))


def _turns(theta: Any) -> tuple[Any, Any]:
    """Whole turns that wrapping to [-pi, pi) takes off the difference to the right and to the lower neighbour.

    The differences themselves add up to zero around any closed path, so sums of turns alone count vortices and
    windings: they are whole numbers without rounding.
    """
    xp = namespace(theta)
    return tuple(xp.floor((xp.roll(theta, -1, axis) - theta) * (0.5 / math.pi) + 0.5) for axis in (-1, -2))  # type: ignore[return-value]


@_per_configuration
def vorticity(theta: Any) -> Any:
    """Vorticity q in {-1, 0, 1} of the plaquette below-right of each site; shape and dtype of ``theta``.

    q = (sum of the four differences around the plaquette, each wrapped to [-pi, pi)) / 2 pi; sum q = 0 always.
    """
    roll = namespace(theta).roll
    right, below = _turns(theta)
    return below - roll(below, -1, -1) + roll(right, -1, -2) - right


@_per_configuration
def vortex_density(theta: Any) -> Any:
    """n_v = sum abs(q) / N, vortices and antivortices together; ``(..., Ly, Lx) -> (...)``."""
    return _mean(abs(vorticity(theta)))


class Vortices(NamedTuple):
    """Where the vortices of one configuration are."""

    x: np.ndarray
    """Columns of the plaquettes' centres, in lattice spacings, half-integer."""
    y: np.ndarray
    """Rows of the plaquettes' centres."""
    charge: np.ndarray
    """+1 for a vortex, -1 for an antivortex; int8."""


def vortices(theta: Any) -> Vortices:
    """Positions and charges of the vortices of one configuration (Ly, Lx); a numpy array only.

    Raises:
        InputError: more than one configuration, besides what every observable refuses.

    Example:
        >>> theta = np.zeros((4, 4))
        >>> theta[1] = [0, 2, -2, 0]  # one row winds once, its neighbours do not
        >>> found = vortices(theta)
        >>> found.x.tolist(), found.y.tolist(), found.charge.tolist()
        ([1.5, 1.5], [0.5, 1.5], [-1, 1])
    """
    theta = checked(theta)
    if theta.ndim != 2:
        raise InputError(f"an array of shape {theta.shape} is not one configuration: give (Ly, Lx)")
    q = vorticity(theta)
    y, x = np.nonzero(q)
    return Vortices(x + 0.5, y + 0.5, q[y, x].astype(np.int8))


@_per_configuration
def winding_numbers(theta: Any) -> Any:
    """Turns of the angle around the torus, along x and along y; ``(..., Ly, Lx) -> (..., 2)``.

    Each row has a whole number of turns; this is the mean over rows (and over columns along y), a whole number where
    no vortex lies between them.
    """
    right, below = _turns(theta)
    Ly, Lx = theta.shape[-2:]
    return _stack(namespace(theta), -_mean(right) * Lx, -_mean(below) * Ly)


def _fft(theta: Any) -> Any:
    """The module of Fourier transforms for ``theta``; SciPy's is ten times as fast as numpy's on small lattices."""
    if namespace(theta) is np:
        import scipy.fft

        return scipy.fft
    return namespace(theta).fft


def _spins(theta: Any) -> Any:
    """exp(i theta), complex128; numpy's own complex exponential is slow."""
    xp = namespace(theta)
    if xp is not np:
        return xp.exp(1j * _float64(theta))
    spins = np.empty(theta.shape, np.complex128)
    spins.real, spins.imag = np.cos(theta), np.sin(theta)
    return spins


@_per_configuration
def structure_factor(theta: Any) -> Any:
    """S(k) = abs(sum_j exp(i theta_j - i k r_j))^2 / N for all wave vectors; float64 (..., Ly, Lx).

    Entry [0, 0] is S(0) = N m^2; [0, 1] has k = 2 pi / Lx along x, [1, 0] has k = 2 pi / Ly along y.
    """
    transform = _fft(theta).fft2(_spins(theta))
    return (transform.real**2 + transform.imag**2) / (theta.shape[-1] * theta.shape[-2])


@_per_configuration
def long_wave_factors(theta: Any) -> Any:
    """S at the smallest wave vectors along x and along y, without the full transform; ``(..., Ly, Lx) -> (..., 2)``."""
    xp = namespace(theta)
    Ly, Lx = theta.shape[-2:]
    along_x, along_y = (_long_waves(theta, L) for L in (Lx, Ly))

    def transform(values: Any) -> Any:
        # One product makes the waves along x and the plain sums of every row, from which those along y follow.
        rows = _float64(values).reshape(-1, Lx) @ along_x
        rows = rows.reshape(*theta.shape[:-1], 3)
        # A product of matrices would add up in another order for one configuration than for many.
        return rows[..., :2].sum(-2), xp.einsum("...y,yk->...k", rows[..., 2], along_y[:, :2])

    factors = []
    for c, s in zip(transform(xp.cos(theta)), transform(xp.sin(theta)), strict=True):
        re, im = c[..., 0] + s[..., 1], s[..., 0] - c[..., 1]
        factors.append((re * re + im * im) / (Lx * Ly))
    return _stack(xp, *factors)


def _float64(values: Any) -> Any:
    return values.astype(np.float64) if namespace(values) is np else values.double()


def _long_waves(theta: Any, L: int) -> Any:
    """Columns cos k x, sin k x and 1 for k = 2 pi / L; float64 (L, 3), of the kind of ``theta``."""
    phase = 2 * math.pi / L * np.arange(L)
    waves = np.stack([np.cos(phase), np.sin(phase), np.ones(L)], -1)
    return waves if namespace(theta) is np else _float64(theta).new_tensor(waves)


@_per_configuration
def correlation(theta: Any) -> Any:
    """Spin-spin correlation G(r) = mean over j of cos(theta_j - theta_{j + r}), by FFT; float64 (..., Ly, Lx).

    Entry [y, x] has r = (x, y), periodic; its mean over draws is the correlation function.
    """
    return _fft(theta).ifft2(structure_factor(theta)).real
