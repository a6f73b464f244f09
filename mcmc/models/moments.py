"""The moments of a configuration from which all tables follow: simple averages over the lattice, one number each."""

from __future__ import annotations

import numpy as np

from mcmc.models import observables
from mcmc.models.lattice import Lattice
from mcmc.models.terms import Model


def basic_moments(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    """The moments of every configuration from which all of `mcmc.analysis.thermodynamics.OBSERVABLES` follow.

    Args:
        theta: angles in [-pi, pi), (..., Ly, Lx).
        model: the spin model.

    Returns:
        float64 arrays of shape (...): energy (per site), magnetization, vortex_density, nematic_order, plaquette_term;
        cos_x, cos_y, sin2_x, sin2_y (`mcmc.models.observables.helicity_terms`); long_wave_x, long_wave_y (S at the
        smallest wave vectors); winding_square (sum of both squared winding numbers).

    Raises:
        InputError: ``theta`` holds no configurations.

    Example:
        >>> from mcmc.models.presets import XY
        >>> basic_moments(np.zeros((2, 4, 4)), XY())["energy"].tolist()
        [-2.0, -2.0]
    """
    helicity = observables.helicity_terms(theta, model)
    names = "xyz"[: model.dimensions]
    columns = [f"{kind}_{axis}" for kind in ("cos", "sin2") for axis in names]
    found = {"energy": observables.energy(theta, model), **{n: helicity[..., k] for k, n in enumerate(columns)}}
    return found | (_square_moments(theta) if model.dimensions == 2 else _cubic_moments(theta))


def moment_names(model: Model, lattice: Lattice) -> tuple[str, ...]:
    """Names of what `basic_moments` measures for this model.

    Example:
        >>> from mcmc.models.presets import XY
        >>> "vortex_density" in moment_names(XY(), Lattice(4, 4))
        True
    """
    return tuple(basic_moments(np.zeros(lattice.shape), model))


def _square_moments(theta: np.ndarray) -> dict[str, np.ndarray]:
    waves = observables.long_wave_factors(theta)
    return {
        "magnetization": observables.magnetization(theta),
        "vortex_density": observables.vortex_density(theta),
        "nematic_order": observables.nematic_order(theta),
        "plaquette_term": observables.plaquette_term(theta),
        "winding_square": (observables.winding_numbers(theta) ** 2).sum(-1),
        **{name: waves[..., k] for k, name in enumerate(("long_wave_x", "long_wave_y"))},
    }


def _cubic_moments(theta: np.ndarray) -> dict[str, np.ndarray]:
    rows = [observables.seen_along(theta, axis) for axis in range(3)]
    layers = observables.planes(theta)
    return {
        "magnetization": observables.magnetization(rows[0]),
        "vortex_density": np.mean([observables.vortex_density(each).mean(-1) for each in layers], axis=0),
        "nematic_order": observables.nematic_order(rows[0]),
        "plaquette_term": np.mean([observables.plaquette_term(each).mean(-1) for each in layers], axis=0),
        "winding_square": np.sum([observables.winding_numbers(each)[..., 0] ** 2 for each in rows], axis=0),
        **{f"long_wave_{a}": observables.long_wave_factors(each)[..., 0] for a, each in zip("xyz", rows, strict=True)},
    }
