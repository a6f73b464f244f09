"""Every way in which a writer can die: its writes to the disk are recorded, then cut off at each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mcmc.storage import journal
from mcmc.storage.journal import Overlay


class Recorder:
    """Stands for `os` in mcmc.storage.journal and keeps what changes files.

    Attributes:
        steps: (operation, file name, offset or length, content).
    """

    def __init__(self):
        self.steps: list[tuple[str, str, int, bytes]] = []

    def __getattr__(self, name):
        return getattr(os, name)

    def _add(self, operation: str, fd: int, number: int = 0, content: bytes = b"") -> None:
        self.steps.append((operation, Path(os.readlink(f"/proc/self/fd/{fd}")).name, number, content))

    def pwrite(self, fd, content, offset):
        self._add("write", fd, offset, bytes(content))
        return os.pwrite(fd, content, offset)

    def ftruncate(self, fd, length):
        self._add("truncate", fd, length)
        os.ftruncate(fd, length)

    def fsync(self, fd):
        self._add("fsync", fd)

    def unlink(self, path):
        self.steps.append(("unlink", Path(path).name, 0, b""))
        os.unlink(path)

    def mark(self) -> None:
        """Note that a commit has returned: what it committed must survive from here on."""
        self.steps.append(("committed", "", 0, b""))


class Disk:
    """Files that grow step by step; the state at each step is what a kill at that moment leaves."""

    def __init__(self, directory: Path, files: dict[str, bytes]):
        self.directory = directory
        self.files = {name: bytearray(content) for name, content in files.items()}

    def apply(self, step: tuple[str, str, int, bytes], fraction: float = 1.0) -> None:
        """Do one step, or the first part of a write."""
        operation, name, number, content = step
        if operation == "unlink":
            self.files.pop(name, None)
        elif operation == "truncate":
            file = self.files.setdefault(name, bytearray())
            file[number:] = bytes(max(0, number - len(file)))
        elif operation == "write":
            file = self.files.setdefault(name, bytearray())
            content = content[: int(fraction * len(content))]
            file.extend(bytes(max(0, number + len(content) - len(file))))
            file[number : number + len(content)] = content

    def write(self) -> None:
        """Put the files into the directory, and nothing else."""
        for path in self.directory.iterdir():
            path.unlink()
        for name, content in self.files.items():
            (self.directory / name).write_bytes(content)


def kills(directory: Path, before: dict[str, bytes], steps: list) -> Iterator[int]:
    """Lay out the disk as each possible kill leaves it, also amid a write; yields how many commits had returned."""
    disk, commits = Disk(directory, before), 0
    for step in steps:
        if step[0] == "write" and len(step[3]) > 1:
            torn = Disk(directory, disk.files)
            torn.apply(step, fraction=0.5)
            torn.write()
            yield commits
        disk.apply(step)
        commits += step[0] == "committed"
        if step[0] in ("write", "truncate", "unlink"):
            disk.write()
            yield commits


def power_cuts(directory: Path, before: dict[str, bytes], steps: list, seed: int, cuts: int) -> Iterator[int]:
    """Lay out the disk as power cuts leave it: what was not synced may be there or not, in any order."""
    rng = np.random.default_rng(seed)
    for _ in range(cuts):
        stop = int(rng.integers(1, len(steps)))
        disk = Disk(directory, before)
        for k, step in enumerate(steps[:stop]):
            synced = ("fsync", step[1], 0, b"") in steps[k:stop]
            if synced or rng.random() < 0.5:
                disk.apply(step, 1.0 if synced or rng.random() < 0.8 else 0.5)
        disk.write()
        yield sum(step[0] == "committed" for step in steps[:stop])


class InPlace(Overlay):
    """The negative control: a file that HDF5 overwrites in place, as it does without a journal."""

    def __init__(self, path: Path):
        super().__init__(os.open(path, os.O_RDWR), {})

    def write(self, data) -> int:
        self._position += journal.os.pwrite(self._fd, data, self._position)
        return len(data)

    def truncate(self, size: int) -> int:
        journal.os.ftruncate(self._fd, size)
        return size

    def flush(self) -> None:
        journal.os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)
