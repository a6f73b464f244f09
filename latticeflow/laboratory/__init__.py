"""The mode-collapse laboratory: every method on every test density, by one contract.

Importing this package loads torch. A method of your own joins by `register`, and a density by
``latticeflow.laboratory.targets.TARGETS["mine"] = build``; the command takes both as ``--method module:name`` and
``--target module:name``.
"""

from __future__ import annotations

from latticeflow.laboratory.methods import (  # noqa: F401  they register their methods
    controls,
    flow_methods,
    gan,
    infogan,
    joint,
    lattice_methods,
    mixture,
    recipes,
    spin_networks,
    unrolled,
    vae,
    weight_scan,
)
from latticeflow.laboratory.methods.method_registry import (
    METHODS,
    DivergedError,
    Effort,
    Method,
    Report,
    Sampler,
    get_method,
    register,
    seeded,
)

__all__ = ["METHODS", "DivergedError", "Effort", "Method", "Report", "Sampler", "get_method", "register", "seeded"]
