"""Which moves a sampler makes, and how many between draws.

``auto`` is heat bath + 3 over-relaxations + turning lines for both models. Integrated autocorrelation times in steps
of that mix, largest over ``linspace(0.05, 2.05, 32)``, beside those of heat bath + 3 over-relaxations without lines
(J = 1):

    L              8            16           32
    XY  energy     2.0 (2.4)    2.9 (3.2)    3.9 (4.3)
    XY  m^2        2.0 (2.5)    3.4 (4.8)    9.1 (15)
    EXY energy     2.8 (3.4)    3.7 (4.8)    6.0 (5.7)      K = 1
    EXY m^2        2.6 (3.4)    5.1 (7.7)    12  (23)

Lines matter most where ring exchange is strong or frustrates: at L = 16 they bring tau(m^2) from 27 to 7.2 at K = 3,
from 61 to 18 at K = 10, and tau(E) from more than 1000 to 24 at K = -2. Energies forget in a time that grows as the
root of the side; so draws are spaced.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model


class Mix(NamedTuple):
    """What one step of a run does, in this order."""

    local: str = ""
    """``"heat_bath"`` or ``"metropolis"``: one sweep."""
    over_relaxations: int = 0
    """Sweeps of over-relaxation."""
    lines: bool = False
    """Turn every row and every column."""
    cluster: str = ""
    """``"wolff"``, ``"swendsen_wang"`` or ``"plaquette_cluster"``."""
    twist_period: int = 8
    """Steps between proposals to change the winding numbers; 0 for none."""


MIXES = {
    "auto": Mix("heat_bath", 3, True),
    "metropolis": Mix("metropolis"),
    "heat_bath": Mix("heat_bath"),
    "over_relaxation": Mix("heat_bath", 3),
    "wolff": Mix(cluster="wolff"),
    "swendsen_wang": Mix(cluster="swendsen_wang"),
    "plaquette_cluster": Mix("heat_bath", cluster="plaquette_cluster"),
}
SAMPLERS = tuple(MIXES)
# Steps between draws over the root of the side, and steps of thermalisation over the side.
_PACE = {
    "auto": (5.0, 10),
    "metropolis": (30.0, 200),
    "heat_bath": (10.0, 50),
    "over_relaxation": (6.0, 15),
    "wolff": (5.0, 10),
    "swendsen_wang": (5.0, 10),
    "plaquette_cluster": (10.0, 50),
}


def mix(model: Model, sampler: str) -> Mix:
    """The moves of a sampler.

    Raises:
        InputError: unknown sampler, or one that cannot sample the model.
    """
    if sampler not in MIXES:
        raise InputError(f"unknown sampler {sampler!r}: choose one of {', '.join(SAMPLERS)}")
    cluster = MIXES[sampler].cluster
    if cluster in ("wolff", "swendsen_wang") and model.name != "xy":
        raise InputError(f"sampler {sampler!r} cannot sample ring exchange: use auto, or plaquette_cluster, for exy")
    if cluster == "plaquette_cluster" and model.name != "exy":
        raise InputError(f"sampler {sampler!r} is for exy: use auto, wolff or swendsen_wang for xy")
    return MIXES[sampler]


def default_thin(lattice: Lattice, sampler: str) -> int:
    """Steps between draws that leave an integrated autocorrelation time of the energy below 0.6 draws."""
    return math.ceil(_PACE[sampler][0] * math.sqrt(max(lattice.shape)))


def default_thermalise(lattice: Lattice, sampler: str) -> int:
    """Steps before the first draw: some fifty autocorrelation times of m^2."""
    return 400 + _PACE[sampler][1] * max(lattice.shape)
