"""What the tests of several folders share: small flows and runs, stops, and what two files must agree in."""

import math

import h5py
import torch

from latticeflow.flows import Flow, build_flow
from latticeflow.training.train import train
from mcmc import XY, Lattice
from mcmc.runtime.stop import Stop
from mcmc.sampling.settings import Settings

SMALL = {
    "multiscale": {"invariants": 8, "vectors": 4, "products": 3, "directions": 3, "harmonics": 3, "width": 16},
    "realnvp": {"couplings": 4, "filters": 4},
    "spline": {"couplings": 4, "bins": 4, "seen": 12, "invariants": 6, "vectors": 3, "width": 12},
}
"""Sizes of flows by name, for speed."""
RANGE = (0.5, 2.0)
"""Temperatures that `make`'s flows serve."""
TEMPERATURES = (0.5, 1.0, 1.5, 2.0)
"""Those of the ensemble ``few_draws``."""
QUICK = {"batch_temperatures": 4, "batch_draws": 4, "warmup": 2}
"""A short training, fields of `TrainingSettings`."""
SIZES = {"width": 16, "invariants": 8}
"""Of its flow."""


def make(name, model, *shape, disturb=0.2):
    """A flow away from its initial state, which may be special; a colon goes before another base density."""
    torch.manual_seed(1)
    name, _, base = name.partition(":")
    sizes = SMALL.get(name, {}) | ({"base": base} if base else {})
    flow = build_flow(name, model, Lattice(*shape), RANGE, **sizes)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(disturb * torch.randn_like(parameter))
    return flow


class Tilted(Flow):
    """A flow of one parameter that is not registered: all angles independent, von Mises about zero."""

    symmetric = False

    def __init__(self, model, lattice, temperatures):
        super().__init__(model, lattice, temperatures)
        self.kappa = torch.nn.Parameter(torch.tensor(1.0))

    def _log_prob(self, theta, temperature):
        each = self.kappa * theta.cos() - math.log(2 * math.pi) - torch.special.i0(self.kappa).log()
        return each.sum((-2, -1), dtype=torch.float64)

    def _sample(self, temperature, generator):
        # By rejection from the uniform law, exact for any kappa.
        shape = (len(temperature), *self.lattice.shape)
        theta = torch.zeros(shape)
        waiting = torch.ones(shape, dtype=torch.bool)
        while waiting.any():
            angle = 2 * math.pi * torch.rand(shape, generator=generator) - math.pi
            height = torch.rand(shape, generator=generator)
            bound = (self.kappa.detach() * angle.cos() - self.kappa.detach().abs()).exp()
            accepted = waiting & (height < bound)
            theta = torch.where(accepted, angle, theta)
            waiting = waiting & ~accepted
        return theta, self._log_prob(theta, temperature)


def train_file(ensemble, out, settings, **how):
    """Train into a file; whether the training is complete."""
    return train(ensemble, **{"out": out, "settings": settings, "device": "cpu", "stop": Stop(), **how}).history[
        "complete"
    ]


class After(Stop):
    """Asks to stop after some steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def asked(self, seconds=0.0):
        self.left -= 1
        return self.left < 0


def settings(**changes) -> Settings:
    """Of a short run of Markov chains."""
    plain = {"model": XY(), "lattice": Lattice(4, 4), "temperatures": (0.5, 0.9, 1.3), "chains": 2, "seed": 7}
    return Settings(**{**plain, "thermalise": 20, "thin": 2, **changes})


def content(path) -> dict[str, bytes]:
    """All datasets and attributes but those that tell of time and place.

    Left out as well: the report, and how far the chains' starts agree, which a task can only ask of its own chains.
    """
    with h5py.File(path, "r") as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        passing = ("run/report", "run/state/start_")
        arrays = {name: (d.shape, d[...].tobytes()) for name, d in found.items() if not name.startswith(passing)}
        own = ("file_id", "checksum", "created", "command", "merged_from")
        return {**arrays, **{name: value for name, value in file.attrs.items() if name not in own}}
