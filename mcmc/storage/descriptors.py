"""Files by descriptor: opened out of the way of the standard streams, locked as what they are and not by name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # not Windows
    msvcrt = None  # type: ignore[assignment]

_BINARY = getattr(os, "O_BINARY", 0)


def open_descriptor(path: str | Path, flags: int) -> int:
    """As `os.open`, but never 0, 1 or 2: where standard streams are closed, others write to these numbers.

    Raises:
        OSError: the file cannot be opened.
    """
    fd = os.open(path, flags | _BINARY, 0o666)
    low = []
    try:
        while fd <= 2:
            low.append(fd)
            fd = os.dup(fd)
    finally:
        for number in low:
            os.close(number)
    return fd


def lock(fd: int) -> Callable[[], None]:
    """Lock an open file against all who lock it under any of its names, until released or the process ends.

    Args:
        fd: its descriptor; the lock belongs to device and inode.

    Returns:
        What releases the lock; to be called before ``fd`` is closed.

    Raises:
        BlockingIOError: someone else holds the lock: another writer, or a program that reads the file by HDF5 alone.
        OSError: the file system has no locks.
    """
    if fcntl is None:
        return _lock_beside(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # how some systems say that the lock is held
        raise BlockingIOError(*error.args) from None
    return lambda: None


def _lock_beside(fd: int) -> Callable[[], None]:
    """Lock by a file in the temporary folder that is named after device and inode, where `fcntl` does not exist."""
    status = os.fstat(fd)
    path = Path(tempfile.gettempdir()) / f"latticeflow-{status.st_dev:x}-{status.st_ino:x}.lock"
    if msvcrt is not None:
        own = open_descriptor(path, os.O_RDWR | os.O_CREAT)
        try:
            msvcrt.locking(own, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            os.close(own)
            raise BlockingIOError(*error.args) from None
        return lambda: os.close(own)
    for _ in range(2):
        try:
            own = open_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            if _alive(path):
                raise BlockingIOError(f"{path} exists") from None
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            continue
        os.write(own, str(os.getpid()).encode())
        os.close(own)
        return lambda: path.unlink(missing_ok=True)
    raise BlockingIOError(f"{path} is in use")


def _alive(path: Path) -> bool:
    """Whether the process that wrote its number into a lock file still runs."""
    try:
        os.kill(int(path.read_text()), 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    except (ValueError, OSError):  # being written, or another user's
        return True
    return True


def sync_directory(path: Path) -> None:
    """Make names that were added to or changed in a directory last, where directories can be opened."""
    if os.name == "nt":
        return
    fd = open_descriptor(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
