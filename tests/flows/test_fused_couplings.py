"""The fused couplings of the paper's flow on a CPU against plain torch."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from latticeflow import RealNVP
from latticeflow.flows import checkpoint, fused_couplings
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, Lattice

every_size = pytest.mark.parametrize(("shape", "filters"), [((8, 8), 8), ((4, 6), 5), ((2, 2), 1)])
N = 37  # no multiple of the lanes


def _made(shape, filters) -> RealNVP:
    torch.manual_seed(3)
    flow = RealNVP(XY(), Lattice(*shape), (0.05, 2.05), couplings=5, filters=filters)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow


def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the path that serves GPUs and double precision."""
    monkeypatch.setattr(fused_couplings, "serves", lambda x: False)


def _close(found, expected, names):
    for name, one, other in zip(names, found, expected, strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < 1e-4, name
        assert other.abs().max() > 1e-6, name  # a gradient that leaves a part out would be seen


@every_size
def test_density_and_gradient_are_those_of_plain_torch(shape, filters, monkeypatch):
    flow = _made(shape, filters)
    T = torch.linspace(0.05, 2.05, N)
    theta = flow.sample(N, T, generator=torch.Generator().manual_seed(1))[0]
    weights = torch.linspace(-1, 1, N, dtype=torch.float64)

    def found(flow: RealNVP, theta: torch.Tensor, T: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        theta = theta.detach().requires_grad_()
        log_q = flow.log_prob(theta, T)
        return log_q.detach(), list(torch.autograd.grad((weights * log_q).sum(), [theta, *flow.parameters()]))

    log_q, gradients = found(flow, theta, T)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(theta, T), log_q, rtol=0, atol=0)
    _plain(monkeypatch)
    exact, expected = found(flow.double(), theta.double(), T.double())
    torch.testing.assert_close(log_q, exact, rtol=0, atol=1e-3)
    _close(gradients, expected, ["theta", *(name for name, _ in flow.named_parameters())])


@every_size
def test_draws_and_their_gradients_are_those_of_plain_torch(shape, filters, monkeypatch):
    flow = _made(shape, filters)
    T = torch.linspace(0.05, 2.05, N)
    names = [name for name, _ in flow.named_parameters()]

    def found() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        theta, log_q = flow.rsample(N, T, generator=torch.Generator().manual_seed(2))
        loss = (torch.arange(flow.lattice.N).view(flow.lattice.shape) * theta.cos()).sum() + log_q.sum()
        return theta.detach(), log_q.detach(), list(torch.autograd.grad(loss, list(flow.parameters())))

    theta, log_q, gradients = found()
    _plain(monkeypatch)
    same, exact, expected = found()
    torch.testing.assert_close(theta, same, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_q, exact, rtol=0, atol=1e-3)
    _close(gradients, expected, names)


def test_the_number_of_threads_does_not_change_a_byte(monkeypatch):
    flow, threads = _made((8, 8), 6), torch.get_num_threads()
    T = torch.linspace(0.05, 2.05, 300)

    def found() -> list[torch.Tensor]:
        theta, log_q = flow.rsample(300, T, generator=torch.Generator().manual_seed(2))
        return [theta.detach(), *torch.autograd.grad(log_q.sum(), list(flow.parameters()))]

    try:
        torch.set_num_threads(1)
        one = found()
        torch.set_num_threads(3)
        several = found()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, several, strict=True))


def _apart(values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of each coupling in turn weight and bias of its three layers, from stacks of weights and then of biases."""
    return [values[3 * kind + layer][k] for k in range(5) for layer in range(3) for kind in range(2)]


def test_a_checkpoint_of_version_5_draws_and_trains_on_as_it_would_have(tmp_path):
    """Which had the parameters of every coupling by themselves."""
    settings = TrainingSettings(objective="reverse_kl", steps=10, batch_temperatures=4, batch_draws=4, ema=0.9)
    trainer = Trainer(_made((4, 4), 3), settings)
    for _ in range(3):
        trainer.step()
    path, training = tmp_path / "flow.pt", trainer.state_dict()
    trainer.served.history = {"training": dataclasses.asdict(trainer.settings)}
    checkpoint.save(path, trainer.served, training=training)

    content = torch.load(path, weights_only=True)
    layers = ("hidden.0", "hidden.2", "output")
    names = [f"couplings.{k}.{layer}.{kind}" for k in range(5) for layer in layers for kind in ("weight", "bias")]
    content |= {"version": 5, "parameters": dict(zip(names, _apart([*content["parameters"].values()]), strict=True))}
    moments = content["training"]["optimiser"]["state"].values()
    first, second = (_apart([each[name] for each in moments]) for name in ("exp_avg", "exp_avg_sq"))
    content["training"]["optimiser"]["state"] = {
        i: {"step": torch.tensor(3.0), "exp_avg": first[i], "exp_avg_sq": second[i]} for i in range(len(names))
    }
    content["training"]["optimiser"]["param_groups"][0]["params"] = list(range(len(names)))
    content["training"]["flow"] = dict(zip(names, _apart([*content["training"]["flow"].values()]), strict=True))
    torch.save(content, path)

    flow, _, state = checkpoint.load(path)
    assert state is not None
    resumed = Trainer(flow, settings)
    resumed.load_state_dict(state)
    for _ in range(3):
        trainer.step()
        resumed.step()
    for one, other in zip(trainer.served.parameters(), resumed.served.parameters(), strict=True):
        assert torch.equal(one, other)


def reach_everywhere() -> None:
    """All that the kernels do, and a control: too few weights."""
    for shape, filters in (((8, 8), 8), ((4, 6), 5), ((2, 2), 1)):
        flow, T = _made(shape, filters), torch.linspace(0.1, 2.0, N)
        theta, log_q = flow.rsample(N, T)
        log_q.sum().backward()
        flow.log_prob(theta.detach().requires_grad_(), T).sum().backward()
        flow.sample(N, T)
    turned = fused_couplings._turned
    fused_couplings._turned = lambda *arguments: turned(*arguments)[:, :-9].contiguous()
    _, log_q = flow.rsample(N, T)
    with pytest.raises(IndexError):
        log_q.sum().backward()


@pytest.mark.slow
def test_no_kernel_reaches_beyond_its_arrays():
    code = "from tests.flows.test_fused_couplings import reach_everywhere; reach_everywhere()"
    environment = {**os.environ, "LATTICEFLOW_CHECK_KERNELS": "1", "NUMBA_OPT": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=600)
