"""Reference draws for training: random batches of all temperatures, turned by the symmetries of the lattice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import numpy as np
import torch
from torch import Tensor

from mcmc import InputError, wrap
from mcmc.models.presets import Model


class ReferenceDraws:
    """Random batches of reference configurations.

    Args:
        sample: hands out n random draws of every temperature, float32 (T, n, Ly, Lx); that of
            `mcmc.storage.loader.Loader` does so in bounded memory.
        temperatures: (T,).
        device: where batches go.
        model: apply a random symmetry of its lattice to each batch, and to each configuration a random rotation of all
            spins and a reflection where they are symmetries. The energy is the same for all of them, so it makes
            more of few draws. None leaves draws as they are.
    """

    def __init__(
        self,
        sample: Callable[[int], np.ndarray],
        temperatures: np.ndarray,
        *,
        device: torch.device | str = "cpu",
        model: Model | None = None,
    ):
        self.sample = sample
        self.temperatures = torch.as_tensor(temperatures, dtype=torch.float64, device=device)
        self.device, self.model = device, model
        self._symmetries: list[tuple[tuple[int, ...], tuple[int, ...]]] | None = None

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
        if self.model is not None:
            theta = self._moved(theta, self.model, generator)
        return theta.to(self.device), T[:, None].expand(len(theta), n)

    def _moved(self, theta: Tensor, model: Model, generator: torch.Generator) -> Tensor:
        sides = theta.shape[2:]
        if self._symmetries is None:
            self._symmetries = lattice_symmetries(model, sides)
        *steps, which = torch.randint(2**30, (len(sides) + 1,), generator=generator).tolist()
        axes = tuple(range(2, theta.ndim))
        if model.translation:
            theta = theta.roll([step % side for step, side in zip(steps, sides, strict=True)], axes)
        order, flipped = self._symmetries[which % len(self._symmetries)]
        theta = theta.permute(0, 1, *(2 + axis for axis in order)).flip([2 + axis for axis in flipped])
        each = (*theta.shape[:2], *(1,) * len(sides))
        turn = 2 * math.pi * torch.rand(each, generator=generator)
        sign = 1 - 2 * torch.randint(2, each, generator=generator)
        return wrap((sign if model.reflection else 1) * theta + (turn if model.rotation else 0.0))


def lattice_symmetries(model: Model, shape: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Orders of the axes and axes to reverse that keep the energy, the identity first.

    By trial on a random configuration: a pattern of couplings may have a symmetry that no property of its terms tells.

    Example:
        >>> from mcmc.models.presets import XY, triangular
        >>> len(lattice_symmetries(XY(), (6, 6))), len(lattice_symmetries(XY(), (6, 4)))
        (8, 4)
        >>> lattice_symmetries(triangular(), (6, 4))
        [((0, 1), ()), ((0, 1), (0, 1))]
    """
    axes = range(len(shape))
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, shape)
    flips = [each for many in range(len(shape) + 1) for each in combinations(axes, many)]
    return [
        (order, flipped)
        for order in permutations(axes)
        if all(shape[axis] == side for axis, side in zip(order, shape, strict=True))
        for flipped in flips
        if math.isclose(model.energy(np.flip(theta.transpose(order), flipped)), model.energy(theta), rel_tol=1e-9)
    ]
