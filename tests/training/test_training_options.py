"""Options of a training do what they say; what cannot be trained on is refused in one line."""

import csv
import json
import logging
import math
import sys
import types
from dataclasses import asdict

import numpy as np
import pytest
import torch

from latticeflow.cli import main
from latticeflow.flows import FLOWS, build_flow, checkpoint
from latticeflow.training import critic
from latticeflow.training.critic import Critic, PublishedCritic
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.distributed import Group
from latticeflow.training.metrics_log import MetricsLog
from latticeflow.training.objectives import OBJECTIVES, Objective
from latticeflow.training.trainer import Metrics, Trainer
from latticeflow.training.training_settings import PUBLISHED_CRITIC, CriticSettings, TrainingSettings
from latticeflow.training.weight_schedule import WeightSchedule, schedule_from_text, weighted_sum
from mcmc import XY, InputError, Lattice
from tests.helpers import QUICK, SIZES, After, make, train_file


def anything(temperatures=4):
    rng = np.random.default_rng(0)
    return ReferenceDraws(
        lambda n: rng.uniform(-np.pi, np.pi, (temperatures, n, 4, 4)).astype(np.float32),
        np.linspace(0.5, 2.0, temperatures),
        model=XY(),
    )


def test_average_is_served_and_resumes_bit_for_bit(few_draws, tmp_path):
    settings = TrainingSettings("advnf", steps=8, ema=0.9, **QUICK)
    plain = TrainingSettings("advnf", steps=8, **QUICK)
    assert train_file(few_draws, tmp_path / "whole.pt", settings, sizes=SIZES)
    assert train_file(few_draws, tmp_path / "plain.pt", plain, sizes=SIZES)
    assert not train_file(few_draws, tmp_path / "part.pt", settings, sizes=SIZES, stop=After(3))
    kept = checkpoint.load(tmp_path / "part.pt")
    raw = kept.training["flow"]
    served = dict(kept.flow.state_dict())
    assert any(not torch.equal(raw[name], served[name]) for name in raw)
    assert train_file(few_draws, tmp_path / "part.pt", settings, resume=True)
    whole, part, plain = (checkpoint.load(tmp_path / f"{name}.pt").flow for name in ("whole", "part", "plain"))
    assert checkpoint.fingerprint(whole) == checkpoint.fingerprint(part)
    assert checkpoint.fingerprint(whole) != checkpoint.fingerprint(plain)


def test_average_is_the_recursion_it_claims():
    flow = make("multiscale", XY(), 4, 4)
    trainer = Trainer(flow, TrainingSettings("reverse_kl", steps=3, ema=0.5, **QUICK))
    expected = next(iter(flow.parameters())).detach().clone()
    for step in (1, 2, 3):
        trainer.step()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * next(iter(flow.parameters())).detach()
    torch.testing.assert_close(next(iter(trainer.served.parameters())), expected)
    assert trainer.served is not flow


def test_every_flow_has_its_own_defaults():
    settings = TrainingSettings(steps=1)
    assert settings.resolved(FLOWS["multiscale"]).objective == "log_variance"
    assert settings.terms(FLOWS["multiscale"]) == OBJECTIVES["log_variance"]
    published = Objective(nll=1.0, model=0.5, adversarial=1.0)
    assert {TrainingSettings("advnf", steps=1).terms(flow) for flow in FLOWS.values()} == {published}
    assert settings.resolved(FLOWS["realnvp"]).learning_rate == FLOWS["realnvp"].learning_rate
    overridden = TrainingSettings("advnf", steps=1, weights={"adversarial": 0.25, "nll": 2.0})
    assert overridden.terms(FLOWS["multiscale"]) == Objective(nll=2.0, model=0.5, adversarial=0.25)


def test_weights_scale_the_gradient():
    """Twice the weight, twice the loss: the batch is the same, as the seed is."""
    losses = []
    for weight in (1.0, 2.0):
        flow = make("multiscale", XY(), 4, 4)
        settings = TrainingSettings("forward_kl", steps=1, weights={"nll": weight}, **QUICK)
        losses.append(Trainer(flow, settings, anything()).step().loss)
    assert losses[1] == pytest.approx(2 * losses[0])


def test_batches_take_as_many_temperatures_as_asked():
    reference = anything(8)
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(40):
        theta, T = reference.batch(2, generator, temperatures=3)
        assert theta.shape == (3, 2, 4, 4)
        assert len(set(T[:, 0].tolist())) == 3
        seen |= set(T[:, 0].tolist())
    assert len(seen) == 8  # one of eight stays unseen with a chance of 8 (5/8)^40 < 1e-7


def test_critic_without_augmentation_sees_the_direction_and_with_it_does_not():
    theta = torch.linspace(-1, 1, 64).view(2, 2, 4, 4)
    T = torch.ones(2, 2)
    for augment in (True, False):
        torch.manual_seed(0)
        critic = Critic(8, augment=augment).eval()
        logits = [critic(x, T, torch.Generator().manual_seed(1)) for x in (theta, theta)]
        assert torch.equal(*logits)
        other = critic(theta, T, torch.Generator().manual_seed(2))
        assert torch.equal(logits[0], other) != augment


def test_gradient_penalty_flattens_the_critic():
    slopes = []
    for penalty in (0.0, 100.0):
        how = CriticSettings(channels=8, spectral_norm=False, gradient_penalty=penalty, learning_rate=1e-2)
        settings = TrainingSettings("advnf", steps=40, critic=how, **QUICK)
        torch.manual_seed(0)
        trainer = Trainer(make("multiscale", XY(), 4, 4), settings, anything())
        trainer.run()
        theta, T = anything().batch(64, torch.Generator().manual_seed(0))
        theta.requires_grad_()
        logit = trainer.critic(theta, T, torch.Generator().manual_seed(0))
        slopes.append(float(critic.slope(logit, theta).detach()))
    assert slopes[1] < 0.1 * slopes[0]


def test_published_critic_has_the_notebooks_layers_and_sees_the_order_of_a_pack():
    torch.manual_seed(0)
    critic = PublishedCritic((8, 8))
    assert sum(p.numel() for p in critic.parameters()) == 92_577  # the summary of the authors' notebook
    theta, T = torch.rand(3, 4, 8, 8), torch.linspace(0.5, 1.0, 3)[:, None].expand(3, 4)
    assert critic(theta, T).shape == (3, 4)
    assert not torch.allclose(critic(theta + 1, T), critic(theta, T))  # no symmetry is built in
    packed = PublishedCritic((8, 8), packing=2)
    logit = packed(theta, T)
    assert torch.equal(logit[:, 0], logit[:, 1])
    assert not torch.allclose(logit[:, 0], logit[:, 2])


def test_a_critic_of_a_flow_without_the_symmetries_sees_the_direction():
    for name, blind in (("multiscale", True), ("realnvp", False)):
        trainer = Trainer(make(name, XY(), 4, 4), TrainingSettings("advnf", steps=1, **QUICK), anything())
        assert trainer.critic.augment is blind
        how = CriticSettings(augment=True)
        trainer = Trainer(make(name, XY(), 4, 4), TrainingSettings("advnf", steps=1, critic=how, **QUICK), anything())
        assert trainer.critic.augment


def test_weights_of_the_critic_are_clipped():
    how = CriticSettings(channels=8, spectral_norm=False, weight_clip=0.01)
    trainer = Trainer(
        make("multiscale", XY(), 4, 4), TrainingSettings("advnf", steps=2, critic=how, **QUICK), anything()
    )
    trainer.run()
    assert max(float(p.detach().abs().max()) for p in trainer.critic.parameters()) <= 0.01 + 1e-9


def test_schedules_weigh_terms_along_the_training():
    parameter = torch.tensor([1.0, 2.0], requires_grad=True)
    terms = {"nll": (3 * parameter).sum(), "model": (parameter**2).sum()}
    weights = {"nll": 2.0, "model": 0.5}

    def gradient(schedules, fraction=0.5):
        loss = weighted_sum(terms, weights, schedules, fraction=fraction, parameters=[parameter])
        return torch.autograd.grad(loss, parameter, retain_graph=True)[0].tolist()

    assert gradient({}) == [7.0, 8.0]
    rise, fall = WeightSchedule("rise", 0.2, 0.8), WeightSchedule("fall", 0.2, 0.8)
    assert gradient({"model": rise}, 0.1) == [6.0, 6.0]
    assert gradient({"model": rise}, 0.5) == [6.5, 7.0]
    assert gradient({"model": fall}, 0.9) == [6.0, 6.0]
    assert gradient({"nll": rise, "model": rise}, 0.0) == [0.0, 0.0]
    # Of norms 6 sqrt 2 of the rest and sqrt 20 of the term, and a weight of 0.5.
    share = 0.5 * 6 * math.sqrt(2) / math.sqrt(20)
    assert gradient({"model": WeightSchedule("adaptive")}) == pytest.approx([6 + share * 2, 6 + share * 4])


@pytest.mark.parametrize("text", ["raise:0.2:0.8", "rise:0.8:0.2", "rise:0.2", "rise:a:b", "fall:0:1.5"])
def test_impossible_schedules_are_named(text):
    with pytest.raises(InputError, match="schedule"):
        schedule_from_text(text)


@pytest.mark.parametrize(("loss", "word"), [(0.05, "the critic is too strong"), (1.385, "the critic is too weak")])
def test_a_critic_that_wins_or_loses_is_reported(loss, word, caplog):
    trainer = Trainer(make("multiscale", XY(), 4, 4), TrainingSettings("reverse_kl", steps=1, **QUICK))
    for value, heard in ((loss, True), (0.9, False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING), MetricsLog(trainer) as report:
            for step in range(300):
                report(Metrics(step, 0.0, 0.0, 0.0, 0.5, 1.0, value))
        assert (word in caplog.text) == heard


def test_metrics_go_to_jsonl_csv_and_tensorboard(few_draws, tmp_path, monkeypatch):
    written = []
    board = types.SimpleNamespace(add_scalar=lambda *of: written.append(of), close=lambda: written.append("closed"))
    module = types.SimpleNamespace(SummaryWriter=lambda directory: board)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    for suffix in ("jsonl", "csv"):
        out, log = tmp_path / f"{suffix}.pt", tmp_path / f"m.{suffix}"
        settings = TrainingSettings("reverse_kl", steps=3, **QUICK)
        assert not train_file(few_draws, out, settings, sizes=SIZES, log=log, stop=After(2))
        assert train_file(few_draws, out, settings, resume=True, log=log, tensorboard=tmp_path / "board")
    rows = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    with open(tmp_path / "m.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [int(row["step"]) for row in table] == [1, 2, 3]
    assert [row["loss"] for row in rows] == [float(row["loss"]) for row in table]
    assert rows[0]["critic_loss"] is None
    assert table[0]["critic_loss"] == ""
    assert ("loss", rows[2]["loss"], 3) in written
    assert written[-1] == "closed"


def test_metrics_that_cannot_go_anywhere_are_refused(few_draws, tmp_path, monkeypatch):
    settings = TrainingSettings("reverse_kl", steps=1, **QUICK)
    with pytest.raises(InputError, match=r"metrics go to .jsonl or .csv, not to .*m\.txt"):
        train_file(few_draws, tmp_path / "a.pt", settings, log=tmp_path / "m.txt")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="TensorBoard is not installed"):
        train_file(few_draws, tmp_path / "a.pt", settings, sizes=SIZES, tensorboard=tmp_path / "board")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_temperatures": 0}, "batch_temperatures = 0 must be a positive number"),
        ({"ema": 1.0}, "ema = 1.0 must be 0 for no average"),
        ({"warmup": -1}, "warmup = -1 must be at least 0"),
        ({"seed": -1}, "seed = -1 must be at least 0"),
        ({"weights": {"mll": 1.0}}, "no term 'mll'"),
        ({"weights": {"nll": -1.0}}, "weight nll = -1.0 must be finite"),
        ({"schedules": {"mll": WeightSchedule()}}, "no term 'mll'"),
        ({"gradient": "reparametrised"}, "unknown gradient 'reparametrised'"),
        ({"objective": "forward_kl", "weights": {"nll": 0.0}}, "nothing is left to train on"),
    ],
)
def test_impossible_options_are_named(changed, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(**({"steps": 5} | changed))


def test_impossible_critics_and_sizes_are_named():
    with pytest.raises(InputError, match="channels = 0 must be positive"):
        CriticSettings(channels=0)
    with pytest.raises(InputError, match="gradient_penalty = nan must not be negative"):
        CriticSettings(gradient_penalty=math.nan)
    with pytest.raises(InputError, match="unknown critic 'publshed'"):
        CriticSettings("publshed")
    with pytest.raises(InputError, match="the published critic needs even sides of at least 6; the lattice is 4x4"):
        Trainer(make("multiscale", XY(), 4, 4), TrainingSettings("advnf", steps=1, critic=PUBLISHED_CRITIC), anything())
    with pytest.raises(InputError, match="flow 'multiscale' offers no reparameterised draws"):
        Trainer(make("multiscale", XY(), 4, 4), TrainingSettings("reverse_kl", steps=1, gradient="reparameterised"))
    settings = TrainingSettings("advnf", steps=1, batch_temperatures=4, batch_draws=4, critic=CriticSettings(packing=3))
    with pytest.raises(InputError, match="packs 3 draws, which does not divide 4"):
        Trainer(make("multiscale", XY(), 4, 4), settings, anything())
    with pytest.raises(InputError, match="'multiscale' has no size 'widht': did you mean 'width'"):
        build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), widht=3)
    with pytest.raises(InputError, match="width = 'wide' of flow 'multiscale' must be int, such as"):
        build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), width="wide")
    with pytest.raises(InputError, match="do not divide into 3 equal even parts"):
        Group(count=3).share(16)


def test_settings_of_earlier_releases_are_read():
    old = {"objective": "advnf", "steps": 5, "minutes": None, "learning_rate": 4e-3, "critic_rate": 2e-3, "seed": 3}
    read = TrainingSettings.from_json(old | {"temperatures": 7, "draws": 6})
    assert (read.objective, read.critic.learning_rate, read.seed) == ("advnf", 2e-3, 3)
    assert (read.batch_temperatures, read.batch_draws) == (7, 6)
    for name, path in checkpoint.shipped().items():
        stored = checkpoint.load(path).metadata.get("training", {})
        assert stored, name
        assert TrainingSettings.from_json(stored).batch_draws == stored.get("batch_draws", stored.get("draws"))
    ramped = TrainingSettings("advnf", steps=5, schedules={"model": WeightSchedule("rise", 0.2, 0.8)})
    assert TrainingSettings.from_json(json.loads(json.dumps(asdict(ramped)))) == ramped


def test_a_training_that_an_earlier_release_began_goes_on(few_draws, tmp_path):
    out, settings = tmp_path / "old.pt", TrainingSettings("reverse_kl", steps=3, **QUICK)
    assert not train_file(few_draws, out, settings, sizes=SIZES, stop=After(2))
    content = torch.load(out, weights_only=True)
    stored = json.loads(content["json"])
    training = stored["metadata"]["training"]
    training |= {"temperatures": training.pop("batch_temperatures"), "draws": training.pop("batch_draws")}
    training["gradient"] = "auto"
    torch.save(content | {"json": json.dumps(stored)}, out)
    assert train_file(few_draws, out, settings, resume=True)
    assert train_file(few_draws, tmp_path / "new.pt", settings, sizes=SIZES)
    old, new = (checkpoint.load(path) for path in (out, tmp_path / "new.pt"))
    assert checkpoint.fingerprint(old.flow) == checkpoint.fingerprint(new.flow)
    assert old.metadata["training"] == new.metadata["training"]


def test_command_line_sets_sizes_weights_and_critic(few_draws, tmp_path, capsys):
    out = tmp_path / "flow.pt"
    words = ["train", str(few_draws), "--out", str(out), "--steps", "1", "--batch-temperatures", "2"]
    words += ["--batch-draws", "4"]
    more = ["--objective", "advnf", "--set", "width=16", "--weight", "adversarial=0.2", "--critic-channels", "4"]
    more += ["--schedule", "model=rise:0.2:0.8", "--gradient", "score_function", "--critic-clip", "0.1"]
    assert main([*words, *more, "--no-augmentation", "--ema", "0.5"]) == 0
    found = checkpoint.load(out)
    training = found.metadata["training"]
    assert found.flow.sizes["width"] == 16
    assert training["weights"] == {"adversarial": 0.2}
    assert training["critic"]["channels"] == 4
    assert training["critic"]["weight_clip"] == 0.1
    assert training["schedules"] == {"model": {"kind": "rise", "start": 0.2, "end": 0.8}}
    assert training["gradient"] == "score_function"
    assert training["critic"]["augment"] is False
    assert training["batch_temperatures"] == 2
    assert main([*words[:3], str(tmp_path / "b.pt"), "--set", "wdith=3"]) == 2
    assert main([*words[:3], str(tmp_path / "b.pt"), "--set", "width=3", "--from", str(out)]) == 2
    errors = capsys.readouterr().err
    assert "has no size 'wdith'" in errors
    assert "--from brings the sizes" in errors
