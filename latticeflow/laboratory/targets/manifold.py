"""Ten 700-dimensional Gaussians embedded in 1,200 dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latticeflow.laboratory.targets.target import Assignment, Target, device_of

LEVELS = (-1.0, -0.5, 0.0, 0.5, -2.0, -2.5, 10.0, 0.25, -13.0, -5.5)
"""What all coordinates of the ten centres are, from the code of PacGAN (github.com/fjxmlzn/PacGAN)."""


class GaussiansOnManifold(Target):
    """x = level_k (1, ..., 1) + (z, 0), with z normal in the first 700 coordinates and nothing in the other 500.

    So it has no density. A mode is recognised by the nearest centre; levels of 0.25 apart are eleven standard
    deviations of the mean coordinate. The published protocol counts draws within ten standard deviations of a mode
    (VEEGAN, arXiv:1705.07761) and leaves open of what: an exact draw lies sqrt(700) = 26.5 from its centre, so that
    by the plain distance not even exact draws would count. Here a draw is of high quality if its distance from the
    centre is at most sqrt(700) + 10; as by the published rule, a draw that sits right on the centre counts.
    """

    has_density = False
    blur = 0.1
    spread = 700
    """Coordinates in which a mode extends."""

    def __init__(self) -> None:
        super().__init__("manifold1200", 1200, len(LEVELS))
        self.levels = torch.tensor(LEVELS)

    def _sample(self, n: int, condition: Tensor | None, generator: torch.Generator | None) -> Tensor:
        device = device_of(generator)
        mode = torch.randint(self.mode_count, (n,), generator=generator, device=device)
        x = self.levels.to(device)[mode][:, None].repeat(1, self.dimension)
        x[:, : self.spread] += torch.randn(n, self.spread, generator=generator, device=device)
        return x

    def _assign(self, x: Tensor, condition: Tensor | None) -> Assignment:
        x, levels = x.double(), self.levels.double().to(x.device)
        # |x - level 1|^2, without the (n, modes, d) array
        squares = x.square().sum(1, keepdim=True) - 2 * x.sum(1, keepdim=True) * levels + self.dimension * levels**2
        nearest = squares.clamp(min=0).min(-1)
        return Assignment(nearest.indices, nearest.values.sqrt() <= math.sqrt(self.spread) + 10)
