"""The moments of a configuration from which all tables follow: simple averages over the lattice, one number each."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from mcmc.models import observables, order
from mcmc.models.lattice import Lattice
from mcmc.models.terms import Model


def basic_moments(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    """The moments of every configuration from which all of `mcmc.analysis.observable_registry.OBSERVABLES` follow.

    Args:
        theta: angles in [-pi, pi), (..., Ly, Lx).
        model: the spin model.

    Returns:
        float64 arrays of shape (...): energy (per site), magnetization, vortex_density, nematic_order, plaquette_term;
        cos_x, cos_y, sin2_x, sin2_y (`mcmc.models.observables.helicity_terms`); long_wave_x, long_wave_y (S at the
        smallest wave vectors); winding_square (sum of both squared winding numbers); where the model has them energy_J
        and so on (per site, of the terms of each name), sublattice_magnetization (mean over the sublattices),
        staggered_magnetization, chirality and stripe_direction (of either sign), stripe_magnetization, clock_order.

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
    parts = np.moveaxis(observables.term_energies(theta, model), -1, 0)
    energy = sum(parts) / math.prod(theta.shape[-model.dimensions :])
    found = {"energy": energy, **{n: helicity[..., k] for k, n in enumerate(columns)}}
    found |= _square_moments(theta, model) if model.dimensions == 2 else _cubic_moments(theta, model)
    return found | _energies(parts, theta, model) | _orders(theta, model)


def moments_by_threads(theta: np.ndarray, model: Model, threads: int) -> dict[str, np.ndarray]:
    """`basic_moments` by several threads; the same bytes.

    A thread takes some configurations at a time: few enough that they stay in a core's cache while it measures all of
    their moments, and enough that numpy works long without Python's lock, at which threads wait for one another.

    Args:
        theta: angles in [-pi, pi), (..., Ly, Lx).
        model: the spin model.
        threads: how many.
    """
    lead, shape = theta.shape[: -model.dimensions], theta.shape[-model.dimensions :]
    flat = theta.reshape(-1, *shape)
    step = max(1, observables.PIECE // math.prod(shape))
    if len(flat) <= step:
        return basic_moments(theta, model)
    pieces = [flat[start : start + step] for start in range(0, len(flat), step)]
    measured = partial(basic_moments, model=model)
    # Even of one: memory that the main thread frees goes back to the system, and comes anew for every array.
    with ThreadPoolExecutor(threads) as pool:
        found = [*pool.map(measured, pieces)]
    return {name: np.concatenate([each[name] for each in found]).reshape(lead) for name in found[0]}


def _energies(parts: np.ndarray, theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    """Energy per site by the name of the terms, where there are several names."""
    kinds = [term.name for term in model.terms]
    if len({*kinds}) < 2:
        return {}
    N = math.prod(theta.shape[-model.dimensions :])
    sums = {kind: sum(parts[k] for k, name in enumerate(kinds) if name == kind) for kind in dict.fromkeys(kinds)}
    return {f"energy_{kind}": total / N for kind, total in sums.items()}


def _orders(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    """The orders that the model may have."""
    shape, found = theta.shape[-model.dimensions :], dict[str, np.ndarray]()
    if not order.no_sublattices(model, shape):
        found["sublattice_magnetization"] = observables.sublattice_magnetizations(theta, model).mean(-1)
    if not order.no_sublattices(model, shape, 2):
        found["staggered_magnetization"] = observables.staggered_magnetization(theta, model)
    if not order.no_chirality(model, shape):
        found["chirality"] = observables.chirality(theta, model)
    if not order.no_clock(model):
        found["clock_order"] = observables.clock_order(theta, model)
    if not order.no_stripes(model, shape):
        found["stripe_magnetization"] = observables.stripe_magnetization(theta, model)
        found["stripe_direction"] = observables.stripe_direction(theta, model)
    return found


def moment_names(model: Model, lattice: Lattice) -> tuple[str, ...]:
    """Names of what `basic_moments` measures for this model.

    Example:
        >>> from mcmc.models.presets import XY
        >>> "vortex_density" in moment_names(XY(), Lattice(4, 4))
        True
    """
    return tuple(basic_moments(np.zeros(lattice.shape), model))


def _square_moments(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    waves = observables.long_wave_factors(theta)
    return {
        "magnetization": observables.magnetization(theta),
        "vortex_density": observables.vortex_density(theta, model),
        "nematic_order": observables.nematic_order(theta),
        "plaquette_term": observables.plaquette_term(theta),
        "winding_square": (observables.winding_numbers(theta, model) ** 2).sum(-1),
        **{name: waves[..., k] for k, name in enumerate(("long_wave_x", "long_wave_y"))},
    }


def _cubic_moments(theta: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    rows = [observables.seen_along(theta, axis) for axis in range(3)]
    return {
        "magnetization": observables.magnetization(rows[0]),
        "vortex_density": observables.vortex_density(theta, model),
        "nematic_order": observables.nematic_order(rows[0]),
        "plaquette_term": np.mean([observables.plaquette_term(p).mean(-1) for p in observables.planes(theta)], axis=0),
        "winding_square": (observables.winding_numbers(theta, model) ** 2).sum(-1),
        **{f"long_wave_{a}": observables.long_wave_factors(each)[..., 0] for a, each in zip("xyz", rows, strict=True)},
    }
