"""Where draws come from: attributes that say how a file was made, and enough of it to make the file again."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mcmc

_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "h5py", "torch")


def origin(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Attributes that say when, by what command and with which versions a file is made."""
    return {
        "conventions": "angles in [-pi, pi); E = -J sum cos(t_i - t_j) - K sum cos(t_1 - t_2 + t_3 - t_4); k_B = 1",
        "command": shlex.join(sys.argv if command is None else command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {platform.processor() or 'processor unknown'}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the draws."""
    found = {"latticeflow": mcmc.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
