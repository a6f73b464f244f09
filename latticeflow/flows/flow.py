"""The contract of every flow: draws with their log density, and the log density of any configuration."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mcmc import InputError, Lattice
from mcmc.models.presets import Model


class Flow(nn.Module, ABC):
    """A normalizing flow of lattice configurations, conditional on temperature.

    A flow is a density on the torus with respect to d theta_1 ... d theta_N, in radians, periodic in every angle.
    Subclasses implement `_sample` and `_log_prob`, for one temperature per configuration; shapes are checked here.

    Args:
        model: the spin model, with its couplings.
        lattice: the periodic rectangle.
        temperatures: lowest and highest temperature that the flow serves.
        sizes: what else the constructor of the subclass was given, kept for checkpoints.
    """

    name: ClassVar[str]
    """Name in the registry and in checkpoints."""
    seamless: ClassVar[bool] = True
    """Whether the density is continuous where an angle passes from pi to -pi."""
    symmetric: ClassVar[bool] = True
    """Whether the density is exactly invariant when all angles turn together, or change sign together."""

    def __init__(
        self, model: Model, lattice: Lattice, temperatures: tuple[float, float], sizes: dict[str, Any] | None = None
    ):
        super().__init__()
        self.model, self.lattice, self.sizes = model, lattice, dict(sizes or {})
        self.temperatures = (float(temperatures[0]), float(temperatures[1]))
        if not 0 < self.temperatures[0] <= self.temperatures[1]:
            raise InputError(f"temperature range {self.temperatures} must be positive and ascending")

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def sample(
        self, n: int, temperature: float | Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw configurations.

        Args:
            n: number of draws.
            temperature: in units of J / k_B; one for all draws, or a tensor of shape (n,).
            generator: source of randomness, on the flow's device; None takes torch's default.

        Returns:
            theta, float32 (n, Ly, Lx), in [-pi, pi), with no gradient; and log q(theta), float64 (n,), whose gradient
            with respect to the parameters is that of `log_prob` at these configurations.
        """
        return self._sample(self._temperatures(n, temperature), generator)

    def log_prob(self, theta: Tensor, temperature: float | Tensor) -> Tensor:
        """Log density of configurations; differentiable with respect to the parameters.

        Args:
            theta: angles in radians, (n, Ly, Lx), float32 or float64.
            temperature: one for all, or a tensor of shape (n,).

        Returns:
            float64 (n,).

        Raises:
            InputError: ``theta`` has another lattice's shape.
        """
        if theta.ndim != 3 or theta.shape[1:] != self.lattice.shape:
            expected = ", ".join(str(side) for side in self.lattice.shape)
            raise InputError(f"expected configurations of shape (n, {expected}); got {tuple(theta.shape)}")
        return self._log_prob(theta, self._temperatures(len(theta), temperature, theta.dtype))

    def warn_outside(self, temperatures: Iterable[float]) -> None:
        """Warn, in one line, of temperatures that the flow was not trained for; whoever uses a flow calls this once.

        Draws follow `log_prob` there as everywhere, so chains and weights stay exact: only their worth is in doubt.

        Args:
            temperatures: where the flow is about to be used.
        """
        low, high = self.temperatures
        outside = [f"{T:g}" for T in temperatures if not low - 1e-9 <= T <= high + 1e-9]
        if outside:
            warnings.warn(
                f"the flow was trained for temperatures {low:g} to {high:g}: at {', '.join(outside)} expect few "
                "accepted proposals (the draws are exact all the same)",
                stacklevel=3,
            )

    @property
    def depths(self) -> int:
        """Number of depths of `redraw`; 0 for a flow that draws all sites at once."""
        return 0

    @property
    def stages(self) -> tuple[int, ...]:
        """Depths of `redraw` to try in turn in a chain, from coarse to fine."""
        return tuple(range(1, self.depths)) or (0,)

    @torch.no_grad()
    def redraw(
        self, theta: Tensor, temperature: float | Tensor, keep: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the coarse part of configurations and draw the rest anew.

        As the density factorises, q = q(coarse) q(fine | coarse), a Metropolis test of the new configuration needs
        the redrawn factors only: the others are the same before and after.

        Args:
            theta: angles in radians, (n, Ly, Lx).
            temperature: one for all, or a tensor of shape (n,).
            keep: how much is kept, 0 to ``depths - 1``; more changes less.
            generator: see `sample`.

        Returns:
            The new configurations, float32 (n, Ly, Lx); log q(fine | coarse) of the new, and of the old, float64 (n,).

        Raises:
            InputError: the flow has no such depth.
        """
        if not 0 <= keep < self.depths:
            raise InputError(f"flow {self.name!r} has {self.depths} depths of redrawing; there is no depth {keep}")
        return self._redraw(theta, self._temperatures(len(theta), temperature, theta.dtype), keep, generator)

    def _redraw(
        self, theta: Tensor, temperature: Tensor, keep: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError  # where depths is 0, redraw never comes here

    def _temperatures(self, n: int, temperature: float | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or next(self.parameters()).dtype
        T = torch.as_tensor(temperature, dtype=dtype, device=self.device)
        if T.ndim > 1 or T.numel() not in (1, n):
            raise InputError(f"temperature of shape {tuple(T.shape)} is neither one number nor one for each of {n}")
        return T.expand(n)

    @abstractmethod
    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw one configuration for each temperature, (n,) -> (n, Ly, Lx) detached, float64 (n,)."""

    @abstractmethod
    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        """Log density, (n, Ly, Lx) and (n,) -> float64 (n,)."""
