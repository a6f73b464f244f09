"""Captured steps: the same training as step by step, and batches picked on the device."""

import contextlib
import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from latticeflow.flows import build_flow, captured_draws, checkpoint
from latticeflow.training import captured as captured_module
from latticeflow.training.captured import CapturedTrainer, ResidentDraws
from latticeflow.training.train import train
from latticeflow.training.trainer import Trainer, TrainingDivergedError
from latticeflow.training.training_settings import PUBLISHED_CRITIC, TrainingSettings
from latticeflow.training.weight_schedule import WeightSchedule
from mcmc import XY, InputError, Lattice, generate
from mcmc.models.presets import field
from mcmc.runtime.stop import Stop

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
T = np.array([0.5, 1.0, 2.0])


def test_batches_are_draws_moved_by_symmetries():
    model = XY()
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (3, 5, 4, 6)).astype(np.float32)
    draws = ResidentDraws(theta, T, model=model, device="cpu")
    batch, temperatures = draws.batch(200, torch.Generator().manual_seed(1))
    assert (batch.shape, temperatures.shape) == ((3, 200, 4, 6), (3, 200))
    assert float(batch.min()) >= -np.pi
    assert float(batch.max()) < np.pi
    known = np.sort(model.energy(theta), axis=1)
    found = model.energy(batch.numpy().astype(np.float64))
    for t in range(3):
        distance = np.abs(found[t][:, None] - known[t]).min(1)
        assert distance.max() < 1e-4
        assert len(np.unique(np.round(found[t], 2))) == 5  # all of them
    # Configurations of one draw differ: each has a symmetry of its own.
    assert len(np.unique(np.round(batch[0, :, 0, 0].numpy(), 4))) > 190


def test_every_symmetry_of_the_lattice_is_drawn_and_no_other_move():
    model = XY() + field(0.3)  # no rotation of the spins
    places = np.arange(6.0).reshape(1, 1, 2, 3)
    batch, _ = ResidentDraws(places / 10, T[:1], model=model, device="cpu").batch(500, torch.Generator().manual_seed(1))
    found = {tuple(row) for row in np.rint(10 * batch[0].flatten(1).abs().numpy()).astype(int).tolist()}
    rolled = [np.roll(places[0, 0], step, (0, 1)) for step in np.ndindex(2, 3)]
    flipped = [np.flip(each, axes) for each in rolled for axes in ((), (0,), (1,), (0, 1))]
    assert found == {tuple(each.ravel().astype(int).tolist()) for each in flipped}
    assert len(found) == 12
    # A table of translations as well would hold 17 GB.
    large = ResidentDraws(np.zeros((1, 2, 128, 128), np.float32), T[:1], model=XY(), device="cpu")
    assert large._symmetries.numel() == 8 * 128**2
    assert large.batch(2, torch.Generator())[0].shape == (1, 2, 128, 128)


def test_without_a_symmetry_draws_stay():
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (3, 5, 4, 4)).astype(np.float32)
    batch, _ = ResidentDraws(theta, T, device="cpu").batch(10, torch.Generator().manual_seed(1))
    near = [(batch[t, i] - torch.tensor(theta[t])).abs().amax((1, 2)).min() for t in range(3) for i in range(10)]
    assert max(near) < 1e-5
    turned, _ = ResidentDraws(theta, T, device="cpu", model=XY() + field(0.3)).batch(9, torch.Generator())
    energies = (XY() + field(0.3)).energy(theta)
    found = (XY() + field(0.3)).energy(turned.numpy())
    assert np.abs(found[..., None] - energies[:, None]).min(-1).max() < 1e-3


def test_some_temperatures_are_picked_at_random():
    theta = np.broadcast_to(T[:, None, None, None], (3, 5, 4, 4))
    draws, generator = ResidentDraws(theta, T, device="cpu"), torch.Generator().manual_seed(1)
    seen = set()
    for _ in range(20):
        batch, temperatures = draws.batch(4, generator, temperatures=2)
        assert batch.shape == (2, 4, 4, 4)
        torch.testing.assert_close(batch[:, 0, 0, 0].double(), temperatures[:, 0], rtol=1e-6, atol=0)
        seen.add(tuple(temperatures[:, 0].tolist()))
    assert seen == {(0.5, 1.0), (0.5, 2.0), (1.0, 2.0)}


def test_all_draws_of_an_ensemble_become_resident():
    ensemble = generate(XY(), size=4, temperatures=T, draws=5, chains=2, seed=1)
    draws = ResidentDraws.of(ensemble, "cpu")
    assert draws.theta.shape == (3, 10, 16)
    assert (draws.shape, draws.model, draws.temperatures.tolist()) == ((4, 4), XY(), T.tolist())
    ensemble.theta()[1, 0, 2] = np.nan
    with pytest.raises(InputError, match="angles that are not finite"):
        ResidentDraws.of(ensemble, "cpu")


def _case(flow: str, objective: str, device: str = "cuda", **sizes):
    reference = generate(XY(), size=8, temperatures=T, draws=50, chains=2, seed=1)
    theta = reference.theta().reshape(3, -1, 8, 8)
    draws = ResidentDraws(theta, T, model=XY(), device=device)
    torch.manual_seed(1)
    flow = build_flow(flow, XY(), Lattice(8, 8), (0.5, 2.0), **sizes).to(device)
    settings = TrainingSettings(
        objective=objective, steps=10, batch_temperatures=3, batch_draws=8, ema=0.9, critic=PUBLISHED_CRITIC
    )
    return flow, settings, draws


CASES = [
    ("realnvp", "advnf", {"couplings": 4, "filters": 8}),
    ("realnvp", "reverse_kl", {"couplings": 4, "filters": 8}),
    ("multiscale", "log_variance", {"width": 16}),
    ("multiscale", "sites_first", {"width": 16}),  # whose terms change after 6 steps
    ("spline", "advnf_reverse", {"couplings": 6}),
]


class _Stream:
    """Of a processor, on which nothing is ever queued."""

    def __init__(self, *_, **__):
        pass

    def wait_stream(self, _):
        pass

    def synchronize(self):
        pass


class _Event:
    def record(self):
        pass

    def query(self):
        return True


class _Graph:
    """Computes anew what it captured."""

    def replay(self):
        self.trainer._found = self.trainer._device_step()


@pytest.fixture
def on_cpu(monkeypatch):
    """A captured trainer's own code on the CPU; streams and graphs are replaced."""

    def trainer(flow, settings, draws):
        made = CapturedTrainer(flow, settings, draws)
        made.graphs = 0

        @contextlib.contextmanager
        def capturing(graph, stream, generator):
            """Nothing is computed while a graph is made."""
            modules = [each for each in (made.flow, made.critic, made.average) if each is not None]
            before = copy.deepcopy([each.state_dict() for each in modules])
            states = [captured_module._state(optimiser) for optimiser in made._optimisers]
            yield
            for module, state in zip(modules, before, strict=True):
                module.load_state_dict(state)
            for optimiser, state in zip(made._optimisers, states, strict=True):
                for parameter, values in optimiser.state.items():
                    for name, value in values.items():
                        value.copy_(state[parameter][name])
            made._bad.zero_()
            graph.trainer = made
            made.graphs += 1

        monkeypatch.setattr(captured_module, "capturing", capturing)
        return made

    for name, stand_in in (("Stream", _Stream), ("Event", _Event), ("CUDAGraph", _Graph)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(captured_module, "can_capture", lambda flow, settings: True)
    return trainer


def _plain(flow, settings, draws, captured):
    """A plain trainer that takes the random numbers of a captured one."""
    plain = Trainer(copy.deepcopy(flow), settings, draws)
    if plain.critic is not None:
        captured.critic.load_state_dict(plain.critic.state_dict())
    plain.picker = plain.generator
    # Seeds of the picker would undo those of the generator.
    plain._prepare = lambda: CapturedTrainer._prepare(plain)  # type: ignore[method-assign]
    plain._keep, plain._weights = torch.zeros((), device=flow.device), captured._weights
    for group in plain.optimiser.param_groups:
        group["capturable"], group["lr"] = True, torch.tensor(group["lr"], device=flow.device)
    return plain


@pytest.mark.parametrize(("flow", "objective", "sizes"), [CASES[0], CASES[3]])
def test_the_code_around_the_graph_does_the_steps_of_the_trainer_and_goes_on(on_cpu, flow, objective, sizes):
    flow, settings, draws = _case(flow, objective, "cpu", **sizes)
    captured = on_cpu(flow, settings, draws)
    plain = _plain(flow, settings, draws, captured)
    for _ in range(8):
        one, other = plain.step(), captured.step()
    assert other.loss == pytest.approx(one.loss, rel=1e-3)
    for a, b in zip(plain.served.parameters(), captured.served.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert captured.graphs == 1 + (objective == "sites_first")  # whose terms change after 6 steps
    rate = captured.settings.learning_rate * captured.settings.rate(7, 0.7)
    assert float(captured.optimiser.param_groups[0]["lr"]) == pytest.approx(rate)
    assert not captured._queued  # events of steps that are done
    state, served = copy.deepcopy(captured.state_dict()), copy.deepcopy(captured.served).requires_grad_()
    captured.step()
    again = on_cpu(served, settings, draws)
    again.load_state_dict(state)
    assert again.step().step == 9
    for a, b in zip(again.served.parameters(), captured.served.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    before = [each.clone() for each in again.flow.parameters()]
    with torch.no_grad():
        next(again.flow.parameters()).view(-1)[0] = before[0].view(-1)[0] = math.nan
    with pytest.raises(TrainingDivergedError):
        again.step()
    for a, b in zip(before, again.flow.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@on_gpu
@pytest.mark.parametrize(("flow", "objective", "sizes"), CASES)
def test_captured_steps_are_those_of_the_trainer(flow, objective, sizes):
    flow, settings, draws = _case(flow, objective, **sizes)
    captured = CapturedTrainer(flow, settings, draws)
    plain = _plain(flow, settings, draws, captured)
    for _ in range(8):
        one, other = plain.step(), captured.step()
    assert one.step == other.step == 8
    assert other.loss == pytest.approx(one.loss, rel=5e-3, abs=5e-3)  # convolutions by TensorFloat-32
    pairs = zip(plain.served.parameters(), captured.served.parameters(), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 3e-3
    assert any(not torch.equal(a, b) for a, b in zip(flow.parameters(), captured.served.parameters(), strict=True))


@on_gpu
def test_a_bad_step_changes_nothing_and_is_told():
    flow, settings, draws = _case("realnvp", "reverse_kl", couplings=4, filters=8)
    trainer = CapturedTrainer(flow, settings, draws)
    trainer.step()
    with torch.no_grad():
        next(flow.parameters()).view(-1)[0] = float("nan")
    before = [each.clone() for each in flow.parameters()]
    with pytest.raises(TrainingDivergedError):
        trainer.step()
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, flow.parameters(), strict=True))


@on_gpu
def test_weights_that_follow_the_gradients_are_refused():
    flow, settings, draws = _case("multiscale", "log_variance", width=16)
    with pytest.raises(InputError, match="captured steps need"):
        CapturedTrainer(flow, replace(settings, schedules={"model": WeightSchedule("adaptive")}), draws)


@on_gpu
def test_training_on_a_gpu_is_captured_and_goes_on_from_its_file(tmp_path):
    reference = generate(XY(), size=4, temperatures=T, draws=50, chains=2, seed=1)
    choices = {
        "flow": "multiscale",
        "sizes": {"width": 16},
        "device": "cuda",
        "batch_draws": 4,
        "objective": "jeffreys",
    }
    whole = train(reference, steps=8, **choices)
    stop = Stop()
    asked = iter(range(9))
    stop.asked = lambda seconds=0.0: next(asked) >= 4
    path = tmp_path / "flow.pt"
    train(reference, steps=8, out=path, stop=stop, **choices)
    state = checkpoint.load(path).training
    assert state is not None
    assert state["step"] == 4
    again = train(reference, steps=8, out=path, resume=True, **choices)
    assert again.history["steps"] == 8
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@on_gpu
@pytest.mark.parametrize(
    ("name", "sizes"), [("multiscale", {"width": 16}), ("spline", {"couplings": 6}), ("realnvp", {"filters": 8})]
)
def test_captured_draws_are_those_of_sample(name, sizes):
    torch.manual_seed(1)
    flow = build_flow(name, XY(), Lattice(4, 4), (0.5, 2.0), **sizes).to("cuda")
    generator = torch.Generator("cuda")

    def drawn(call, T):
        generator.manual_seed(5)
        with torch.no_grad():
            return [*call(T), *call(T)]  # the generator goes on

    plain = {T: drawn(lambda T: flow.sample(64, torch.tensor(T), generator=generator), T) for T in (0.6, 1.5)}
    for _ in range(3):
        for T in (0.6, 1.5):
            found = drawn(lambda T: captured_draws.sample(flow, 64, T, generator), T)
            assert all(torch.equal(a, b) for a, b in zip(found, plain[T], strict=True))
    known = captured_draws._KNOWN[flow]
    assert known.draws is not None
    # Parameters that moved elsewhere are seen.
    with torch.no_grad():
        flow.cpu()
        for parameter in flow.parameters():
            parameter.mul_(1.5)
        flow.cuda()
    moved = drawn(lambda T: flow.sample(64, torch.tensor(T), generator=generator), 0.6)
    for _ in range(3):
        found = drawn(lambda T: captured_draws.sample(flow, 64, T, generator), 0.6)
        assert all(torch.equal(a, b) for a, b in zip(found, moved, strict=True))
    assert not torch.equal(moved[1], plain[0.6][1])
