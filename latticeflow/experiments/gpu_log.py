"""The file to which the GPU script writes each result as soon as it is there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class ResultLog:
    """Lines of JSON, each on the disk before the next begins."""

    def __init__(self, path: Path):
        self._path, self._started = path, time.monotonic()

    def __call__(self, kind: str, **values: Any) -> None:
        """Write one line, and print it."""
        line = json.dumps({"kind": kind, "at": round(time.monotonic() - self._started, 1), **values}, default=float)
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
