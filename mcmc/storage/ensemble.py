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
from mcmc.models.presets import Model, model_from_name, require_known
from mcmc.storage import hdf5_layout as layout
from mcmc.storage.block import Block
from mcmc.storage.journal import JournaledFile, Lock, journal_path, read_journal

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
        attributes: provenance: sampler, settings, seed, versions, command line, ...
        draw_bytes: bytes of one draw of all temperatures and chains.
        chains_per_chunk: chains that are read together at least.
    """

    def __init__(self, path: Path, file: h5py.File, journaled: JournaledFile | None = None):
        self.path, self._file, self._journaled = path, file, journaled
        self.attributes = attributes = layout.attributes(file)
        self.model: Model = model_from_name(attributes["model"], attributes["J"], attributes["K"])
        Ly, Lx = file["theta"].shape[-2:]
        self.lattice = Lattice(Lx, Ly)
        self.temperatures: np.ndarray = file["temperature"][...]
        self.chain_numbers: np.ndarray = file["chain"][...]
        self.chains = len(self.chain_numbers)
        self.series_names = tuple(attributes["series"])
        self.draw_bytes = 4 * len(self.temperatures) * self.chains * self.lattice.N
        self.chains_per_chunk: int = file["theta"].chunks[1]
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
        path = Path(path)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return cls(path, layout.open_file(path, read_journal(path)))
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
    ) -> Self:
        """Make a new file and open it for writing.

        Args:
            path: must not exist.
            model: the spin model.
            lattice: the periodic rectangle.
            temperatures: (T,), in units of J / k_B.
            chains: their number, or their numbers in a run of which this file holds a part.
            series: names of the measured series that every block will bring.
            provenance: attributes that say how the draws are made; what is no string or number is kept as JSON.
            draws: how many draws are expected, to choose the size of chunks; more or fewer may come.

        Raises:
            InputError: the path exists, or another process is writing it.
            OSError: the directory cannot be written.
        """
        require_known(model)
        path = Path(path)
        if not path.parent.is_dir():
            raise InputError(f"directory {path.parent} does not exist: create it, or name another file")
        lock = Lock(path)
        draft = path.with_name(path.name + ".new")
        try:
            if path.exists():
                raise InputError(f"{path} exists: go on with it by --resume, or name another file")
            numbers = np.arange(chains) if isinstance(chains, int) else np.asarray(chains, np.int64)
            couplings = model.couplings
            layout.write_empty(
                draft,
                lattice.shape,
                np.asarray(temperatures, np.float64),
                numbers,
                tuple(series),
                {"model": model.name, **couplings, **(provenance or {})},
                draws=draws,
            )
            with open(draft, "rb") as finished:
                os.fsync(finished.fileno())
            os.rename(draft, path)
            layout.sync_directory(path.parent)
            return cls._write(path, lock)
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
        lock = Lock(path)
        try:
            return cls._write(path, lock)
        except BaseException:
            lock.close(remove=read_journal(path) is None)
            raise

    @classmethod
    def _write(cls, path: Path, lock: Lock) -> Self:
        record = read_journal(path)
        with layout.open_file(path, record) as file:
            file_id = layout.file_id(file)
        journaled = JournaledFile(path, lock, file_id=file_id)
        if record is not None and record.file_id == file_id:
            journaled.recover(record)
        return cls(path, h5py.File(journaled, "r+", libver=layout.LIBVER), journaled)

    def close(self) -> None:
        """Close the file; draws that `append` did not commit are dropped."""
        with contextlib.suppress(OSError, RuntimeError):
            self._file.close()
        if self._journaled is not None:
            self._journaled.close()
            self._journaled = None

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # -- reading ------------------------------------------------------------------------------------------------

    def theta(
        self, draws: slice = slice(None), *, temperatures: slice = slice(None), chains: slice = slice(None)
    ) -> np.ndarray:
        """Committed configurations, angles in [-pi, pi), float32 (T, C, n, Ly, Lx)."""
        picked = slice(*draws.indices(self.draws))
        return self._read(lambda file: file["theta"][temperatures, chains, picked])

    def series(
        self, name: str, draws: slice = slice(None), *, temperatures: slice = slice(None), chains: slice = slice(None)
    ) -> np.ndarray:
        """One measured series, float64 (T, C, n).

        Raises:
            InputError: the file has no such series.
        """
        if name not in self.series_names:
            raise InputError(f"{self.path} has no series {name!r}; it has {', '.join(self.series_names)}")
        picked = slice(*draws.indices(self.draws))
        return self._read(lambda file: file[name][temperatures, chains, picked])

    def coordinate(self, name: str) -> np.ndarray:
        """The values along one axis: ``temperature``, ``chain``, ``draw`` (committed ones), ``y`` or ``x``."""
        return self._read(lambda file: file[name][: self.draws] if name == "draw" else file[name][...])

    def blocks(self, max_bytes: int = 2**26) -> Iterator[Block]:
        """All draws in order, in blocks of about ``max_bytes`` bytes at most (but of one row of chunks at least)."""
        rows = self.rows_per_chunk("theta")
        n = max(1, max_bytes // (rows * self.draw_bytes)) * rows
        for start in range(0, self.draws, n):
            picked = slice(start, start + n)
            yield Block(self.theta(picked), {name: self.series(name, picked) for name in self.series_names})

    def rows_per_chunk(self, name: str) -> int:
        """Draws in a chunk of ``theta`` or of a series; reading and writing whole multiples is fastest."""
        return int(self._file[name].chunks[2])

    def state(self) -> dict[str, np.ndarray] | None:
        """The state that the last `append` brought; None before the first."""
        if "run/state" not in self._file:
            return None

        def read(file: h5py.File) -> dict[str, np.ndarray]:
            return {name: d[...].reshape(d.attrs["shape"]) for name, d in file["run/state"].items()}

        return self._read(read)

    def report(self) -> dict[str, Any]:
        """The report that the last `append` brought: what the run counted, in JSON's types."""
        return json.loads(self._read(lambda file: file["run/report"][...]).tobytes() or b"{}")

    def _read(self, read: Callable[[h5py.File], Result]) -> Result:
        """Read consistently while a writer may be at work: the counter of commits must stand still meanwhile."""
        if self._journaled is not None:
            return read(self._file)
        for _ in range(100):
            before = self._raw_counter()
            try:
                if before != self._seen:
                    self._file.close()
                    self._seen = -1
                    self._file = layout.open_file(self.path, read_journal(self.path))
                    self._seen = before
                result = read(self._file)
            except layout.DAMAGE as error:
                if self._raw_counter() == before:
                    raise InputError(f"{self.path} is damaged: run `latticeflow verify {self.path}`") from error
                continue
            if self._raw_counter() == before:
                return result
        raise InputError(f"{self.path} changes too fast to be read: wait until its writer has finished")

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
            raise InputError(f"{self.path} is open for reading: nothing can be appended")
        layout.check(block, (len(self.temperatures), self.chains), self.lattice, self.series_names)
        start, stop = self.draws, self.draws + block.theta.shape[2]
        for name, values in {"theta": block.theta, **block.series}.items():
            if name in self.series_names or name == "theta":
                dataset = self._file[name]
                dataset.resize(stop, axis=2)
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

    def _raw_counter(self) -> int:
        """The counter of commits as it stands on the disk, past HDF5's caches."""
        try:
            with open(self.path, "rb") as file:
                return int.from_bytes(os.pread(file.fileno(), 8, self._counter), "little")
        except FileNotFoundError:
            raise InputError(f"{self.path} has vanished while it was read") from None


def open_ensemble(path: str | Path) -> Ensemble:
    """Open an ensemble file for reading; a writer at work is neither noticed nor disturbed.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, truncated, foreign, damaged or of a newer version.
    """
    return Ensemble.open(path)
