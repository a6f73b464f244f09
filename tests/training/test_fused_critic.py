"""The fused convolutions of the paper's critic on a CPU against plain torch."""

import os
import subprocess
import sys

import pytest
import torch

from latticeflow.training import fused_critic
from latticeflow.training.critic import PublishedCritic, slope


def _made(shape, channels, packing=1, *, normalise=False) -> PublishedCritic:
    torch.manual_seed(0)
    return PublishedCritic(shape, channels, packing=packing, normalise=normalise).eval()


def _draws(shape) -> tuple[torch.Tensor, torch.Tensor]:
    theta = 6 * torch.rand(3, 14, *shape, generator=torch.Generator().manual_seed(1)) - 3
    return theta, torch.linspace(0.1, 2, 3)[:, None].expand(3, 14)


@pytest.mark.parametrize(
    ("shape", "channels", "packing", "normalise"),
    [((8, 8), 16, 1, False), ((8, 8), 6, 2, True), ((12, 16), 5, 1, False)],
)
def test_logits_and_gradients_are_those_of_plain_torch(shape, channels, packing, normalise, monkeypatch):
    critic, (theta, T) = _made(shape, channels, packing, normalise=normalise), _draws(shape)
    weights = torch.linspace(0.1, 1, T.numel()).view(T.shape)
    calls = []

    def found() -> list[torch.Tensor]:
        logit = critic(theta, T)
        of_critic = torch.autograd.grad((weights * logit).sum(), list(critic.parameters()))
        moved = theta.clone().requires_grad_()
        critic.requires_grad_(False)
        of_draws = torch.autograd.grad((weights * critic(moved, T)).sum(), moved)
        critic.requires_grad_(True)
        return [logit.detach(), *of_critic, *of_draws]

    convolutions = fused_critic.convolutions
    monkeypatch.setattr(fused_critic, "convolutions", lambda *given: calls.append(1) or convolutions(*given))
    fused = found()
    assert len(calls) == 2
    monkeypatch.setattr(fused_critic, "serves", lambda *_: False)
    for one, other in zip(fused, found(), strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < 1e-5
        assert other.abs().max() > 1e-5  # a gradient that leaves a part out would be seen


def test_second_derivatives_are_left_to_torch():
    """Those of the gradient penalty."""
    critic, (theta, T) = _made((8, 8), 4), _draws((8, 8))
    theta.requires_grad_()
    slope(critic(theta, T), theta).backward()
    assert all(parameter.grad is not None for parameter in critic.layers[0].parameters())
    assert not fused_critic.serves(theta, critic.layers[0].weight, critic._tables)


def test_lattices_with_an_odd_number_of_blocks_are_left_to_torch():
    critic, (theta, T) = _made((6, 6), 4), _draws((6, 6))
    assert not fused_critic.serves(theta, critic.layers[0].weight, critic._tables)
    assert critic(theta, T).isfinite().all()


def reach_everywhere() -> None:
    """All that the kernels do, and a control: too few weights."""
    critic, (theta, T) = _made((8, 12), 6, 2), _draws((8, 12))
    critic(theta, T).sum().backward()
    critic.requires_grad_(False)
    critic(theta.requires_grad_(), T).sum().backward()
    bias, weights = torch.zeros(4, 16), [torch.zeros(4, n, 3, 3) for n in (1, 4, 4)]
    x = torch.zeros(1, 8, 12, 16)
    with pytest.raises(IndexError):
        fused_critic.convolutions(x, bias, weights, [bias[:, 0]], critic._tables)


@pytest.mark.slow
def test_no_kernel_reaches_beyond_its_arrays():
    code = "from tests.training.test_fused_critic import reach_everywhere; reach_everywhere()"
    environment = {**os.environ, "LATTICEFLOW_CHECK_KERNELS": "1", "NUMBA_OPT": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=600)
