"""Base densities of flows: what is drawn before couplings move it; invariant under global rotation, in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latticeflow.flows import von_mises
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import InputError, Lattice
from mcmc.models.presets import Model

MASSES = (0.0, 0.1, 0.4, 1.6)
"""Squares of the masses of the spin waves, in units of the largest stiffness."""
_REACH = 5.0
"""What multiplies their learnt coefficients: these must become about 1, in as many steps as nets move by 0.1."""


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
        shape, device = (len(temperature), self.n), temperature.device
        u = torch.rand(shape, generator=generator, device=device, dtype=temperature.dtype)
        return math.pi * (2 * u - 1)

    rsample = sample  # there is nothing that could move


class SpinWave(nn.Module):
    """Spin waves on the torus: one site after the other, each from a von Mises law.

    The first angle is uniform. With u_j = exp(i theta_j), the angle of site i given the earlier ones has mean arg eta_i
    and concentration |eta_i|, where

        eta_i = (1/T) sum_k (delta_k0 + c_ik(T)) Z^k_i,      Z^k_i = sum_{j < i} W^k_ij u_j.

    W^0 holds the harmonic model's regression times its precision, all later sites integrated out: where c = 0, as
    it is before training, the draws for T -> 0 are exact spin waves with all their correlations. The other W^k
    belong to the harmonic model with a mass, whose correlations end after a few sites, as those of the spins do where
    it is warm. c is a polynomial in t = T / (1 + T) without constant term, and is learnt.

    `log_prob` takes one matrix product for each mass; `sample` takes n small steps.

    Args:
        model, lattice: decide the stiffness.
        sites: int64 (n,), the sites to be drawn, in order.
    """

    _weights: Tensor
    _bare: Tensor
    _units: Tensor

    def __init__(self, model: Model, lattice: Lattice, sites: Tensor):
        super().__init__()
        n = len(sites)
        self.register_buffer("_bare", torch.eye(1, len(MASSES))[0], persistent=False)
        self.register_buffer("_units", torch.eye(n), persistent=False)
        weights = torch.zeros(n, len(MASSES), n)
        for k, mass in enumerate(MASSES):
            rows = SpinWaves(model, lattice, mass).sequential(sites.numpy())
            weights[1:, k] = torch.tensor(rows[1:])
        self.register_buffer("_weights", weights, persistent=False)
        self.coefficients = nn.Parameter(torch.zeros(3, n - 1, len(MASSES)))

    def _amplitudes(self, temperature: Tensor) -> Tensor:
        """What multiplies each Z^k_i but that of the first site, (B,) -> (B, n - 1, K)."""
        t = temperature / (1 + temperature)
        amplitudes = torch.einsum("pb,pik->bik", _REACH * torch.stack((t, t**2, t**3)), self.coefficients)
        return (amplitudes + self._bare) / temperature[:, None, None]

    def log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        """Log density of angles in radians, (B, n) and (B,) -> float64 (B,)."""
        u = torch.stack((theta.cos(), theta.sin()))
        Z = (u @ self._weights[1:].flatten(0, 1).T).unflatten(-1, (-1, len(MASSES)))
        eta = (Z * self._amplitudes(temperature)).sum(-1)
        kappa = torch.sqrt((eta**2).sum(0) + 1e-12)  # the root has no derivative at 0
        log_q = (eta * u[:, :, 1:]).sum(0) - kappa - von_mises.log_i0e(kappa) - von_mises.LOG_2PI
        return log_q.sum(-1, dtype=torch.float64) - von_mises.LOG_2PI

    def sample(self, temperature: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw angles in radians at each temperature, (B,) -> (B, n)."""
        amplitudes = self._amplitudes(temperature)
        rounds = 24 if temperature.is_cuda else None  # a GPU would wait for the count of pending draws
        theta = temperature.new_zeros(len(temperature), len(self._weights))
        u = theta.new_zeros(2, *theta.shape)
        for i in range(theta.shape[1]):
            if i:
                x, y = ((u[:, :, :i] @ self._weights[i, :, :i].T) * amplitudes[:, i - 1]).sum(-1)
            else:
                x = y = temperature.new_zeros(len(temperature))
            theta[:, i] = torch.atan2(y, x) + von_mises.sample(torch.hypot(x, y), generator=generator, rounds=rounds)
            u[:, :, i] = torch.stack((theta[:, i].cos(), theta[:, i].sin()))
        return theta

    def rsample(self, temperature: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw as `sample` does, site by site; gradients with respect to the coefficients flow through the draws."""
        amplitudes = self._amplitudes(temperature)
        rounds = 24 if temperature.is_cuda else None
        n = len(self._weights)
        u = temperature.new_zeros(2, len(temperature), n)
        angles = []
        for i in range(n):
            # Out of place: a later site must not overwrite what the gradient of an earlier one needs.
            x, y = ((u @ self._weights[i].T) * amplitudes[:, max(i, 1) - 1]).sum(-1)
            kappa = torch.sqrt(x**2 + y**2 + 1e-12)
            direction = torch.atan2(y, x.masked_fill((x == 0) & (y == 0), 1.0))
            theta = direction + von_mises.rsample(kappa, generator=generator, rounds=rounds)
            angles.append(theta)
            spin = torch.stack((theta.cos(), theta.sin()))
            u = u + spin[..., None] * self._units[i]
        return torch.stack(angles, -1)


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
