"""All couplings of a `RealNVP` flow at once, forwards and backwards, in single precision on a CPU.

The same numbers as its couplings one by one, to rounding, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from latticeflow.flows.device import in_threads
from latticeflow.flows.fused_convolutions import GROUP, LANES, padded, sections, table
from latticeflow.flows.torus_convolution import Neighbours


class Tables(NamedTuple):
    """Where neighbours are, as `mcmc.kernels.couplings` wants it; for each of the two colours that may stay."""

    forwards: np.ndarray
    backwards: np.ndarray

    @classmethod
    def of(cls, places: Sequence[Sequence[Neighbours]]) -> Tables:
        """From the neighbours of the three layers, for each colour that stays."""

        def flat(tables: Sequence[Tensor]) -> np.ndarray:
            return np.concatenate([table(each) for each in tables])

        return cls(
            np.stack([flat([each.forwards for each in layers]) for layers in places]),
            np.stack([flat([each.backwards for each in reversed(layers)]) for layers in places]),
        )


def serves(x: Tensor) -> bool:
    """Whether this computes it: single precision on a CPU."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def chain(
    x: Tensor,
    log_det: Tensor,
    bias: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    tables: Tables,
    *,
    drawing: bool,
) -> tuple[Tensor, Tensor]:
    """Send x through all couplings.

    Args:
        x: the sites of one colour after those of the other, (N, B); even couplings move the second.
        log_det: (N, B).
        bias: of the first layers, with what the temperature adds to it, (K, f, B).
        weights: of the three layers, (K, features, channels, 3, 3), without the first's for the temperature.
        biases: of the second and third, (K, features).
        tables: of the lattice.
        drawing: y = x exp(s) + t, or else the inverse.

    Returns:
        y and ``log_det`` less the log scales s, both (N, B).
    """
    B, filters = x.shape[1], bias.shape[1]
    lanes, more = -B % LANES, -filters % GROUP
    y, log_det = _Chain.apply(
        pad(x, (0, lanes)),
        pad(log_det, (0, lanes)),
        pad(bias, (0, lanes, 0, more)),
        _packed(weights, biases, filters + more),
        _turned(weights, filters + more),
        tables,
        1 if drawing else -1,
    )
    return y[:, :B], log_det[:, :B]


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log_det: Tensor, bias: Tensor, packed: Tensor, turned: Tensor, *how: Any
    ) -> tuple[Tensor, Tensor]:
        from mcmc.kernels import couplings

        tables, way = how
        (K, f, B), N, keep = bias.shape, len(x), any(ctx.needs_input_grad)
        blocks = B // LANES
        y, log_det = x.contiguous().clone(), log_det.contiguous().clone()
        parts = sections(blocks)
        rooms = (K, blocks) if keep else (len(parts), 1)
        hidden, small = torch.empty(*rooms, 2, f, N, LANES), torch.empty(*rooms, 5, N // 2 + 1, LANES)
        sizes = (K, f, N, way)
        arguments = bias.contiguous(), packed.contiguous()
        in_threads(
            [
                partial(
                    couplings.forward,
                    *part,
                    y.numpy(),
                    log_det.numpy(),
                    sizes,
                    tables.forwards,
                    *(each.numpy() for each in arguments),
                    int(keep),
                    hidden.numpy() if keep else hidden[i].numpy(),
                    small.numpy() if keep else small[i].numpy(),
                )
                for i, part in enumerate(parts)
            ]
        )
        if keep:
            ctx.save_for_backward(turned, hidden, small)
            ctx.how = sizes, tables, packed.shape[1]
        return y, log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from mcmc.kernels import couplings

        turned, hidden, small = ctx.saved_tensors
        sizes, tables, size = ctx.how
        K, f, N, _ = sizes
        g, g_det = (each.contiguous() for each in gradients)
        g, blocks = g.clone(), g.shape[1] // LANES
        parts = sections(blocks)
        g_bias, g_weights = torch.empty(K, f, g.shape[1]), torch.empty(len(parts), K, size)
        room = torch.empty(len(parts), LANES * (8 * (N // 2 + 1) + 2 * f * N + size))
        in_threads(
            [
                partial(
                    couplings.backward,
                    *part,
                    g.numpy(),
                    g_det.numpy(),
                    sizes,
                    tables.forwards,
                    tables.backwards,
                    turned.numpy(),
                    hidden.numpy(),
                    small.numpy(),
                    g_bias.numpy(),
                    g_weights[i].numpy(),
                    room[i].numpy(),
                )
                for i, part in enumerate(parts)
            ]
        )
        return g, g_det, g_bias, g_weights.sum(0), None, None, None


def _packed(weights: Sequence[Tensor], biases: Sequence[Tensor], f: int) -> Tensor:
    """As the kernels read them, for f filters."""
    sizes = (f, 1), (f, f), (GROUP, f)
    of_layers = [padded(each, *size) for each, size in zip(weights, sizes, strict=True)]
    of_biases = [pad(each, (0, n - each.shape[1])) for each, n in zip(biases, (f, GROUP), strict=True)]
    return torch.cat(of_layers + of_biases, 1)


@torch.no_grad()
def _turned(weights: Sequence[Tensor], f: int) -> Tensor:
    """Of the convolutions that take gradients back, from the third."""
    sizes = (f, 2), (f, f), (GROUP, f)
    turned = [each.transpose(1, 2) for each in reversed(weights)]
    return torch.cat([padded(each, *size) for each, size in zip(turned, sizes, strict=True)], 1)
