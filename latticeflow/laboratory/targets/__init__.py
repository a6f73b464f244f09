"""Densities whose truth is known, on which samplers show what they lose.

Importing this package loads torch. A density of your own joins the registry by ``TARGETS["mine"] = build``, where
``build()`` returns a `Target`.
"""

from __future__ import annotations

from collections.abc import Callable

from latticeflow.laboratory.targets.digits import StackedDigits
from latticeflow.laboratory.targets.manifold import GaussiansOnManifold
from latticeflow.laboratory.targets.mixtures import (
    GaussianMixture,
    grid25,
    mog4,
    mog4_weights,
    mog8,
    mog8_widths,
    ring8,
)
from latticeflow.laboratory.targets.rings import ConcentricRings, rings4
from latticeflow.laboratory.targets.target import Assignment, Target
from latticeflow.laboratory.targets.xy_lattice import XYLattice, xy8
from mcmc import InputError

TARGETS: dict[str, Callable[[], Target]] = {
    "mog4": mog4,
    "mog8": mog8,
    "rings4": rings4,
    "ring8": ring8,
    "grid25": grid25,
    "mog4_weights": mog4_weights,
    "mog8_widths": mog8_widths,
    "xy8": xy8,
    "digits": StackedDigits,
    "manifold1200": GaussiansOnManifold,
}
"""Every density by name; the tests of the contract run over this registry."""


def build_target(name: str) -> Target:
    """The density of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in TARGETS:
        raise InputError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]()


__all__ = [
    "TARGETS",
    "Assignment",
    "ConcentricRings",
    "GaussianMixture",
    "GaussiansOnManifold",
    "StackedDigits",
    "Target",
    "XYLattice",
    "build_target",
]
