"""The ensemble file: configurations, measured series and their provenance in one HDF5 file.

``/theta (temperature, chain, draw, y, x)`` and every series ``(temperature, chain, draw)`` share dimension scales, so
``xarray.open_dataset(path, engine="h5netcdf")`` reads them with names. Draws count once ``/committed`` counts them.
data/ensemble-format.md describes format version 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import h5py
import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, model_attributes, require_known, stored_model
from mcmc.runtime.arguments import as_path
from mcmc.runtime.text import counted, html_facts
from mcmc.storage import descriptors
from mcmc.storage import hdf5_layout as layout
from mcmc.storage.block import Block
from mcmc.storage.journal import JournaledFile, Lock, journal_path, read_journal
from mcmc.storage.provenance import start_warnings
from mcmc.storage.selection import Positions, no_configurations, select_axes, taken

_ATTEMPTS = 5  # to open a file that is being written

Result = TypeVar("Result")


class Ensemble:
    """An ensemble file, open for reading (`open`) or as its one writer (`create`, `append_to`).

    Attributes:
        path: the file.
        model: the spin model with its couplings.
        lattice: the periodic rectangle.
        temperatures: float64 (T,), in units of J / k_B.
        chains: number of chains at each temperature, C.
        chain_numbers: int64 (C,), the chains' numbers in the whole run, of which a task may hold a part.
        draws: committed draws of each chain.
        series_names: the measured series.
        series_only: whether these are all that is kept of the draws, without configurations.
        attributes: provenance: sampler, settings, seed, versions, command line, ...
        draw_bytes: bytes of one draw of all temperatures and chains.
        chains_per_chunk: chains that are read together at least.
    """

    def __init__(
        self,
        path: Path,
        file: h5py.File,
        *,
        reader: layout.Reader | None = None,
        journaled: JournaledFile | None = None,
    ):
        self.path, self._file, self._reader, self._journaled = path, file, reader, journaled
        self._real = Path(os.path.realpath(path))  # where it lies, whatever becomes of the working directory
        self._open = True
        self._new = self._whole = False  # made by this object; of no use unless all of it is written
        self.attributes = attributes = layout.attributes(file)
        self.model: Model = stored_model(attributes)
        self.lattice = Lattice(*file["theta"].shape[:2:-1])
        self.temperatures: np.ndarray = file["temperature"][...]
        self.chain_numbers: np.ndarray = file["chain"][...]
        self.chains = len(self.chain_numbers)
        self.series_names = tuple(attributes["series"])
        self.series_only = bool(attributes.get(layout.SERIES_ONLY, False))
        self.draw_bytes = 4 * len(self.temperatures) * self.chains * self.lattice.N
        self.chains_per_chunk: int = file["theta"].chunks[1]
        self._rows_per_chunk = {name: int(file[name].chunks[2]) for name in ("theta", *self.series_names)}
        if self.series_only:
            self._rows_per_chunk["theta"] = min(self._rows_per_chunk[name] for name in self.series_names)
        self._counter: int = file["committed"].id.get_offset()
        self._seen = -1  # the counter when the file was opened; what was read until here never changes
        self.draws, held = self._read(lambda file: (int(file["committed"][()]), file["theta"].shape[2]))
        if self.draws > held:
            raise InputError(f"{path} is damaged: it counts {self.draws} draws but holds {held}")

    # -- opening ------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open for reading; a writer at work is neither noticed nor disturbed.

        Raises:
            InputError: the file is missing, truncated, foreign, damaged or of a newer version.
        """
        path = as_path(path)
        for attempt in range(1, _ATTEMPTS + 1):
            reader = layout.open_reader(path)
            try:
                return cls(path, layout.open_file(path, reader, read_journal(path)), reader=reader)
            except layout.DAMAGE as error:
                # A commit may have come between the two readings.
                if attempt == _ATTEMPTS or not journal_path(path).exists():
                    raise layout.complaint(path, error) from None
                time.sleep(0.01)
        raise AssertionError

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        model: Model,
        lattice: Lattice,
        temperatures: Sequence[float] | np.ndarray,
        chains: int | Sequence[int] = 1,
        series: Sequence[str] = ("energy", "magnetization"),
        provenance: Mapping[str, Any] | None = None,
        draws: int = 1000,
        series_only: bool = False,
        whole: bool = False,
    ) -> Self:
        """Make a new file and open it for writing.

        In a ``with`` block that an exception ends, a file without draws is removed: an aborted start leaves nothing.

        Args:
            path: must not exist.
            model: the spin model.
            lattice: the periodic rectangle.
            temperatures: (T,), in units of J / k_B.
            chains: their number, or their numbers in a run of which this file holds a part.
            series: names of the measured series that every block will bring.
            provenance: how the draws are made; what is neither a string nor a number is kept as JSON.
            draws: how many draws are expected, to choose the size of chunks; more or fewer may come.
            series_only: keep no configurations; blocks bring none then.
            whole: remove the file after an exception even if it has draws, for what cannot be gone on with.

        Raises:
            InputError: the path exists, or another process is writing it.
            OSError: the directory cannot be written.
        """
        require_known(model)
        path = Path(path)
        real = Path(os.path.realpath(path))
        if not real.parent.is_dir():
            raise InputError(f"directory {real.parent} does not exist: create it, or name another file")
        draft = real.with_name(real.name + ".new")
        lock = Lock(draft, shown=path, create=True)
        try:
            if path.exists():
                if path.is_dir():
                    raise InputError(f"{path} is a directory: name a file in it")
                raise InputError(f"{path} exists: name another file")
            numbers = np.asarray(np.arange(chains) if isinstance(chains, int | np.integer) else chains, np.int64)
            content = layout.empty_file(
                lattice.shape,
                np.asarray(temperatures, np.float64),
                numbers,
                tuple(series),
                {**model_attributes(model), **(provenance or {})},
                draws=draws,
                series_only=series_only,
            )
            os.ftruncate(lock.fd, 0)
            os.lseek(lock.fd, 0, os.SEEK_SET)
            with open(lock.fd, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(lock.fd)
            os.rename(draft, real)
            draft = real
            descriptors.sync_directory(real.parent)
            made = cls._write(path, lock)
            made._new, made._whole = True, whole
            return made
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            lock.close()
            raise

    @classmethod
    def append_to(cls, path: str | Path) -> Self:
        """Open an existing file as its one writer, first finishing what a writer that died had begun.

        Raises:
            InputError: as `open`, or another process is writing the file.
            OSError: the file or its directory cannot be written.
        """
        path = Path(path)
        cls.open(path).close()  # for its complaints
        lock = Lock(Path(os.path.realpath(path)), shown=path)
        try:
            return cls._write(path, lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def _write(cls, path: Path, lock: Lock) -> Self:
        record = read_journal(path)
        with layout.open_file(path, layout.Reader(lock.fd, {}), record) as file:
            file_id = layout.file_id(file)
        journaled = JournaledFile(Path(os.path.realpath(path)), lock, file_id=file_id)
        if record is not None and record.file_id == file_id:
            journaled.recover(record)
        return cls(path, h5py.File(journaled, "r+", libver=layout.LIBVER), journaled=journaled)

    def close(self) -> None:
        """Close the file; draws that `append` did not commit are dropped."""
        self._open = False
        with contextlib.suppress(*layout.DAMAGE):
            self._file.close()
        self._reader = None
        if self._journaled is not None:
            journaled, self._journaled = self._journaled, None
            journaled.close()

    def discard(self) -> None:
        """Close a file that was created in vain, and remove it.

        Raises:
            InputError: the file is open for reading.
        """
        if self._journaled is None:
            raise InputError(f"{self.path} is not open for writing: it is not removed")
        try:
            if self._journaled.in_place():
                os.unlink(self._real)
        finally:
            self.close()

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; remove what was begun in vain."""
        if kind is not None and self._new and self._open and (self._whole or not self.draws):
            self.discard()
        else:
            self.close()

    # -- reading ------------------------------------------------------------------------------------------------

    def theta(
        self,
        draws: Positions = slice(None),
        *,
        temperatures: Positions = slice(None),
        chains: Positions = slice(None),
        temperature: float | None = None,
    ) -> np.ndarray:
        """Committed configurations, angles in [-pi, pi), float32 (T, C, n, Ly, Lx).

        Each axis is chosen on its own, as in numpy: an integer drops the axis; a slice, a list of integers or a boolean
        mask keeps it.

        Args:
            draws: which draws.
            temperatures: which temperatures, by position.
            chains: which chains, by position.
            temperature: one temperature by its value instead; drops the axis.

        Raises:
            InputError: a position out of range or of another type, a temperature that the file does not have, the
                ensemble is closed, or it keeps series only.

        Example:
            >>> ensemble.theta().shape, ensemble.theta(0, temperature=1.0).shape  # doctest: +SKIP
            ((3, 2, 1000, 8, 8), (2, 8, 8))
        """
        if self.series_only:
            raise no_configurations(self.path)
        return self._select("theta", draws, temperatures, chains, temperature)

    def series(
        self,
        name: str,
        draws: Positions = slice(None),
        *,
        temperatures: Positions = slice(None),
        chains: Positions = slice(None),
        temperature: float | None = None,
    ) -> np.ndarray:
        """One measured series, float64 (T, C, n); arguments and errors as in `theta`.

        Raises:
            InputError: the file has no such series.
        """
        if name not in self.series_names:
            raise InputError(f"{self.path} has no series {name!r}; it has {', '.join(self.series_names)}")
        return self._select(name, draws, temperatures, chains, temperature)

    def _select(
        self, name: str, draws: Positions, temperatures: Positions, chains: Positions, temperature: float | None
    ) -> np.ndarray:
        axes = select_axes(draws, temperatures, chains, temperature, self.temperatures, self.chains, self.draws)
        return taken(self._read(lambda file: file[name][tuple(axis.read for axis in axes)]), axes)

    def coordinate(self, name: str) -> np.ndarray:
        """The values along one axis: ``temperature``, ``chain``, ``draw`` (committed ones), ``y`` or ``x``.

        Raises:
            InputError: there is no such axis.
        """
        known = layout.axes(self.lattice.shape)
        if name not in known:
            raise InputError(f"unknown axis {name!r}: choose one of {', '.join(known)}")
        return self._read(lambda file: file[name][: self.draws] if name == "draw" else file[name][...])

    def blocks(self, max_bytes: int = 2**26) -> Iterator[Block]:
        """All draws in order, in blocks of about ``max_bytes`` bytes at most (but of one row of chunks at least)."""
        rows = self.rows_per_chunk("theta")
        n = max(1, max_bytes // (rows * self.draw_bytes)) * rows
        for start in range(0, self.draws, n):
            yield self.block(slice(start, min(start + n, self.draws)))

    def block(self, draws: slice) -> Block:
        """Consecutive draws of every chain as they were appended; of series only, without configurations."""
        series = {name: self.series(name, draws) for name in self.series_names}
        if not self.series_only:
            return Block(self.theta(draws), series)
        return Block.of_series(series, self.lattice.dimensions)

    def rows_per_chunk(self, name: str) -> int:
        """Draws in a chunk of ``theta`` (of the series, if only these are kept) or of a series.

        Reading and writing whole multiples is fastest.
        """
        return self._rows_per_chunk[name]

    def state(self) -> dict[str, np.ndarray] | None:
        """The state that the last `append` brought; None before the first."""

        def read(file: h5py.File) -> dict[str, np.ndarray] | None:
            if "run/state" not in file:
                return None
            return {name: d[...].reshape(d.attrs["shape"]) for name, d in file["run/state"].items()}

        return self._read(read)

    def report(self) -> dict[str, Any]:
        """The report that the last `append` brought: what the run counted, in JSON's types."""
        return json.loads(self._read(lambda file: file["run/report"][...]).tobytes() or b"{}")

    def warnings(self) -> list[str]:
        """One line for each reason to distrust the draws, such as a start that did not reach equilibrium."""
        return start_warnings(self.report())

    def _read(self, read: Callable[[h5py.File], Result]) -> Result:
        """Read consistently while a writer may be at work: the counter of commits must stand still meanwhile."""
        if not self._open:
            raise InputError(f"{self.path} is closed: open it again to read it")
        if self._reader is None:
            return read(self._file)
        for _ in range(100):
            before = self._reader.number_at(self._counter)
            try:
                if before != self._seen:
                    self._file.close()
                    self._seen = -1
                    self._file = layout.open_file(self.path, self._reader, read_journal(self._real))
                    self._seen = before
                result = read(self._file)
            except layout.DAMAGE as error:
                if self._reader.number_at(self._counter) == before:
                    raise InputError(f"{self.path} is damaged: run `latticeflow verify {self.path}`") from error
                continue
            if self._reader.number_at(self._counter) == before:
                return result
        raise InputError(f"{self.path} changes too fast to be read: wait until its writer has finished")

    # -- for people and other tools -----------------------------------------------------------------------------

    def bytes_stored(self) -> int:
        """Size of the file in bytes."""
        return self._real.stat().st_size

    def _description(self) -> dict[str, str]:
        T = np.sort(self.temperatures)
        try:
            size = f"{self.bytes_stored() / 1e6:.1f} MB"
        except OSError:
            size = "no longer there"
        return {
            "file": f"{self.path}, {size}{'' if self._open else ', closed'}",
            "model": repr(self.model),
            "lattice": f"{' x '.join(str(side) for side in self.lattice.sides)}, periodic",
            "temperatures": f"{len(T)} from {T[0]:g} to {T[-1]:g}" if len(T) > 1 else f"{T[0]:g}",
            "draws": f"{counted(self.chains, 'chain')} x {counted(self.draws, 'draw')} at each temperature, "
            f"{self._kept()}",
        }

    def _kept(self) -> str:
        if self.series_only:
            return f"{len(self.series_names)} series without configurations"
        return ", ".join(self.series_names)

    def __repr__(self) -> str:
        """Five lines that say what the file holds."""
        rows = self._description()
        return "\n  ".join([f"Ensemble {rows.pop('file')}", *(f"{name:<13} {text}" for name, text in rows.items())])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        return html_facts(self._description(), caption="Ensemble")

    def to_xarray(self, draws: Positions = slice(None)) -> Any:
        """Configurations and series with named axes, read into memory.

        Args:
            draws: which draws, as in `theta`.

        Returns:
            `xarray.Dataset` with coordinates temperature, chain, draw, y and x, and the file's attributes.

        Raises:
            InputError: xarray is not installed.
        """
        from mcmc.storage.conversions import to_xarray

        return to_xarray(self, draws)

    def to_arviz(self, temperature: float | None = None) -> Any:
        """The measured series at one temperature for ArviZ's summaries and plots.

        Args:
            temperature: its value; may be left out where the file has only one.

        Returns:
            `arviz.InferenceData` (from ArviZ 1 on a tree of datasets) whose group ``posterior`` holds the series with
            axes chain and draw.

        Raises:
            InputError: ArviZ is not installed, or the file has no such temperature.
        """
        from mcmc.storage.conversions import to_arviz

        return to_arviz(self, temperature)

    # -- writing ------------------------------------------------------------------------------------------------

    def append(
        self,
        block: Block,
        *,
        state: Mapping[str, np.ndarray] | None = None,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Commit a block of draws, and with it where and how the chains stand. All of it counts, or nothing.

        Args:
            block: draws of every temperature and chain, with every series of the file.
            state: what is needed to go on exactly, arrays by name.
            report: what the run counted, in JSON's types.

        Raises:
            InputError: the block does not fit the file, or holds numbers that are not finite.
            OSError: the disk is full or gone; all earlier draws are safe, this block is lost.
        """
        if self._journaled is None:
            how = "is open for reading" if self._open else "is closed"
            raise InputError(f"{self.path} {how}: nothing can be appended")
        size = (len(self.temperatures), self.chains)
        layout.check(block, size, self.lattice, self.series_names, series_only=self.series_only)
        start, stop = self.draws, self.draws + block.theta.shape[2]
        for name, values in {"theta": block.theta, **block.series}.items():
            if name in self.series_names or name == "theta":
                dataset = self._file[name]
                dataset.resize(stop, axis=2)
                if values.size:
                    dataset[:, :, start:stop] = values
        self._file["draw"].resize(stop, axis=0)
        self._file["draw"][start:stop] = np.arange(start, stop)
        for name, array in (state or {}).items():
            layout.replace(self._file.require_group("run/state"), name, np.asarray(array))
        if report is not None:
            layout.replace(self._file["run"], "report", np.frombuffer(json.dumps(report).encode(), np.uint8))
        self._file["committed"][...] = stop
        self._commit()
        self.draws = stop

    def cut(self, draws: int) -> None:
        """Go back to the first ``draws`` draws and forget the state; resuming then replays the run up to there.

        Raises:
            InputError: there are not so many draws.
        """
        if self._journaled is None or not 0 <= draws <= self.draws:
            raise InputError(f"{self.path} with {self.draws} draws cannot be cut to {draws}")
        for name in ("theta", *self.series_names):
            self._file[name].resize(draws, axis=2)
        self._file["draw"].resize(draws, axis=0)
        if "state" in self._file["run"]:
            del self._file["run/state"]
        self._file["committed"][...] = draws
        self._commit()
        self.draws = draws

    def _commit(self) -> None:
        assert self._journaled is not None
        self._file.flush()
        self._journaled.commit(first=self._counter)


def require_absent(path: Path) -> None:
    """Refuse to begin a run whose file is there already.

    Raises:
        InputError: with the way to go on with it.
    """
    if path.is_file():
        raise InputError(f"{path} exists: go on with its run (resume=True), or name another file")


def open_ensemble(path: str | Path) -> Ensemble:
    """Open an ensemble file for reading; a writer at work is neither noticed nor disturbed.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, truncated, foreign, damaged or of a newer version.
    """
    return Ensemble.open(path)
