"""The contract of every flow: draws with their log density, and the log density of any configuration."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np
import torch
from torch import Tensor, nn

from latticeflow.flows import flow_file
from latticeflow.flows.last_colour import exact_colours
from mcmc import InputError, Lattice
from mcmc.models.presets import Model, require_known
from mcmc.runtime.arguments import level_of_user, whole_number
from mcmc.runtime.registry import Registry
from mcmc.runtime.text import html_facts

_UNIT: ContextVar[float | None] = ContextVar("unit", default=None)


@contextmanager
def working_in(unit: float) -> Iterator[None]:
    """Let flows that are built in this context work in a unit of energy other than `energy_unit`.

    For flows that were trained so: checkpoints of version 1 hold flows whose networks took the temperature itself.
    """
    token = _UNIT.set(unit)
    try:
        yield
    finally:
        _UNIT.reset(token)


def energy_unit(model: Model) -> float:
    """The unit of energy in which flows of a model work: the largest coupling of the first term that has any, or 1.

    Example:
        >>> from mcmc import XY
        >>> energy_unit(XY(-300.0))
        300.0
    """
    return next((term.scale for term in model.terms if term.scale), 1.0)


def is_in_field(model: Model) -> bool:
    """Whether a uniform field along the angle 0 is all that keeps a model from turning all spins together.

    Example:
        >>> from mcmc.models.presets import XY, clock, field
        >>> is_in_field(XY() + field(0.3)), is_in_field(XY()), is_in_field(clock(4, h=0.1))
        (True, False, False)
    """
    odd = [term for term in model.terms if term.scale and not term.neutral]
    return bool(odd) and all(term.charges in ((1,), (-1,)) and term.uniform and not term.phase for term in odd)


class Flow(nn.Module, ABC):
    """A normalizing flow of lattice configurations, conditional on temperature.

    A flow is a density on the torus with respect to d theta_1 ... d theta_N, in radians, periodic in every angle.
    Subclasses implement `_sample` and `_log_prob`, for one temperature per configuration; shapes are checked here.
    They had better learn in terms of `reduced_model` and `reduced` temperatures, which know no unit of energy.

    Args:
        model: the spin model, with its couplings.
        lattice: the periodic rectangle.
        temperatures: lowest and highest temperature that the flow serves.
        sizes: what else the constructor of the subclass was given, kept for checkpoints.

    Attributes:
        history: how the flow was made, in JSON's types: settings of the training, its ensemble, seed, steps, seconds,
            versions. Empty for a flow that was not trained.
        unit: energy in units of which the flow works, abs(J) or abs(K); see `energy_unit`.
        reduced_model: the model with its couplings in that unit.

    Raises:
        InputError: a range of temperatures that is not positive and ascending, or a model that is not registered.
    """

    name: ClassVar[str]
    """In messages; the lower-case name of the class unless the class sets it."""
    objective: ClassVar[str] = "log_variance"
    """Objective of the training unless it is told otherwise, a name of `latticeflow.training.objectives`."""
    learning_rate: ClassVar[float] = 1e-3
    """At the peak of its schedule, unless the training is told otherwise."""
    gradient: ClassVar[str] = "score_function"
    """How its own draws teach it unless the training is told otherwise: ``score_function`` or ``reparameterised``."""
    seamless: ClassVar[bool] = True
    """Whether the density is continuous where an angle passes from pi to -pi."""
    symmetric: ClassVar[bool] = True
    """Whether the density is exactly invariant when all angles turn together, or change sign together."""
    draws_in_field: ClassVar[bool] = False
    """Whether it draws models in a uniform field along the angle 0, see `is_in_field`, and is then not symmetric."""
    largest_cell: ClassVar[int] = 1
    """After how many sites along an axis couplings must repeat, where ``exact_last``."""
    axes: ClassVar[tuple[int, ...]] = (2,)
    """How many axes lattices may have."""
    exact_last: ClassVar[bool] = False
    """Whether the last colour of sites is drawn by its exact conditional; see `latticeflow.flows.last_colour`."""
    reparameterised: ClassVar[bool] = False
    """Whether there is `rsample`; a subclass that sets this implements `_rsample`."""

    def __init__(
        self, model: Model, lattice: Lattice, temperatures: tuple[float, float], sizes: dict[str, Any] | None = None
    ):
        super().__init__()
        require_known(model)
        model.check(lattice.shape)
        if reason := self.obstacle(model, lattice):
            raise InputError(f"a {self.name} flow cannot draw {model}: {reason}")
        self.model, self.lattice, self.sizes = model, lattice, dict(sizes or {})
        self.history: dict[str, Any] = {}
        self.unit = _UNIT.get() or energy_unit(model)
        self.reduced_model: Model = model.in_units_of(self.unit)
        self.temperatures = (float(temperatures[0]), float(temperatures[1]))
        if not 0 < self.temperatures[0] <= self.temperatures[1]:
            raise InputError(f"temperature range {self.temperatures} must be positive and ascending")

    @classmethod
    def obstacle(cls, model: Model, lattice: Lattice) -> str:
        """Why flows of this class cannot draw a model on a lattice; empty if they can."""
        if lattice.dimensions not in cls.axes:
            return "it draws lattices of two axes"
        in_field = cls.draws_in_field and is_in_field(model)
        if cls.symmetric and not model.rotation and not in_field:
            return "its density has the symmetry of turning all spins, which the model lacks"
        if cls.symmetric and not model.reflection:
            return "its density has the symmetry of reversing all angles, which the model lacks"
        if cls.exact_last:
            if max(model.period) > cls.largest_cell:
                if cls.largest_cell == 1:
                    return "it takes all sites for alike, but couplings differ from site to site"
                return f"couplings repeat after {'x'.join(map(str, model.period))} sites, it serves cells of 2x2"
            if max(model.period) > 1 and any(side % 2 for side in lattice.sides):
                return "couplings differ within cells of 2x2 sites, and a side of the lattice is odd"
            if model.harmonics(lattice.shape) not in ((), (1,)):
                return "it draws its last sites by von Mises laws, but charges are not all 1 and -1"
            if not exact_colours(model):
                return "it draws its last sites as if they were independent, but terms join sites two steps apart"
        return ""

    def __init_subclass__(cls, **rest: Any):
        """Name the class."""
        super().__init_subclass__(**rest)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()

    def __repr__(self) -> str:
        """Model, size, temperatures, parameters, and how the flow was made."""
        low, high = self.temperatures
        lines = [
            f"{type(self).__name__} flow of {self.model} on {self.lattice} sites",
            f"  temperatures {low:g} to {high:g}; {self.parameter_count:,} parameters on {self.device}",
            f"  {flow_file.describe(self.history)}",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        low, high = self.temperatures
        return html_facts(
            {
                "model": self.model,
                "lattice": self.lattice,
                "temperatures": f"{low:g} to {high:g}",
                "parameters": f"{self.parameter_count:,} on {self.device}",
                "made": flow_file.describe(self.history),
            },
            caption=f"{type(self).__name__} flow",
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the parameters, and of the angles that the flow works with."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def registered_name(self) -> str:
        """Name of the class in `FLOWS`, or ``module:name`` of a class that is not registered."""
        cls = type(self)
        return next((name for name, known in FLOWS.items() if known is cls), f"{cls.__module__}:{cls.__qualname__}")

    @property
    def identity(self) -> bytes:
        """What tells apart, besides the parameters, flows that draw otherwise; see `checkpoint.fingerprint`."""
        return b""

    def save(self, path: str | Path) -> None:
        """Write the flow to a file, from which `latticeflow.load` brings it back; see `flow_file.save`."""
        flow_file.save(path, self)

    @overload
    def sample(
        self, n: int, temperature: Tensor, *, generator: torch.Generator | None = ..., seed: int | None = ...
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def sample(
        self, n: int, temperature: float | Sequence[float] | np.ndarray, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def sample(
        self, n: int, temperature: float | Sequence[float] | np.ndarray, *, seed: int | None = ...
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def sample(
        self, n: int, temperature: Any, *, generator: torch.Generator | None = None, seed: int | None = None
    ) -> tuple[Any, Any]:
        """Draw configurations.

        Numbers and numpy arrays give numpy arrays. A tensor as the temperature, or a generator of torch, gives
        tensors, and log q with its gradient.

        Args:
            n: number of draws.
            temperature: in units of J / k_B; one for all draws, or one for each, (n,).
            generator: source of randomness, on the flow's device; None takes torch's default, or ``seed``.
            seed: of a generator for this call.

        Returns:
            theta, float32 (n, Ly, Lx), in [-pi, pi), with no gradient; and log q(theta), float64 (n,), whose gradient
            with respect to the parameters is that of `log_prob` at these configurations.

        Raises:
            InputError: a temperature that is not positive, or neither one nor n of them.

        Example:
            >>> import latticeflow as lf, mcmc
            >>> flow = lf.build_flow("multiscale", mcmc.XY(), 4, (0.5, 1.5))
            >>> theta, log_q = flow.sample(100, 0.9, seed=1)
            >>> theta.shape, log_q.shape
            ((100, 4, 4), (100,))
        """
        tensors = generator is not None or isinstance(temperature, Tensor)
        if seed is not None:
            generator = torch.Generator(self.device).manual_seed(seed)
        if tensors:
            return self._sample(self._temperatures(n, temperature), generator)
        with torch.no_grad():
            theta, log_q = self._sample(self._temperatures(n, temperature), generator)
        return theta.cpu().numpy(), log_q.cpu().numpy()

    def rsample(
        self, n: int, temperature: float | Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw configurations as differentiable functions of the parameters.

        The gradient of the mean of any smooth f(theta, log q) over these draws is an unbiased estimate of that of its
        expectation, by draws that move (Kingma, Welling, arXiv:1312.6114; where a draw is not a formula of its noise,
        implicitly: Figurnov, Mohamed, Mnih, arXiv:1805.08498).

        Args:
            n, temperature, generator: see `sample`; tensors are returned always.

        Returns:
            theta, (n, Ly, Lx), in [-pi, pi), and log q(theta), float64 (n,); gradients pass through both.

        Raises:
            InputError: the flow does not offer it, see `reparameterised`; or as `sample`.

        Example:
            >>> import latticeflow as lf, mcmc
            >>> flow = lf.build_flow("spline", mcmc.XY(), 4, (0.5, 1.5))
            >>> theta, log_q = flow.rsample(100, 0.9)
            >>> (log_q + flow.model.energy(theta) / 0.9).mean().backward()
        """
        if not self.reparameterised:
            raise InputError(f"flow {self.name!r} offers no reparameterised draws: use sample and the score function")
        return self._rsample(self._temperatures(n, temperature), generator)

    def _rsample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError  # where reparameterised is False, rsample never comes here

    def _require_shape(self, theta: Tensor) -> None:
        if theta.ndim != 1 + self.lattice.dimensions or theta.shape[1:] != self.lattice.shape:
            expected = ", ".join(str(side) for side in self.lattice.shape)
            raise InputError(f"expected configurations of shape (n, {expected}); got {tuple(theta.shape)}")

    @overload
    def log_prob(self, theta: Tensor, temperature: float | Sequence[float] | np.ndarray | Tensor) -> Tensor: ...

    @overload
    def log_prob(self, theta: np.ndarray, temperature: float | Sequence[float] | np.ndarray | Tensor) -> np.ndarray: ...

    def log_prob(self, theta: Any, temperature: Any) -> Any:
        """Log density of configurations, with respect to d theta_1 ... d theta_N.

        A tensor gives a tensor, differentiable with respect to the parameters; a numpy array gives a numpy array.

        Args:
            theta: angles in radians, (n, Ly, Lx), converted to the flow's `dtype`.
            temperature: in units of J / k_B; one for all, or one for each, (n,).

        Returns:
            float64 (n,).

        Raises:
            InputError: ``theta`` has another lattice's shape, or holds what is not a finite number; or as `sample`.

        Example:
            >>> import latticeflow as lf, mcmc
            >>> flow = lf.build_flow("multiscale", mcmc.XY(), 4, (0.5, 1.5))
            >>> flow.log_prob(np.zeros((1, 4, 4)), 0.9).shape
            (1,)
        """
        tensors = isinstance(theta, Tensor)
        if not tensors:
            theta = self._tensor(theta)
        self._require_shape(theta)
        T = self._temperatures(len(theta), temperature)
        if tensors:
            return self._log_prob(theta.to(self.dtype), T)
        with torch.no_grad():
            return self._log_prob(theta, T).cpu().numpy()

    def _tensor(self, theta: Any) -> Tensor:
        """Numbers from outside of torch, checked, as the flow's own kind."""
        array = np.asarray(theta)
        if array.dtype.kind not in "fiu":
            raise InputError(f"configurations must be angles in radians, real numbers; got an array of {array.dtype}")
        if not np.isfinite(array).all():
            raise InputError("configurations must be finite angles in radians; got nan or inf")
        return torch.as_tensor(array, dtype=self.dtype, device=self.device)

    def estimate_nll(
        self, theta: Tensor, temperature: Any, *, rows: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Unbiased estimate of the mean of -log q, up to a constant of the parameters, at a cost that N need not enter.

        A flow whose log density is a sum over sites may take a random choice of them, and the mean over the angle of
        each given all others, for configurations that follow the model; other flows compute all of it.

        Args:
            theta: angles in radians, (n, Ly, Lx).
            temperature: one for all, or one for each, (n,).
            rows: about how many pairs of a configuration and a site to evaluate.
            generator: of the choice, on the CPU or the flow's device.

        Returns:
            Scalar, differentiable with respect to the parameters.
        """
        del rows, generator
        return -self.log_prob(theta, temperature).mean()

    def warn_outside(self, temperatures: Iterable[float]) -> None:
        """Warn, in one line, of temperatures that the flow was not trained for; to be called once by each use.

        Draws follow `log_prob` there as everywhere, so chains and weights stay exact; they may be inefficient.

        Args:
            temperatures: where the flow is about to be used.
        """
        low, high = self.temperatures
        outside = [f"{T:g}" for T in temperatures if not (1 - 1e-9) * low <= T <= (1 + 1e-9) * high]
        if outside:
            warnings.warn(
                f"the flow was trained for temperatures {low:g} to {high:g}: at {', '.join(outside)} expect few "
                "accepted proposals (the draws are exact all the same)",
                stacklevel=level_of_user(),
            )

    @property
    def depths(self) -> int:
        """Number of depths of `redraw`; 0 for a flow that draws all sites at once."""
        return 0

    @property
    def stages(self) -> tuple[int, ...]:
        """Depths of `redraw` to try in turn in a chain, from coarse to fine."""
        return tuple(range(1, self.depths)) or (0,)

    @torch.no_grad()
    def redraw(
        self, theta: Tensor, temperature: float | Tensor, keep: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the coarse part of configurations and draw the rest anew.

        As the density factorises, q = q(coarse) q(fine | coarse), a Metropolis test of the new configuration needs
        the redrawn factors only: the others are the same before and after.

        Args:
            theta: angles in radians, (n, Ly, Lx).
            temperature: one for all, or a tensor of shape (n,).
            keep: how much is kept, 0 to ``depths - 1``; more changes less.
            generator: see `sample`.

        Returns:
            The new configurations, float32 (n, Ly, Lx); log q(fine | coarse) of the new, and of the old, float64 (n,).

        Raises:
            InputError: the flow has no such depth.
        """
        if not 0 <= keep < self.depths:
            raise InputError(f"flow {self.name!r} has {self.depths} depths of redrawing: depth {keep} does not exist")
        return self._redraw(theta, self._temperatures(len(theta), temperature), keep, generator)

    def _redraw(
        self, theta: Tensor, temperature: Tensor, keep: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError  # where depths is 0, redraw never comes here

    def reduced(self, temperature: Tensor) -> Tensor:
        """Temperatures in units of `unit`."""
        return temperature / self.unit

    def _temperatures(self, n: int, temperature: Any) -> Tensor:
        """One temperature for each of n configurations, (n,)."""
        n = whole_number("n", n, 0)
        if not isinstance(temperature, Tensor):
            try:
                temperature = np.asarray(temperature, np.float64)
            except (TypeError, ValueError):
                raise InputError(f"temperature {temperature!r} must be a number, or one for each of {n}") from None
            if not (np.isfinite(temperature).all() and (temperature > 0).all()):
                raise InputError(f"temperature {temperature.tolist()} must be positive and finite")
        T = torch.as_tensor(temperature, dtype=self.dtype, device=self.device)
        if T.ndim > 1 or T.numel() not in (1, n):
            raise InputError(f"temperature of shape {tuple(T.shape)} must be one number, or one for each of {n}")
        return T.expand(n)

    @abstractmethod
    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw one configuration for each temperature, (n,) -> (n, Ly, Lx) detached, float64 (n,)."""

    @abstractmethod
    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        """Log density, (n, Ly, Lx) and (n,) -> float64 (n,)."""


FLOWS: Registry[type[Flow]] = Registry("flow")
"""Every flow by name; `latticeflow.register_flow` adds to it."""
