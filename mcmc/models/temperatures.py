"""A grid of temperatures: numbers in any form, sorted, none of them twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcmc.errors import InputError

_SAME = 1e-9  # relative; closer temperatures are one, written in two ways


def as_temperatures(values: Any, *, ordered: bool = True) -> tuple[float, ...]:
    """Temperatures as Python numbers.

    Args:
        values: one number or many, in units of J / k_B: a list, a tuple, an array.
        ordered: whether to sort them.

    Raises:
        InputError: none, not in one row, not positive finite numbers, or one of them twice.

    Example:
        >>> as_temperatures(np.array([1, 0.5]))
        (0.5, 1.0)
    """
    try:
        array = np.atleast_1d(np.asarray(values))
        if array.dtype.kind not in "fiu" and array.size:
            raise TypeError
        grid = array.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"temperatures {_shown(values)} must be numbers") from None
    if not grid.size:
        raise InputError("no temperatures given: name at least one")
    if grid.ndim > 1:
        raise InputError(f"temperatures of shape {grid.shape} must stand in one row")
    for T in grid.tolist():
        if not (np.isfinite(T) and T > 0):
            raise InputError(f"temperature {T!r} must be a positive finite number")
    rising = np.sort(grid)
    twice = np.flatnonzero(np.diff(rising) <= _SAME * rising[1:])
    if twice.size:
        first, second = rising[twice[0] : twice[0] + 2].tolist()
        how = f"{first!r} is given twice" if first == second else f"{first!r} and {second!r} are the same"
        raise InputError(f"temperature {how}: leave one out")
    return tuple((rising if ordered else grid).tolist())


def _shown(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= 60 else f"{text[:57]}..."
