"""A file that changes all at once or not at all, whatever kills the writer.

HDF5 updates its index in place, and a writer that dies between two of those writes can lose draws that were committed
long before: splitting a node of the chunk index empties half of the old node first. So nothing that a committed file
consists of is overwritten directly. Bytes behind the committed end go straight to the file; changes to older bytes are
held back in memory and become valid by a redo journal beside the file, ``FILE.journal``:

1. fsync the file, with everything new behind its old end;
2. write the held back pages and a checksum to the journal, fsync;
3. copy the pages into the file.

A death before the end of 2 leaves the old file (and some bytes behind its end), a death after it leaves a whole journal
that every reader lays over the file and the next writer copies. The journal is also what a writer locks: an advisory
lock that the system releases when its process dies. A clean close removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from mcmc.errors import InputError

PAGE = 4096
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
    """Where the journal of ``path`` lies."""
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
            count = os.preadv(self._fd, [view[done:]], start + done)
            if not count:
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


class JournaledFile(Overlay):
    """An existing file, locked for writing, whose changes become valid at `commit`.

    Writing never raises, because HDF5 cannot recover from a failing write: the first failure is kept and `commit`
    raises it.

    Args:
        path: the file.
        lock: the right to write it; let go by `close`.
        file_id: tells a journal of this file from one that another file of this name left; see `Record`.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, lock: Lock, *, file_id: int):
        super().__init__(os.open(path, os.O_RDWR), {})
        self._path, self._lock = path, lock
        self._failure: OSError | None = None
        self._base = os.fstat(self._fd).st_size
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
                while inside < length:
                    inside += os.pwrite(self._fd, view[inside:], start + inside)
        except OSError as error:
            self._failure = error
        return length

    def _hold_back(self, start: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            offset = (start + done) - (start + done) % PAGE
            page = self._pages.get(offset)
            if page is None:
                page = bytearray(os.pread(self._fd, min(PAGE, self._base - offset), offset))
                self._pages[offset] = page
            assert isinstance(page, bytearray)
            within = start + done - offset
            count = min(len(page) - within, len(view) - done)
            page[within : within + count] = view[done : done + count]
            done += count

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
            if not self._in_place():
                raise FileNotFoundError(f"{self._path} has vanished or been replaced while it was written")
            os.fsync(self._fd)
            watched = first - first % PAGE
            order = sorted(self._pages, key=lambda offset: (offset != watched, offset))
            pages = {offset: bytes(self._pages[offset]) for offset in order}
            size = os.fstat(self._fd).st_size
            self._lock.write(Record(self.file_id, size, pages))
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

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _copy(self, pages: dict[int, bytes]) -> None:
        for offset, page in pages.items():
            done = 0
            while done < len(page):
                done += os.pwrite(self._fd, page[done:], offset + done)

    def close(self) -> None:
        """Drop what is not committed and let the lock go; the journal goes too unless it is needed."""
        try:
            os.ftruncate(self._fd, self._base)
            os.fsync(self._fd)
        except OSError:
            self._journal_needed = True
            raise
        finally:
            os.close(self._fd)
            self._lock.close(remove=not self._journal_needed)


class Lock:
    """The right to write ``path``: a lock on its journal, which the system releases when the process dies.

    Raises:
        InputError: another process holds it, or the directory cannot be written.
        OSError: the file system knows no locks.
    """

    def __init__(self, path: Path):
        self._journal = journal_path(path)
        while True:
            try:
                self._fd = os.open(self._journal, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                text = f"{path} cannot be written ({error.strerror})"
                raise InputError(f"{text}: check directory {path.parent}, or name another file") from None
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._fd)
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise InputError(f"{path} is being written by another process: wait for it, or stop it") from None
                text = f"{path} cannot be locked ({error.strerror}): use another file system"
                raise OSError(text) from None
            # The last holder may have removed the journal between our opening and our locking it.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(self._fd).st_ino == os.stat(self._journal).st_ino:
                    return
            os.close(self._fd)

    def write(self, record: Record) -> None:
        """Make ``record`` the journal's content, on the disk when this returns.

        Raises:
            OSError: the journal is empty then.
        """
        try:
            os.ftruncate(self._fd, 0)
            content, done = record.to_bytes(), 0
            while done < len(content):
                done += os.pwrite(self._fd, content[done:], done)
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            raise

    def close(self, remove: bool = True) -> None:
        """Let go."""
        if remove:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._journal)
        os.close(self._fd)
