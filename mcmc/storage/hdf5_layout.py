"""How an ensemble lies in HDF5: datasets, scales, attributes, chunks; the contract is data/ensemble-format.md."""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import json
import math
import os
import secrets
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.runtime.text import printable
from mcmc.storage.block import Block
from mcmc.storage.descriptors import open_descriptor
from mcmc.storage.journal import Overlay, Record

FORMAT = "latticeflow ensemble"
VERSION = 2
"""Version 2 stores the terms of the model and lattices of three axes; see data/ensemble-format.md."""
LIBVER = ("earliest", "v110")
AXES = ("temperature", "chain", "draw", "z", "y", "x")
"""Of lattices of three axes; those of two have no z."""
SERIES_ONLY = "series_only"
"""Attribute of files that keep the measured series of every draw and no configurations."""
UNITS = {"theta": "rad", "temperature": "J / k_B", "energy": "energy per site, in the unit of J and K"}

_CHUNK = 2**18  # bytes of a chunk at most
_SMALL_CHUNK = 2**16  # chunks below this size span several chains
_LONG_TEXT = 2**15  # bytes of an attribute at most, of which HDF5 allows twice as many: longer ones are datasets
_ROW = 2**25  # bytes of one row of chunks, through all temperatures and chains, at most

# What h5py raises when it reads damaged bytes: in the data an OSError, in the description of the data anything.
_NOT_DAMAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, getattr(errno, "ESTALE", -1), errno.ENOENT)
DAMAGE = (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError)


def axes(shape: Sequence[Any]) -> tuple[str, ...]:
    """Names of the axes of configurations on a lattice of ``shape``, (Ly, Lx) or (Lz, Ly, Lx).

    Example:
        >>> axes((8, 8))
        ('temperature', 'chain', 'draw', 'y', 'x')
    """
    return (*AXES[:3], *AXES[6 - len(shape) :])


def chunk_shape(T: int, C: int, shape: tuple[int, ...], draws: int) -> tuple[int, ...]:
    """Chunks of ``/theta``: 256 kB at most; a row of them, through all temperatures and chains, fits into a block.

    The draws that are expected fill them, to within one draw a chunk: the space of a chunk is taken as a whole.
    """
    configuration = 4 * math.prod(shape)
    most = max(1, min(draws, _CHUNK // configuration, _ROW // (T * C * configuration)))
    n = max(1, -(-draws // max(1, -(-draws // most))))
    c = max(1, min(C, _SMALL_CHUNK // (n * configuration)))
    return (1, c, n, *shape)


def empty_file(
    shape: tuple[int, ...],
    temperatures: np.ndarray,
    chains: np.ndarray,
    series: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    draws: int,
    series_only: bool = False,
) -> bytes:
    """The bytes of a file with all datasets and attributes and no draws.

    Args:
        shape: (Ly, Lx) or (Lz, Ly, Lx).
        temperatures: float64 (T,).
        chains: int64 (C,), numbers of the chains.
        series: names of the measured series.
        provenance: further attributes; what is neither a string nor a number is kept as JSON.
        draws: how many are expected, to choose the size of chunks.
        series_only: whether ``/theta`` is to stay without chunks, which reads as NaN.
    """
    T, C = len(temperatures), len(chains)
    content = io.BytesIO()
    with h5py.File(content, "w", libver=LIBVER) as file:
        file.attrs.update({"format": FORMAT, "format_version": VERSION, "file_id": secrets.randbits(63)})
        kept = {"series": list(series), **({SERIES_ONLY: True} if series_only else {})}
        for name, value in {**provenance, **kept}.items():
            plain = _storable(value) if isinstance(value, str | int | float) else json.dumps(value)
            if isinstance(plain, str) and len(plain.encode()) > _LONG_TEXT:
                text = np.frombuffer(plain.encode(), np.uint8)
                file.create_dataset(f"attributes/{name}", data=text, chunks=True, fletcher32=True)
            else:
                file.attrs[name] = plain
        file.attrs["checksum"] = attributes_checksum(attributes(file))
        scales = {
            "temperature": temperatures,
            "chain": chains.astype(np.int64),
            **{axis: np.arange(side, dtype=np.int32) for axis, side in zip(axes(shape)[3:], shape, strict=True)},
        }
        for name, values in scales.items():
            file.create_dataset(name, data=values, chunks=True, fletcher32=True)
        file.create_dataset("draw", (0,), np.int64, chunks=(4096,), maxshape=(None,), fletcher32=True)
        for name in axes(shape):
            file[name].make_scale(name)
        limits = (T, C, None, *shape)
        chunks = chunk_shape(T, C, shape, draws)
        nothing = np.nan if series_only else None
        _create(file, "theta", (T, C, 0, *shape), np.float32, limits, chunks, fillvalue=nothing)
        n = max(1, min(max(draws, 1), _SMALL_CHUNK // (8 * T * C)))
        for name in series:
            _create(file, name, (T, C, 0), np.float64, limits[:3], (T, C, n))
        file["committed"] = np.int64(0)
        file.create_dataset("run/report", (0,), np.uint8, chunks=(4096,), maxshape=(None,), fletcher32=True)
    return content.getvalue()


def _storable(value: Any) -> Any:
    """Text as HDF5 takes it: names of files may hold bytes that are not UTF-8, and no text may hold a zero byte."""
    if not isinstance(value, str):
        return value
    return printable(value).replace("\0", "\\x00")


def _create(
    file: h5py.File,
    name: str,
    shape: tuple,
    dtype: Any,
    limits: tuple,
    chunks: tuple,
    *,
    fillvalue: float | None = None,
) -> None:
    dataset = file.create_dataset(
        name, shape, dtype, maxshape=limits, chunks=chunks, fletcher32=True, fillvalue=fillvalue
    )
    for axis, scale in enumerate(axes(limits[3:])[: len(shape)]):
        dataset.dims[axis].attach_scale(file[scale])
    dataset.attrs["units"] = UNITS.get(name, "1")


def replace(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Store ``array`` as ``name``, in place of an earlier one; it keeps its shape, with or without axes."""
    flat = array.reshape(-1)
    if name in group and group[name].maxshape == (None,) and group[name].dtype == array.dtype:
        group[name].resize(flat.shape)
        group[name][...] = flat
    else:
        if name in group:
            del group[name]
        chunk = (max(1, min(len(flat), _CHUNK // array.itemsize)),)
        group.create_dataset(name, data=flat, chunks=chunk, maxshape=(None,), fletcher32=True)
        group[name].attrs["shape"] = np.array(array.shape, np.int64)


class Reader(Overlay):
    """A file to be read, with a journal's pages over it.

    HDF5 shares its cache of a path among all who open it in a process; through this every reader has their own. It
    stays with the file that it opened, whatever becomes of the name and of the working directory.

    Args:
        fd: open descriptor, which is duplicated.
        pages: content by offset.
    """

    def __init__(self, fd: int, pages: Mapping[int, bytes]):
        super().__init__(os.dup(fd), dict(pages))

    def __del__(self) -> None:
        os.close(self._fd)

    def over(self, pages: Mapping[int, bytes]) -> Reader:
        """Another reader of the same file."""
        return Reader(self._fd, pages)

    def number_at(self, offset: int) -> int:
        """The integer of 8 bytes at a place, as it stands on the disk."""
        self.seek(offset)
        return int.from_bytes(self.read(8), "little")

    def _past_end(self, offset: int) -> None:
        raise OSError(errno.EIO, f"the file is truncated at {offset} bytes")


def close_all() -> None:
    """Close every file that HDF5 reads through Python: after Python's end it would call what is no longer there."""
    for number in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        if number.get_access_plist().get_driver() == h5py.h5fd.fileobj_driver:
            with contextlib.suppress(*DAMAGE):
                h5py.File(number).close()


atexit.register(close_all)


def open_reader(path: Path) -> Reader:
    """Open a file for reading by name.

    Raises:
        InputError: it is missing, empty, not to be read or no HDF5 file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        fd = open_descriptor(path, os.O_RDONLY)
    except OSError as error:
        raise complaint(path, error) from None
    try:
        if not os.fstat(fd).st_size:
            raise InputError(f"{path} is empty: nothing was ever written to it")
        if not h5py.is_hdf5(path):
            raise InputError(f"{path} is not an HDF5 file (numpy arrays come in by latticeflow import)")
        return Reader(fd, {})
    finally:
        os.close(fd)


def open_file(path: Path, reader: Reader, record: Record | None) -> h5py.File:
    """Open for reading, with the journal's commit laid over the file where it belongs to it.

    Args:
        path: what messages call the file.
        reader: of the file.
        record: what the journal holds.

    Raises:
        InputError: the file is truncated, foreign, damaged or of a newer version.
    """
    try:
        file = h5py.File(reader.over({}), "r")
        if record is not None and record.pages and file_id(file) == record.file_id:
            file.close()
            file = h5py.File(reader.over(record.pages), "r")
        try:
            _check_format(path, file)
        except BaseException:
            file.close()
            raise
    except DAMAGE as error:
        raise complaint(path, error) from None
    return file


def complaint(path: Path, error: Exception) -> InputError:
    """What to tell about a file that could not be opened."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, PermissionError):
        return InputError(f"{path} may not be read: check its permissions")
    if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
        return InputError(f"{path} cannot be read ({error.strerror})")
    if "truncated" in str(error):
        return InputError(f"{path} is truncated ({path.stat().st_size} bytes are left): copy it again")
    return InputError(f"{path} is damaged ({' '.join(str(error).split())}): copy it again")


def file_id(file: h5py.File) -> int:
    """The random number that names the file."""
    return int(file.attrs.get("file_id", 0))


def _check_format(path: Path, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT:
        raise InputError(f"{path} is an HDF5 file, but not a latticeflow ensemble")
    version = int(file.attrs["format_version"])
    if version > VERSION:
        raise InputError(f"{path} has format version {version}, newer than {VERSION}: upgrade latticeflow to read it")
    missing = [name for name in (*axes((0, 0)), "theta", "committed", "run/report") if name not in file]
    if missing:
        raise InputError(f"{path} is damaged: it has no {', '.join(missing)}")


def attributes(file: h5py.File) -> dict[str, Any]:
    """The attributes of the file in Python's types."""
    found = {name: _plain(value) for name, value in file.attrs.items()}
    for name, text in file.get("attributes", {}).items():
        found[name] = _plain(text[...].tobytes().decode())
    return found


def attributes_checksum(attributes: Mapping[str, Any]) -> int:
    """CRC-32 of all attributes but the checksum itself."""
    content = {str(name): value for name, value in attributes.items() if name != "checksum"}
    return zlib.crc32(json.dumps(content, sort_keys=True, default=repr).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value


def check(
    block: Block, size: tuple[int, int], lattice: Lattice, series: Sequence[str], *, series_only: bool = False
) -> None:
    """Refuse a block that does not fit.

    Raises:
        InputError: naming what is wrong.
    """
    n = block.theta.shape[2] if block.theta.ndim == 3 + lattice.dimensions else 0
    expected = (*size, n, *((0,) * lattice.dimensions if series_only else lattice.shape))
    if block.theta.shape != expected or not n:
        sides = "Ly, Lx" if lattice.dimensions == 2 else "Lz, Ly, Lx"
        raise InputError(f"configurations of shape {block.theta.shape} do not fit (T, C, n, {sides}) = {expected}")
    for name in series:
        if name not in block.series:
            raise InputError(f"the block lacks the series {name!r}")
        if block.series[name].shape != expected[:3]:
            raise InputError(f"series {name!r} has shape {block.series[name].shape}, not {expected[:3]}")
        if series_only and not np.isfinite(block.series[name]).all():
            raise InputError(f"series {name!r} holds numbers that are not finite")
    most = np.float32(np.pi)
    # Extremes need no memory, and are NaN where a number is.
    if block.theta.size and not (block.theta.min() >= -most and block.theta.max() <= most):
        raise InputError("configurations must be finite angles in [-pi, pi): apply mcmc.wrap")
