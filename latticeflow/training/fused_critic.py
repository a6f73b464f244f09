"""The convolutions of `PublishedCritic` in one call, forwards and backwards, in single precision on a CPU."""

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
    """Where neighbours are, as `mcmc.kernels.critic_convolutions` wants it."""

    rows: np.ndarray
    quarters: np.ndarray
    inner: np.ndarray
    back: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Tables:
        """Of a lattice (Ly, Lx) with even sides."""
        whole, coarse = Neighbours(shape), tuple(side // 2 for side in shape)
        inside = np.arange(coarse[0] * coarse[1]).reshape(coarse)[1:-1, 1:-1].ravel()
        neighbours = Neighbours(coarse, outputs=inside)
        sites = np.arange(shape[0] * shape[1]).reshape(coarse[0], 2, coarse[1], 2)
        return cls(
            np.concatenate([table(whole.forwards), table(whole.backwards)]),
            LANES * sites.transpose(0, 2, 1, 3).ravel(),
            table(neighbours.forwards),
            table(neighbours.backwards),
        )

    @property
    def inside(self) -> int:
        """Number of blocks of 2x2 whose neighbours are all on the lattice."""
        return len(self.inner) // 9


def serves(x: Tensor, weight: Tensor, tables: Tables) -> bool:
    """Whether this computes it: single precision on a CPU, pairs of sites, and no second derivatives.

    These are asked for where gradients with respect to both draws and weights are recorded.
    """
    quarters = x.shape[-2] * x.shape[-1] // 4
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and quarters % 2 == tables.inside % 2 == 0
        and not (x.requires_grad and weight.requires_grad)
    )


def convolutions(
    x: Tensor, bias: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], tables: Tables
) -> Tensor:
    """What the three layers make of draws.

    Args:
        x: (channels, Ly, Lx, B).
        bias: of the first layer, with what the temperature adds to it, (f, B).
        weights: of the three layers, (features, channels, 3, 3), without the first's for the temperature.
        biases: of the second and third, (f,).
        tables: of the lattice.

    Returns:
        (f, inner blocks of 2x2, B).
    """
    channels, B, filters = len(x), x.shape[-1], len(bias)
    f, lanes = filters + -filters % GROUP, -B % LANES
    few = channels + -channels % GROUP
    sizes = (f, channels), (f, f), (f, f)
    packed = [padded(each, *size) for each, size in zip(weights, sizes, strict=True)]
    packed += [pad(each, (0, f - filters)) for each in biases]
    with torch.no_grad():
        sizes = (f, f), (f, f), (few, f)
        turned = [padded(each.transpose(0, 1), *size) for each, size in zip(reversed(weights), sizes, strict=True)]
    found = _Convolutions.apply(
        pad(x.flatten(1, 2), (0, lanes)),
        pad(bias, (0, lanes, 0, f - filters)),
        torch.cat(packed),
        torch.cat(turned),
        tables,
    )
    return found[:filters, :, :B]  # type: ignore[no-any-return]


class _Convolutions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, packed: Tensor, turned: Tensor, tables: Tables) -> Tensor:
        from mcmc.kernels import critic_convolutions

        (c, N, B), f, M = x.shape, len(bias), tables.inside
        sizes, blocks = (c, f, N, M), B // LANES
        seen, out = torch.empty(blocks, c * N + f * (2 * N + N // 4 + M), LANES), torch.empty(f, M, B)
        given = [each.contiguous() for each in (x, bias, packed, seen, out)]
        drawn, *others = (each.numpy() for each in given)
        in_threads(
            [
                partial(
                    critic_convolutions.forward,
                    *part,
                    drawn,
                    sizes,
                    tables.rows,
                    tables.quarters,
                    tables.inner,
                    *others,
                )
                for part in sections(blocks)
            ]
        )
        ctx.save_for_backward(turned, seen)
        ctx.how = sizes, len(packed), tables
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from mcmc.kernels import critic_convolutions

        turned, seen = ctx.saved_tensors
        sizes, size, tables = ctx.how
        c, f, N, M = sizes
        g = gradients[0].contiguous()
        B = g.shape[-1]
        parts, few = sections(B // LANES), c + -c % GROUP
        wanted = any(ctx.needs_input_grad[1:3]), ctx.needs_input_grad[0]
        g_x, g_bias, g_weights = torch.empty(c, N, B), torch.empty(f, B), torch.empty(len(parts), size)
        room = torch.empty(len(parts), LANES * (f * (M + 1 + N // 4 + 2 * N) + few * N + size))
        in_threads(
            [
                partial(
                    critic_convolutions.backward,
                    *part,
                    g.numpy(),
                    sizes,
                    *tables,
                    turned.numpy(),
                    seen.numpy(),
                    wanted,
                    g_x.numpy(),
                    g_bias.numpy(),
                    g_weights[i].numpy(),
                    room[i].numpy(),
                )
                for i, part in enumerate(parts)
            ]
        )
        return (
            g_x if wanted[1] else None,
            g_bias if wanted[0] else None,
            g_weights.sum(0) if wanted[0] else None,
            None,
            None,
        )
