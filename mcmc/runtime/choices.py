"""Keyword arguments that are the fields of a dataclass: shown by editors and `help`, and checked by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, cast

from mcmc.errors import InputError
from mcmc.runtime.registry import nearest

Function = TypeVar("Function", bound=Callable[..., Any])


def accepts(settings: type) -> Callable[[Function], Function]:
    """Show the fields of a dataclass as keyword arguments of a function that takes them as ``**choices``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     seed: int = 0
        >>> @accepts(Settings)
        ... def run(size, **choices): ...
        >>> print(inspect.signature(run))
        (size, *, seed: 'int' = 0)
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        kept = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        known = {each.name for each in kept}
        added = [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=each.default if each.default is not MISSING else None,
                annotation=each.type,
            )
            for each in fields(settings)
            if each.name not in known
        ]
        function.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        return function

    return decorate


def strict(function: Function) -> Function:
    """Let a function with many keyword arguments refuse an unknown one with the nearest known one.

    Example:
        >>> @strict
        ... def run(size, *, draws=10, chains=4): ...
        >>> run(8, draw=5)
        Traceback (most recent call last):
            ...
        mcmc.errors.InputError: run has no argument 'draw': did you mean 'draws'? Known: size, draws, chains
    """
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*arguments: Any, **choices: Any) -> Any:
        for name in choices:
            if name not in known:
                raise InputError(f"{function.__name__} has no argument {name!r}: {nearest(name, known)}")
        return function(*arguments, **choices)

    return cast(Function, checked)


def check_names(given: Iterable[str], known: Collection[str], kind: str) -> None:
    """Refuse names that are not known.

    Args:
        given: names.
        known: names.
        kind: what the names are, for the message: ``"training setting"``.

    Raises:
        InputError: with the nearest known name.
    """
    for name in given:
        if name not in known:
            raise InputError(f"unknown {kind} {name!r}: {nearest(name, known)}")
