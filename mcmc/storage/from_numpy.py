"""Configurations that come as a plain numpy array, for people who bring their own data."""

from __future__ import annotations

import tokenize
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.storage import provenance
from mcmc.storage.block import Block
from mcmc.storage.brought_arrays import Understood, as_angles, require_angles, require_sensible, with_all_axes
from mcmc.storage.ensemble import Ensemble

_BLOCK_BYTES = 2**26
# What numpy raises for a file that is not one of its own: it parses the header as Python.
_UNREADABLE = (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError, tokenize.TokenError)


def load(path: str | Path) -> np.ndarray:
    """Map a ``.npy`` file into memory; no code in it is ever executed.

    Raises:
        InputError: the file is missing or no plain array of numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except _UNREADABLE:
        raise InputError(f"{path} is not a plain array of real numbers: write it by numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{path} is not a plain array of real numbers: write it by numpy.save")
    return array


def from_array(
    path: str | Path,
    theta: np.ndarray,
    *,
    model: Model,
    temperatures: float | Sequence[float] | np.ndarray,
    note: str = "",
    command: Sequence[str] | None = None,
) -> Understood:
    """Write an ensemble file from an array of angles.

    Args:
        path: must not exist.
        theta: radians, (T, C, n, Ly, Lx); (T, n, Ly, Lx) for one chain; (n, Ly, Lx) for one chain and temperature.
        model: the model of which these are draws.
        temperatures: T of them in the order of the array, in units of J / k_B; the file sorts them.
        note: where the data come from, kept in the file.
        command: kept in the file; None takes this process's command line.

    Returns:
        How the array was understood; print it to check.

    Raises:
        InputError: the array's shape does not fit, it holds something else than finite angles in radians (unit vectors,
            degrees, states of a clock), or temperatures that cannot be meant.
    """
    grid = np.array(require_sensible(temperatures, model), np.float64)
    require_angles(theta)
    theta = with_all_axes(theta, len(grid), model.dimensions)
    order = np.argsort(grid)
    T, C, draws = theta.shape[:3]
    lattice = Lattice(*theta.shape[:2:-1])
    attributes = {"sampler": "imported", "note": note, **provenance.origin(command)}
    energies = np.empty((T, C, draws))
    n = max(1, _BLOCK_BYTES // (4 * T * C * lattice.N))
    with Ensemble.create(
        path,
        model=model,
        lattice=lattice,
        temperatures=grid[order],
        chains=C,
        provenance=attributes,
        draws=draws,
        whole=True,
    ) as ensemble:
        for start in range(0, draws, n):
            part = as_angles(theta[:, :, start : start + n][order])
            energies[:, :, start : start + n] = energy = model.energy(part) / lattice.N
            ensemble.append(Block(part, {"energy": energy, "magnetization": observables.magnetization(part, model)}))
    return Understood(
        shape=theta.shape,
        smallest=float(theta.min()),
        largest=float(theta.max()),
        temperatures=tuple(grid[order].tolist()),
        energies=tuple(energies.mean((1, 2)).tolist()),
        errors=tuple((energies.std((1, 2)) / np.sqrt(C * draws)).tolist()),
    )
