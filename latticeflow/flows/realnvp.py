"""The flow of the AdvNF paper: affine couplings, blind to the symmetries, with a wall at the angle's cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latticeflow.flows import fused_couplings
from latticeflow.flows.flow import Flow
from latticeflow.flows.torus_convolution import Neighbours, three_convolutions
from mcmc import InputError, Lattice, wrap
from mcmc.models.presets import Model

_KINDS = ("weights", "biases")


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
        InputError: an odd side, on which the checkerboard does not close, too few couplings, or no filters.
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
        if filters < 1:
            raise InputError(f"filters = {filters} must be at least 1")
        colours = lattice.sublattices(1)
        order = np.concatenate(colours)
        self.register_buffer("_order", torch.tensor(order), persistent=False)
        self.register_buffer("_back", torch.tensor(np.argsort(order)), persistent=False)
        all_to_all = Neighbours(lattice.shape)
        self._places = nn.ModuleList(
            nn.ModuleList((Neighbours(lattice.shape, inputs=stay), all_to_all, Neighbours(lattice.shape, outputs=move)))
            for stay, move in (colours, colours[::-1])
        )
        channels = ((2, filters), (filters, filters), (filters, 2))
        nets = [[nn.Conv2d(*sizes, 3) for sizes in channels] for _ in range(couplings)]
        # All couplings' parameters of a kind are one: a step of training then makes six updates, not some hundred.
        self.weights, self.biases = (
            nn.ParameterList(torch.stack([getattr(net[layer], kind).detach() for net in nets]) for layer in range(3))
            for kind in ("weight", "bias")
        )

    @cached_property
    def _tables(self) -> fused_couplings.Tables:
        return fused_couplings.Tables.of([cast(Sequence[Neighbours], each) for each in self._places])

    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        # Both ends are kept off the wall by the resolution of the numbers; beyond, the density is zero in practice.
        edge = torch.finfo(theta.dtype).eps
        theta = theta.flatten(1).t()[self.get_buffer("_order")]
        x = torch.logit((wrap(theta) + math.pi) / (2 * math.pi), eps=edge)
        x, log_det = self._through(x, _log_slope(x), self.reduced(temperature), drawing=False)
        log_q = log_det - (x**2 + math.log(2 * math.pi)) / 2
        return log_q.sum(0, dtype=torch.float64)

    def _through(self, x: Tensor, log_det: Tensor, T: Tensor, *, drawing: bool) -> tuple[Tensor, Tensor]:
        """Through all couplings, drawing or back; the log scales are subtracted from ``log_det``. Both (N, B)."""
        given, of_temperature = self.weights[0].split(1, 2)
        # The temperature is the same at all sites: its convolution is a bias.
        bias = self.biases[0][..., None] + of_temperature.sum((2, 3, 4))[..., None] * T
        weights, biases = [given, *list(self.weights)[1:]], list(self.biases)[1:]
        if fused_couplings.serves(x):
            return fused_couplings.chain(x, log_det, bias, weights, biases, self._tables, drawing=drawing)
        colours, log_dets = [*x.chunk(2)], [*log_det.chunk(2)]
        couplings = [*enumerate(zip(*(each.unbind() for each in (bias, *weights, *biases)), strict=True))]
        for k, (bias, w1, w2, w3, b2, b3) in couplings if drawing else reversed(couplings):
            stay, move = k % 2, 1 - k % 2
            places = cast(Sequence[Neighbours], self._places[stay])
            s, t = three_convolutions(colours[stay], bias, (w1, w2, w3), (b2, b3), places).unbind()
            s = torch.tanh(s)
            colours[move] = colours[move] * torch.exp(s) + t if drawing else (colours[move] - t) * torch.exp(-s)
            log_dets[move] = log_dets[move] - s
        return torch.cat(colours), torch.cat(log_dets)

    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            theta, _ = self._rsample(temperature, generator)
        return theta, self._log_prob(theta, temperature)

    def _rsample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        shape = (len(temperature), self.lattice.N)
        x = torch.randn(shape, generator=generator, device=self.device, dtype=temperature.dtype).t()
        x = x[self.get_buffer("_order")]
        x, log_q = self._through(x, -(x**2 + math.log(2 * math.pi)) / 2, self.reduced(temperature), drawing=True)
        log_q = log_q + _log_slope(x)
        theta = wrap(2 * math.pi * torch.sigmoid(x) - math.pi)[self.get_buffer("_back")]
        return theta.t().reshape(-1, *self.lattice.shape), log_q.sum(0, dtype=torch.float64)


def stacked(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint before version 6 holds, which has the parameters of every coupling by themselves, as now."""
    names = [f"{layer}.{kind}" for kind in ("weight", "bias") for layer in ("hidden.0", "hidden.2", "output")]

    def parameters(old: dict[str, Any]) -> dict[str, Tensor]:
        count = len(old) // len(names)
        of_all = [torch.stack([old[f"couplings.{k}.{name}"] for k in range(count)]) for name in names]
        return {f"{kind}.{layer}": of_all[3 * i + layer] for i, kind in enumerate(_KINDS) for layer in range(3)}

    def optimiser(old: dict[str, Any]) -> dict[str, Any]:
        # A coupling's parameters came in this order, a layer's weight before its bias.
        order = [2 * layer + kind for kind in range(2) for layer in range(3)]
        state: dict[int, dict[str, Tensor]] = {}
        for i, first in enumerate(order if old["state"] else ()):
            each = [old["state"][k] for k in range(first, len(old["state"]), len(order))]
            moments = {name: torch.stack([one[name] for one in each]) for name in ("exp_avg", "exp_avg_sq")}
            state[i] = {"step": each[0]["step"], **moments}
        groups = [{**group, "params": list(range(len(order)))} for group in old["param_groups"]]
        return {"state": state, "param_groups": groups}

    training = content.get("training")
    if training:
        training = {**training, "optimiser": optimiser(training["optimiser"])}
        if "flow" in training:
            training["flow"] = parameters(training["flow"])
    return {**content, "parameters": parameters(content["parameters"]), "training": training}


def _log_slope(x: Tensor) -> Tensor:
    """-log |d theta / d x| of the sigmoid to angles."""
    return softplus(x) + softplus(-x) - math.log(2 * math.pi)
