"""The flow of the AdvNF paper: affine couplings, blind to the symmetries, with a wall at the angle's cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latticeflow.flows.flow import Flow
from latticeflow.flows.torus_convolution import Neighbours, three_convolutions
from mcmc import InputError, Lattice, wrap
from mcmc.models.presets import Model


class Coupling(nn.Module):
    """Scale and shift of one checkerboard colour, by periodic convolutions over the other and the temperature."""

    def __init__(self, filters: int):
        super().__init__()
        self.hidden = nn.Sequential(_convolution(2, filters), nn.ReLU(), _convolution(filters, filters), nn.ReLU())
        self.output = _convolution(filters, 2)

    def forward(self, frozen: Tensor, temperature: Tensor, places: Sequence[Neighbours]) -> tuple[Tensor, Tensor]:
        """Scale and shift of the sites that move, given the others.

        Args:
            frozen: the sites that stay, (N/2, B).
            temperature: (B,).
            places: neighbours of each convolution: from the sites that stay to all, from all to all, and to those that
                move.

        Returns:
            Log scale, in (-1, 1), and shift, both (N/2, B).
        """
        first, second = cast(nn.Conv2d, self.hidden[0]), cast(nn.Conv2d, self.hidden[2])
        given, of_temperature = first.weight.split(1, 1)
        # The temperature is the same at all sites: its convolution is a bias.
        bias = _bias(first)[:, None] + of_temperature.sum((1, 2, 3))[:, None] * temperature
        weights = given, second.weight, self.output.weight
        found = three_convolutions(frozen, bias, weights, [_bias(second), _bias(self.output)], places)
        s, t = found.unbind(0)
        return torch.tanh(s), t


class RealNVP(Flow):
    """Gaussian noise through affine couplings and a sigmoid to angles: the published baseline, faithfully.

    theta = 2 pi sigmoid(f_24(... f_1(x))) - pi with x normal; each coupling moves one checkerboard colour by
    y = x exp(s) + t, where s and t see the other colour and the temperature through two periodic 3x3 convolutions of 64
    filters (Dinh et al., arXiv:1605.08803; Kanaujia, Scheurer, Arora 2024, arXiv:2401.15948, and their notebook).
    The sigmoid lets the density vanish at theta = +-pi, whatever the physics there, and rotation symmetry must be
    learnt. The paper squeezes angles by 5e-4 away from the wall, which leaves mass outside of the circle; here the
    density is normalised exactly.

    `log_prob` and `sample` each take one pass through all couplings; `sample` evaluates `log_prob` on what it drew.

    Args:
        model, lattice, temperatures: see `Flow`.
        couplings: their number.
        filters: of each convolution.

    Raises:
        InputError: an odd side, on which the checkerboard does not close.
    """

    name = "realnvp"
    # The objective is the paper's. Its rate is 5e-5 for 160,000 steps, which no training of minutes can afford.
    objective = "advnf"
    learning_rate = 1e-3
    seamless = False
    symmetric = False
    reparameterised = True
    # As in the paper. After 300 steps of reverse KL (8 couplings, 12 filters) the acceptance was 0.150, and 0.092 by
    # the score function, whose steps took 1.2 times as long.
    gradient = "reparameterised"

    def __init__(
        self,
        model: Model,
        lattice: Lattice,
        temperatures: tuple[float, float],
        *,
        couplings: int = 24,
        filters: int = 64,
    ):
        super().__init__(model, lattice, temperatures, {"couplings": couplings, "filters": filters})
        if couplings < 2:
            raise InputError(f"couplings = {couplings} must be at least 2, one for each colour")
        colours = lattice.sublattices(1)
        order = np.concatenate(colours)
        self.register_buffer("_order", torch.tensor(order), persistent=False)
        self.register_buffer("_back", torch.tensor(np.argsort(order)), persistent=False)
        all_to_all = Neighbours(lattice.shape)
        self._places = nn.ModuleList(
            nn.ModuleList((Neighbours(lattice.shape, inputs=stay), all_to_all, Neighbours(lattice.shape, outputs=move)))
            for stay, move in (colours, colours[::-1])
        )
        self.couplings = nn.ModuleList(Coupling(filters) for _ in range(couplings))

    def _layers(self) -> list[tuple[int, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]]:
        """For each coupling, in the order of drawing, the colour that it leaves alone and what it makes of it."""
        places = [cast(Sequence[Neighbours], each) for each in self._places]
        return [(k % 2, partial(layer, places=places[k % 2])) for k, layer in enumerate(self.couplings)]

    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        # Both ends are kept off the wall by the resolution of the numbers; beyond, the density is zero in practice.
        edge = torch.finfo(theta.dtype).eps
        theta = theta.flatten(1).t()[self.get_buffer("_order")]
        x = torch.logit((wrap(theta) + math.pi) / (2 * math.pi), eps=edge)
        log_det = _log_slope(x)
        colours, log_dets = [*x.chunk(2)], [*log_det.chunk(2)]
        for stay, layer in reversed(self._layers()):
            s, t = layer(colours[stay], self.reduced(temperature))
            colours[1 - stay] = (colours[1 - stay] - t) * torch.exp(-s)
            log_dets[1 - stay] = log_dets[1 - stay] - s
        log_q = torch.cat(log_dets) - (torch.cat(colours) ** 2 + math.log(2 * math.pi)) / 2
        return log_q.sum(0, dtype=torch.float64)

    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            theta, _ = self._rsample(temperature, generator)
        return theta, self._log_prob(theta, temperature)

    def _rsample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        shape = (len(temperature), self.lattice.N)
        x = torch.randn(shape, generator=generator, device=self.device, dtype=temperature.dtype).t()
        x = x[self.get_buffer("_order")]
        colours, log_qs = [*x.chunk(2)], [*(-(x**2 + math.log(2 * math.pi)) / 2).chunk(2)]
        for stay, layer in self._layers():
            s, t = layer(colours[stay], self.reduced(temperature))
            colours[1 - stay] = colours[1 - stay] * torch.exp(s) + t
            log_qs[1 - stay] = log_qs[1 - stay] - s
        x = torch.cat(colours)
        log_q = torch.cat(log_qs) + _log_slope(x)
        theta = wrap(2 * math.pi * torch.sigmoid(x) - math.pi)[self.get_buffer("_back")]
        return theta.t().reshape(-1, *self.lattice.shape), log_q.sum(0, dtype=torch.float64)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular")


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _log_slope(x: Tensor) -> Tensor:
    """-log |d theta / d x| of the sigmoid to angles."""
    return softplus(x) + softplus(-x) - math.log(2 * math.pi)
