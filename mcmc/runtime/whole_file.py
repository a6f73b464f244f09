"""Small files that appear whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A draft to write, which takes the place of ``path`` at the end, or is removed after an exception.

    Args:
        path: the file; a device such as ``/dev/stdout`` is written to directly.

    Raises:
        OSError: the draft cannot be written; an earlier file is as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder) / "a.txt") as draft:
        ...         _ = draft.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
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
