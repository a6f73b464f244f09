"""Stacked digits: a thousand modes made of three small pictures."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from latticeflow.laboratory.targets.target import Assignment, Target, device_of
from mcmc import InputError
from mcmc.runtime.install import hint

PIXELS, GREYS = 64, 17


class StackedDigits(Target):
    """Three pictures of digits, 8x8 pixels each, as the channels of one: 10^3 equally likely modes.

    The pictures are the 1,797 of scikit-learn's ``load_digits``; a draw takes a digit for each channel uniformly, then
    one of its pictures. Grey values 0 to 16 are spread over their intervals by uniform noise and scaled to [-1, 1].
    The counterpart of stacked MNIST (Metz et al., arXiv:1611.02163; VEEGAN, arXiv:1705.07761), which counts modes in
    26,000 draws by a classifier. A channel is of high quality if it lies as close to a known picture as
    99 % of the known pictures lie to another one; a draw is, if its three channels are.

    Raises:
        InputError: scikit-learn is not installed.
    """

    has_density = False
    draws = 26_000

    def __init__(self) -> None:
        super().__init__("digits", 3 * PIXELS, 1000)
        if find_spec("sklearn") is None:
            raise InputError(f"the digits need scikit-learn: {hint('modes')}")

    def _sample(self, n: int, condition: Tensor | None, generator: torch.Generator | None) -> Tensor:
        device = device_of(generator)
        pictures, labels = (each.to(device) for each in _pictures())
        counts = labels.bincount()
        first = torch.cat((counts.new_zeros(1), counts.cumsum(0)[:-1]))
        digit = torch.randint(10, (n, 3), generator=generator, device=device)
        u = torch.rand(n, 3, generator=generator, device=device)
        grey = pictures[first[digit] + (u * counts[digit]).long()].flatten(1)
        noise = torch.rand(grey.shape, generator=generator, device=device)
        return 2 * (grey + noise) / GREYS - 1

    def _assign(self, x: Tensor, condition: Tensor | None) -> Assignment:
        channels = x.detach().float().view(-1, PIXELS)
        with torch.no_grad():
            digit = _classifier().to(x.device)(channels).argmax(-1)
        known, limit = _neighbourhood()
        distance = torch.cat([torch.cdist(part, known.to(x.device)).min(-1).values for part in channels.split(4096)])
        close = (distance < limit).view(-1, 3).all(1)
        return Assignment((digit.view(-1, 3) * digit.new_tensor([100, 10, 1])).sum(1), close)


@cache
def _pictures() -> tuple[Tensor, Tensor]:
    """Grey values 0 to 16, float32 (1797, 64), and digits, int64 (1797,), sorted by digit."""
    from sklearn.datasets import load_digits

    found = load_digits()
    labels, order = torch.as_tensor(found.target, dtype=torch.long).sort(stable=True)
    return torch.as_tensor(found.data, dtype=torch.float32)[order], labels


def centred(grey: Tensor) -> Tensor:
    """Grey values at the middle of their intervals, in [-1, 1]."""
    return 2 * (grey + 0.5) / GREYS - 1


@cache
def _neighbourhood() -> tuple[Tensor, float]:
    """Known pictures, and the distance within which 99 % of them, made noisy, have another one."""
    known = centred(_pictures()[0])
    noise = torch.rand(known.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    distances = torch.cdist(known + 2 * noise / GREYS, known).fill_diagonal_(torch.inf).min(-1).values
    return known, float(distances.quantile(0.99))


def train_classifier(pictures: Tensor, labels: Tensor, *, steps: int = 300) -> nn.Module:
    """A small network that reads digits, trained by Adam on noisy pictures; a function of its arguments alone.

    Args:
        pictures: grey values, (n, 64).
        labels: digits, (n,).
        steps: of training, 256 pictures each.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, 10))
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(steps):
            batch = torch.randint(len(labels), (256,))
            noise = torch.rand(256, PIXELS) - 0.5
            loss = nn.functional.cross_entropy(net(centred(pictures[batch] + noise)), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net


@cache
def _classifier() -> nn.Module:
    return train_classifier(*_pictures())
