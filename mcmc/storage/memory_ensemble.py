"""An ensemble in memory: what a run draws, or arrays that somebody brings, read like an ensemble file."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from mcmc.errors import InputError
from mcmc.models import observables
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, build_model, model_attributes, require_known
from mcmc.runtime.text import counted, grid_in_words
from mcmc.storage import hdf5_layout as layout
from mcmc.storage.block import Block
from mcmc.storage.brought_arrays import as_angles, require_angles, require_sensible, with_all_axes
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.provenance import start_warnings
from mcmc.storage.selection import Positions, no_configurations, select_axes, taken


class ReadableEnsemble(Protocol):
    """What an ensemble file and an ensemble in memory have in common, for everything that reads draws."""

    path: Any
    """The file, or words that name the ensemble in messages."""
    model: Model
    lattice: Lattice
    temperatures: np.ndarray
    chains: int
    draws: int
    series_names: tuple[str, ...]
    series_only: bool
    """Whether there are no configurations."""
    attributes: dict[str, Any]
    draw_bytes: int

    def theta(self, draws: Any = ..., *, temperatures: Any = ..., chains: Any = ...) -> np.ndarray:
        """Configurations, float32 (T, C, n, Ly, Lx)."""
        ...

    def series(self, name: str, draws: Any = ..., *, temperatures: Any = ..., chains: Any = ...) -> np.ndarray:
        """One measured series, float64 (T, C, n)."""
        ...

    def rows_per_chunk(self, name: str) -> int:
        """Draws that are best read together."""
        ...

    def report(self) -> dict[str, Any]:
        """What the run counted."""
        ...

    def warnings(self) -> list[str]:
        """Reasons to distrust the draws."""
        ...


class MemoryEnsemble:
    """Draws in memory, with the reading interface of `mcmc.storage.ensemble.Ensemble`, and its `append`.

    Args:
        model: the spin model.
        lattice: the periodic rectangle.
        temperatures: (T,), in units of J / k_B.
        chains: at each temperature.
        series: names of the measured series that every block will bring.
        series_only: keep no configurations; blocks bring none then.
        attributes: how the draws are made.

    Raises:
        InputError: the model is not known, or a temperature or the number of chains is not positive.
    """

    path = "the ensemble in memory"

    def __init__(
        self,
        model: Model,
        lattice: Lattice,
        temperatures: Sequence[float] | np.ndarray,
        *,
        chains: int = 1,
        series: Sequence[str] = ("energy", "magnetization"),
        series_only: bool = False,
        attributes: Mapping[str, Any] | None = None,
    ):
        require_known(model)
        T = np.atleast_1d(np.asarray(temperatures, np.float64))
        if not (T.ndim == 1 and T.size and np.isfinite(T).all() and (T > 0).all()):
            raise InputError(f"temperatures {temperatures!r} must be positive finite numbers, one for each of axis 0")
        self.model, self.lattice, self.temperatures = model, lattice, T
        self.chains, self.chain_numbers = chains, np.arange(chains)
        self.draws, self.series_names, self.series_only = 0, tuple(series), series_only
        self.attributes: dict[str, Any] = {
            "file_id": secrets.randbits(63),
            **model_attributes(model),
            **(attributes or {}),
            **({layout.SERIES_ONLY: True} if series_only else {}),
        }
        self.draw_bytes = 4 * len(T) * chains * lattice.N
        self.chains_per_chunk = 1
        self._blocks: list[Block] = []
        self._state: dict[str, np.ndarray] | None = None
        self._report: dict[str, Any] = {}

    @classmethod
    def from_arrays(
        cls, theta: Any, *, model: Model | str, temperatures: float | Sequence[float] | np.ndarray, note: str = ""
    ) -> Self:
        """An ensemble of angles that somebody brings.

        Args:
            theta: radians, (T, C, n, Ly, Lx); (T, n, Ly, Lx) for one chain; (n, Ly, Lx) for one chain and temperature.
            model: the model of which these are draws, or the name of a preset.
            temperatures: T of them in the order of the array, in units of J / k_B; the ensemble sorts them.
            note: where the data come from.

        Raises:
            InputError: the array's shape does not fit, or it holds something else than finite angles in radians: unit
                vectors, degrees, states of a clock.

        Example:
            >>> from mcmc import XY
            >>> MemoryEnsemble.from_arrays(np.zeros((2, 5, 4, 4)), model=XY(), temperatures=[0.5, 1.0]).draws
            5
        """
        model = build_model(model) if isinstance(model, str) else model
        require_known(model)
        T = np.array(require_sensible(temperatures, model))
        array = np.asarray(theta)
        require_angles(array)
        order = np.argsort(T)
        T, array = T[order], with_all_axes(array, len(T), model.dimensions)[order]
        ensemble = cls(
            model,
            Lattice(*array.shape[:2:-1]),
            T,
            chains=array.shape[1],
            attributes={"sampler": "arrays", "note": note},
        )
        angles = as_angles(array)
        series = {"energy": model.energy(angles) / ensemble.lattice.N}
        series["magnetization"] = observables.magnetization(angles, model)
        ensemble.append(Block(angles, series))
        # The same arrays are the same ensemble.
        digest = hashlib.blake2b(np.ascontiguousarray(angles).data, digest_size=8).digest()
        ensemble.attributes["file_id"] = int.from_bytes(digest, "little") >> 1
        return ensemble

    def __repr__(self) -> str:
        """What the ensemble holds."""
        return (
            f"MemoryEnsemble of {self.model} on {self.lattice} sites\n"
            f"  {grid_in_words(self.temperatures)}; {counted(self.chains, 'chain')} x {counted(self.draws, 'draw')}\n"
            f"  series {', '.join(self.series_names)}{'; no configurations' if self.series_only else ''}"
        )

    def __enter__(self) -> Self:
        """The ensemble."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is to be closed."""

    def close(self) -> None:
        """Nothing is to be closed; an ensemble file is."""

    # -- reading ------------------------------------------------------------------------------------------------

    def theta(
        self,
        draws: Positions = slice(None),
        *,
        temperatures: Positions = slice(None),
        chains: Positions = slice(None),
        temperature: float | None = None,
    ) -> np.ndarray:
        """Configurations, angles in [-pi, pi), float32 (T, C, n, Ly, Lx); see `Ensemble.theta`."""
        if self.series_only:
            raise no_configurations(self.path)
        return self._select(self._joined().theta, draws, temperatures, chains, temperature)

    def series(
        self,
        name: str,
        draws: Positions = slice(None),
        *,
        temperatures: Positions = slice(None),
        chains: Positions = slice(None),
        temperature: float | None = None,
    ) -> np.ndarray:
        """One measured series, float64 (T, C, n); see `Ensemble.series`.

        Raises:
            InputError: there is no such series.
        """
        if name not in self.series_names:
            raise InputError(f"{self.path} has no series {name!r}; it has {', '.join(self.series_names)}")
        return self._select(self._joined().series[name], draws, temperatures, chains, temperature)

    def _select(
        self,
        array: np.ndarray,
        draws: Positions,
        temperatures: Positions,
        chains: Positions,
        temperature: float | None,
    ) -> np.ndarray:
        axes = select_axes(draws, temperatures, chains, temperature, self.temperatures, self.chains, self.draws)
        return taken(array[tuple(axis.read for axis in axes)], axes)

    def to_xarray(self, draws: Positions = slice(None)) -> Any:
        """Configurations and series with named axes; see `Ensemble.to_xarray`."""
        from mcmc.storage.conversions import to_xarray

        return to_xarray(self, draws)

    def to_arviz(self, temperature: float | None = None) -> Any:
        """The measured series at one temperature for ArviZ; see `Ensemble.to_arviz`."""
        from mcmc.storage.conversions import to_arviz

        return to_arviz(self, temperature)

    def coordinate(self, name: str) -> np.ndarray:
        """The values along one axis: ``temperature``, ``chain``, ``draw``, ``y`` or ``x``.

        Raises:
            InputError: there is no such axis.
        """
        axes = layout.axes(self.lattice.shape)
        known = {
            "temperature": self.temperatures,
            "chain": self.chain_numbers,
            "draw": np.arange(self.draws),
            **{name: np.arange(side) for name, side in zip(axes[3:], self.lattice.shape, strict=True)},
        }
        if name not in known:
            raise InputError(f"unknown axis {name!r}: choose one of {', '.join(known)}")
        return known[name]

    def blocks(self, max_bytes: int = 2**26) -> Iterator[Block]:
        """All draws in order, in blocks of about ``max_bytes`` bytes at most (but of one draw at least)."""
        n = max(1, max_bytes // self.draw_bytes)
        for start in range(0, self.draws, n):
            yield self.block(slice(start, start + n))

    def block(self, draws: slice) -> Block:
        """Consecutive draws of every chain as they were appended; of series only, without configurations."""
        joined = self._joined()
        return Block(joined.theta[:, :, draws], {name: each[:, :, draws] for name, each in joined.series.items()})

    def rows_per_chunk(self, name: str) -> int:
        """Draws that are best read together: any number, here."""
        return max(1, self.draws)

    def state(self) -> dict[str, np.ndarray] | None:
        """The state that the last `append` brought; None before the first."""
        return self._state

    def report(self) -> dict[str, Any]:
        """The report that the last `append` brought: what the run counted, in JSON's types."""
        return self._report

    def warnings(self) -> list[str]:
        """One line for each reason to distrust the draws, such as a start that did not reach equilibrium."""
        return start_warnings(self.report())

    def _joined(self) -> Block:
        """All draws in one block, joined when they are first read."""
        if len(self._blocks) != 1:
            shape = (len(self.temperatures), self.chains, 0)
            sides = (0,) * self.lattice.dimensions if self.series_only else self.lattice.shape
            empty = Block(np.empty((*shape, *sides), np.float32), {name: np.empty(shape) for name in self.series_names})
            blocks = self._blocks or [empty]
            joined = Block(
                np.concatenate([block.theta for block in blocks], axis=2),
                {name: np.concatenate([block.series[name] for block in blocks], axis=2) for name in self.series_names},
            )
            self._blocks = [joined]
        return self._blocks[0]

    # -- writing ------------------------------------------------------------------------------------------------

    def append(
        self,
        block: Block,
        *,
        state: Mapping[str, np.ndarray] | None = None,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a block of draws; see `Ensemble.append`.

        Raises:
            InputError: the block does not fit, or holds numbers that are not finite.
        """
        size = (len(self.temperatures), self.chains)
        layout.check(block, size, self.lattice, self.series_names, series_only=self.series_only)
        self._blocks.append(Block(block.theta, {name: block.series[name] for name in self.series_names}))
        self.draws += block.theta.shape[2]
        if state is not None:
            self._state = dict(state)
        if report is not None:
            self._report = dict(report)


def require_ensemble(thing: Any) -> None:
    """Refuse what is not an ensemble.

    Raises:
        InputError: naming what was given.
    """
    if not all(hasattr(thing, name) for name in ("theta", "temperatures", "model", "lattice", "draws")):
        raise InputError(f"expected an ensemble or the path of one; got {type(thing).__name__}")


@contextlib.contextmanager
def opened(ensemble: Any, *, model: Model | str | None = None, temperatures: Any = None) -> Iterator[ReadableEnsemble]:
    """An open ensemble as it is, a file for as long as it is read, or arrays as an ensemble in memory.

    Args:
        ensemble: an ensemble, the path of one, or angles as `MemoryEnsemble.from_arrays` takes them.
        model: of the arrays, or its name.
        temperatures: of the arrays.

    Raises:
        InputError: the file cannot be opened, something else was given, or arrays come without their model and
            temperatures, or an ensemble with them.
    """
    array = isinstance(ensemble, np.ndarray | list | tuple) or type(ensemble).__module__.partition(".")[0] == "torch"
    if array and (model is None or temperatures is None):
        raise InputError("arrays do not say what they are draws of: give their model and their temperatures too")
    if not array and not (model is None and temperatures is None):
        raise InputError("an ensemble knows its model and temperatures: give them with arrays only")
    if array:
        assert model is not None
        yield MemoryEnsemble.from_arrays(ensemble, model=model, temperatures=temperatures)
    elif isinstance(ensemble, str | Path):
        with Ensemble.open(ensemble) as file:
            yield file
    else:
        require_ensemble(ensemble)
        yield ensemble


from_arrays = MemoryEnsemble.from_arrays
