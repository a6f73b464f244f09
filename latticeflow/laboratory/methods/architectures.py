"""Flows on R^d by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from latticeflow.laboratory.methods.continuous import AugmentedFlow, ContinuousFlow, FlowMatching
from latticeflow.laboratory.methods.density_flow import DensityFlow
from latticeflow.laboratory.methods.layers import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Autoregressive,
    Coupling,
    InvertibleLinear,
    Layer,
    LayeredFlow,
    Planar,
    SplineCoupling,
)


class Architecture(NamedTuple):
    """A kind of flow."""

    title: str
    source: str
    build: Callable[[int, int, int], DensityFlow]
    """(dimension, condition_size, width) to an untrained flow, with torch's default randomness."""
    largest: int = 2000
    """Dimension up to which its training or its draws are affordable."""
    pace: float = 1.0
    """See `Method`."""


def _halves(d: int, pairs: int) -> list[torch.Tensor]:
    """Coordinates that couplings move: the two halves of a random order, of another one, and so on."""
    moved = []
    for _ in range(pairs):
        order = torch.randperm(d) if d > 2 else torch.arange(d)
        moved += [order[: d // 2].sort().values, order[d // 2 :].sort().values]
    return moved


def _couplings(
    kind: type[Coupling], pairs: int, parameters: int, *, unit: type[nn.Module] = nn.SiLU
) -> Callable[[int, int, int], DensityFlow]:
    def build(d: int, c: int, width: int) -> DensityFlow:
        layers: list[Layer] = [
            kind(moved, d, c, parameters=parameters, width=width, unit=unit) for moved in _halves(d, pairs)
        ]
        if kind is AdditiveCoupling:  # NICE ends with a scale of each coordinate, else it would keep all volumes
            layers.append(ActNorm(d))
        return LayeredFlow(layers, d, c)

    return build


def _rectified(pairs: int) -> Architecture:
    """RealNVP whose scales and shifts can be steep: those of smooth units begin flat, and stay so for long."""
    build = _couplings(AffineCoupling, pairs, 2, unit=nn.ReLU)
    return Architecture(f"RealNVP, {2 * pairs} couplings, rectified", "arXiv:1605.08803", build)


def _glow(pairs: int) -> Callable[[int, int, int], DensityFlow]:
    def build(d: int, c: int, width: int) -> DensityFlow:
        layers: list[Layer] = []
        for moved in _halves(d, pairs):
            layers += [ActNorm(d), InvertibleLinear(d), AffineCoupling(moved, d, c, parameters=2, width=width)]
        return LayeredFlow(layers, d, c)

    return build


def _autoregressive(inverted: bool) -> Callable[[int, int, int], DensityFlow]:
    def build(d: int, c: int, width: int) -> DensityFlow:
        layers: list[Layer] = [
            Autoregressive(d, c, width=width, backwards=bool(k % 2), inverted=inverted) for k in range(5)
        ]
        return LayeredFlow(layers, d, c)

    return build


ARCHITECTURES: dict[str, Architecture] = {
    "planar": Architecture(
        "planar",
        "arXiv:1505.05770",
        lambda d, c, width: LayeredFlow([Planar(d, c) for _ in range(16)], d, c),
        largest=8,
    ),
    "nice": Architecture("NICE", "arXiv:1410.8516", _couplings(AdditiveCoupling, 3, 1)),
    "realnvp": Architecture("RealNVP", "arXiv:1605.08803", _couplings(AffineCoupling, 3, 2)),
    "realnvp6_relu": _rectified(3),
    "realnvp16_relu": _rectified(8),
    "realnvp32_relu": _rectified(16),
    "glow": Architecture("Glow", "arXiv:1807.03039", _glow(2), largest=256),
    "glow12": Architecture("Glow, 12 couplings", "arXiv:1807.03039", _glow(6), largest=256),
    "maf": Architecture("MAF", "arXiv:1705.07057", _autoregressive(False), largest=256),
    "iaf": Architecture("IAF", "arXiv:1606.04934", _autoregressive(True), largest=4),
    "spline": Architecture(
        "neural spline", "arXiv:1906.04032", _couplings(SplineCoupling, 2, 23), largest=64, pace=0.5
    ),
    "continuous": Architecture(
        "continuous", "arXiv:1810.01367", lambda d, c, width: ContinuousFlow(d, c, width=width), largest=256, pace=0.4
    ),
    "continuous_ot": Architecture(
        "continuous, OT",
        "arXiv:2002.02798",
        lambda d, c, width: ContinuousFlow(d, c, width=width, kinetic=0.01, jacobian=0.01),
        largest=256,
        pace=0.4,
    ),
    "augmented": Architecture(
        "augmented", "arXiv:2002.07101", lambda d, c, width: AugmentedFlow(d, c, width=width), largest=256, pace=0.4
    ),
    "flow_matching": Architecture(
        "flow matching", "arXiv:2210.02747", lambda d, c, width: FlowMatching(d, c, width=2 * width), pace=4.0
    ),
}
"""Every kind of flow; the tests of the contract run over this registry."""
