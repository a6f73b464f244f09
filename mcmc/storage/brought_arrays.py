"""Arrays that somebody brings: their axes, their unit, and whether they can be angles at these temperatures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import wrap
from mcmc.models.presets import Model
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.text import counted

LARGEST_ANGLE = 4 * math.pi
"""Angles in radians beyond two turns are taken for degrees, or for angles that were never wrapped."""
_COLDEST, _HOTTEST = 1e-4, 1e3  # temperatures in units of the couplings
_SAMPLE = 2**20  # numbers that are looked at for their kind


@dataclass(frozen=True)
class Understood:
    """How an array was understood; `str` says it in lines.

    Attributes:
        shape: (T, C, n, Ly, Lx).
        smallest, largest: of the angles as they came, in radians.
        temperatures: (T,), sorted.
        energies: (T,), mean energy per site.
        errors: (T,), standard errors of these as if draws were independent.
    """

    shape: tuple[int, ...]
    smallest: float
    largest: float
    temperatures: tuple[float, ...]
    energies: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def falling(self) -> list[int]:
        """Positions at which the energy is lower than at the temperature before, which equilibrium excludes."""
        e, s = np.array(self.energies), np.array(self.errors)
        # Five times the independent errors, tenfold for autocorrelation.
        return [*(1 + np.flatnonzero(np.diff(e) < -15 * np.hypot(s[1:], s[:-1]) - 1e-9))]

    def __str__(self) -> str:
        """Shape, range of the angles, and energy per site by temperature."""
        T, C, n, *sides = self.shape
        lines = [
            f"{counted(T, 'temperature')} x {counted(C, 'chain')} x {counted(n, 'draw')} on "
            f"{' x '.join(str(side) for side in reversed(sides))} sites",
            f"angles from {self.smallest:.4g} to {self.largest:.4g} rad",
            "energy per site:",
            *(f"  T = {t:<8g} {e:.5g}" for t, e in zip(self.temperatures, self.energies, strict=True)),
        ]
        for k in self.falling:
            pair = f"T = {self.temperatures[k - 1]:g} to {self.temperatures[k]:g}"
            lines.append(f"the energy falls from {pair}: in equilibrium it rises; check the order of the temperatures")
        return "\n".join(lines)


def with_all_axes(theta: np.ndarray, temperatures: int, dimensions: int = 2) -> np.ndarray:
    """Configurations with the axes (T, C, n, [Lz,] Ly, Lx), of which the first ones may be missing.

    Raises:
        InputError: the shape does not fit the number of temperatures.
    """
    shape = theta.shape
    if theta.ndim == 1 + dimensions and temperatures == 1:
        theta = theta[None, None]
    elif theta.ndim == 2 + dimensions:
        theta = theta[:, None]
    if theta.ndim != 3 + dimensions or theta.shape[0] != temperatures or not theta.size:
        text = f"an array of shape {shape} does not fit {counted(temperatures, 'temperature')}"
        s = "Ly, Lx" if dimensions == 2 else "Lz, Ly, Lx"
        raise InputError(f"{text}: bring (T, chains, draws, {s}), (T, draws, {s}), or (draws, {s}) for one T")
    return theta


def as_angles(theta: np.ndarray) -> np.ndarray:
    """Any finite angles in radians as float32 in [-pi, pi)."""
    angles = wrap(np.asarray(theta, np.float64)).astype(np.float32)
    return np.where(angles >= np.float32(np.pi), np.float32(-np.pi), angles)  # float32 may round up to pi


def require_angles(theta: np.ndarray) -> None:
    """Refuse arrays that are something else than angles in radians: unit vectors, degrees, states of a clock.

    Args:
        theta: (..., Ly, Lx), any number of axes.

    Raises:
        InputError: what the array seems to hold, and how to convert it; or numbers that are not finite.
    """
    if theta.dtype.kind == "c":
        raise InputError("the array holds complex numbers: bring angles, numpy.angle(array)")
    if theta.dtype.kind not in "fiu":
        raise InputError(f"configurations must be angles in radians, real numbers; got an array of {theta.dtype}")
    if not theta.size:
        return
    for axis, length in enumerate(theta.shape):
        if length in (2, 3) and _unit_vectors(theta, axis):
            parts = [f"array[{':, ' * axis}{k}{', ...' if axis < theta.ndim - 1 else ''}]" for k in (1, 0)]
            text = f"axis {axis} of the array, of length {length}, holds unit vectors and not angles"
            remedy = f": bring numpy.arctan2({parts[0]}, {parts[1]})" if length == 2 else ": these are not planar spins"
            raise InputError(text + remedy)
    smallest, largest = float(theta.min()), float(theta.max())
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise InputError("the array holds values that are not finite")
    if max(-smallest, largest) > LARGEST_ANGLE:
        raise InputError(
            f"values from {smallest:g} to {largest:g} are not angles in radians: convert degrees by numpy.radians, and "
            "wrap angles of several turns by mcmc.wrap"
        )
    sample = theta.reshape(-1)[:_SAMPLE] if theta.flags.c_contiguous else theta[tuple(slice(0, 8) for _ in theta.shape)]
    if np.any(sample) and (sample == np.round(sample)).all():
        text = f"the array holds whole numbers only, from {smallest:g} to {largest:g}"
        raise InputError(f"{text}: convert states k of a clock of q hands by 2 * pi * k / q, degrees by numpy.radians")


def require_sensible(temperatures: Any, model: Model) -> tuple[float, ...]:
    """Temperatures as they came, if they can be in units of J / k_B.

    Raises:
        InputError: not positive finite numbers, one twice, or beyond all proportion to the couplings.
    """
    grid = as_temperatures(temperatures, ordered=False)
    for T in grid:
        if not _COLDEST <= T / model.scale <= _HOTTEST:
            text = f"temperature {T:g} is out of proportion to the couplings of {model!r}"
            raise InputError(f"{text}: temperatures are in units of energy, with k_B = 1")
    return grid


def _unit_vectors(theta: np.ndarray, axis: int) -> bool:
    moved = np.moveaxis(theta, axis, -1)
    part = np.asarray(moved[tuple(slice(0, 16) for _ in moved.shape[:-1])], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.allclose((part**2).sum(-1), 1, atol=1e-3))
