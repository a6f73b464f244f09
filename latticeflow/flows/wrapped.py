"""Anybody's sampler and its density as a flow, for chains, weights and comparisons."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latticeflow.flows.flow import Flow
from mcmc import InputError, Lattice
from mcmc import wrap as wrap_angles
from mcmc.models.lattice import Size, as_lattice
from mcmc.models.presets import Model, build_model

_CHECKED = 16  # draws that are looked at when functions are wrapped
_RELATIVE, _ABSOLUTE = 1e-5, 1e-3  # agreement of log densities: rounding of float32 sums, not a missing factor


class WrappedFlow(Flow):
    """Functions behind the contract of `Flow`; see `wrap`."""

    def __init__(
        self,
        sample: Callable[..., Any],
        log_prob: Callable[..., Any],
        model: Model,
        lattice: Lattice,
        temperatures: tuple[float, float],
    ):
        super().__init__(model, lattice, temperatures)
        self._sampler, self._density = sample, log_prob
        self._takes = [name for name in ("rng", "generator") if name in inspect.signature(sample).parameters]
        self._tensors = False
        self._check()

    def __repr__(self) -> str:
        """Whose functions they are, and of what."""
        low, high = self.temperatures
        name = getattr(self._sampler, "__qualname__", type(self._sampler).__name__)
        return f"flow of {name} for {self.model} on {self.lattice} sites\n  temperatures {low:g} to {high:g}"

    @property
    def identity(self) -> bytes:
        """What tells functions apart that draw otherwise: their density at fixed configurations."""
        rng = np.random.default_rng(0)
        theta = rng.uniform(-math.pi, math.pi, (4, *self.lattice.shape)).astype(np.float32)
        found = [self.log_prob(theta, T) for T in self.temperatures]
        return hashlib.sha256(repr([[f"{value:.5g}" for value in row] for row in found]).encode()).digest()

    @property
    def registered_name(self) -> str:
        """There is none, as no file can hold functions.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a wrapped flow is made of functions, which a file cannot hold: derive a class of Flow instead"
        )

    def _check(self) -> None:
        for T in self.temperatures:
            returned = self._call(_CHECKED, T, None)
            try:
                theta, log_q = returned
            except (TypeError, ValueError):
                raise InputError(f"sample must return angles and their log density; got {returned!r:.60}") from None
            self._tensors = isinstance(theta, Tensor)
            for name, values, shape in (
                ("angles", theta, (_CHECKED, *self.lattice.shape)),
                ("log densities", log_q, (_CHECKED,)),
            ):
                if tuple(np.shape(values)) != shape:
                    raise InputError(f"sample must return {name} of shape {shape}; got {tuple(np.shape(values))}")
            drawn, log_q = self._draw(_CHECKED, T, None)
            if not (bool(drawn.isfinite().all()) and bool(log_q.isfinite().all())):
                raise InputError(f"sample returned numbers that are not finite at T = {T:g}")
            known = self._log_density(drawn, T)
            if known.shape != (_CHECKED,):
                raise InputError(f"log_prob must return the shape {(_CHECKED,)}; got {tuple(known.shape)}")
            allowed = _ABSOLUTE + _RELATIVE * log_q.abs()
            if not bool(((known - log_q).abs() <= allowed).all()):
                worst = float((known - log_q).abs().nan_to_num(math.inf).max())
                raise InputError(
                    f"log_prob and the log density of sample differ by up to {worst:.3g} at T = {T:g} for the same "
                    "angles: chains and weights would be wrong"
                )

    def _call(self, n: int, T: float, generator: torch.Generator | None) -> Any:
        given: dict[str, Any] = {}
        if self._takes:
            source = generator or torch.Generator().manual_seed(torch.initial_seed())
            given["generator"] = source
            if self._takes[0] == "rng":
                seed = int(torch.randint(2**62, (), generator=source, device=source.device))
                given = {"rng": np.random.default_rng(seed)}
        return self._sampler(n, T, **given)

    def _draw(self, n: int, T: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            theta, log_q = self._call(n, T, generator)
            theta = wrap_angles(torch.as_tensor(theta)).to(torch.float32)
            theta = torch.where(theta >= math.pi, torch.tensor(-math.pi), theta)  # float32 may round up to pi
            return theta, torch.as_tensor(log_q).to(torch.float64)

    def _log_density(self, theta: Tensor, T: float) -> Tensor:
        with torch.no_grad():
            found = self._density(theta if self._tensors else theta.numpy(), T)
            return torch.as_tensor(np.asarray(found) if not isinstance(found, Tensor) else found).to(torch.float64)

    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        theta = torch.empty(len(temperature), *self.lattice.shape)
        log_q = torch.empty(len(temperature), dtype=torch.float64)
        for T in temperature.unique():
            same = temperature == T
            theta[same], log_q[same] = self._draw(int(same.sum()), self._exact(T), generator)
        return theta, log_q

    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        log_q = torch.empty(len(theta), dtype=torch.float64)
        for T in temperature.unique():
            same = temperature == T
            log_q[same] = self._log_density(theta[same], self._exact(T))
        return log_q

    @staticmethod
    def _exact(T: Tensor) -> float:
        """A temperature as a user would write it: 0.9, not the nearest float32."""
        return float(f"{float(T):.7g}")


def wrap(
    sample: Callable[..., Any],
    log_prob: Callable[..., Any],
    model: Model | str,
    lattice: Size,
    *,
    temperatures: float | tuple[float, float],
) -> Flow:
    """Make a flow of anybody's functions, for `sample`, `compare` and `importance`.

    The functions work on numpy arrays, or on torch tensors on the CPU if ``sample`` returns such.

    Args:
        sample: ``sample(n, T)`` returns angles in radians, (n, Ly, Lx), and their log density with respect to
            d theta_1 ... d theta_N, (n,). If it has an argument ``rng`` it is given a `numpy.random.Generator`, if it
            has ``generator`` a `torch.Generator`; without either, runs cannot be repeated.
        log_prob: ``log_prob(theta, T)`` returns that density for any angles, periodic in each of them, (n,).
        model: the spin model, or its name.
        lattice: the lattice, or its size: side of a square or a cube, (Lx, Ly), or (Lx, Ly, Lz).
        temperatures: the one, or lowest and highest temperature, that the functions serve.

    Returns:
        A flow, which has no parameters and cannot be trained or saved.

    Raises:
        InputError: the shapes are wrong, numbers are not finite, or the two functions disagree on the density of draws.
            That the density integrates to one cannot be checked.

    Example:
        >>> import latticeflow as lf
        >>> def sample(n, T, rng):
        ...     return rng.uniform(-np.pi, np.pi, (n, 4, 4)), np.full(n, -16 * np.log(2 * np.pi))
        >>> def log_prob(theta, T):
        ...     return np.full(len(theta), -16 * np.log(2 * np.pi))
        >>> flow = lf.wrap(sample, log_prob, "xy", 4, temperatures=(5.0, 9.0))
        >>> lf.sample(flow, temperatures=9.0, draws=10, chains=2).draws
        10
    """
    for function in (sample, log_prob):
        if not callable(function):
            raise InputError(f"expected a function; got {type(function).__name__}")
    low, high = np.broadcast_to(np.asarray(temperatures, np.float64), 2).tolist()
    if isinstance(model, str):
        model = build_model(model, lattice)
    return WrappedFlow(
        sample,
        log_prob,
        model,
        as_lattice(lattice, model.dimensions),
        (low, high),
    )
