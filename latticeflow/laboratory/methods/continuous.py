"""Continuous flows: noise carried to data by a velocity field, with or without optimal-transport regularisers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from latticeflow.laboratory.methods.density_flow import DensityFlow, normal_log_prob
from latticeflow.laboratory.methods.layers import joined

EXACT_DIMENSION = 4
"""Up to here the trace of the Jacobian is summed exactly; beyond, Hutchinson's estimate serves."""


class Velocity(nn.Module):
    """dx/dt = v(x, t, condition), a network with two hidden layers, and its Jacobian times given vectors.

    The products are carried forward beside the values, which spares a second backward pass.
    """

    def __init__(self, dimension: int, condition_size: int, width: int):
        super().__init__()
        self.first = nn.Linear(dimension + condition_size + 1, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, dimension)
        self.dimension = dimension

    def forward(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        """(n, d) -> (n, d); ``t`` is a number or (n, 1)."""
        time = t.to(x.dtype).expand(len(x), 1)
        h = torch.tanh(self.first(torch.cat((joined(x, condition), time), dim=1)))
        return self.last(torch.tanh(self.second(h)))

    def with_products(self, t: Tensor, x: Tensor, condition: Tensor | None, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """v, and J applied to vectors (k, n, d) or (k, 1, d) -> (k, n, d)."""
        time = t.to(x.dtype).expand(len(x), 1)
        h = torch.tanh(self.first(torch.cat((joined(x, condition), time), dim=1)))
        dh = (1 - h**2) * (vectors @ self.first.weight[:, : self.dimension].T)
        g = torch.tanh(self.second(h))
        dg = (1 - g**2) * (dh @ self.second.weight.T)
        return self.last(g), dg @ self.last.weight.T


class ContinuousFlow(DensityFlow):
    """Data carried to noise by a velocity field from t = 0 to 1 (FFJORD: Grathwohl et al., arXiv:1810.01367).

    d log q / dt = -tr dv/dx. The trace is exact in few dimensions. In many, training and log densities use
    Hutchinson's estimate e.Je with random signs e, fixed along a path: unbiased, but noisy. torchdiffeq integrates
    by fixed Runge-Kutta steps, fewer in training.

    Args:
        dimension, condition_size: see `DensityFlow`.
        width: of the velocity's hidden layers.
        kinetic: weight of the mean of |v|^2 along the paths in the loss.
        jacobian: weight of the mean of |dv/dx|^2 (both: Finlay et al., arXiv:2002.02798).
        steps: of the integrator in training.
        exact: whether to sum the trace exactly; None decides by the dimension.
    """

    def __init__(
        self,
        dimension: int,
        condition_size: int = 0,
        *,
        width: int = 64,
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        steps: int = 4,
        exact: bool | None = None,
    ):
        super().__init__(dimension, condition_size)
        self.velocity = Velocity(self.noise_dimension, condition_size, width)
        self.kinetic, self.jacobian, self.steps = kinetic, jacobian, steps
        self.exact = self.noise_dimension <= EXACT_DIMENSION if exact is None else exact

    def _integrate(self, x: Tensor, condition: Tensor | None, backwards: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The other end of the paths, the integral of tr J, and the regularisers, (n,) each."""
        k = self.noise_dimension
        if self.exact:
            vectors = torch.eye(k, dtype=x.dtype, device=x.device)[:, None]
        else:
            vectors = torch.randint(0, 2, (1, *x.shape), device=x.device).to(x.dtype) * 2 - 1

        def rates(t: Tensor, state: Any) -> Any:
            v, products = self.velocity.with_products(t, state[0], condition, vectors)
            cost = self.kinetic * v.square().sum(-1) + self.jacobian * products.square().sum((0, -1))
            return v, (products * vectors).sum((0, -1)), cost

        zero = x.new_zeros(len(x))
        times = torch.tensor([1.0, 0.0] if backwards else [0.0, 1.0], dtype=x.dtype, device=x.device)
        steps = self.steps if self.training else 8 * self.steps
        end = odeint(rates, (x, zero, zero), times, method="rk4", options={"step_size": 1 / steps})
        z, trace, cost = (each[-1] for each in end)
        return z, trace, cost

    def to_noise(self, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `DensityFlow.to_noise`."""
        z, trace, _ = self._integrate(u, condition, False)
        return z, trace

    def to_data(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `DensityFlow.to_data`."""
        u, trace, _ = self._integrate(z, condition, True)
        return u, -trace

    def loss(self, x: Tensor, condition: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Forward KL and the regularisers."""
        u, slope = self._inside(x)
        z, trace, cost = self._integrate(u, condition, False)
        return (cost - normal_log_prob(z) - trace - slope).mean()


class AugmentedFlow(ContinuousFlow):
    """A continuous flow of the data beside a few normal numbers, which frees it of the data's topology.

    Dupont, Doucet, Teh, arXiv:1904.01681; Huang, Dinh, Courville, arXiv:2002.07101. The density of the data alone is an
    integral over the extra numbers: training maximises a bound of it, and there is no `log_prob`.
    """

    has_density = False

    @property
    def extra(self) -> int:
        """Number of extra coordinates."""
        return max(2, min(self.dimension, 8))

    @property
    def noise_dimension(self) -> int:
        """See `DensityFlow.noise_dimension`."""
        return self.dimension + self.extra

    def to_data(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `DensityFlow.to_data`; the extra coordinates are dropped."""
        u, log_det = super().to_data(z, condition)
        return u[:, : self.dimension], log_det

    def loss(self, x: Tensor, condition: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Minus the bound E_e[log q(x, e) - log p(e)], and the regularisers."""
        u, slope = self._inside(x)
        e = torch.randn(len(u), self.extra, generator=generator, device=u.device, dtype=u.dtype)
        z, trace, cost = self._integrate(torch.cat((u, e), dim=1), condition, False)
        return (cost - normal_log_prob(z) + normal_log_prob(e) - trace - slope).mean()


class FlowMatching(ContinuousFlow):
    """A continuous flow whose velocity is regressed on straight lines from data to noise.

    Lipman et al., arXiv:2210.02747; Liu, Gong, Liu, arXiv:2209.03003. No integration in training: a step costs little.
    """

    def loss(self, x: Tensor, condition: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Mean of |v(u_t, t) - (z - u)|^2 with u_t = (1 - t) u + t z, z normal and t uniform."""
        u, _ = self._inside(x)
        z = torch.randn(u.shape, generator=generator, device=u.device, dtype=u.dtype)
        t = torch.rand(len(u), 1, generator=generator, device=u.device, dtype=u.dtype)
        return (self.velocity(t, (1 - t) * u + t * z, condition) - (z - u)).square().sum(-1).mean()
