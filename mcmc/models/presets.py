"""The spin models: energies, bond terms and local fields, for numpy arrays and torch tensors alike.

Angles are in radians, configurations have shape ``(..., Ly, Lx)``; J and K are in units of energy, k_B = 1.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from mcmc.errors import InputError


def namespace(array: Any) -> Any:
    """The module, numpy or torch, whose functions take ``array`` (torch is never imported here)."""
    return sys.modules["torch"] if type(array).__module__.partition(".")[0] == "torch" else np


def _cosine_energy(coupling: float, phase: Any) -> Any:
    """-coupling times the sum of cosines, float64, by half angles: relative to its least value it does not cancel."""
    xp = namespace(phase)
    half = (xp.sin if coupling >= 0 else xp.cos)(0.5 * phase)
    excess = (half * half).sum((-2, -1), dtype=xp.float64)
    return abs(coupling) * (2 * excess - phase.shape[-1] * phase.shape[-2])


@dataclass(frozen=True)
class XY:
    """The XY model, E = -J sum_bonds cos(theta_i - theta_j).

    Args:
        J: nearest-neighbour coupling; positive is ferromagnetic.

    Raises:
        InputError: a coupling is not a finite number.
    """

    J: float = 1.0

    name: ClassVar[str] = "xy"

    def __post_init__(self) -> None:
        """Refuse couplings that are not numbers."""
        for coupling, value in asdict(self).items():
            real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not real or not math.isfinite(value):
                raise InputError(f"coupling {coupling} = {value!r} must be a finite number")
            object.__setattr__(self, coupling, float(value))

    @property
    def couplings(self) -> dict[str, float]:
        """Couplings by name, J and K; K = 0 where the model has no ring exchange."""
        return {"J": float(self.J), "K": float(getattr(self, "K", 0.0))}

    @property
    def scale(self) -> float:
        """Largest coupling by magnitude, in units of energy; 1 where all vanish."""
        return max(abs(value) for value in self.couplings.values()) or 1.0

    @property
    def floor(self) -> float:
        """Energy per site below which no configuration lies: every bond and every plaquette at its least."""
        J, K = (abs(value) for value in self.couplings.values())
        return -2 * J - K

    def in_units_of(self, unit: float) -> Self:
        """The model with its couplings in another unit of energy.

        Example:
            >>> ExtendedXY(2.0, 1.0).in_units_of(2.0)
            ExtendedXY(J=1.0, K=0.5)
        """
        return replace(self, **{name: float(value) / unit for name, value in asdict(self).items()})

    def bonds(self, theta: Any) -> tuple[Any, Any]:
        """Angle differences along each site's right and lower bond, not wrapped; shapes ``(..., Ly, Lx)``."""
        roll = namespace(theta).roll
        return theta - roll(theta, -1, -1), theta - roll(theta, -1, -2)

    def energy(self, theta: Any) -> Any:
        """Total energy, ``(..., Ly, Lx) -> (...)``, summed in float64."""
        right, below = self.bonds(theta)
        return _cosine_energy(self.J, right) + _cosine_energy(self.J, below)

    def field(self, theta: Any) -> Any:
        """Complex local field h_i, for which the energy of spin i is ``-Re(conj(h_i) e^{i theta_i})``.

        The conditional of one spin given the others is von Mises with mean arg h_i and concentration |h_i| / T.

        Returns:
            Complex array of the shape of ``theta``; complex64 for float32 angles.
        """
        xp = namespace(theta)
        spin = xp.cos(theta) + 1j * xp.sin(theta)  # faster than a complex exponential
        return self.J * sum(xp.roll(spin, shift, axis) for axis in (-1, -2) for shift in (-1, 1))


@dataclass(frozen=True)
class ExtendedXY(XY):
    """The extended XY model: XY plus ring exchange on plaquettes.

    E = -J sum_bonds cos(theta_i - theta_j) - K sum_plaquettes cos(theta_1 - theta_2 + theta_3 - theta_4), with
    1, 2, 3, 4 going round the plaquette.

    Args:
        J: nearest-neighbour coupling.
        K: ring-exchange coupling.
    """

    K: float = 1.0

    name: ClassVar[str] = "exy"

    def plaquettes(self, theta: Any) -> Any:
        """theta_1 - theta_2 + theta_3 - theta_4 of the plaquette below-right of each site, not wrapped."""
        right, _ = self.bonds(theta)
        return right - namespace(theta).roll(right, -1, -2)

    def energy(self, theta: Any) -> Any:
        """Total energy, ``(..., Ly, Lx) -> (...)``, summed in float64."""
        return super().energy(theta) + _cosine_energy(self.K, self.plaquettes(theta))

    def field(self, theta: Any) -> Any:
        """Complex local field h_i; see `XY.field`. It holds the four plaquettes around the site as well."""
        xp = namespace(theta)
        spin = xp.cos(theta) + 1j * xp.sin(theta)  # faster than a complex exponential
        h = super().field(theta)
        for dx in (-1, 1):
            for dy in (-1, 1):
                side, above = xp.roll(spin, dx, -1), xp.roll(spin, dy, -2)
                h = h + self.K * side * above * xp.roll(above, dx, -1).conj()
        return h


Model = XY | ExtendedXY

MODELS: dict[str, type[XY]] = {"xy": XY, "exy": ExtendedXY}


def require_known(model: object) -> None:
    """Refuse a model that files and kernels would take for another one, such as a subclass with a further term.

    Raises:
        InputError: the model's class is not one of `MODELS`.

    Example:
        >>> require_known(XY())
    """
    if type(model) not in MODELS.values():
        known = ", ".join(cls.__name__ for cls in MODELS.values())
        raise InputError(f"{type(model).__name__} is not a known model, so its energy would be ignored: use {known}")


def model_from_name(name: str, J: float = 1.0, K: float | None = None) -> Model:
    """Build a model from its name, ``"xy"`` or ``"exy"``.

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
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}")
    if name == "exy":
        return ExtendedXY(J, 1.0 if K is None else K)
    if K:
        raise InputError(f"the XY model has no ring exchange, but K = {K}: use exy, or leave out K")
    return XY(J)
