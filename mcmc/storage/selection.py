"""Positions along an axis of an ensemble, chosen as in numpy, turned into what HDF5 reads."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcmc.errors import InputError

Positions = int | slice | Sequence[int] | np.ndarray
"""What chooses along one axis: an integer drops it; a slice, a list of integers or a boolean mask keeps it."""

_TOLERANCE = 1e-6  # relative, within which a number names a temperature


def no_configurations(name: object) -> InputError:
    """What to tell who asks for the configurations of an ensemble of series only."""
    return InputError(f"{name} keeps the measured series only: for configurations, generate it without series_only")


class Selection(NamedTuple):
    """One axis: what is read from the file, and what is then taken of it."""

    read: slice
    take: int | slice | np.ndarray


def select(positions: Any, length: int, axis: str) -> Selection:
    """Check positions along one axis.

    Args:
        positions: see `Positions`; negative integers count from the end.
        length: of the axis.
        axis: its name in messages.

    Raises:
        InputError: of another type, or out of range.
    """
    if isinstance(positions, slice):
        try:
            steps = range(*positions.indices(length))
        except (TypeError, ValueError):
            raise _refusal(positions, axis) from None
        if not steps:
            return Selection(slice(0, 0), slice(None))
        if steps.step < 0:
            return Selection(slice(steps[-1], steps[0] + 1, -steps.step), slice(None, None, -1))
        return Selection(slice(steps.start, steps[-1] + 1, steps.step), slice(None))
    if np.ndim(positions) == 0:
        try:
            position = operator.index(positions)
        except TypeError:
            raise _refusal(positions, axis) from None
        if isinstance(positions, bool | np.bool_):
            raise _refusal(positions, axis)
        position = _within(np.array([position]), length, axis)[0]
        return Selection(slice(int(position), int(position) + 1), 0)
    try:
        chosen = np.asarray(positions)
    except ValueError:
        raise _refusal(positions, axis) from None
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iub"):
        raise _refusal(positions, axis)
    if chosen.dtype.kind == "b":
        if len(chosen) != length:
            raise InputError(f"a mask of {len(chosen)} does not fit {axis}: the file has {length}")
        chosen = np.flatnonzero(chosen)
    if not chosen.size:
        return Selection(slice(0, 0), slice(None))
    chosen = _within(chosen.astype(np.int64), length, axis)
    first = int(chosen.min())
    return Selection(slice(first, int(chosen.max()) + 1), chosen - first)


def select_axes(
    draws: Any,
    temperatures: Any,
    chains: Any,
    value: float | None,
    grid: np.ndarray,
    chain_count: int,
    draw_count: int,
) -> tuple[Selection, Selection, Selection]:
    """Check what is chosen along the axes temperature, chain and draw.

    Args:
        draws, temperatures, chains: positions.
        value: one temperature by its value, in place of positions.
        grid: the temperatures.
        chain_count, draw_count: lengths of the other axes.

    Raises:
        InputError: as `select` and `position_of`; or both ways to choose temperatures were used.
    """
    if value is not None:
        if not (isinstance(temperatures, slice) and temperatures == slice(None)):
            raise InputError("temperatures (positions) and temperature (a value) exclude each other: give one")
        temperatures = position_of(value, grid)
    return (
        select(temperatures, len(grid), "temperatures"),
        select(chains, chain_count, "chains"),
        select(draws, draw_count, "draws"),
    )


def taken(array: np.ndarray, selections: Sequence[Selection]) -> np.ndarray:
    """Of what was read along the first axes, what was chosen; each axis on its own."""
    for axis in reversed(range(len(selections))):
        array = array[(*[slice(None)] * axis, selections[axis].take)]
    return array


def position_of(temperature: Any, temperatures: np.ndarray) -> int:
    """The position of a temperature, which is given by its value.

    Raises:
        InputError: no number, or not one of the temperatures, with the nearest of them.
    """
    try:
        value = float(temperature)
    except (TypeError, ValueError):
        raise InputError(f"temperature = {temperature!r} must be a number") from None
    nearest = int(np.abs(temperatures - value).argmin())
    if not abs(temperatures[nearest] - value) <= _TOLERANCE * abs(value):
        near = ", ".join(f"{T:.8g}" for T in np.sort(temperatures[np.abs(temperatures - value).argsort()[:2]]))
        raise InputError(f"the file has no temperature {value:g}: the nearest are {near}")
    return nearest


def _within(chosen: np.ndarray, length: int, axis: str) -> np.ndarray:
    outside = chosen[(chosen < -length) | (chosen >= length)]
    if outside.size:
        held = f"0 to {length - 1}" if length else "none"
        raise InputError(f"{axis} = {outside[0]} is out of range: the file has {length} ({held})")
    return np.where(chosen < 0, chosen + length, chosen)


def _refusal(positions: Any, axis: str) -> InputError:
    shown = repr(positions) if len(repr(positions)) < 60 else type(positions).__name__
    remedy = "; choose a temperature by its value with temperature=..." if axis == "temperatures" else ""
    return InputError(f"{axis} = {shown} must be an integer, a slice or a list of integers{remedy}")
