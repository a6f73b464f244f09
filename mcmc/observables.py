"""Observables: pure functions of configurations, shape ``(..., Ly, Lx) -> (...)``."""

from __future__ import annotations

from typing import Any

from mcmc.lattice import wrap
from mcmc.models import namespace


def magnetization(theta: Any) -> Any:
    """m = abs(sum_i exp(i theta_i)) / N, in [0, 1]; float64, ``(..., Ly, Lx) -> (...)``."""
    xp = namespace(theta)
    mx = xp.cos(theta).mean((-2, -1), dtype=xp.float64)
    my = xp.sin(theta).mean((-2, -1), dtype=xp.float64)
    return xp.hypot(mx, my)


def vorticity(theta: Any) -> Any:
    """Vorticity q in {-1, 0, 1} of the plaquette below-right of each site; shape of ``theta``."""
    roll = namespace(theta).roll
    right, below = wrap(roll(theta, -1, -1) - theta), wrap(roll(theta, -1, -2) - theta)
    circulation = right + roll(below, -1, -1) - roll(right, -1, -2) - below
    return (circulation / 6.283185307179586).round()


def vortex_density(theta: Any) -> Any:
    """n_v = sum abs(q) / N; float64, ``(..., Ly, Lx) -> (...)``."""
    return abs(vorticity(theta)).mean((-2, -1), dtype=namespace(theta).float64)
