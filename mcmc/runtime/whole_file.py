"""Small files that appear whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcmc.errors import InputError

_ENSEMBLE, _CHECKPOINT = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
"""First bytes of files."""


def require_replaceable(path: str | Path, *, checkpoint: bool = False) -> None:
    """Refuse a name under which no page, table or figure should be written, before the work of making one.

    Args:
        path: the file.
        checkpoint: whether a flow's checkpoint may be replaced, and other archives.

    Raises:
        InputError: its folder does not exist, it is a folder, or it holds an ensemble or a flow.

    Example:
        >>> require_replaceable("page.html")
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"directory {path.parent} does not exist: create it, or name another file")
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a file")
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(8).startswith((_ENSEMBLE,) if checkpoint else (_ENSEMBLE, _CHECKPOINT)):
                raise InputError(f"{path} holds an ensemble or a flow, which would be lost: name another file")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A draft to write, which takes the place of ``path`` at the end, or is removed after an exception.

    Args:
        path: the file; a device such as ``/dev/stdout`` is written to directly.

    Raises:
        InputError: as `require_replaceable` does.
        OSError: the draft cannot be written; an earlier file is as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder) / "a.txt") as draft:
        ...         _ = draft.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    require_replaceable(path, checkpoint=True)
    real = Path(os.path.realpath(path))
    if real.exists() and not real.is_file():
        yield real
        return
    draft = real.with_name(f".{real.stem}.new{real.suffix}")  # libraries read the format off the suffix
    try:
        yield draft
        os.replace(draft, real)
    except OSError as error:
        if error.filename in (str(draft), draft):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        draft.unlink(missing_ok=True)
