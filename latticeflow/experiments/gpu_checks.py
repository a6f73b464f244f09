"""What a device computes beside double precision on the CPU: draws, their densities, gradients, equal seeds."""

from __future__ import annotations

import copy
import math

import torch

from latticeflow.experiments.gpu_log import ResultLog
from latticeflow.experiments.gpu_trainings import RANGE
from latticeflow.flows import FLOWS, Flow, build_flow, checkpoint
from mcmc import Lattice, model_from_name


def check_device(record: ResultLog, device: torch.device) -> bool:
    """Compare the device with double precision on the CPU, for every flow, and write a line for each finding."""
    sound = True

    def check(what: str, flow: Flow, value: float, bound: float) -> None:
        nonlocal sound
        held = value <= bound
        sound = sound and held
        record("check", what=what, flow=flow.name, model=flow.model.name, size=flow.lattice.Lx, value=value, held=held)

    T = torch.linspace(*RANGE, 128, device=device)
    for flow in _flows_to_check():
        name = flow.name
        exact, flow = copy.deepcopy(flow).double(), flow.to(device)
        N = flow.lattice.N
        bound = (2e-2 if name == "realnvp" else 1e-3) * max(1.0, N / 64)
        rounding = 5e-2 if name == "realnvp" else 2e-3  # of gradients; those of convolutions are by TensorFloat-32
        draws = []
        for _ in range(2):
            generator = torch.Generator(device).manual_seed(7)
            with torch.no_grad():
                draws.append(flow.sample(len(T), T, generator=generator))
        (theta, log_q), (again, log_q_again) = draws
        same = torch.equal(theta, again) and torch.equal(log_q, log_q_again)
        check("equal seeds, different bytes", flow, 0.0 if same else 1.0, 0.0)
        outside = float(((theta < -math.pi) | (theta >= math.pi)).sum())
        check("angles outside of [-pi, pi)", flow, outside, 0.0)
        on_cpu, T_cpu = theta.double().cpu(), T.double().cpu()
        with torch.no_grad():
            expected = exact.log_prob(on_cpu, T_cpu)
        check("log q of draws", flow, float((log_q.cpu() - expected).abs().max()), bound)
        found = flow.log_prob(theta, T)
        check("log q of configurations", flow, float((found.detach().cpu() - expected).abs().max()), bound)
        turned = torch.remainder(theta + 1.0 + math.pi, 2 * math.pi) - math.pi
        if flow.symmetric:
            with torch.no_grad():
                change = float((flow.log_prob(turned, T) - found).abs().max())
            check("log q after a rotation", flow, change, 2 * bound)
        weights = torch.linspace(-1, 1, len(T), dtype=torch.float64)
        gradients = [
            torch.autograd.grad((weights.to(log_p.device) * log_p).sum(), list(which.parameters()))
            for which, log_p in ((flow, found), (exact, exact.log_prob(on_cpu, T_cpu)))
        ]
        size = max(float(each.abs().max()) for each in gradients[1])
        error = max(float((a.cpu() - b).abs().max()) for a, b in zip(*gradients, strict=True)) / size
        check("gradients, relative", flow, error, rounding)
        if flow.depths:
            keep = flow.stages[0]
            drawn, new, old = flow.redraw(theta, T, keep)
            with torch.no_grad():
                difference = (new - old) - (flow.log_prob(drawn, T) - found)
            check("log q of redraws", flow, float(difference.abs().max()), 2 * bound)
    return sound


def _flows_to_check() -> list[Flow]:
    """The shipped flows, and a small one of every kind whose parameters are not those it starts from."""
    flows = [checkpoint.load(path).flow for path in checkpoint.shipped().values()]
    small = {"realnvp": {"couplings": 4, "filters": 8}, "spline": {"couplings": 6}}
    torch.manual_seed(1)
    for name in sorted(FLOWS):
        for model in ("xy", "exy"):
            flow = build_flow(name, model_from_name(model), Lattice(8, 8), RANGE, **small.get(name, {}))
            with torch.no_grad():
                for parameter in flow.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))
            flows.append(flow)
    return flows
