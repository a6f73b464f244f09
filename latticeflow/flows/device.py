"""Where flows compute."""

from __future__ import annotations

import torch

from mcmc import InputError
from mcmc.runtime.text import counted


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
