"""Reference draws for training: random batches of all temperatures, turned by the symmetries of the lattice."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mcmc import InputError, wrap


class ReferenceDraws:
    """Random batches of reference configurations.

    Args:
        sample: hands out n random draws of every temperature, float32 (T, n, Ly, Lx); that of
            `mcmc.storage.loader.Loader` does so in bounded memory.
        temperatures: (T,).
        device: where batches go.
        augment: apply a random lattice symmetry to each batch and a random global rotation and reflection to each
            configuration. The energy is the same for all of them, so it makes more of few draws.
    """

    def __init__(
        self,
        sample: Callable[[int], np.ndarray],
        temperatures: np.ndarray,
        *,
        device: torch.device | str = "cpu",
        augment: bool = True,
    ):
        self.sample = sample
        self.temperatures = torch.as_tensor(temperatures, dtype=torch.float64, device=device)
        self.device, self.augment = device, augment

    def batch(self, n: int, generator: torch.Generator, *, temperatures: int | None = None) -> tuple[Tensor, Tensor]:
        """The next batch.

        Args:
            n: configurations of every temperature.
            generator: of the symmetry operations and the choice of temperatures, on the CPU.
            temperatures: the most temperatures, picked at random; None takes all.

        Returns:
            theta (T, n, Ly, Lx) and temperatures (T, n).

        Raises:
            InputError: an angle is not finite.
        """
        theta, T = torch.from_numpy(self.sample(n)), self.temperatures
        if temperatures is not None and temperatures < len(theta):
            picked = torch.randperm(len(theta), generator=generator)[:temperatures].sort().values
            theta, T = theta[picked], T[picked.to(T.device)]
        if not theta.isfinite().all():
            raise InputError("the ensemble holds angles that are not finite: see 'latticeflow verify'")
        if self.augment:
            theta = _augment(theta, generator)
        return theta.to(self.device), T[:, None].expand(len(theta), n)


def _augment(theta: Tensor, generator: torch.Generator) -> Tensor:
    Ly, Lx = theta.shape[-2:]
    dy, dx, flip_y, flip_x, transpose = torch.randint(2**30, (5,), generator=generator).tolist()
    theta = theta.roll((dy % Ly, dx % Lx), (-2, -1))
    theta = theta.flip([axis for axis, flip in ((-2, flip_y), (-1, flip_x)) if flip % 2])
    if Lx == Ly and transpose % 2:
        theta = theta.mT
    turn = 2 * math.pi * torch.rand(theta.shape[:2], generator=generator)[..., None, None]
    sign = 1 - 2 * torch.randint(2, theta.shape[:2], generator=generator)[..., None, None]
    return wrap(sign * theta + turn)
