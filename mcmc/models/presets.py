"""Models by name: short functions that return sums of terms; see `mcmc.models.terms`.

Models add up: ``XY() + field(0.3)`` is XY in a field. Those whose couplings differ from site to site are functions of
the lattice, and of a seed where they are drawn at random.
"""

from __future__ import annotations

import inspect
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice, Size, as_lattice
from mcmc.models.terms import Model, Term, namespace
from mcmc.runtime.registry import Registry, nearest

__all__ = ["MODELS", "Model", "build_model", "model_from_name", "namespace", "register_model"]


def _unit(axis: int, dimensions: int) -> tuple[int, ...]:
    return tuple(int(axis == k) for k in range(dimensions))


def _dimensions(dimensions: int) -> int:
    if dimensions not in (2, 3):
        raise InputError(f"dimensions = {dimensions!r} must be 2 or 3")
    return dimensions


def _bond(offset: Sequence[int], J: Any, *, charge: int = 1, phase: Any = 0.0, name: str = "J") -> Term:
    return Term((charge, -charge), ((0,) * len(offset), tuple(offset)), J, phase, name)


def _bonds(J: Any, dimensions: int, *, charge: int = 1, name: str = "J") -> tuple[Term, ...]:
    """Nearest-neighbour bonds along every axis."""
    axes = range(_dimensions(dimensions))
    return tuple(_bond(_unit(axis, dimensions), J, charge=charge, name=name) for axis in axes)


def XY(J: float = 1.0, *, dimensions: int = 2) -> Model:
    """The XY model, E = -J sum_bonds cos(theta_i - theta_j).

    Args:
        J: nearest-neighbour coupling; positive is ferromagnetic.
        dimensions: 2 for a rectangle, 3 for a cuboid.

    Raises:
        InputError: a coupling is not a finite number.

    Example:
        >>> XY()
        XY(J=1.0)
    """
    return Model(_bonds(J, dimensions), "xy")


def ExtendedXY(J: float = 1.0, K: float = 1.0, *, dimensions: int = 2) -> Model:
    """The extended XY model: XY plus ring exchange on plaquettes.

    E = -J sum_bonds cos(theta_i - theta_j) - K sum_plaquettes cos(theta_1 - theta_2 + theta_3 - theta_4), with
    1, 2, 3, 4 going round the plaquette.

    Args:
        J: nearest-neighbour coupling.
        K: ring-exchange coupling.
        dimensions: 2, or 3 for plaquettes in every plane.

    Raises:
        InputError: a coupling is not a finite number.
    """
    rings = []
    for a, b in combinations(range(_dimensions(dimensions)), 2):
        right, below = _unit(a, dimensions), _unit(b, dimensions)
        corner = tuple(x + y for x, y in zip(right, below, strict=True))
        rings.append(Term((1, -1, 1, -1), ((0,) * dimensions, right, corner, below), K, name="K"))
    return Model((*_bonds(J, dimensions), *rings), "exy")


def field(h: float = 1.0, *, direction: float = 0.0, dimensions: int = 2) -> Model:
    """A field that pulls all spins one way, E = -h sum_i cos(theta_i - direction), to be added to a model."""
    return Model((Term((1,), ((0,) * _dimensions(dimensions),), h, direction, "h"),), "field")


def random_field(size: Size, h: float = 1.0, *, seed: int = 0) -> Model:
    """A field of strength h and random direction at every site, E = -h sum_i cos(theta_i - phi_i)."""
    lattice = as_lattice(size)
    phi = np.random.default_rng(seed).uniform(-math.pi, math.pi, lattice.shape)
    return Model((Term((1,), ((0,) * lattice.dimensions,), h, phi, "h"),), "random_field")


def anisotropy(q: int, h: float = 1.0, *, dimensions: int = 2) -> Model:
    """A q-fold anisotropy, E = -h sum_i cos(q theta_i).

    Raises:
        InputError: q is not a positive integer.
    """
    if q != int(q) or q < 1:
        raise InputError(f"q = {q} must be a positive integer")
    return Model((Term((q,), ((0,) * _dimensions(dimensions),), h, name=f"h{q}"),), "anisotropy")


def clock(q: int = 6, J: float = 1.0, h: float = 1.0, *, dimensions: int = 2) -> Model:
    """XY spins in a q-fold anisotropy h; for h -> infinity the q-state clock model."""
    return Model((*XY(J, dimensions=dimensions).terms, *anisotropy(q, h, dimensions=dimensions).terms), "clock")


def generalised_xy(delta: float = 0.5, q: int = 2, J: float = 1.0, *, dimensions: int = 2) -> Model:
    """The generalised (for q = 2 nematic) XY model, E = -J sum_bonds [D cos a + (1 - D) cos(q a)], a the difference.

    Args:
        delta: D, 1 for XY; with 0 the angles q theta are those of XY.
        q: 2 for a nematic; at least 2.
        J: sets the scale.
        dimensions: 2 or 3.

    Reference: Lee, Grinstein, Phys. Rev. Lett. 55, 541 (1985), doi:10.1103/PhysRevLett.55.541.
    """
    if q < 2:
        raise InputError(f"q = {q} must be at least 2")
    first = _bonds(J * delta, dimensions, name="J1")
    return Model((*first, *_bonds(J * (1 - delta), dimensions, charge=q, name=f"J{q}")), "generalised_xy")


def j1j2(J1: float = 1.0, J2: float = -0.5) -> Model:
    """Nearest neighbours J1 and diagonal ones J2 on the square lattice; J2 < 0 frustrates them."""
    diagonals = (_bond((1, 1), J2, name="J2"), _bond((1, -1), J2, name="J2"))
    return Model((*_bonds(J1, 2, name="J1"), *diagonals), "j1j2")


def triangular(J: float = 1.0) -> Model:
    """XY on the triangular lattice, laid out as a square one with one diagonal; J < 0 is frustrated."""
    return Model(tuple(_bond(offset, J) for offset in ((1, 0), (0, 1), (1, 1))), "triangular")


def antiferromagnet(J: float = 1.0, *, dimensions: int = 2) -> Model:
    """Nearest neighbours that prefer opposite directions, E = +J sum_bonds cos(theta_i - theta_j)."""
    return Model(_bonds(-J, dimensions), "antiferromagnet")


def fully_frustrated(size: Size, J: float = 1.0) -> Model:
    """Villain's odd model: bonds of every other column antiferromagnetic, so that no plaquette is satisfied.

    Reference: Villain, J. Phys. C 10, 1717 (1977), doi:10.1088/0022-3719/10/10/014.

    Raises:
        InputError: the side along x is odd, so that one column would be left over, or the lattice has three axes.
    """
    lattice = _flat(size)
    if lattice.Lx % 2:
        raise InputError(f"Lx = {lattice.Lx} must be even: signs of the bonds alternate from column to column")
    signs = np.where(np.arange(lattice.Lx) % 2, -J, J) * np.ones(lattice.shape)
    return Model((_bond((1, 0), J), _bond((0, 1), signs)), "fully_frustrated")


def plus_minus_j(size: Size, J: float = 1.0, *, p: float = 0.5, seed: int = 0) -> Model:
    """Every bond is -J with probability p, else +J: the XY spin glass with bond disorder."""
    if not 0 <= p <= 1:
        raise InputError(f"p = {p!r} must be a probability")
    lattice, random = as_lattice(size), np.random.default_rng(seed)
    return Model(
        tuple(
            _bond(_unit(axis, lattice.dimensions), np.where(random.random(lattice.shape) < p, -J, J))
            for axis in range(lattice.dimensions)
        ),
        "plus_minus_j",
    )


def gauge_glass(size: Size, J: float = 1.0, *, concentration: float = 0.0, seed: int = 0) -> Model:
    """Bonds with random phases, E = -J sum_bonds cos(theta_i - theta_j - A_ij).

    Args:
        size: of the lattice.
        J: coupling.
        concentration: of the von Mises law of the phases, density proportional to exp(concentration cos A); 0 makes
            them uniform. Where it equals J / T the model is on the Nishimori line, and its energy there is
            -J I1 / I0 (J / T) per bond on average (Ozeki, Nishimori, J. Phys. A 26, 3399, 1993).
        seed: of the phases.
    """
    lattice, random = as_lattice(size), np.random.default_rng(seed)
    return Model(
        tuple(
            _bond(_unit(axis, lattice.dimensions), J, phase=random.vonmises(0.0, concentration, lattice.shape))
            for axis in range(lattice.dimensions)
        ),
        "gauge_glass",
    )


def _flat(size: Size) -> Lattice:
    lattice = as_lattice(size)
    if lattice.dimensions != 2:
        raise InputError(f"the model belongs on a lattice with two axes, not on {lattice}")
    return lattice


# -- boundaries -------------------------------------------------------------------------------------------------------


def _crossings(term: Term, lattice: Lattice, axis: int) -> list[np.ndarray]:
    """How often the way from each site to each of the term's others passes the boundary of an axis; integers."""
    side = lattice.sides[axis]
    place = np.arange(side).reshape([-1 if k == axis else 1 for k in reversed(range(lattice.dimensions))])
    return [(place + offset[axis]) // side * np.ones(lattice.shape, int) for offset in term.offsets]


def twisted(model: Model, size: Size, angles: Sequence[float]) -> Model:
    """The model with boundaries twisted by an angle along each axis: beyond a side, spins count as turned by it.

    Args:
        model: any.
        size: of the lattice.
        angles: in radians, along x, y (and z).

    Example:
        >>> model = twisted(XY(), 4, (np.pi, 0))
        >>> float(model.energy(np.zeros((4, 4))))  # four bonds cost 1 rather than -1
        -24.0
    """
    lattice = as_lattice(size, model.dimensions)
    model.check(lattice.shape)
    if len(angles) != lattice.dimensions:
        raise InputError(f"angles = {angles!r} must be {lattice.dimensions}, one for each axis")
    terms = []
    for term in model.terms:
        turned = sum(
            charge * angle * crossing
            for axis, angle in enumerate(angles)
            for charge, crossing in zip(term.charges, _crossings(term, lattice, axis), strict=True)
        )
        terms.append(Term(term.charges, term.offsets, term.coupling, term.phase - turned, term.name))
    return Model(tuple(terms), f"twisted_{model.name}")


def antiperiodic(model: Model, size: Size, axes: Sequence[int] = (0,)) -> Model:
    """The model with boundaries twisted by pi along some axes, 0 for x."""
    lattice = as_lattice(size, model.dimensions)
    return Model(
        twisted(model, lattice, [math.pi * (axis in axes) for axis in range(lattice.dimensions)]).terms,
        f"antiperiodic_{model.name}",
    )


def open_boundaries(model: Model, size: Size, axes: Sequence[int] | None = None) -> Model:
    """The model without the terms that pass the boundary of an axis.

    Args:
        model: any.
        size: of the lattice.
        axes: 0 for x, ...; None opens all.
    """
    lattice = as_lattice(size, model.dimensions)
    model.check(lattice.shape)
    terms = []
    for term in model.terms:
        kept = np.ones(lattice.shape)
        for axis in range(lattice.dimensions) if axes is None else axes:
            for crossing in _crossings(term, lattice, axis):
                kept[crossing != 0] = 0.0
        terms.append(Term(term.charges, term.offsets, term.coupling * kept, term.phase, term.name))
    return Model(tuple(terms), f"open_{model.name}")


# -- by name ----------------------------------------------------------------------------------------------------------

MODELS = Registry[Callable[..., Model]]("model")
"""Functions that make models, by name."""

_PRESETS: dict[str, Callable[..., Model]] = {
    "xy": XY,
    "exy": ExtendedXY,
    "clock": clock,
    "generalised_xy": generalised_xy,
    "j1j2": j1j2,
    "triangular": triangular,
    "antiferromagnet": antiferromagnet,
    "fully_frustrated": fully_frustrated,
    "plus_minus_j": plus_minus_j,
    "gauge_glass": gauge_glass,
    "field": field,
    "random_field": random_field,
    "anisotropy": anisotropy,
}
for _name, _preset in _PRESETS.items():
    MODELS.register(_name, _preset)


def register_model(name: str, function: Callable[..., Model], *, replace: bool = False) -> None:
    """Let a function that makes a model be known by name, for files and the command line.

    Args:
        name: one word.
        function: returns a `Model`; if its first argument is called ``size`` or ``lattice`` it is given the lattice.
        replace: whether an existing one of that name gives way.

    Raises:
        InputError: the name is taken, or ``function`` is not a function.

    Example:
        >>> register_model("tilted", lambda h=0.1: XY() + field(h, direction=1.0))
        >>> build_model("tilted", 8, h=0.2)
        xy+field(J=1.0, h=0.2)
    """
    if not callable(function):
        raise InputError(f"expected a function that makes a model; got {type(function).__name__}")
    MODELS.register(name, function, replace=replace)


def build_model(name: str, size: Size | None = None, **options: Any) -> Model:
    """A model from the name of its preset, or ``module:name``.

    Args:
        name: of `MODELS`; several that are joined by ``+`` are added.
        size: of the lattice, for models that depend on it, and for the number of their axes.
        options: arguments of the function; those of one of several go to whichever knows them.

    Raises:
        InputError: unknown name or option, or the model needs a lattice.

    Example:
        >>> build_model("xy+field", (8, 8, 8), h=0.5).dimensions
        3
    """
    if not isinstance(name, str):
        raise InputError(f"expected the name of a model; got {type(name).__name__}")
    parts, known = [], set[str]()
    for part in name.split("+"):
        function = MODELS.find(part)
        if not callable(function):
            raise InputError(f"{part!r} is not a function that makes a model")
        taken = inspect.signature(function).parameters
        known |= {*taken} - {"size", "lattice"}
        given = {key: value for key, value in options.items() if key in taken}
        for place in ("size", "lattice"):
            if place in taken:
                if size is None:
                    raise InputError(f"the model {part} depends on the lattice: give its size")
                given[place] = as_lattice(size)
        if "dimensions" in taken and size is not None:
            given.setdefault("dimensions", as_lattice(size).dimensions)
        try:
            model = function(**given)
        except TypeError as error:
            raise InputError(f"model {part}: {error}") from None
        if not isinstance(model, Model):
            raise InputError(f"{part} made {type(model).__name__}, not a model")
        parts.append(model)
    for key in options:
        if key not in known:
            raise InputError(f"the model {name} has no option {key!r}: {nearest(key, sorted(known))}")
    return sum(parts[1:], start=parts[0])


def load_model(path: str | Path, size: Size | None = None) -> Model:
    """A model from a TOML or JSON file: its terms, or the name of a preset with options.

    A file holds ``name`` and ``terms``, each with ``charges``, ``offsets`` and, unless they are 1, 0 and ``"J"``,
    ``coupling``, ``phase`` and ``name``; or ``preset`` and whatever else `build_model` takes.

    Args:
        path: ends in ``.toml`` or ``.json``.
        size: of the lattice, for presets that depend on it.

    Raises:
        InputError: the file cannot be read, or describes no model.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "mine.toml"
        >>> _ = path.write_text('''
        ... name = "nematic_in_field"
        ... [[terms]]
        ... charges = [2, -2]
        ... offsets = [[0, 0], [1, 0]]
        ... [[terms]]
        ... charges = [1]
        ... offsets = [[0, 0]]
        ... coupling = 0.2
        ... name = "h"
        ... ''')
        >>> load_model(path)
        nematic_in_field(J=1.0, h=0.2)
    """
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise InputError(f"{path} is neither a .toml nor a .json file: models come in one of these")
    try:
        text = path.read_text("utf-8")
        stored = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a model: {' '.join(str(error).split())}") from None
    if isinstance(stored, dict) and "preset" in stored:
        preset = stored.pop("preset")
        return build_model(str(preset), size, **{str(key): value for key, value in stored.items()})
    return Model.from_json(stored)


def model_from_name(name: str, J: float = 1.0, K: float | None = None) -> Model:
    """Build one of the models of the first format from its name, ``"xy"`` or ``"exy"``.

    Args:
        name: the model's name.
        J: nearest-neighbour coupling.
        K: ring-exchange coupling; for EXY 1 unless given, for XY it must be absent or 0.

    Raises:
        InputError: unknown name, or a ring exchange for a model without one.

    Example:
        >>> model_from_name("exy", K=0.5)
        ExtendedXY(J=1.0, K=0.5)
    """
    if name not in ("xy", "exy"):
        raise InputError(f"unknown model {name!r}: choose one of xy, exy")
    if name == "exy":
        return ExtendedXY(J, 1.0 if K is None else K)
    if K:
        raise InputError(f"the XY model has no ring exchange, but K = {K}: use exy, or leave out K")
    return XY(J)


def model_attributes(model: Model) -> dict[str, Any]:
    """A model in JSON's types for files: its name, its couplings for people to read, its terms."""
    couplings = model.square._asdict() if model.square else model.couplings
    return {"model": model.name, **couplings, "terms": model.as_json()["terms"]}


def stored_model(stored: Mapping[str, Any]) -> Model:
    """The model that `model_attributes` described; files of the first format name it.

    Raises:
        InputError: they describe none.
    """
    if "terms" in stored:
        return Model.from_json({"name": stored["model"], "terms": stored["terms"]})
    return model_from_name(stored["model"], stored["J"], stored["K"])


def require_known(model: object) -> None:
    """Refuse what is not a model.

    Raises:
        InputError: naming what was given.

    Example:
        >>> require_known(XY())
    """
    if type(model) is not Model:
        ignored = ", so its energy would be ignored" if hasattr(model, "energy") else ""
        remedy = "call it" if inspect.isroutine(model) else "give mcmc.XY(), or an mcmc.Model of your own terms"
        raise InputError(f"{getattr(model, '__name__', type(model).__name__)} is not a sum of terms{ignored}: {remedy}")
