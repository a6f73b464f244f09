"""Classical Monte Carlo of lattice spin models: exact kernels, files that can be trusted, and error bars.

    import mcmc
    ensemble = mcmc.generate(mcmc.XY(), size=16, temperatures=[0.8, 0.9, 1.0], draws=1000, out="xy16.h5")
    table = mcmc.observe(ensemble)
    table["energy"].values, table.at(0.9)["helicity_modulus"]

Names are loaded when they are first used: importing this package takes a moment, whatever they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.models.lattice import Lattice, wrap
from mcmc.models.presets import XY, ExtendedXY, Model, build_model, load_model, model_from_name, register_model
from mcmc.models.terms import Term

if TYPE_CHECKING:
    from mcmc.analysis.correlations import correlation_function
    from mcmc.analysis.kosterlitz_thouless import transition
    from mcmc.analysis.observable_registry import Observable, register_observable
    from mcmc.analysis.reweighting import Reweighting
    from mcmc.analysis.statistics import Estimate, autocorrelation, derived, estimate, independent
    from mcmc.analysis.table import Table
    from mcmc.analysis.thermodynamics import observe
    from mcmc.sampling.generate import generate
    from mcmc.sampling.merge import merge
    from mcmc.sampling.samplers import Sampler, Update, register_sampler
    from mcmc.storage.ensemble import Ensemble
    from mcmc.storage.ensemble import open_ensemble as open
    from mcmc.storage.memory_ensemble import MemoryEnsemble, from_arrays
    from mcmc.storage.verify import verify

__version__ = "0.2.0"

_HOMES = {
    "Ensemble": "storage.ensemble",
    "Estimate": "analysis.statistics",
    "MemoryEnsemble": "storage.memory_ensemble",
    "Observable": "analysis.observable_registry",
    "Reweighting": "analysis.reweighting",
    "Sampler": "sampling.samplers",
    "Table": "analysis.table",
    "Update": "sampling.samplers",
    "autocorrelation": "analysis.statistics",
    "correlation_function": "analysis.correlations",
    "derived": "analysis.statistics",
    "estimate": "analysis.statistics",
    "from_arrays": "storage.memory_ensemble",
    "generate": "sampling.generate",
    "independent": "analysis.statistics",
    "merge": "sampling.merge",
    "observe": "analysis.thermodynamics",
    "open": "storage.ensemble",
    "register_observable": "analysis.observable_registry",
    "register_sampler": "sampling.samplers",
    "transition": "analysis.kosterlitz_thouless",
    "verify": "storage.verify",
}
"""Modules of the names that are loaded when they are first used."""

__all__ = [
    "XY",
    "Ensemble",
    "Estimate",
    "ExtendedXY",
    "InputError",
    "Lattice",
    "MemoryEnsemble",
    "Model",
    "Observable",
    "Reweighting",
    "Sampler",
    "Table",
    "Term",
    "Update",
    "autocorrelation",
    "build_model",
    "correlation_function",
    "derived",
    "estimate",
    "from_arrays",
    "generate",
    "independent",
    "load_model",
    "merge",
    "model_from_name",
    "observables",
    "observe",
    "open",
    "register_model",
    "register_observable",
    "register_sampler",
    "transition",
    "verify",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mcmc' has no attribute {name!r}")
    value = getattr(import_module(f"mcmc.{_HOMES[name]}"), "open_ensemble" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names."""
    return sorted([*__all__, "__version__"])
