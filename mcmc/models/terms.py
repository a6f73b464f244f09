"""Models as sums of terms: one energy for all, and everything that follows from it.

    E = - sum_terms sum_sites  J_t(i) cos( sum_k n_k theta(i + d_k) - A_t(i) )

A term has integer charges n_k at lattice offsets d_k, a coupling J_t in units of energy and a phase A_t in radians,
each a number or an array over the sites. Angles are in radians, configurations have shape ``(..., Ly, Lx)`` or
``(..., Lz, Ly, Lx)``; k_B = 1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple, Self

import numpy as np

from mcmc.errors import InputError

Offset = tuple[int, ...]
_LARGEST = 1e100
"""Couplings beyond it, or below its inverse, leave no room for squares of energies and their inverses."""


def namespace(array: Any) -> Any:
    """The module, numpy or torch, whose functions take ``array`` (torch is never imported here)."""
    return sys.modules["torch"] if type(array).__module__.partition(".")[0] == "torch" else np


@dataclass(frozen=True, eq=False)
class Term:
    """One kind of term of the energy, at every site i: -J(i) cos( sum_k n_k theta(i + d_k) - A(i) ).

    Args:
        charges: the integers n_k, none of them 0.
        offsets: the d_k, as (dx, dy) or (dx, dy, dz), one for each charge, none twice.
        coupling: J in units of energy, a number or an array over the sites, (Ly, Lx) or (Lz, Ly, Lx); an array of equal
            numbers is that number, on lattices of any size.
        phase: A in radians, a number or an array.
        name: of the coupling, in messages and tables; terms that share one are of one kind.

    Raises:
        InputError: charges that are not integers or do not match the offsets, or values that are not finite numbers.

    Example:
        A field along x, and the energy of bonds of a random sign to the right:

        >>> Term([1], [(0, 0)], 0.3, name="h")
        Term(charges=(1,), offsets=((0, 0),), coupling=0.3, phase=0.0, name='h')
        >>> signs = np.random.default_rng(1).choice([-1.0, 1.0], (4, 4))
        >>> Term((1, -1), ((0, 0), (1, 0)), signs).uniform
        False
    """

    charges: tuple[int, ...]
    offsets: tuple[Offset, ...]
    coupling: Any = 1.0
    phase: Any = 0.0
    name: str = "J"

    def __post_init__(self) -> None:
        """Refuse what is not a term; numbers become Python's, arrays are copied and cannot be written."""
        try:
            charges = tuple(_whole(charge) for charge in self.charges)
            offsets = tuple(tuple(_whole(step) for step in offset) for offset in self.offsets)
        except TypeError:
            raise InputError(
                f"term {self.name}: charges {self.charges!r} and offsets {self.offsets!r} must be integers, "
                "such as (1, -1) and ((0, 0), (1, 0))"
            ) from None
        if not charges or len(charges) != len(offsets) or 0 in charges:
            raise InputError(f"term {self.name}: charges {charges} must be one for each of {offsets}, none of them 0")
        if len({len(offset) for offset in offsets}) > 1 or len(offsets[0]) not in (2, 3):
            raise InputError(f"term {self.name}: offsets {offsets} must all be (dx, dy), or all (dx, dy, dz)")
        if len({*offsets}) < len(offsets):
            raise InputError(f"term {self.name}: offset {_repeated(offsets)} stands there twice: add its charges")
        values = {name: self._checked(name) for name in ("coupling", "phase")}
        for name, value in {"charges": charges, "offsets": offsets, **values}.items():
            object.__setattr__(self, name, value)

    def _checked(self, name: str) -> Any:
        given = getattr(self, name)
        try:
            array = np.array(given)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            if array.ndim:
                raise InputError(f"{name} {self.name}, an array {array.shape}, must hold finite numbers alone")
            raise InputError(f"{name} {self.name} = {given!r} must be a finite number, or an array of them")
        size = np.abs(array[array != 0])
        if name == "coupling" and size.size and not (size.min() > 1 / _LARGEST and size.max() < _LARGEST):
            text = f"coupling {self.name} = {given!r} must be 0, or of a size from {1 / _LARGEST:g} to {_LARGEST:g}"
            raise InputError(f"{text}: choose another unit of energy")
        dimensions = len(next(iter(self.offsets)))
        if array.ndim not in (0, dimensions):
            sides = "(Ly, Lx)" if dimensions == 2 else "(Lz, Ly, Lx)"
            raise InputError(f"{name} {self.name} has shape {array.shape}: give a number, or an array {sides}")
        array = array.astype(np.float64)
        if array.size and (array == array.flat[0]).all():
            return float(array.flat[0])
        array.setflags(write=False)
        return array

    @property
    def dimensions(self) -> int:
        """Axes of the lattices that it belongs on, 2 or 3."""
        return len(self.offsets[0])

    @property
    def uniform(self) -> bool:
        """Whether all sites have the same coupling and phase: the term has the symmetry of translations."""
        return isinstance(self.coupling, float) and isinstance(self.phase, float)

    @property
    def neutral(self) -> bool:
        """Whether the charges sum to 0: turning all spins together costs nothing."""
        return sum(self.charges) == 0

    @property
    def mirrored(self) -> bool:
        """Whether the energy stays when all angles change sign: the phase is 0, or pi, wherever there is a coupling."""
        return bool((np.abs(np.sin(self.phase) * self.coupling) <= 1e-12 * np.max(np.abs(self.coupling))).all())

    @property
    def satisfied(self) -> bool:
        """Whether equal angles make the energy of every site least."""
        least = np.cos(self.phase) * self.coupling >= np.abs(self.coupling) * (1 - 1e-12)
        return self.neutral and bool(np.all(least))

    @property
    def dipole(self) -> Offset:
        """sum_k n_k d_k, in lattice spacings along x, y (and z): how the term answers to a twist."""
        return tuple(
            sum(charge * offset[axis] for charge, offset in zip(self.charges, self.offsets, strict=True))
            for axis in range(self.dimensions)
        )

    @property
    def scale(self) -> float:
        """Largest coupling by magnitude."""
        return float(np.max(np.abs(self.coupling)))

    def on(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[Offset, ...]]:
        """Charges and offsets on a periodic lattice of ``shape``, (Ly, Lx) or (Lz, Ly, Lx).

        Offsets that lead to the same site there are one, with the sum of their charges.

        Example:
            >>> Term((1, -1), ((0, 0), (4, 0))).on((4, 4))
            ((), ())
        """
        return _folded(self.charges, self.offsets, tuple(shape))

    def angle(self, theta: Any) -> Any:
        """sum_k n_k theta(i + d_k) - A(i), not wrapped; the shape of ``theta``."""
        total = None
        for charge, offset in zip(self.charges, self.offsets, strict=True):
            moved = shifted(theta, offset)
            if total is None:
                total = moved if charge == 1 else charge * moved
            elif abs(charge) == 1:
                total = total + moved if charge == 1 else total - moved
            else:
                total = total + charge * moved
        return total if _is_zero(self.phase) else total - _like(self.phase, theta)

    def values(self, name: str, theta: Any) -> Any:
        """The coupling or the phase: a number, or an array that combines with ``theta``."""
        return _like(getattr(self, name), theta)

    def energy(self, theta: Any) -> Any:
        """Energy of all sites, ``(..., Ly, Lx) -> (...)``, float64.

        By half angles, -J cos a = J (2 sin^2(a / 2) - 1): relative to its least value nothing cancels.
        """
        xp, axes = namespace(theta), tuple(range(-self.dimensions, 0))
        half, J = 0.5 * self.angle(theta), self.coupling
        if isinstance(J, float):
            root = xp.sin(half) if J >= 0 else xp.cos(half)
            excess = (root * root).sum(axes, dtype=xp.float64)
            return abs(J) * (2 * excess - math.prod(theta.shape[-self.dimensions :]))
        root = xp.where(_like(J >= 0, theta, keep=True), xp.sin(half), xp.cos(half))
        excess = (_like(np.abs(J), theta) * root * root).sum(axes, dtype=xp.float64)
        return 2 * excess - float(np.abs(J).sum())

    def scaled(self, factor: float) -> Term:
        """The term with its coupling times ``factor``."""
        return replace(self, coupling=self.coupling * factor)

    def __eq__(self, other: object) -> bool:
        """Whether the other one has the same energy, number for number; names do not count."""
        return isinstance(other, Term) and self._key == other._key

    def __hash__(self) -> int:
        """Of what `__eq__` compares."""
        return hash(self._key)

    @cached_property
    def _key(self) -> tuple:
        return (self.charges, self.offsets, *(_frozen(value) for value in (self.coupling, self.phase)))

    def as_json(self) -> dict[str, Any]:
        """The term in JSON's types; arrays are nested lists."""
        plain = {name: np.asarray(getattr(self, name)).tolist() for name in ("coupling", "phase")}
        return {"name": self.name, "charges": [*self.charges], "offsets": [[*d] for d in self.offsets], **plain}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The term that `as_json` described; coupling 1, phase 0 and a name need not be given.

        Raises:
            InputError: a key is missing or unknown, or as for a `Term`.
        """
        known = {"charges", "offsets", "coupling", "phase", "name"}
        if not isinstance(stored, Mapping) or not {"charges", "offsets"} <= set(stored) <= known:
            found = ", ".join(stored) if isinstance(stored, Mapping) else repr(stored)
            raise InputError(f"a term has charges and offsets, and may have coupling, phase and name; got {found}")
        return cls(**stored)


class SquareCouplings(NamedTuple):
    """Couplings of the models that have kernels of their own; see `Model.square`."""

    J: float
    """Of the bonds to the right and below."""
    K: float
    """Of ring exchange round every plaquette; 0 where there is none."""


@dataclass(frozen=True, repr=False)
class Model:
    """A spin model: the sum of its terms.

    Args:
        terms: at least one.
        name: what messages, tables and files call it.

    Raises:
        InputError: there are no terms, or they belong on lattices of different dimensions.

    Example:
        XY spins in a field along x:

        >>> from mcmc.models.presets import XY
        >>> model = Model((*XY().terms, Term([1], [(0, 0)], 0.3, name="h")), name="xy_in_field")
        >>> model
        xy_in_field(J=1.0, h=0.3)
        >>> float(model.energy(np.zeros((4, 4)))), model.rotation, model.reflection
        (-36.8, False, True)
    """

    terms: tuple[Term, ...]
    name: str = field(default="model", compare=False)

    def __post_init__(self) -> None:
        """Refuse what is not a sum of terms."""
        try:
            terms = tuple(self.terms)
        except TypeError:
            terms = ()
        if not terms or not all(isinstance(term, Term) for term in terms):
            raise InputError("a model needs at least one term: give a tuple of mcmc.Term")
        if len({term.dimensions for term in terms}) > 1:
            raise InputError("the terms' offsets have two and three numbers: a lattice has two axes, or three")
        object.__setattr__(self, "terms", terms)

    def __repr__(self) -> str:
        """Name and couplings."""
        kinds: dict[str, list[str]] = {}
        for term in self.terms:
            text = _in_words(term.coupling)
            if text not in kinds.setdefault(term.name, []):
                kinds[term.name].append(text)
        title = {"xy": "XY", "exy": "ExtendedXY"}.get(self.name, self.name)
        return f"{title}({', '.join(f'{name}={chr(32).join(texts)}' for name, texts in kinds.items())})"

    def __add__(self, other: object) -> Model:
        """The model with the terms of both.

        Example:
            >>> from mcmc.models.presets import XY, field
            >>> XY() + field(0.3)
            xy+field(J=1.0, h=0.3)
        """
        if not isinstance(other, Model):
            return NotImplemented
        return Model((*self.terms, *other.terms), f"{self.name}+{other.name}")

    # -- what follows from the terms -----------------------------------------------------------------------------

    @property
    def dimensions(self) -> int:
        """Axes of the lattices that it belongs on, 2 or 3."""
        return self.terms[0].dimensions

    @property
    def couplings(self) -> dict[str, float]:
        """Couplings by name, of the names that stand for one number at all sites."""
        found: dict[str, set[Any]] = {}
        for term in self.terms:
            found.setdefault(term.name, set()).add(term.coupling if isinstance(term.coupling, float) else None)
        return {name: value for name, (value, *more) in found.items() if value is not None and not more}

    @property
    def scale(self) -> float:
        """Largest coupling by magnitude, in units of energy; 1 where all vanish."""
        return max(term.scale for term in self.terms) or 1.0

    @property
    def floor(self) -> float:
        """Energy per site below which no configuration lies, with every term at its least."""
        return -float(sum(np.mean(np.abs(term.coupling)) for term in self.terms))

    @property
    def kinds(self) -> dict[str, tuple[Term, ...]]:
        """The terms by name."""
        names = dict.fromkeys(term.name for term in self.terms)
        return {name: tuple(term for term in self.terms if term.name == name) for name in names}

    @property
    def turns(self) -> int:
        """Turning all spins by 2 pi / turns keeps the energy; 0 if turning them by any angle does."""
        return math.gcd(*(abs(sum(term.charges)) for term in self._present))

    @property
    def rotation(self) -> bool:
        """Whether turning all spins together keeps the energy, as it does if the charges of every term sum to 0."""
        return self.turns == 0

    @property
    def reflection(self) -> bool:
        """Whether the energy stays when all angles change sign, as it does if all phases are 0 or pi."""
        return all(term.mirrored for term in self.terms)

    @property
    def translation(self) -> bool:
        """Whether the energy stays when the configuration is shifted along an axis, as nothing depends on the site."""
        return all(term.uniform for term in self.terms)

    @cached_property
    def period(self) -> tuple[int, ...]:
        """Shifts along x, y (and z) that keep the energy, the sides of the cell that couplings and phases repeat.

        Example:
            >>> from mcmc.models.presets import XY, fully_frustrated
            >>> XY().period, fully_frustrated(8).period
            ((1, 1), (2, 1))
        """
        arrays = [
            value for term in self.terms for value in (term.coupling, term.phase) if isinstance(value, np.ndarray)
        ]

        def repeats(after: int, axis: int) -> bool:
            return all(np.array_equal(np.roll(value, after, axis), value) for value in arrays)

        sides = reversed(arrays[0].shape) if arrays else (1,) * self.dimensions
        return tuple(
            next(n for n in range(1, side + 1) if side % n == 0 and repeats(n, -1 - axis))
            for axis, side in enumerate(sides)
        )

    @property
    def ferromagnetic(self) -> bool:
        """Whether equal angles make every term's energy least, and rotations keep it."""
        return all(term.satisfied for term in self.terms)

    @cached_property
    def square(self) -> SquareCouplings | None:
        """J and K of a sum of nearest-neighbour bonds of one J along both axes and plaquettes of one K; None else.

        The kernels know these by heart, and compute all others from a table of terms.
        """
        shapes = {(term.charges, term.offsets): term for term in self.terms}
        wanted = {SQUARE_BONDS[0], SQUARE_BONDS[1]}
        if len(shapes) < len(self.terms) or not wanted <= set(shapes) <= wanted | {SQUARE_PLAQUETTE}:
            return None
        if any(not term.uniform or term.phase for term in self.terms):
            return None
        right, below = (shapes[bond].coupling for bond in SQUARE_BONDS)
        ring = shapes.get(SQUARE_PLAQUETTE)
        return SquareCouplings(right, ring.coupling if ring else 0.0) if right == below else None

    @property
    def _present(self) -> tuple[Term, ...]:
        return tuple(term for term in self.terms if term.scale) or self.terms[:1]

    def harmonics(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Multiples m of a spin's angle on which its energy depends on a lattice of ``shape``; (1,) for von Mises laws.

        Example:
            >>> from mcmc.models.presets import clock
            >>> clock(6, h=0.1).harmonics((8, 8))
            (1, 6)
        """
        return tuple(sorted({abs(charge) for term in self._present for charge in term.on(shape)[0]}))

    def check(self, shape: Sequence[int]) -> None:
        """Refuse a lattice on which this model has no energy.

        Args:
            shape: (Ly, Lx) or (Lz, Ly, Lx).

        Raises:
            InputError: the lattice has another number of axes, or an array of the model another shape.
        """
        shape = tuple(shape)
        if len(shape) != self.dimensions:
            raise InputError(
                f"{self} has {self.dimensions} axes, the lattice {_sides(shape)} has {len(shape)}: "
                f"choose a size with {self.dimensions} axes, or a model with {len(shape)}"
            )
        for term in self.terms:
            for name in ("coupling", "phase"):
                value = getattr(term, name)
                if isinstance(value, np.ndarray) and value.shape != shape:
                    raise InputError(
                        f"{name} {term.name} of {self.name} is an array {value.shape}, but the lattice is {shape}"
                    )

    def stiffness(self, axis: int) -> float:
        """Spin-wave stiffness along an axis (0 is x): J for XY, where equal angles minimise the energy.

        The helicity modulus at T = 0: sum over the terms of J p^2, p the dipole of their charges, mean over sites.
        """
        return float(sum(np.mean(term.coupling * np.cos(term.phase)) * term.dipole[axis] ** 2 for term in self.terms))

    # -- numbers ---------------------------------------------------------------------------------------------------

    def in_units_of(self, unit: float) -> Model:
        """The model with its couplings in another unit of energy.

        Example:
            >>> from mcmc.models.presets import ExtendedXY
            >>> ExtendedXY(2.0, 1.0).in_units_of(2.0)
            ExtendedXY(J=1.0, K=0.5)
        """
        terms = (replace(term, coupling=np.asarray(term.coupling) / unit) for term in self.terms)
        return Model(tuple(terms), self.name)

    def energy(self, theta: Any) -> Any:
        """Total energy, ``(..., Ly, Lx) -> (...)``, summed in float64."""
        self.check(theta.shape[-self.dimensions :])
        return sum(term.energy(theta) for term in self.terms)

    def field(self, theta: Any) -> Any:
        """Complex local field h_i, for which the energy of spin i is ``-Re(conj(h_i) e^{i theta_i})``.

        The conditional of one spin given the others is von Mises with mean arg h_i and concentration abs(h_i) / T.

        Returns:
            Complex array of the shape of ``theta``; complex64 for float32 angles.

        Raises:
            InputError: the energy of a spin depends on a multiple of its angle; see `fields`.
        """
        found = self.fields(theta)
        if {*found} - {1}:
            raise InputError(f"{self} depends on multiples of a spin's angle: it has no single local field")
        return found[1] if found else 0 * (namespace(theta).cos(theta) + 0j)

    def fields(self, theta: Any) -> dict[int, Any]:
        """Complex fields h_m(i) by m, for which the energy of spin i is ``-Re sum_m conj(h_m(i)) e^{i m theta_i}``.

        The conditional of one spin is a generalised von Mises law; arrays have the shape of ``theta``.
        """
        shape = theta.shape[-self.dimensions :]
        self.check(shape)
        xp = namespace(theta)
        spin = xp.cos(theta) + 1j * xp.sin(theta)  # faster than a complex exponential
        moved: dict[tuple[int, Offset], Any] = {}

        def factor(charge: int, offset: Offset) -> Any:
            if (charge, offset) not in moved:
                if charge < 0:
                    moved[charge, offset] = factor(-charge, offset).conj()
                else:
                    moved[charge, offset] = shifted(spin, offset) if charge == 1 else factor(1, offset) ** charge
            return moved[charge, offset]

        found: dict[int, Any] = {}
        for term in self._present:
            for relation in relations(term, shape):
                amplitude: Any = _like(relation.amplitude(term), spin)
                for charge, offset in zip(relation.charges, relation.offsets, strict=True):
                    amplitude = factor(charge, offset) * amplitude
                if not relation.charges:
                    amplitude = amplitude * (0 * spin + 1)
                m = relation.harmonic
                found[m] = found[m] + amplitude if m in found else amplitude
        return found

    # -- files -----------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The model in JSON's types; `from_json` is the inverse."""
        return {"name": self.name, "terms": [term.as_json() for term in self.terms]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Model:
        """The model that `as_json` described.

        Raises:
            InputError: what is described is not a model.
        """
        terms = stored.get("terms") if isinstance(stored, Mapping) else None
        if not isinstance(terms, list | tuple) or {*stored} - {"name", "terms"}:
            raise InputError("a model is described by its name and its terms, and by nothing else")
        return cls(tuple(Term.from_json(each) for each in terms), str(stored.get("name", "model")))


SQUARE_BONDS = (((1, -1), ((0, 0), (1, 0))), ((1, -1), ((0, 0), (0, 1))))
"""Charges and offsets of the bond to the right, and below."""
SQUARE_PLAQUETTE = ((1, -1, 1, -1), ((0, 0), (1, 0), (1, 1), (0, 1)))
"""Charges and offsets of ring exchange, going round the plaquette."""


class Relation(NamedTuple):
    """How a term acts on one of its spins: a part of its field h_m, J e^{+-iA} prod_j s_j^q_j."""

    harmonic: int
    charges: tuple[int, ...]
    """The q_j."""
    offsets: tuple[Offset, ...]
    """From the spin to the others."""
    origin: Offset
    """From the spin to the site that has the term's coupling and phase."""
    sign: int
    """Of the phase."""

    def amplitude(self, term: Term) -> Any:
        """J e^{+-iA} by site: a number, or an array."""
        J, A = (
            shifted(value, self.origin) if isinstance(value, np.ndarray) else value
            for value in (term.coupling, term.phase)
        )
        return J if _is_zero(A) else J * np.exp(1j * self.sign * np.asarray(A))


def relations(term: Term, shape: Sequence[int]) -> list[Relation]:
    """How a term acts on each of its spins on a lattice of ``shape``; empty where its charges cancel."""
    charges, offsets = term.on(shape)
    found = []
    for k, (charge, offset) in enumerate(zip(charges, offsets, strict=True)):
        sign = 1 if charge > 0 else -1
        rest = [(n, _minus(d, offset)) for j, (n, d) in enumerate(zip(charges, offsets, strict=True)) if j != k]
        zero = (0,) * len(offset)
        found.append(
            Relation(
                abs(charge), tuple(-sign * n for n, _ in rest), tuple(d for _, d in rest), _minus(zero, offset), sign
            )
        )
    return found


def shifted(array: Any, offset: Offset) -> Any:
    """The values at ``offset`` (dx, dy, ...) from every site of the last axes, periodic."""
    for axis, step in enumerate(offset):
        if step:
            array = namespace(array).roll(array, -step, -1 - axis)
    return array


@lru_cache(maxsize=1024)
def _folded(
    charges: tuple[int, ...], offsets: tuple[Offset, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[Offset, ...]]:
    total: dict[Offset, int] = {}
    place: dict[Offset, Offset] = {}
    for charge, offset in zip(charges, offsets, strict=True):
        site = tuple(step % side for step, side in zip(offset, reversed(shape), strict=True))
        place.setdefault(site, offset)
        total[site] = total.get(site, 0) + charge
    kept = [site for site, charge in total.items() if charge]
    return tuple(total[site] for site in kept), tuple(place[site] for site in kept)


def _minus(a: Offset, b: Offset) -> Offset:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def _whole(value: Any) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(value)
    return int(value)


def _repeated(offsets: Sequence[Offset]) -> Offset:
    return next(offset for k, offset in enumerate(offsets) if offset in offsets[:k])


def _is_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0.0


def _frozen(value: Any) -> Any:
    return value if isinstance(value, float) else (value.shape, value.tobytes())


def _like(value: Any, array: Any, keep: bool = False) -> Any:
    """A number as it is; an array as one that combines with ``array``, of its precision unless ``keep``."""
    if isinstance(value, float | int) or (not keep and np.ndim(value) == 0):
        return complex(value) if np.iscomplexobj(value) else float(value)
    xp = namespace(array)
    if xp is not np:
        tensor = xp.as_tensor(np.array(value)) if array.device.type == "cpu" else _copied(value, array.device)
        real = array.real.dtype if array.is_complex() else array.dtype
        return tensor if keep else tensor.to(array.dtype if tensor.is_complex() else real)
    real = np.asarray(array).real.dtype
    kind = np.result_type(real, np.complex64) if np.iscomplexobj(value) else real
    return value if keep else value.astype(kind)


def _copied(value: np.ndarray, device: Any) -> Any:
    return _copy_of(value.tobytes(), value.dtype.str, value.shape, device)


@cache
def _copy_of(content: bytes, kind: str, shape: tuple[int, ...], device: Any) -> Any:
    """A tensor on a device, copied once: a copy makes the device wait, and captured graphs cannot make one."""
    return sys.modules["torch"].as_tensor(np.frombuffer(content, kind).reshape(shape).copy(), device=device)


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    levels = np.unique(value)
    if len(levels) == 2 and levels[0] == -levels[1]:
        return f"+-{levels[1]:g}"
    return f"{levels[0]:.3g}..{levels[-1]:.3g}"


def _sides(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in reversed(shape))
