"""Normalizing flows of lattice configurations, all behind the contract of `flow.Flow`.

Importing this package loads torch.
"""

from latticeflow.flows.building import build_flow, register_flow
from latticeflow.flows.flow import FLOWS, Flow
from latticeflow.flows.multiscale import Multiscale
from latticeflow.flows.realnvp import RealNVP
from latticeflow.flows.spline import Spline

for _flow in (Multiscale, RealNVP, Spline):
    register_flow(_flow.name, _flow)

__all__ = ["FLOWS", "Flow", "Multiscale", "RealNVP", "Spline", "build_flow", "register_flow"]
