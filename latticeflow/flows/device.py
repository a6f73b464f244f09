"""Where flows compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from mcmc import InputError
from mcmc.runtime.text import counted

Result = TypeVar("Result")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(f"no device {name!r} on this machine: choose auto or cpu") from None
    return device


def describe(device: torch.device) -> str:
    """A device in words, for logs and provenance."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {counted(torch.get_num_threads(), 'thread')}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU, in torch on a CPU, or in Python."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def in_threads(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Results of independent tasks on the CPU, without gradients, as many at a time as torch has threads.

    Where a task is many small operations, this is faster than torch's own division of each of them among its threads.

    Example:
        >>> in_threads([lambda: torch.ones(2).sum(), lambda: torch.zeros(2).sum()])
        [tensor(2.), tensor(0.)]
    """
    threads = torch.get_num_threads()

    def result(task: Callable[[], Result]) -> Result:
        with torch.no_grad():
            return task()

    if threads == 1 or len(tasks) == 1:
        return [result(task) for task in tasks]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(result, tasks))
    finally:
        torch.set_num_threads(threads)  # part of what each thread has set holds for all
