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
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mcmc.errors import InputError
from mcmc.models import order
from mcmc.models.presets import XY, require_known
from mcmc.models.terms import Model, namespace, shifted

_ORDERED = 0.99
_XY = XY()
PIECE = 1 << 17
"""Angles worked on at a time, few enough to stay in a core's cache with their intermediates."""


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
    """Check the configurations and the model, if there is one, and hand them to ``function`` piece by piece."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> Any:
        theta, *arguments = signature.bind(*given, **named).args
        theta = checked(theta)
        d = 2
        for model in arguments:
            require_known(model)
            d = model.dimensions
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
def term_energies(theta: Any, model: Model) -> Any:
    """Energy of every term of the model, whole lattice, in units of energy; ``(..., Ly, Lx) -> (..., terms)``."""
    model.check(theta.shape[-model.dimensions :])
    return _stack(namespace(theta), *(term.energy(theta) for term in model.terms))


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


def _modulus(theta: Any, axes: tuple[int, ...], weights: Any = 1.0) -> Any:
    """abs(mean of weights exp(i theta)) over axes, in float64."""
    xp = namespace(theta)
    return xp.hypot(*((weights * function(theta)).mean(axes, dtype=xp.float64) for function in (xp.cos, xp.sin)))


def _refuse(model: Model, reason: str) -> None:
    if reason:
        raise InputError(f"{model}: {reason}")


@_per_configuration
def sublattice_magnetizations(theta: Any, model: Model) -> Any:
    """abs(sum exp(i theta_i)) over the sites of each sublattice, over their number; ``-> (..., sublattices)``.

    Raises:
        InputError: the model's order has no sublattices on this lattice, see `mcmc.models.order.sublattices`.
    """
    shape = tuple(theta.shape[-model.dimensions :])
    _refuse(model, order.no_sublattices(model, shape))
    number: Any = order.sublattices(model, shape)
    flat = theta.reshape(*theta.shape[: -model.dimensions], -1)
    parts = [flat[..., np.flatnonzero(number == k)] for k in range(number.max() + 1)]
    return _stack(namespace(theta), *(_modulus(part, (-1,)) for part in parts))


@_per_configuration
def staggered_magnetization(theta: Any, model: Model) -> Any:
    """abs(sum_i +-exp(i theta_i)) / N, with opposite signs on the model's two sublattices; ``-> (...)``.

    Raises:
        InputError: the model's order does not have two sublattices on this lattice.
    """
    shape = tuple(theta.shape[-model.dimensions :])
    _refuse(model, order.no_sublattices(model, shape, 2))
    number: Any = order.sublattices(model, shape)
    return _modulus(theta, tuple(range(-model.dimensions, 0)), _like(1.0 - 2.0 * number, theta))


@_per_configuration
def clock_order(theta: Any, model: Model) -> Any:
    """cos(q phi), phi the direction of the magnetisation and 2 pi / q the turn that the model allows; ``-> (...)``.

    1 where the magnetisation has one of the q directions, -1 half way between them, 0 on average where no direction is
    preferred.

    Raises:
        InputError: the model does not single out directions, see `mcmc.models.order.no_clock`.
    """
    _refuse(model, order.no_clock(model))
    xp, axes = namespace(theta), tuple(range(-model.dimensions, 0))
    c, s = (function(theta).mean(axes, dtype=xp.float64) for function in (xp.cos, xp.sin))
    return xp.cos(model.turns * xp.arctan2(s, c))


@_per_configuration
def stripe_magnetization(theta: Any, model: Model) -> Any:
    """Root of abs(m_x)^2 + abs(m_y)^2, m_x the mean of (-1)^x exp(i theta), m_y of (-1)^y; ``-> (...)``.

    1 in a state of perfect stripes.

    Raises:
        InputError: the model does not order in stripes, see `mcmc.models.order.no_stripes`.
    """
    shape = tuple(theta.shape[-2:])
    _refuse(model, order.no_stripes(model, shape))
    rows, columns = (_modulus(theta, (-2, -1), _like(1.0 - 2.0 * (n % 2), theta)) for n in np.indices(shape))
    return namespace(theta).hypot(rows, columns)


@_per_configuration
def stripe_direction(theta: Any, model: Model) -> Any:
    """Along which axis neighbours are alike: half the mean of cos(d_y) - cos(d_x), d the differences; ``-> (...)``.

    1 where columns are alike and alternate, -1 where rows do, 0 on average without stripes: the order that breaks the
    exchange of the axes (Chandra, Coleman, Larkin, Phys. Rev. Lett. 64, 88 (1990), doi:10.1103/PhysRevLett.64.88).

    Raises:
        InputError: as `stripe_magnetization`.
    """
    _refuse(model, order.no_stripes(model, tuple(theta.shape[-2:])))
    xp = namespace(theta)
    return _mean(xp.cos(shifted(theta, order.BELOW) - theta) - xp.cos(shifted(theta, order.RIGHT) - theta)) / 2


@_per_configuration
def chirality(theta: Any, model: Model) -> Any:
    """Chirality of a configuration, of either sign: the order that breaks reflection; ``(..., Ly, Lx) -> (...)``.

    See `mcmc.models.order.chirality` for its definition; +-1 in the ground states of fully frustrated lattices.

    Raises:
        InputError: the model leaves no such sign open.
    """
    return _mean(sum(_currents(theta, model).values()))


@_per_configuration
def chirality_map(theta: Any, model: Model) -> Any:
    """Chirality of every face, whose mean is `chirality`; ``(..., Ly, Lx) -> (..., Ly, Lx)``.

    Of fully frustrated square lattices the plaquette below-right of each site, of triangular ones the mean of the two
    triangles there, of negative ring exchange the mean of the bonds to the right and below. A perfectly ordered domain
    has one value.

    Raises:
        InputError: as `chirality`.
    """
    found = _currents(theta, model)
    if not (model.square and model.square.K < 0):
        # A bond belongs to two faces, this one and the one across it; diagonals to the two triangles of one.
        for offset, across in ((order.RIGHT, order.BELOW), (order.BELOW, order.RIGHT)):
            found[offset] = (found[offset] + shifted(found[offset], across)) / 2
    return sum(found.values())


def _currents(theta: Any, model: Model) -> dict[tuple[int, ...], Any]:
    """What the bonds along each offset, at each site, bring to the chirality."""
    shape = tuple(theta.shape[-2:])
    _refuse(model, order.no_chirality(model, shape))
    order_of: Any = order.chirality(model, shape)
    signs = _like(1.0 - 2.0 * (np.indices(shape).sum(0) % 2), theta) if order_of.staggered else 1.0

    def current(offset: tuple[int, ...]) -> Any:
        wanted = _like(order.bond(model, offset).turns, theta)
        return namespace(theta).sin(shifted(theta, offset) - theta - 2 * math.pi * wanted)

    return {offset: weight * signs * current(offset) for offset, weight in order_of.weights.items()}


def sectors(theta: Any, model: Model) -> dict[str, Any]:
    """Which of the states that a discrete symmetry of the model joins each configuration is in, by the order's name.

    A chain that is in equilibrium goes from one to another: a table that sees one alone is one-sided.

    Returns:
        Integers (...): of ``chirality`` its sign, of ``direction`` the nearest of the q directions that the model
        singles out, 0 to q - 1, of ``stripes`` the sign of `stripe_direction`; of none for a model without such a
        symmetry.
    """
    shape, found = theta.shape[-model.dimensions :], dict[str, Any]()
    if model.reflection and not order.no_chirality(model, shape):
        found["chirality"] = np.sign(chirality(theta, model)).astype(int)
    if shape[0] == shape[-1] and not order.no_stripes(model, shape) and order.alike_along_axes(model):
        found["stripes"] = np.sign(stripe_direction(theta, model)).astype(int)
    if not order.no_clock(model):
        axes = tuple(range(-model.dimensions, 0))
        c, s = (function(theta).mean(axes, dtype=np.float64) for function in (np.cos, np.sin))
        found["direction"] = np.rint(np.arctan2(s, c) * model.turns / (2 * math.pi)).astype(int) % model.turns
    return found


def overlap(first: Any, second: Any, model: Model) -> Any:
    """Overlap of two replicas of a disordered model, blind to its symmetries; ``(..., Ly, Lx) -> (...)``.

    With q+- = abs(sum_i exp(i (theta_i -+ theta'_i))) / N it is q+ for models whose phases tell angles from their
    negatives, such as the gauge glass, and else sqrt((q+^2 + q-^2) / 2), the root of the sum over mu and nu of
    q_mu,nu^2, where q_mu,nu = sum_i S_i^mu S'_i^nu / N.

    Args:
        first: configurations of one replica.
        second: of another one, with the same couplings and at the same temperature.
        model: the spin model.

    Raises:
        InputError: the two have different shapes, besides what every observable refuses.
    """
    first, second = checked(first), checked(second)
    if first.shape != second.shape:
        raise InputError(f"replicas of shapes {tuple(first.shape)} and {tuple(second.shape)} have no overlap")
    axes = tuple(range(-model.dimensions, 0))
    same = _modulus(first - second, axes)
    if not (model.rotation and model.reflection):
        return same
    return namespace(first).sqrt((same**2 + _modulus(first + second, axes) ** 2) / 2)


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


def _turns(theta: Any, model: Model) -> list[Any]:
    """Whole turns that wrapping to [-pi, pi) takes off the difference to the next site along every axis, from x.

    Differences are counted from what the bond wants, whose turns over 2 pi are added again: around a closed path the
    wrapped differences then sum to minus these sums, without the rounding of the differences themselves.
    """
    xp, found = namespace(theta), []
    for axis, bond in enumerate(order.bonds(model)):
        turns = (xp.roll(theta, -1, -1 - axis) - theta) * (0.5 / math.pi)
        if isinstance(bond.turns, float) and not bond.turns:
            found.append(xp.floor(turns + 0.5))
        else:
            wanted = _like(bond.turns, theta)
            found.append(xp.floor(turns - wanted + 0.5) + wanted)
    return found


def _like(values: Any, theta: Any) -> Any:
    """A number as it is, an array of sites as one that combines with ``theta``, of its precision."""
    if not isinstance(values, np.ndarray):
        return values
    xp = namespace(theta)
    return values.astype(theta.dtype) if xp is np else xp.tensor(values, dtype=theta.dtype, device=theta.device)


_PLANES = {2: ((0, 1),), 3: ((0, 1), (0, 2), (1, 2))}
"""Pairs of axes, by the number of axes of the lattice: xy, and xz and yz."""


@_per_configuration
def vorticity(theta: Any, model: Model = _XY) -> Any:
    """Vorticity q of the plaquette below-right of each site.

    q = (sum of the four differences around the plaquette, each counted from what its bond wants and wrapped to
    [-pi, pi)) / 2 pi, see `mcmc.models.order`. It is -1, 0 or 1 where the bonds can all be satisfied, and +-1/2 at
    least where they are fully frustrated. Plaquettes of which a bond is missing, beyond an open side, have none.

    Args:
        theta: configurations.
        model: whose bonds count; by default those of a ferromagnet.

    Returns:
        Shape and dtype of ``theta``; on three axes (..., 3, Lz, Ly, Lx), in the planes xy, xz and yz.
    """
    xp, roll, faces = namespace(theta), namespace(theta).roll, []
    turns, found = _turns(theta, model), order.bonds(model)
    for a, b in _PLANES[model.dimensions]:
        q = turns[b] - roll(turns[b], -1, -1 - a) + roll(turns[a], -1, -1 - b) - turns[a]
        if any(isinstance(found[axis].present, np.ndarray) for axis in (a, b)):
            q = q * _like(_closed(model, a, b, theta.shape[-model.dimensions :]), theta)
        faces.append(q)
    return faces[0] if model.dimensions == 2 else xp.stack(faces, -1 - model.dimensions)


@functools.lru_cache(maxsize=16)
def _closed(model: Model, a: int, b: int, shape: tuple[int, ...]) -> np.ndarray:
    """Whether the plaquette of the axes a and b at each site has all four bonds."""
    found = order.bonds(model)
    first, second = (np.broadcast_to(found[axis].present, shape) for axis in (a, b))
    return first & second & np.roll(second, -1, -1 - a) & np.roll(first, -1, -1 - b)


@_per_configuration
def vortex_density(theta: Any, model: Model = _XY) -> Any:
    """n_v = sum abs(q) / N, vortices and antivortices together; ``(..., Ly, Lx) -> (...)``.

    On three axes the mean over the three planes, ``(..., Lz, Ly, Lx) -> (...)``.
    """
    q = abs(vorticity(theta, model))
    if model.dimensions == 2:
        return _mean(q)
    layers = [
        q[..., k, :, :, :].mean(tuple(-1 - axis for axis in plane), dtype=namespace(q).float64)
        for k, plane in enumerate(_PLANES[3])
    ]
    return namespace(q).stack([each.mean(-1) for each in layers], 0).mean(0)


class Vortices(NamedTuple):
    """Where the vortices of one configuration are."""

    x: np.ndarray
    """Columns of the plaquettes' centres, in lattice spacings, half-integer."""
    y: np.ndarray
    """Rows of the plaquettes' centres."""
    charge: np.ndarray
    """+1 for a vortex, -1 for an antivortex, int8; of frustrated bonds parts of 1, float64."""


def vortices(theta: Any, model: Model = _XY) -> Vortices:
    """Positions and charges of the vortices of one configuration (Ly, Lx); a numpy array only.

    Args:
        theta: one configuration.
        model: whose bonds count, see `vorticity`.

    Raises:
        InputError: more than one configuration, besides what every observable refuses.

    Example:
        >>> theta = np.zeros((4, 4))
        >>> theta[1] = [0, 2, -2, 0]  # one row winds once, its neighbours do not
        >>> found = vortices(theta)
        >>> found.x.tolist(), found.y.tolist(), found.charge.tolist()
        ([1.5, 1.5], [0.5, 1.5], [-1, 1])
    """
    q = vorticity(_one(theta, 2, model), model)
    y, x = np.nonzero(q)
    charge = q[y, x]
    return Vortices(x + 0.5, y + 0.5, charge.astype(np.int8 if (charge == np.rint(charge)).all() else np.float64))


def _one(theta: Any, dimensions: int, model: Model) -> np.ndarray:
    theta = checked(theta)
    if theta.ndim != dimensions:
        sides = "(Ly, Lx)" if dimensions == 2 else "(Lz, Ly, Lx)"
        raise InputError(f"an array of shape {theta.shape} is not one configuration: give {sides}")
    model.check(theta.shape)
    return theta


def vortex_lines(theta: Any, model: Model) -> np.ndarray:
    """Vortex lines of one configuration (Lz, Ly, Lx): the links of the dual lattice that pass through vortices.

    A line enters every cube of the lattice as often as it leaves it, unless bonds are frustrated or missing.

    Args:
        theta: one configuration; a numpy array only.
        model: of three axes, whose bonds count.

    Returns:
        float64 (n, 2, 3): where each link begins and ends, (x, y, z) in lattice spacings. It points along the vortex's
        axis by the right-hand rule.

    Raises:
        InputError: more than one configuration, or one of two axes.

    Example:
        >>> from mcmc.models.presets import XY
        >>> theta = np.zeros((2, 4, 4))
        >>> theta[:, 1] = [0, 2, -2, 0]  # the same row winds in both layers
        >>> vortex_lines(theta, XY(dimensions=3))[0].tolist()
        [[1.5, 0.5, 0.5], [1.5, 0.5, -0.5]]
    """
    q, links = vorticity(_one(theta, 3, model), model), []
    for k, (a, b) in enumerate(_PLANES[3]):
        z, y, x = np.nonzero(q[k])
        centre = np.stack([x, y, z], -1).astype(np.float64)
        centre[:, [a, b]] += 0.5
        normal = np.cross(np.eye(3)[a], np.eye(3)[b]) * np.sign(q[k, z, y, x])[:, None]
        links.append(np.stack([centre - normal / 2, centre + normal / 2], 1))
    return np.concatenate(links)


@_per_configuration
def winding_numbers(theta: Any, model: Model = _XY) -> Any:
    """Turns of the angle around the torus, along x, along y (and z); ``(..., Ly, Lx) -> (..., 2)``.

    Differences are counted from what the model's bonds want, see `vorticity`: by default from 0. Each row then has a
    whole number of turns, unless bonds of a row cannot all be satisfied; this is the mean over rows (and over columns
    along y), a whole number where no vortex lies between them.
    """
    xp, d = namespace(theta), model.dimensions
    axes = tuple(range(-d, 0))
    turns = enumerate(_turns(theta, model))
    return _stack(xp, *(-each.mean(axes, dtype=xp.float64) * theta.shape[-1 - axis] for axis, each in turns))


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
def structure_factor(theta: Any, model: Model = _XY) -> Any:
    """S(k) = abs(sum_j exp(i theta_j - i k r_j))^2 / N for all wave vectors; float64 (..., Ly, Lx).

    Entry [0, 0] is S(0) = N m^2; [0, 1] has k = 2 pi / Lx along x, [1, 0] has k = 2 pi / Ly along y. A model of three
    axes takes (..., Lz, Ly, Lx).
    """
    axes = tuple(range(-model.dimensions, 0))
    transform = _fft(theta).fftn(_spins(theta), None, axes)
    return (transform.real**2 + transform.imag**2) / math.prod(theta.shape[-model.dimensions :])


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
def correlation(theta: Any, model: Model = _XY) -> Any:
    """Spin-spin correlation G(r) = mean over j of cos(theta_j - theta_{j + r}), by FFT; float64 (..., Ly, Lx).

    Entry [y, x] has r = (x, y), periodic; its mean over draws is the correlation function. A model of three axes takes
    (..., Lz, Ly, Lx).
    """
    return _fft(theta).ifftn(structure_factor(theta, model), None, tuple(range(-model.dimensions, 0))).real
