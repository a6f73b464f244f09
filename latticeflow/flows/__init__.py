"""Normalizing flows of lattice configurations, all behind the contract of `base.Flow`.

Importing this package loads torch.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from latticeflow.flows.flow import Flow
from latticeflow.flows.multiscale import Multiscale
from latticeflow.flows.realnvp import RealNVP
from latticeflow.flows.spline import Spline
from mcmc import InputError, Lattice
from mcmc.models.presets import Model

FLOWS: dict[str, type[Flow]] = {flow.name: flow for flow in (Multiscale, RealNVP, Spline)}
"""Every flow by name; the law-book of the tests runs over this registry."""


def build_flow(name: str, model: Model, lattice: Lattice, temperatures: tuple[float, float], **sizes: Any) -> Flow:
    """Build an untrained flow.

    Args:
        name: a name of `FLOWS`.
        model, lattice, temperatures: see `Flow`.
        sizes: keyword arguments of the flow's class.

    Raises:
        InputError: unknown name or size, or a lattice that the flow cannot draw.
    """
    if name not in FLOWS:
        raise InputError(f"unknown flow {name!r}: choose one of {', '.join(FLOWS)}")
    known = dict([*signature(FLOWS[name]).parameters.items()][3:])
    for size, value in sizes.items():
        if size not in known:
            raise InputError(f"flow {name!r} has no size {size!r}: choose of {', '.join(known)}")
        usual = known[size].default
        if isinstance(usual, (int, str)) and type(value) is not type(usual):
            raise InputError(f"{size} = {value!r} of flow {name!r} must be {type(usual).__name__}, such as {usual!r}")
    return FLOWS[name](model, lattice, temperatures, **sizes)


__all__ = ["FLOWS", "Flow", "Multiscale", "RealNVP", "Spline", "build_flow"]
