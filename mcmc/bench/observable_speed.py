"""How long every observable takes; ``latticeflow bench observables`` prints it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mcmc.analysis.thermodynamics import measure
from mcmc.models import observables
from mcmc.models.presets import XY, ExtendedXY

TIMED: dict[str, Callable[[np.ndarray], object]] = {
    "check of the input": observables.checked,
    "energy (XY)": lambda theta: observables.energy(theta, XY()),
    "energy (EXY)": lambda theta: observables.energy(theta, ExtendedXY()),
    "magnetization": observables.magnetization,
    "nematic_order": observables.nematic_order,
    "plaquette_term": observables.plaquette_term,
    "helicity_terms": observables.helicity_terms,
    "vortex_density": observables.vortex_density,
    "winding_numbers": observables.winding_numbers,
    "long_wave_factors": observables.long_wave_factors,
    "structure_factor": observables.structure_factor,
    "correlation": observables.correlation,
    "measure (all a table needs)": lambda theta: measure(theta, ExtendedXY()),
}


def seconds_per_million(L: int, *, configurations: int = 4000, repeats: int = 5) -> dict[str, float]:
    """Processor seconds for a million L x L float32 configurations, best of several tries, by observable."""
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (configurations, L, L)).astype(np.float32)
    found = {}
    for name, function in TIMED.items():
        function(theta[:10])
        best = np.inf
        for _ in range(repeats):
            start = time.process_time()
            function(theta)
            best = min(best, time.process_time() - start)
        found[name] = best * 1e6 / configurations
    return found
