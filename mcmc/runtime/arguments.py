"""What callers give, as what it must be: each refusal names the argument and its value."""

from __future__ import annotations

import operator
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mcmc.errors import InputError


def whole_number(name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``.

    Raises:
        InputError: it is not an integer, or too small.

    Example:
        >>> whole_number("draws", np.int64(3), 1)
        3
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} = {value!r} must be an integer") from None
    if number < least:
        raise InputError(f"{name} = {number} must be at least {least}")
    return number


def level_of_user() -> int:
    """The ``stacklevel`` by which a warning names the line outside of these packages that led to it."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("mcmc", "latticeflow"):
        frame, level = frame.f_back, level + 1
    return level


def as_path(value: Any) -> Path:
    """The path of a file.

    Raises:
        InputError: it is not the name of a file.

    Example:
        >>> as_path("a.h5").suffix
        '.h5'
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"expected the path of a file; got {type(value).__name__}")
    return Path(value)
