"""A file that changes all at once or not at all, whatever kills the writer.

HDF5 updates its index in place, and a writer that dies between two of those writes can lose draws that were committed
long before: splitting a node of the chunk index empties half of the old node first. So nothing that a committed file
consists of is overwritten directly. Bytes behind the committed end go straight to the file; changes to older bytes are
held back in memory and become valid by a redo journal beside the file, ``FILE.journal``:

1. fsync the file, with everything new behind its old end;
2. write the held back pages and a checksum to the journal, fsync;
3. copy the pages into the file.

A death before the end of 2 leaves the old file (and some bytes behind its end), a death after it leaves a whole journal
that every reader lays over the file and the next writer copies. A clean close removes the journal. One writer at a time
is admitted: it locks the file itself, so that other names of the file (symbolic links, mounts) lead to the same lock,
and the system releases the lock when the process dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from mcmc.errors import InputError
from mcmc.storage import descriptors

PAGE = 4096
_ATTEMPTS = 100  # to open the file that has the name at the time it is locked
_MAGIC = b"LFJRNL1\n"
_HEADER = struct.Struct("<8sQQQ")
_ENTRY = struct.Struct("<QI")


class Record(NamedTuple):
    """One commit in the journal."""

    file_id: int
    """Random number that names the file to which the journal belongs."""
    size: int
    """Length in bytes of the committed file."""
    pages: dict[int, bytes]
    """New content by offset, in the order in which to copy it."""

    def to_bytes(self) -> bytes:
        """The record with its checksum behind it."""
        parts = [_HEADER.pack(_MAGIC, self.file_id, self.size, len(self.pages))]
        for offset, page in self.pages.items():
            parts += [_ENTRY.pack(offset, len(page)), page]
        content = b"".join(parts)
        return content + struct.pack("<I", zlib.crc32(content))


def journal_path(path: Path) -> Path:
    """Where the journal of ``path`` lies: beside the file itself, not beside a symbolic link to it."""
    path = Path(os.path.realpath(path))
    return path.with_name(path.name + ".journal")


def read_journal(path: Path) -> Record | None:
    """The commit that the journal of ``path`` holds; None if there is none, or it was not written to its end."""
    try:
        content = journal_path(path).read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEADER.size + 4 or struct.unpack("<I", content[-4:])[0] != zlib.crc32(content[:-4]):
        return None
    magic, file_id, size, count = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        return None
    pages, position = {}, _HEADER.size
    for _ in range(count):
        offset, length = _ENTRY.unpack_from(content, position)
        position += _ENTRY.size
        pages[offset] = content[position : position + length]
        position += length
    return Record(file_id, size, pages)


class Overlay:
    """The file object that HDF5 reads and writes: a file with changed pages laid over it.

    Args:
        fd: open descriptor; owned by the caller.
        pages: content by offset, at multiples of `PAGE`.
    """

    def __init__(self, fd: int, pages: dict[int, bytes]):
        self._fd = fd
        self._pages: dict[int, bytes | bytearray] = dict(pages)
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; only the start and the end of the file serve as origin."""
        self._position = offset + (os.fstat(self._fd).st_size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Present position."""
        return self._position

    def read(self, size: int) -> bytes:
        """``size`` bytes; see `readinto`, which HDF5 prefers."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; zeros stand behind the end of the file."""
        view = memoryview(buffer).cast("B")
        start, length = self._position, len(view)
        done = 0
        while done < length:
            count = _read_at(self._fd, view[done:], start + done)
            if not count:
                self._past_end(start + done)
                view[done:] = bytes(length - done)
                break
            done += count
        for offset in range(start - start % PAGE, start + length, PAGE) if self._pages else ():
            page = self._pages.get(offset)
            if page is not None:
                first, last = max(start, offset), min(start + length, offset + len(page))
                if first < last:
                    view[first - start : last - start] = page[first - offset : last - offset]
        self._position += length
        return length

    def _past_end(self, offset: int) -> None:
        """Called when bytes are read from behind the end of the file, where zeros are seen."""


class JournaledFile(Overlay):
    """An existing file, locked for writing, whose changes become valid at `commit`.

    Writing never raises, because HDF5 cannot recover from a failing write: the first failure is kept and `commit`
    raises it.

    Args:
        path: the file, symbolic links resolved.
        lock: the right to write it; let go by `close`.
        file_id: tells a journal of this file from one that another file of this name left; see `Record`.
    """

    def __init__(self, path: Path, lock: Lock, *, file_id: int):
        super().__init__(lock.fd, {})
        self._path, self._lock = path, lock
        self._failure: OSError | None = None
        self._base = os.fstat(self._fd).st_size
        self._journal: int | None = None
        self._journal_needed = False
        self.file_id = file_id

    def recover(self, record: Record) -> None:
        """Finish the commit of a writer that died."""
        self._copy(record.pages)
        os.ftruncate(self._fd, record.size)
        os.fsync(self._fd)
        self._base = record.size

    def write(self, data: memoryview) -> int:
        """Hold back what would overwrite committed bytes; write the rest behind them."""
        view = memoryview(data).cast("B")
        start, length = self._position, len(view)
        self._position += length
        inside = max(0, min(length, self._base - start))
        try:
            if self._failure is None:
                self._hold_back(start, view[:inside])
                _write_at(self._fd, view[inside:], start + inside)
        except OSError as error:
            self._failure = error
        return length

    def _hold_back(self, start: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            offset = (start + done) - (start + done) % PAGE
            page = self._pages.get(offset)
            if page is None:
                page = bytearray(min(PAGE, self._base - offset))
                if not _fill(self._fd, memoryview(page), offset):
                    self._past_end(self._base - 1)
                self._pages[offset] = page
            assert isinstance(page, bytearray)
            within = start + done - offset
            count = min(len(page) - within, len(view) - done)
            page[within : within + count] = view[done : done + count]
            done += count

    def _past_end(self, offset: int) -> None:
        if offset < self._base:
            raise OSError(errno.EIO, "another program has cut the file short while it was written")

    def truncate(self, size: int) -> int:
        """Set the length, but never cut committed bytes (HDF5 does not mind bytes behind its end)."""
        try:
            if self._failure is None and size > self._base:
                os.ftruncate(self._fd, size)
        except OSError as error:
            self._failure = error
        return size

    def flush(self) -> None:
        """Nothing is buffered here; `commit` makes changes last."""

    def commit(self, first: int) -> None:
        """Make all changes valid at once.

        Args:
            first: offset whose page is copied first; readers watch it to learn that the file changes.

        Raises:
            OSError: the file is as before; only `close` is sensible now.
        """
        try:
            if self._failure is not None:
                raise self._failure
            if not self.in_place():
                raise FileNotFoundError(f"{self._path} has vanished or been replaced while it was written")
            os.fsync(self._fd)
            watched = first - first % PAGE
            order = sorted(self._pages, key=lambda offset: (offset != watched, offset))
            pages = {offset: bytes(self._pages[offset]) for offset in order}
            size = os.fstat(self._fd).st_size
            self._write_journal(Record(self.file_id, size, pages))
        except OSError as error:
            self._failure = error
            raise
        self._base = size
        self._journal_needed = True
        try:
            self._copy(pages)
        except OSError as error:
            # The journal is whole, so the commit stands: readers lay it over, the next writer copies it.
            self._failure = error
            raise
        self._journal_needed = False
        self._pages.clear()

    def in_place(self) -> bool:
        """Whether the name still leads to this file."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _copy(self, pages: dict[int, bytes]) -> None:
        for offset, page in pages.items():
            _write_at(self._fd, page, offset)

    def _write_journal(self, record: Record) -> None:
        """Make ``record`` the journal's content, on the disk when this returns.

        Raises:
            OSError: the journal is empty then.
        """
        path = journal_path(self._path)
        if self._journal is None:
            self._journal = descriptors.open_descriptor(path, os.O_RDWR | os.O_CREAT)
            descriptors.sync_directory(path.parent)
        try:
            os.ftruncate(self._journal, 0)
            _write_at(self._journal, record.to_bytes(), 0)
            os.fsync(self._journal)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._journal, 0)
            raise

    def close(self) -> None:
        """Drop what is not committed and let the lock go; the journal goes too unless it is needed."""
        try:
            if os.fstat(self._fd).st_size > self._base:
                os.ftruncate(self._fd, self._base)
            os.fsync(self._fd)
        except OSError:
            self._journal_needed = True
            raise
        finally:
            if self._journal is not None:
                os.close(self._journal)
            if not self._journal_needed:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(journal_path(self._path))
            self._lock.close()


class Lock:
    """The right to write a file, which ends with `close` or with the process.

    Args:
        path: the file, symbolic links resolved.
        shown: what messages call it.
        create: make an empty file where there is none.

    Attributes:
        fd: the descriptor of the file, for reading and writing.

    Raises:
        InputError: another process holds it, the file has several names, or it cannot be written.
        OSError: the file system knows no locks.
    """

    def __init__(self, path: Path, *, shown: Path, create: bool = False):
        for _ in range(_ATTEMPTS):
            try:
                self.fd = descriptors.open_descriptor(path, os.O_RDWR | (os.O_CREAT if create else 0))
            except OSError as error:
                text = f"{shown} cannot be written ({error.strerror})"
                raise InputError(f"{text}: check directory {shown.parent}, or name another file") from None
            try:
                self._release = descriptors.lock(self.fd)
            except BlockingIOError:
                os.close(self.fd)
                text = f"{shown} is being written by another process, or held open by a program that reads HDF5 itself"
                raise InputError(f"{text}: wait for it, or stop it") from None
            except OSError as error:
                os.close(self.fd)
                raise OSError(f"{shown} cannot be locked ({error.strerror}): use another file system") from None
            status = os.fstat(self.fd)
            # The file may have been moved or replaced between our opening and our locking it.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(status, os.stat(path)):
                    if status.st_nlink <= 1:
                        return
                    self.close()
                    text = f"{shown} has {status.st_nlink} names (hard links), and a journal would lie beside only one"
                    raise InputError(f"{text}: copy the file, or remove the other names")
            self.close()
        raise InputError(f"{shown} is being replaced by other processes: name another file")

    def close(self) -> None:
        """Let go."""
        self._release()
        os.close(self.fd)


def _read_at(fd: int, view: memoryview, offset: int) -> int:
    """Read from a position; how many bytes came, 0 at the end of the file."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], offset)
    os.lseek(fd, offset, os.SEEK_SET)
    content = os.read(fd, len(view))
    view[: len(content)] = content
    return len(content)


def _fill(fd: int, view: memoryview, offset: int) -> bool:
    """Fill the view from a position; whether there were so many bytes."""
    done = 0
    while done < len(view):
        count = _read_at(fd, view[done:], offset + done)
        if not count:
            return False
        done += count
    return True


def _write_at(fd: int, content: memoryview | bytes, offset: int) -> None:
    """Write all of it at a position.

    Raises:
        OSError: the disk is full or gone, or takes no bytes.
    """
    view, done = memoryview(content), 0
    while done < len(view):
        if hasattr(os, "pwrite"):
            count = os.pwrite(fd, view[done:], offset + done)
        else:
            os.lseek(fd, offset + done, os.SEEK_SET)
            count = os.write(fd, view[done:])
        if not count:
            raise OSError(errno.EIO, "the disk takes no more bytes")
        done += count
