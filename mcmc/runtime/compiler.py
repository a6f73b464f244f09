"""What numba reads in the environment when it is imported: put right, or refused in one line."""

from __future__ import annotations

import logging
import os
import stat
import sys
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcmc.errors import InputError

logger = logging.getLogger(__name__)


def prepare_environment(package: Path) -> None:
    """Make the environment fit for numba, before it is imported: no empty settings, and a place for compiled code.

    Beside the source, `mcmc.kernels` deletes compiled code that is out of date. Elsewhere it lies in a folder that is
    named after the content of all sources, because numba notices changes of the one file only in which a kernel is.

    Args:
        package: folder of the kernels, where numba keeps compiled code if it may.
    """
    for name in [name for name, value in os.environ.items() if name.startswith("NUMBA_") and not value.strip()]:
        del os.environ[name]  # an empty setting, as of a script whose variable is not set, means none
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    version = f"latticeflow-{_checksum(package):08x}" if chosen or not _writable(package / "__pycache__") else ""
    if not version or (chosen and (package in Path(chosen).parents or version in Path(chosen).parts)):
        return
    for base in ([Path(chosen)] if chosen else []) + [_users_cache()]:
        if _writable(base / version):
            cache = base / version
            break
    else:
        cache = _temporary_cache() / version
        logger.warning(
            "neither %s nor %s can be written: compiled kernels are kept in %s; set NUMBA_CACHE_DIR to another folder",
            chosen or package,
            _users_cache(),
            cache,
        )
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(cache)


def announce_compilation(package: str) -> None:
    """Have this process say, once, that functions of a package are compiled now; not where compiled code is kept.

    Args:
        package: name of the package.
    """
    from numba.core import event

    class Listener(event.Listener):
        said = False

        def on_start(self, event: Any) -> None:
            module = event.data["dispatcher"].py_func.__module__
            if not self.said and module.startswith(package):
                self.said = True
                logger.info("compiling kernels, once for this installation and kind of model: some seconds")

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Listener())


def require_compiler() -> None:
    """Refuse to run without compiled code.

    Raises:
        InputError: numba is told not to compile.
    """
    from numba.core import config

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise InputError("NUMBA_DISABLE_JIT = 1 turns off the compiler, without which kernels do not run: unset it")


def _users_cache() -> Path:
    """Where numba keeps compiled code if not beside its source."""
    if sys.platform == "darwin":
        base = Path("~/Library/Caches")
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.path.expanduser(base)) / "numba"


def _checksum(package: Path) -> int:
    """CRC-32 of the sources in a folder."""
    found = 0
    for path in sorted(package.glob("*.py")):
        found = zlib.crc32(path.read_bytes(), found)
    return found


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it can be (permissions alone do not tell)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _temporary_cache() -> Path:
    """A folder of this user alone: compiled code that others could have put there would be run."""
    if hasattr(os, "getuid"):
        folder = Path(tempfile.gettempdir()) / f"latticeflow-kernels-{os.getuid()}"
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
                return folder
    return Path(tempfile.mkdtemp(prefix="latticeflow-kernels-"))
