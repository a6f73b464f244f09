"""Base densities of flows: what is drawn before couplings move it; invariant under global rotation, in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latticeflow.flows import von_mises
from latticeflow.flows.spin_wave import regression, stiffness
from mcmc import InputError, Lattice
from mcmc.models import Model


class Uniform(nn.Module):
    """Independent uniform angles.

    Args:
        model, lattice: not used.
        sites: int64 (n,), the sites to be drawn.
    """

    def __init__(self, model: Model, lattice: Lattice, sites: Tensor):
        super().__init__()
        self.n = len(sites)

    def log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        """Log density of angles in radians, (B, n) and (B,) -> float64 (B,)."""
        return torch.full((len(theta),), -self.n * von_mises.LOG_2PI, dtype=torch.float64, device=theta.device)

    def sample(self, temperature: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw angles in radians at each temperature, (B,) -> (B, n)."""
        u = torch.rand(len(temperature), self.n, generator=generator, device=temperature.device, dtype=temperature.dtype)
        return math.pi * (2 * u - 1)


class SpinWave(nn.Module):
    """Spin waves on the torus: one site after the other, each from a von Mises law.

    The first angle is uniform. With u_j = exp(i theta_j), the angle of site i given the earlier ones has mean arg Z_i and
    concentration p_i |Z_i| exp(g_i) / T, where Z_i = sum_{j < i} W_ij u_j and W, p are the regression and the precision
    of the harmonic model, all later sites integrated out. So for T -> 0 the draws are exact spin waves with all their
    correlations. The learnt g_i = c_i1 t + c_i2 t^2 + c_i3 t^3 with t = T / (1 + T), zero before training, softens the
    waves where it gets warmer.

    `log_prob` takes one matrix product; `sample` takes n small steps.

    Args:
        model, lattice: decide the stiffness.
        sites: int64 (n,), the sites to be drawn, in order.
    """

    def __init__(self, model: Model, lattice: Lattice, sites: Tensor):
        super().__init__()
        n = len(sites)
        self.register_buffer("_weights", torch.zeros(n, n), persistent=False)
        Q, order = stiffness(model, lattice), sites.numpy()
        for i in range(1, n):
            weights, precision = regression(Q, order[i], order[:i])
            self.get_buffer("_weights")[i, :i] = torch.tensor(weights * precision)
        self.softness = nn.Parameter(torch.zeros(n - 1, 3))

    def _scales(self, temperature: Tensor) -> Tensor:
        """What multiplies each p_i Z_i, (B,) -> (B, n)."""
        t = temperature[:, None] / (1 + temperature[:, None])
        scales = torch.exp(torch.cat((t, t**2, t**3), dim=-1) @ self.softness.T) / temperature[:, None]
        return torch.cat((torch.zeros_like(t), scales), dim=-1)

    def log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        """Log density of angles in radians, (B, n) and (B,) -> float64 (B,)."""
        u = torch.stack((theta.cos(), theta.sin()))
        eta = (u @ self.get_buffer("_weights").T) * self._scales(temperature)
        kappa = torch.sqrt((eta**2).sum(0) + 1e-12)  # the root has no derivative at 0
        log_q = (eta * u).sum(0) - kappa - von_mises.log_i0e(kappa) - von_mises.LOG_2PI
        return log_q.sum(-1, dtype=torch.float64)

    def sample(self, temperature: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw angles in radians at each temperature, (B,) -> (B, n)."""
        weights, scales = self.get_buffer("_weights"), self._scales(temperature)
        rounds = 24 if temperature.is_cuda else None  # a GPU would wait for the count of pending draws
        theta = torch.zeros_like(scales)
        u = theta.new_zeros(2, *theta.shape)
        for i in range(len(weights)):
            x, y = (u[:, :, :i] @ weights[i, :i]) * scales[:, i]
            theta[:, i] = torch.atan2(y, x) + von_mises.sample(torch.hypot(x, y), generator=generator, rounds=rounds)
            u[:, :, i] = torch.stack((theta[:, i].cos(), theta[:, i].sin()))
        return theta


BASES: dict[str, type[Uniform] | type[SpinWave]] = {"uniform": Uniform, "spin_wave": SpinWave}
"""Base densities by name."""


def build_base(name: str, model: Model, lattice: Lattice, sites: Tensor) -> Uniform | SpinWave:
    """The base density of that name.

    Raises:
        InputError: there is none.
    """
    if name not in BASES:
        raise InputError(f"unknown base density {name!r}: choose one of {', '.join(BASES)}")
    return BASES[name](model, lattice, sites)
