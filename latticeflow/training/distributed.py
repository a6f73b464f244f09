"""Several processes that train one flow together, as ``torchrun`` starts them: each draws its part of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from latticeflow.flows.device import choose_device
from mcmc import InputError


@dataclass(frozen=True)
class Group:
    """This process among those that train together; alone, every method is the identity."""

    rank: int = 0
    """Number of this process; 0 writes the files."""
    count: int = 1
    device: torch.device | str = "cpu"
    """Where this process computes."""

    def share(self, draws: int) -> int:
        """This process's part of ``draws``.

        Raises:
            InputError: the parts would be odd or unequal.
        """
        if draws % (2 * self.count):
            raise InputError(
                f"draws = {draws} per temperature do not divide into {self.count} equal even parts, one for "
                f"each process: give a multiple of {2 * self.count}"
            )
        return draws // self.count

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, by one all-reduce of all of them."""
        if self.count == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # no part of this process's loss, but maybe of another's
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._sum(flat)
        parts = (flat / self.count).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, value: float) -> float:
        """Mean over the processes."""
        if self.count == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        self._sum(total)
        return float(total) / self.count

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return self.mean(float(flag)) > 0

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the values that process 0 has."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def _sum(self, values: Tensor) -> None:
        try:
            dist.all_reduce(values)
        except RuntimeError as error:  # the connection is gone
            raise InputError(
                f"process {self.rank} of {self.count} lost the others: see what they say ({str(error).splitlines()[0]})"
            ) from error


ALONE = Group()


@contextmanager
def join(device: str = "auto") -> Iterator[Group]:
    """Join the processes that ``torchrun`` started, by gloo on CPUs and NCCL on GPUs; without it, stay alone.

    Args:
        device: see `choose_device`; each process takes its own GPU.

    Raises:
        InputError: no such device, or more processes than GPUs on this machine.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Group(device=choose_device(device))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if local >= torch.cuda.device_count():
            raise InputError(
                f"{torch.cuda.device_count()} GPUs are too few for process {local} of this machine: start fewer, or "
                "compute on the CPU"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    where = choose_device(device)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Group(rank, count, where)
    finally:
        dist.destroy_process_group()
