"""Training lowers what it should, resumes bit for bit, stops on NaN; checkpoints are safe to read."""

import pickle

import numpy as np
import pytest
import torch

from latticeflow.chains.neural_mcmc import log_weights, propose
from latticeflow.flows import Multiscale, build_flow, checkpoint, flow_file
from latticeflow.flows.transfer import enlarge
from latticeflow.training.critic import Critic, critic_loss
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.objectives import OBJECTIVES, score_function
from latticeflow.training.trainer import Trainer, TrainingDivergedError, TrainingSettings
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.models.presets import field, fully_frustrated, random_field, triangular
from mcmc.sampling.generate import generate_file
from mcmc.sampling.settings import Settings
from tests.helpers import SMALL, TEMPERATURES, After, make, train_file


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    path = tmp_path_factory.mktemp("ensemble") / "xy4.h5"
    settings = Settings(XY(), Lattice(4, 4), TEMPERATURES, chains=4, thermalise=200, thin=10, seed=1)
    generate_file(settings, path, draws=100)
    return path


@pytest.fixture
def reference():
    from mcmc.sampling.simulation import Simulation

    settings = Settings(XY(), Lattice(4, 4), TEMPERATURES, chains=4, thermalise=200, thin=10, seed=1)
    theta = Simulation(settings).block(100).theta.reshape(4, -1, 4, 4)
    rng = np.random.default_rng(0)
    return ReferenceDraws(lambda n: theta[:, rng.integers(theta.shape[1], size=n)], np.array(TEMPERATURES), model=XY())


def variance(flow):
    return np.mean([propose(flow, T, 500, generator=torch.Generator().manual_seed(0))[1].var() for T in TEMPERATURES])


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_improves_the_flow(objective, reference):
    flow = make("multiscale", XY(), 4, 4)
    before = variance(flow)
    settings = TrainingSettings(objective=objective, steps=60, batch_temperatures=8, batch_draws=16, warmup=5)
    Trainer(flow, settings, reference).run()
    assert variance(flow) < 0.5 * before


@pytest.mark.parametrize("name", ["realnvp", "spline"])
@pytest.mark.parametrize("gradient", ["reparameterised", "score_function"])
def test_both_gradients_train(name, gradient, reference):
    flow = make(name, XY(), 4, 4)
    weights = {"model": 1.0, "adversarial": 0.1}
    settings = TrainingSettings(
        "advnf_reverse", steps=80, batch_temperatures=8, batch_draws=16, warmup=5, weights=weights, gradient=gradient
    )
    trainer = Trainer(flow, settings, reference)
    assert trainer.reparameterised == (gradient == "reparameterised")
    losses = []
    trainer.run(lambda metrics: losses.append(metrics.log_weight_variance))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_score_function_gradient_is_that_of_the_reverse_kl():
    """On a density known in closed form: q = N(mu, 1), p = N(0, 1), d KL / d mu = mu."""
    mu = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x = 0.5 + torch.randn(400, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_q = -((x - mu) ** 2) / 2
    loss = score_function(log_q, -(x**2) / 2 - log_q, clip=50.0)
    loss.backward()
    assert float(mu.grad) == pytest.approx(0.5, abs=0.01)


def test_score_function_refuses_a_batch_without_baseline():
    with pytest.raises(InputError, match="at least 2 draws"):
        score_function(torch.zeros(3, 1), torch.zeros(3, 1))


def test_critic_learns_what_distinguishes_draws(reference):
    torch.manual_seed(0)
    critic, generator = Critic(16), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(critic.parameters(), 5e-3)
    for _ in range(60):
        real, T = reference.batch(16, generator)
        fake = torch.rand(real.shape, generator=generator) * 2 * np.pi - np.pi
        loss = critic_loss(critic(real, T, generator), critic(fake, T, generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1.2  # 2 ln 2 = 1.386 knows nothing


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (XY(), (4, 4)),
        (XY() + field(0.5), (4, 6)),
        (triangular(), (6, 6)),
        (fully_frustrated(4), (4, 4)),
        (XY() + random_field((4, 4), seed=1), (4, 4)),
        (XY(dimensions=3), (4, 4, 6)),
    ],
    ids=str,
)
def test_augmentation_keeps_the_energy(model, shape):
    rng, drawn = np.random.default_rng(0), []
    T = np.array([0.5, 1.0])

    def sample(n):
        drawn.append(rng.uniform(-np.pi, np.pi, (2, n, *shape)).astype(np.float32))
        return drawn[-1]

    reference, generator = ReferenceDraws(sample, T, model=model), torch.Generator().manual_seed(3)
    for _ in range(20):
        batch, temperatures = reference.batch(8, generator)
        assert batch.shape == (2, 8, *shape)
        assert temperatures.shape == (2, 8)
        np.testing.assert_allclose(model.energy(batch.numpy()), model.energy(drawn[-1]), atol=1e-3)
    assert np.allclose(batch.numpy(), drawn[-1], atol=1e-5) == ("random" in model.name)
    if model != XY():  # what XY allows changes the energies of others
        other = ReferenceDraws(sample, T, model=XY(dimensions=len(shape)))
        moved = [np.abs(model.energy(other.batch(8, generator)[0].numpy()) - model.energy(drawn[-1])) for _ in range(9)]
        assert (np.max(moved) > 0.1) == (model.dimensions == 2)


def test_training_resumes_bit_for_bit(ensemble, tmp_path):
    settings = TrainingSettings(steps=12, batch_temperatures=4, batch_draws=4, warmup=2)
    sizes = {"width": 16, "invariants": 8}
    assert train_file(ensemble, tmp_path / "whole.pt", settings, sizes=sizes)
    assert not train_file(ensemble, tmp_path / "part.pt", settings, sizes=sizes, stop=After(5))
    assert train_file(ensemble, tmp_path / "part.pt", settings, resume=True)
    whole, part = (checkpoint.load(tmp_path / name).flow for name in ("whole.pt", "part.pt"))
    assert checkpoint.fingerprint(whole) == checkpoint.fingerprint(part)
    with pytest.raises(InputError, match="holds a finished training"):
        train_file(ensemble, tmp_path / "part.pt", settings, resume=True)
    with pytest.raises(InputError, match="exists: resume the training that it holds"):
        train_file(ensemble, tmp_path / "part.pt", settings)


def test_doubling_keeps_what_was_learnt(reference, tmp_path):
    small = build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), **SMALL["multiscale"])
    Trainer(small, TrainingSettings(objective="reverse_kl", steps=60, batch_temperatures=8, warmup=5)).run()
    checkpoint.save(tmp_path / "small.pt", small, {})
    large = Lattice(8, 8)
    assert variance(enlarge(small, large)) < 0.7 * variance(build_flow("multiscale", XY(), large, (0.5, 2.0)))
    settings = Settings(XY(), large, TEMPERATURES, thermalise=20, thin=1)
    generate_file(settings, tmp_path / "xy8.h5", draws=8)
    assert train_file(
        tmp_path / "xy8.h5", tmp_path / "large.pt", TrainingSettings(steps=1), start=tmp_path / "small.pt"
    )
    assert checkpoint.load(tmp_path / "large.pt").flow.lattice == large
    with pytest.raises(InputError, match="4x4 cannot become one for 6x6"):
        enlarge(small, Lattice(6, 6))
    generate_file(Settings(ExtendedXY(), large, TEMPERATURES, thermalise=20, thin=1), tmp_path / "exy8.h5", draws=8)
    with pytest.raises(InputError, match="start from is for XY"):
        train_file(tmp_path / "exy8.h5", tmp_path / "exy.pt", TrainingSettings(steps=1), start=tmp_path / "small.pt")


def test_training_stops_at_nan_and_keeps_the_last_good_flow(ensemble, tmp_path, monkeypatch):
    broken, inner = 0, Multiscale._sample

    def sample(self, temperature, generator):
        nonlocal broken
        theta, log_q = inner(self, temperature, generator)
        broken += 1
        return (theta * float("nan") if broken > 3 else theta), log_q

    monkeypatch.setattr(Multiscale, "_sample", sample)
    settings = TrainingSettings(objective="reverse_kl", steps=10, batch_temperatures=4, batch_draws=4)
    with pytest.raises(TrainingDivergedError, match="diverged at step 3"):
        train_file(ensemble, tmp_path / "flow.pt", settings)
    kept = checkpoint.load(tmp_path / "flow.pt")
    assert kept.metadata["steps"] == 3
    assert all(bool(value.isfinite().all()) for value in kept.flow.state_dict().values())


def test_checkpoint_brings_back_the_same_flow(tmp_path):
    flow = make("multiscale", XY(), 4, 4)
    checkpoint.save(tmp_path / "flow.pt", flow, {"note": "x"})
    loaded = checkpoint.load(tmp_path / "flow.pt")
    assert loaded.metadata == {"note": "x"}
    assert (loaded.flow.model, loaded.flow.lattice, loaded.flow.temperatures) == (XY(), Lattice(4, 4), (0.5, 2.0))
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (5, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(log_weights(flow, theta, 1.0), log_weights(loaded.flow, theta, 1.0))
    assert checkpoint.fingerprint(flow) == checkpoint.fingerprint(loaded.flow)


class Evil:
    """What a pickle would run."""

    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was executed",))


def test_unusable_checkpoints_are_refused_in_one_line(tmp_path):
    path = tmp_path / "flow.pt"
    with pytest.raises(InputError, match="no flow at"):
        checkpoint.load(path)
    checkpoint.save(path, make("multiscale", XY(), 4, 4), {})
    whole = path.read_bytes()
    newer = torch.load(path, weights_only=True) | {"version": flow_file.VERSION + 1}
    contents = [whole[: len(whole) // 2], b"", b"not a checkpoint", pickle.dumps(Evil()), pickle.dumps({"a": 1})]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a latticeflow checkpoint") as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value)
    torch.save(Evil(), path)
    with pytest.raises(InputError, match="not a latticeflow checkpoint"):
        checkpoint.load(path)
    torch.save(newer, path)
    with pytest.raises(InputError, match="newer than"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": None}, "either a number of steps or a number of minutes"),
        ({"minutes": 1.0}, "either a number of steps or a number of minutes"),
        ({"steps": 0}, "steps = 0 must be a positive number"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0 must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate = nan must be a positive number"),
        ({"batch_draws": 3}, "batch_draws = 3 per temperature must be an even number"),
        ({"objective": "kl"}, "unknown objective 'kl'"),
    ],
)
def test_settings_that_cannot_train_are_named(changed, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(**({"steps": 5} | changed))


def test_adversarial_training_needs_an_ensemble():
    with pytest.raises(InputError, match="needs an ensemble"):
        Trainer(make("multiscale", XY(), 4, 4), TrainingSettings(steps=1))
