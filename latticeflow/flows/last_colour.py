"""The sites that a flow draws last, exactly: given all others they are independent von Mises variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from latticeflow.flows import von_mises
from mcmc import Lattice, wrap
from mcmc.models.presets import Model
from mcmc.models.terms import relations


def exact_colours(model: Model) -> int:
    """Colours of a lattice of even sides such that no term joins two sites of one; their sites are independent.

    Returns:
        2 for the checkerboard, 4 for those of a 2x2 tile (8 of a cube), 0 where neither will do.

    Example:
        >>> import mcmc
        >>> exact_colours(mcmc.XY()), exact_colours(mcmc.ExtendedXY())
        (2, 4)
    """
    terms = [term for term in model.terms if term.scale]
    steps = [np.subtract(a, b) for term in terms for a, b in combinations(term.offsets, 2)]
    if all(step.sum() % 2 for step in steps):
        return 2
    return 2**model.dimensions if all((step % 2).any() for step in steps) else 0


class LocalField(nn.Module):
    """The local field of single sites, by the angles around them: see `mcmc.Model.field` for all sites at once.

    Args:
        model: of charges 1 and -1.
        lattice: where.
    """

    def __init__(self, model: Model, lattice: Lattice):
        super().__init__()
        acting = [(term, relation) for term in model.terms if term.scale for relation in relations(term, lattice.shape)]
        offsets = list(dict.fromkeys(offset for _, relation in acting for offset in relation.offsets))
        self._factors = [
            [(offsets.index(d), q) for d, q in zip(relation.offsets, relation.charges, strict=True)]
            for _, relation in acting
        ]
        amplitudes = np.array(
            [np.broadcast_to(relation.amplitude(term), lattice.shape).ravel() for term, relation in acting]
        )
        # Real and imaginary parts: a change of the module's type would drop the phases of complex numbers.
        pairs = torch.view_as_real(torch.tensor(amplitudes, dtype=torch.complex64))
        self.register_buffer("_amplitudes", pairs, persistent=False)
        around = torch.tensor(lattice.neighbours(*offsets), dtype=torch.long)
        self.register_buffer("_around", around, persistent=False)

    def forward(self, theta: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
        """Fields of one site of each of some configurations.

        Args:
            theta: (n, N).
            rows: of theta, int64 (R,).
            sites: int64 (R,).

        Returns:
            Complex (R,).
        """
        around = theta[rows[:, None], self.get_buffer("_around")[sites]].T
        u = torch.complex(around.cos(), around.sin())
        field = torch.zeros_like(u[0])
        amplitudes = torch.view_as_complex(self.get_buffer("_amplitudes")[:, sites])
        for amplitude, factors in zip(amplitudes, self._factors, strict=True):
            field = field + amplitude * math.prod((u[j] if q > 0 else u[j].conj() for j, q in factors), start=1.0)
        return field


class LastColour(nn.Module):
    """Sites of a colour, which do not act on each other, each by its law about the local field h of the rest.

    q(theta_i | rest) = exp(|h_i| cos(theta_i - arg h_i) / T) / (2 pi I0(|h_i| / T)): the Boltzmann conditional.

    Args:
        model: gives the local field.
        sites: numbers of the sites.
    """

    def __init__(self, model: Model, sites: np.ndarray | Sequence[int]):
        super().__init__()
        self.model = model
        self.register_buffer("_sites", torch.as_tensor(np.asarray(sites), dtype=torch.long), persistent=False)

    def draw_(self, theta: Tensor, temperature: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw the sites in place: contiguous (n, Ly, Lx) or (n, Lz, Ly, Lx) with all other angles given, (n,).

        Returns:
            The sites' log density given all others, float64 (n,).
        """
        h = self._field(theta, temperature)
        kappa = h.abs()
        # A GPU would wait at every round for the count of pending draws.
        rounds = 24 if theta.is_cuda else None
        delta = von_mises.sample(kappa, generator=generator, rounds=rounds)
        theta.view(len(theta), -1)[:, self.get_buffer("_sites")] = wrap(h.angle() + delta)
        return von_mises.log_prob(delta, kappa).sum(-1, dtype=torch.float64)

    def moved(self, theta: Tensor, temperature: Tensor, generator: torch.Generator | None) -> Tensor:
        """The same configurations with the sites drawn; gradients flow through all other angles into the draws."""
        h = self._field(theta, temperature)
        # The root and the angle have no derivative where the field vanishes.
        x, y = h.real, h.imag
        kappa = torch.sqrt(x**2 + y**2 + 1e-12)
        delta = von_mises.rsample(kappa, generator=generator, rounds=24 if theta.is_cuda else None)
        drawn = wrap(torch.atan2(y, x.masked_fill((x == 0) & (y == 0), 1.0)) + delta)
        flat = theta.flatten(1)
        return flat.index_copy(1, self.get_buffer("_sites"), drawn).view_as(theta)

    def log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        """Log density of the sites given all others, (n, Ly, Lx) and (n,) -> float64 (n,)."""
        h = self._field(theta, temperature)
        delta = theta.flatten(1)[:, self.get_buffer("_sites")] - h.angle()
        return von_mises.log_prob(delta, h.abs()).sum(-1, dtype=torch.float64)

    def _field(self, theta: Tensor, temperature: Tensor) -> Tensor:
        return self.model.field(theta).flatten(1)[:, self.get_buffer("_sites")] / temperature[:, None]
