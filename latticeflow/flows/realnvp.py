"""The flow of the AdvNF paper: affine couplings, blind to the symmetries, with a wall at the angle's cut."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latticeflow.flows.flow import Flow
from mcmc import InputError, Lattice, wrap
from mcmc.models.presets import Model


class Coupling(nn.Module):
    """Scale and shift of one checkerboard colour, by convolutions over the other and the temperature."""

    def __init__(self, filters: int):
        super().__init__()
        self.hidden = nn.Sequential(_convolution(2, filters), nn.ReLU(), _convolution(filters, filters), nn.ReLU())
        self.output = _convolution(filters, 2)

    def forward(self, frozen: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale, in (-1, 1), and shift, both (B, Ly, Lx), from frozen sites (B, Ly, Lx), zero elsewhere."""
        T = temperature[:, None, None].expand_as(frozen)
        s, t = self.output(self.hidden(torch.stack((frozen, T), dim=1))).unbind(1)
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
        even = torch.zeros(lattice.N)
        even[torch.as_tensor(lattice.sublattices(1)[0], dtype=torch.long)] = 1.0
        self.register_buffer("_even", even.view(lattice.shape), persistent=False)
        self.couplings = nn.ModuleList(Coupling(filters) for _ in range(couplings))

    def _layers(self) -> list[tuple[Coupling, Tensor]]:
        """Couplings with the mask of the sites that each leaves alone, in the order of drawing."""
        even = self.get_buffer("_even")
        return [(cast(Coupling, layer), even if k % 2 == 0 else 1 - even) for k, layer in enumerate(self.couplings)]

    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        # Both ends are kept off the wall by the resolution of the numbers; beyond, the density is zero in practice.
        edge = torch.finfo(theta.dtype).eps
        x = torch.logit((wrap(theta) + math.pi) / (2 * math.pi), eps=edge)
        log_det = softplus(x) + softplus(-x) - math.log(2 * math.pi)
        for layer, frozen in reversed(self._layers()):
            s, t = layer(x * frozen, self.reduced(temperature))
            s, t = s * (1 - frozen), t * (1 - frozen)
            x = (x - t) * torch.exp(-s)
            log_det = log_det - s
        return (log_det - (x**2 + math.log(2 * math.pi)) / 2).sum((-2, -1), dtype=torch.float64)

    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            theta, _ = self._rsample(temperature, generator)
        return theta, self._log_prob(theta, temperature)

    def _rsample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        shape = (len(temperature), *self.lattice.shape)
        x = torch.randn(shape, generator=generator, device=self.device, dtype=temperature.dtype)
        log_q = -(x**2 + math.log(2 * math.pi)) / 2
        for layer, frozen in self._layers():
            s, t = layer(x * frozen, self.reduced(temperature))
            s, t = s * (1 - frozen), t * (1 - frozen)
            x = x * torch.exp(s) + t
            log_q = log_q - s
        log_q = log_q + softplus(x) + softplus(-x) - math.log(2 * math.pi)
        theta = wrap(2 * math.pi * torch.sigmoid(x) - math.pi)
        return theta, log_q.sum((-2, -1), dtype=torch.float64)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular")
