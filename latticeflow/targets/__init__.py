"""Densities whose truth is known, on which samplers show what they lose.

Importing this package loads torch. A density of your own joins the registry by ``TARGETS["mine"] = build``, where
``build()`` returns a `Target`.
"""

from __future__ import annotations

from collections.abc import Callable

from latticeflow.targets.base import Assignment, Target
from latticeflow.targets.mixtures import GaussianMixture, ring8
from mcmc import InputError

TARGETS: dict[str, Callable[[], Target]] = {"ring8": ring8}
"""Every density by name; the law-book of the tests runs over this registry."""


def build_target(name: str) -> Target:
    """The density of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in TARGETS:
        raise InputError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]()


__all__ = ["TARGETS", "Assignment", "GaussianMixture", "Target", "build_target"]
