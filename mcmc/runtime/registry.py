"""Things that are named: a registry for each kind, and ``module:name`` for what is in nobody's registry."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from mcmc.errors import InputError

Thing = TypeVar("Thing")


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that lead from an unknown name to the known ones.

    Example:
        >>> nearest("metropolys", ["heat_bath", "metropolis"])
        "did you mean 'metropolis'? Known: heat_bath, metropolis"
    """
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {close[0]!r}? K{listed[1:]}" if close else listed


class Registry(Mapping[str, Thing], Generic[Thing]):
    """Objects of one kind by name, in the order in which they joined.

    Args:
        kind: what they are, for messages: ``"sampler"``.

    Example:
        >>> colours = Registry[int]("colour")
        >>> colours.register("red", 0xFF0000)
        >>> colours.find("red") == colours["red"]
        True
        >>> colours.find("math:pi")
        3.141592653589793
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._things: dict[str, Thing] = {}

    def register(self, name: str, thing: Thing, *, replace: bool = False) -> None:
        """Let ``thing`` be known by ``name``.

        Raises:
            InputError: the name is taken and ``replace`` is off, or is not one word without a colon.
        """
        if not name or ":" in name or any(letter.isspace() for letter in name):
            raise InputError(f"{self.kind} name {name!r} must be one word without a colon")
        if name in self._things and not replace:
            raise InputError(f"{self.kind} {name!r} exists already: choose another name, or pass replace=True")
        self._things[name] = thing

    def remove(self, name: str) -> None:
        """Forget a name.

        Raises:
            InputError: there is none.
        """
        self.find(name)
        del self._things[name]

    def find(self, name: str) -> Thing:
        """The object of that name; ``module:name`` imports it, in every process that is asked for it.

        Raises:
            InputError: there is none, with the nearest known name.
        """
        if not isinstance(name, str):
            raise InputError(f"expected the name of a {self.kind}; got {type(name).__name__}")
        if ":" in name:
            return imported(name)
        if name not in self._things:
            raise InputError(f"unknown {self.kind} {name!r}: {nearest(name, self._things)}")
        return self._things[name]

    def __getitem__(self, name: str) -> Thing:
        """The registered object; KeyError if there is none."""
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._things)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._things)


def imported(name: str) -> Any:
    """The object at ``module:name``.

    Raises:
        InputError: the module or the name does not exist.
    """
    module, _, attribute = name.partition(":")
    try:
        found = import_module(module)
    except ImportError as error:
        raise InputError(f"{name!r} cannot be imported ({error}): is the module on PYTHONPATH?") from None
    try:
        return getattr(found, attribute)
    except AttributeError:
        public = [known for known in dir(found) if not known.startswith("_")]
        raise InputError(f"module {module!r} has no {attribute!r}: {nearest(attribute, public)}") from None
