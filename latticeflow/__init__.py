"""Flow-accelerated Monte Carlo of lattice spin models: learned proposals that a Metropolis test makes exact.

Everything public stands in ``__all__`` and is loaded when it is first used, so that importing the package is fast:

    import mcmc
    import latticeflow as lf

    flow = lf.train("xy16.h5", minutes=10)      # a flow, trained on an ensemble; flow.save("xy16.pt")
    lf.compare(flow, "test16.h5")               # how good it is, beside draws that it has not seen
    chain = lf.sample(flow, temperatures=0.9)   # exact chains of its proposals, in memory
    mcmc.observe(chain)                         # energies, susceptibilities, ... with errors
    lf.importance(flow, temperatures=0.9)       # the same from weighted draws, without a chain
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcmc import InputError, __version__

if TYPE_CHECKING:
    from latticeflow import plots as plot
    from latticeflow.chains.free_energy_curve import free_energy
    from latticeflow.chains.importance import importance
    from latticeflow.chains.neural_mcmc import NeuralChains
    from latticeflow.chains.sample import sample
    from latticeflow.flows.building import build_flow, register_flow
    from latticeflow.flows.checkpoint import load_flow as load
    from latticeflow.flows.checkpoint import shipped
    from latticeflow.flows.flow import FLOWS, Flow
    from latticeflow.flows.multiscale import Multiscale
    from latticeflow.flows.realnvp import RealNVP
    from latticeflow.flows.spline import Spline
    from latticeflow.flows.wrapped import wrap
    from latticeflow.quality.compare import compare
    from latticeflow.quality.comparison import Comparison
    from latticeflow.quality.flow_quality import FlowQuality
    from latticeflow.quality.verdict import Verdict
    from latticeflow.training.objectives import OBJECTIVES
    from latticeflow.training.train import train
    from latticeflow.training.trainer import TrainingDivergedError
    from latticeflow.training.training_settings import CriticSettings, TrainingSettings

_LOADED = {
    "FLOWS": "latticeflow.flows.flow",
    "OBJECTIVES": "latticeflow.training.objectives",
    "Comparison": "latticeflow.quality.comparison",
    "CriticSettings": "latticeflow.training.training_settings",
    "Flow": "latticeflow.flows.flow",
    "FlowQuality": "latticeflow.quality.flow_quality",
    "Multiscale": "latticeflow.flows.multiscale",
    "NeuralChains": "latticeflow.chains.neural_mcmc",
    "RealNVP": "latticeflow.flows.realnvp",
    "Spline": "latticeflow.flows.spline",
    "TrainingDivergedError": "latticeflow.training.trainer",
    "TrainingSettings": "latticeflow.training.training_settings",
    "Verdict": "latticeflow.quality.verdict",
    "build_flow": "latticeflow.flows.building",
    "compare": "latticeflow.quality.compare",
    "free_energy": "latticeflow.chains.free_energy_curve",
    "importance": "latticeflow.chains.importance",
    "load": "latticeflow.flows.checkpoint:load_flow",
    "plot": "latticeflow.plots:",
    "register_flow": "latticeflow.flows.building",
    "sample": "latticeflow.chains.sample",
    "shipped": "latticeflow.flows.checkpoint",
    "train": "latticeflow.training.train",
    "wrap": "latticeflow.flows.wrapped",
}
"""Where each public name comes from: a module, with its name there after a colon if that is another."""

__all__ = [
    "FLOWS",
    "OBJECTIVES",
    "Comparison",
    "CriticSettings",
    "Flow",
    "FlowQuality",
    "InputError",
    "Multiscale",
    "NeuralChains",
    "RealNVP",
    "Spline",
    "TrainingDivergedError",
    "TrainingSettings",
    "Verdict",
    "__version__",
    "build_flow",
    "compare",
    "free_energy",
    "importance",
    "load",
    "plot",
    "register_flow",
    "sample",
    "shipped",
    "train",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _LOADED:
        raise AttributeError(f"module 'latticeflow' has no attribute {name!r}")
    where, colon, there = _LOADED[name].partition(":")
    if where != "latticeflow.plots":
        from mcmc.runtime.install import require

        require("torch")
    module = import_module(where)
    found = module if colon and not there else getattr(module, there or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
