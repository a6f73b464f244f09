"""Configurations that come as a plain numpy array, for people who bring their own data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.storage import provenance
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.memory_ensemble import as_angles, with_all_axes

_BLOCK_BYTES = 2**26


def load(path: str | Path) -> np.ndarray:
    """Map a ``.npy`` file into memory; no code in it is ever executed.

    Raises:
        InputError: the file is missing or no plain array of numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (ValueError, EOFError, OSError):
        raise InputError(f"{path} is no plain array of real numbers: write it by numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{path} is no plain array of real numbers: write it by numpy.save")
    return array


def from_array(
    path: str | Path,
    theta: np.ndarray,
    *,
    model: Model,
    temperatures: Sequence[float],
    note: str = "",
    command: Sequence[str] | None = None,
) -> None:
    """Write an ensemble file from an array of angles.

    Args:
        path: must not exist.
        theta: radians, (T, C, n, Ly, Lx); (T, n, Ly, Lx) for one chain; (n, Ly, Lx) for one chain and temperature.
        model: the model of which these are draws.
        temperatures: T of them, in units of J / k_B.
        note: where the data come from, kept in the file.
        command: kept in the file; None takes this process's command line.

    Raises:
        InputError: the array's shape does not fit, or it holds values that are no finite numbers.
    """
    T = len(temperatures)
    theta = with_all_axes(theta, T)
    _, C, draws, Ly, Lx = theta.shape
    lattice = Lattice(Lx, Ly)
    attributes = {"sampler": "imported", "note": note, **provenance.origin(command)}
    for start in range(0, draws, n := max(1, _BLOCK_BYTES // (4 * T * C * lattice.N))):
        if not np.isfinite(theta[:, :, start : start + n]).all():
            raise InputError(f"the array holds values that are not finite among draws {start} to {start + n - 1}")
    with Ensemble.create(
        path,
        model=model,
        lattice=lattice,
        temperatures=temperatures,
        chains=C,
        provenance=attributes,
        draws=draws,
        whole=True,
    ) as ensemble:
        for start in range(0, draws, n):
            part = as_angles(theta[:, :, start : start + n])
            series = {"energy": model.energy(part) / lattice.N, "magnetization": observables.magnetization(part)}
            ensemble.append(Block(part, series))
