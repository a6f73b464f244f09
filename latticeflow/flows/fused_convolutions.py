"""What calls of `mcmc.kernels.convolutions` share: how weights and neighbours stand, and how a batch is divided."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

LANES, GROUP = 16, 4
_SECTIONS = 8


def padded(weight: Tensor, features: int, channels: int) -> Tensor:
    """Weights (..., features, channels, 3, 3), with zeros up to such numbers, as (..., features / 4, channels, 9, 4).

    All but the leading axes are flat.
    """
    more = channels - weight.shape[-3], features - weight.shape[-4]
    weight = pad(weight.flatten(-2), (0, 0, 0, more[0], 0, more[1]))
    return weight.unflatten(-3, (-1, GROUP)).movedim(-3, -1).flatten(-4)


def table(rows: Tensor) -> np.ndarray:
    """Neighbours of a `Neighbours`, offset by offset, as where in a plane those of each site are; flat."""
    found: np.ndarray = LANES * rows.numpy().reshape(9, -1).T.reshape(-1)
    return found


def sections(blocks: int) -> list[tuple[int, int]]:
    """First and last block of parts of a batch.

    There are as many for any number of threads: so sums over parts do not depend on it.
    """
    parts = max(1, min(blocks, _SECTIONS))
    return list(pairwise(blocks * i // parts for i in range(parts + 1)))
