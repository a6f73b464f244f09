"""Flows by name: the registered ones, and ``module:name`` for what is not registered."""

from __future__ import annotations

import inspect
from inspect import signature
from typing import Any

from latticeflow.flows.flow import FLOWS, Flow
from mcmc import InputError
from mcmc.models.lattice import Size, as_lattice
from mcmc.models.presets import Model, require_known
from mcmc.runtime.registry import nearest


def register_flow(name: str, cls: type[Flow], *, replace: bool = False) -> None:
    """Let a class of flows be known by a name, to `build_flow`, trainings, files and the command line.

    Args:
        name: one word without a colon.
        cls: a subclass of `Flow` whose constructor takes model, lattice and temperatures, then sizes by keyword.
        replace: allow a name that is taken.

    Raises:
        InputError: the name is taken, or the class is not a complete flow.
    """
    FLOWS.register(name, _checked(cls), replace=replace)


def find_flow(name: str | type[Flow]) -> type[Flow]:
    """The class of that name; ``module:name`` imports it, and a class is checked and passed on.

    Raises:
        InputError: there is none, with the nearest known name, or it is not a class of flows.
    """
    return _checked(FLOWS.find(name) if isinstance(name, str) else name)


def _checked(cls: Any) -> type[Flow]:
    if not (isinstance(cls, type) and issubclass(cls, Flow)):
        raise InputError(f"{cls!r} is not a class of flows: derive it from latticeflow.Flow")
    if inspect.isabstract(cls):
        raise InputError(f"{cls.__name__} lacks {', '.join(sorted(cls.__abstractmethods__))}: define them")
    return cls


def build_flow(
    name: str | type[Flow], model: Model, lattice: Size, temperatures: tuple[float, float], **sizes: Any
) -> Flow:
    """Build an untrained flow.

    Args:
        name: a registered name, ``module:name``, or a class of flows.
        model: the spin model.
        lattice: the lattice, or its size: side of a square or a cube, (Lx, Ly), or (Lx, Ly, Lz).
        temperatures: lowest and highest temperature that the flow serves, in units of J / k_B.
        sizes: keyword arguments of the flow's class.

    Raises:
        InputError: unknown name or size, or a lattice that the flow cannot draw.

    Example:
        >>> import latticeflow as lf, mcmc
        >>> lf.build_flow("spline", mcmc.XY(), 4, (0.5, 1.5), couplings=4).name
        'spline'
    """
    cls = find_flow(name)
    require_known(model)
    lattice = as_lattice(lattice, model.dimensions)
    known = dict([*signature(cls).parameters.items()][3:])
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    for size, value in sizes.items():
        if size not in known:
            if anything:
                continue
            raise InputError(f"flow {cls.name!r} has no size {size!r}: {nearest(size, known)}")
        usual = known[size].default
        if isinstance(usual, (int, str)) and type(value) is not type(usual):
            raise InputError(
                f"{size} = {value!r} of flow {cls.name!r} must be {type(usual).__name__}, such as {usual!r}"
            )
    return cls(model, lattice, temperatures, **sizes)
