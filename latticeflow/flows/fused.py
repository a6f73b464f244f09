"""The conditioner's law in single precision on a CPU: matrix products by torch, all else by fused kernels.

The same numbers as `multiscale.Conditioner` and then `generalised_von_mises`, to rounding, in a fraction of the time.
Everything is feature by row here, where a row is one site of one configuration: maps act from the left, and what is
gathered for a site is a contiguous row of configurations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latticeflow.flows import generalised_von_mises

if TYPE_CHECKING:
    from latticeflow.flows.multiscale import Conditioner

LANES = 16
"""Rows come in multiples of this."""


class Temperatures(NamedTuple):
    """What a conditioner sees of the temperature, for rows that repeat B configurations."""

    features: Tensor
    """(4, B)."""
    inverse: Tensor
    """(B,)."""

    @classmethod
    def of(cls, temperature: Tensor) -> Temperatures:
        """From temperatures (B,)."""
        T = temperature
        return cls(torch.stack((T, T.log(), 0.1 / T, 1 / (1 + T))), 1 / T)


def serves(flow_input: Tensor, temperature: Tensor) -> bool:
    """Whether the fused path computes this: single precision on a CPU, without a gradient towards the spins."""
    return (
        flow_input.device.type == "cpu"
        and flow_input.dtype == temperature.dtype == torch.float32
        and not flow_input.requires_grad
        and not temperature.requires_grad
    )


def log_prob(
    conditioner: Conditioner,
    seen: Tensor,
    u: Tensor,
    temperatures: Temperatures,
    *,
    nodes: int,
    moments: Tensor | None = None,
) -> Tensor:
    """Log density of the law of each row at an angle; differentiable with respect to the conditioner's parameters.

    Args:
        conditioner: gives the law.
        seen: cosines and sines of what each row sees, float32 (2, n, R), contiguous; R a multiple of `LANES`.
        u: those of the row's own angle, (2, R).
        temperatures: of the B configurations that the rows repeat; R is a multiple of B.
        nodes: see `generalised_von_mises.log_prob`.
        moments: means of cos m(b - a) with a the row's own angle, (M, R): the mean of the log density over angles b is
            returned, of a law symmetric about a.

    Returns:
        float32 (R,).
    """
    net = conditioner.net
    seen, around = _with_marginals(conditioner, seen, temperatures)
    return _LogProb.apply(
        seen,
        u,
        temperatures.features,
        temperatures.inverse,
        (nodes, _sizes(conditioner), around, seen.new_empty(0, seen.shape[-1]) if moments is None else moments),
        conditioner.maps,
        *(getattr(net[layer], kind) for layer in (0, 2, 4) for kind in ("weight", "bias")),
    )


def sample(
    conditioner: Conditioner, seen: Tensor, random: Tensor, temperatures: Temperatures, *, nodes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw an angle from the law of each row, without gradients.

    Args:
        conditioner, seen, temperatures, nodes: see `log_prob`.
        random: uniform numbers in [0, 1), (2, R).

    Returns:
        Angles in [0, 2 pi), (R,); their cosines and sines (2, R); and their log density, (R,).
    """
    from mcmc.kernels import circle_law

    net = conditioner.net
    parameters = [getattr(net[layer], kind).detach() for layer in (0, 2, 4) for kind in ("weight", "bias")]
    seen, around = _with_marginals(conditioner, seen, temperatures)
    Z, out, *_ = _forward(
        seen, temperatures.features, conditioner.maps.detach(), parameters, conditioner.invariants, slopes=False
    )
    R = seen.shape[-1]
    offset = random[0] * (2 * math.pi / nodes)
    cosines, sines = _basis(conditioner.harmonics, nodes)
    index, log_ratio, total = torch.empty(3, R)
    circle_law.draw(
        0,
        R,
        Z.numpy(),
        out.numpy(),
        _sizes(conditioner),
        _each_row(temperatures.inverse, R).numpy(),
        around.numpy(),
        random[1].contiguous().numpy(),
        offset.cos().numpy(),
        offset.sin().numpy(),
        cosines,
        sines,
        index.numpy(),
        log_ratio.numpy(),
        total.numpy(),
    )
    theta = torch.add(offset, index, alpha=2 * math.pi / nodes)
    log_q = log_ratio - total.log() + math.log(nodes / (2 * math.pi))
    return theta, torch.stack((theta.cos(), theta.sin())), log_q


class _LogProb(torch.autograd.Function):
    """Log density with its derivatives by hand: the law's gradient is computed with the law itself."""

    @staticmethod
    def forward(
        ctx: Any, seen: Tensor, u: Tensor, features: Tensor, inverse: Tensor, how: Any, maps: Tensor, *net: Tensor
    ) -> Tensor:
        from mcmc.kernels import circle_law

        nodes, sizes, around, moments = how
        R, wants_gradient = seen.shape[-1], any(ctx.needs_input_grad)
        Z, out, inputs, hidden, slopes = _forward(seen, features, maps, net, sizes[0] // 2, slopes=wants_gradient)
        cosines, sines = _basis(sizes[4], nodes)
        top, total = torch.empty(2, R)
        dZ, d_out = (torch.empty_like(Z), torch.empty_like(out)) if wants_gradient else (Z, out)
        circle_law.density(
            0,
            R,
            Z.numpy(),
            out.numpy(),
            sizes,
            _each_row(inverse, R).numpy(),
            around.numpy(),
            u[0].contiguous().numpy(),
            u[1].contiguous().numpy(),
            moments.contiguous().numpy(),
            cosines,
            sines,
            top.numpy(),
            total.numpy(),
            wants_gradient,
            dZ.numpy(),
            d_out.numpy(),
        )
        if wants_gradient:
            ctx.save_for_backward(seen, Z[:, : sizes[0]], dZ, d_out, inputs, *hidden, *slopes, maps, *net)
        return math.log(nodes / (2 * math.pi)) - top - total.log()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        seen, Zab, dZ, d_out, inputs, h1, h2, slope1, slope2, _, W1, _, W2, _, W3, _ = ctx.saved_tensors
        d_out = d_out * g
        d2 = (W3.T @ d_out).mul_(slope2)
        d1 = (W2.T @ d2).mul_(slope1)
        invariants = Zab.shape[1] // 2
        ds = W1[:, :invariants].T @ d1
        dZ = dZ * g
        torch.mul(Zab[:, invariants:], ds, out=dZ[:, :invariants])
        torch.mul(Zab[:, :invariants], ds, out=dZ[:, invariants : 2 * invariants])
        d_maps = seen[0] @ dZ[0].T + seen[1] @ dZ[1].T
        pairs = ((d1, inputs), (d2, h1), (d_out, h2))
        return None, None, None, None, None, d_maps, *(each for d, x in pairs for each in (d @ x.T, d.sum(1)))


def _forward(
    seen: Tensor, features: Tensor, maps: Tensor, net: Any, invariants: int, *, slopes: bool
) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Linear vectors, outputs and what a gradient needs: inputs, hidden values and slopes of the perceptron."""
    from mcmc.kernels import circle_law

    R = seen.shape[-1]
    Z = maps.T @ seen
    x = torch.empty(invariants + 4, R)
    torch.mul(Z[0, :invariants], Z[0, invariants : 2 * invariants], out=x[:invariants])
    x[:invariants].addcmul_(Z[1, :invariants], Z[1, invariants : 2 * invariants])
    x[invariants:].view(4, -1, features.shape[1]).copy_(features[:, None])
    hidden, derivatives, inputs = [], [], x
    W1, b1, W2, b2, W3, b3 = net
    for W, b in ((W1, b1), (W2, b2)):
        a = torch.addmm(b[:, None], W, x)
        x, slope = (torch.empty_like(a), torch.empty_like(a)) if slopes else (a, a)
        circle_law.silu(a.view(-1).numpy(), x.view(-1).numpy(), slope.view(-1).numpy(), slopes)
        hidden.append(x)
        derivatives.append(slope)
    return Z, torch.addmm(b3[:, None], W3, x), inputs, hidden, derivatives


def _with_marginals(conditioner: Conditioner, seen: Tensor, temperatures: Temperatures) -> tuple[Tensor, Tensor]:
    """What each row sees with the vectors of marginals, and their coefficients (2, M, R); without any (2, 0, R)."""
    R = seen.shape[-1]
    if conditioner.marginals is None:
        return seen, seen.new_empty(2, 0, R)
    vectors, around = conditioner.marginals(seen, _each_row(1 / temperatures.inverse, R))
    return torch.cat((seen, vectors), dim=1), around.contiguous()


def _sizes(conditioner: Conditioner) -> tuple[int, int, int, int, int]:
    c = conditioner
    return 2 * c.invariants, c.vectors, c.products, c.directions, c.harmonics


def _each_row(values: Tensor, R: int) -> Tensor:
    return values.expand(R // len(values), -1).reshape(-1).contiguous()


def _basis(M: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    cosines, sines = generalised_von_mises.basis(M, nodes, torch.float32, torch.device("cpu"))
    return cosines.numpy(), sines.numpy()
