"""The paper's experiment goes on where it was stopped, and says which of its curves are flat."""

import copy
from dataclasses import replace

import pytest
import torch

from latticeflow.cli import main
from latticeflow.experiments import published_experiment as experiment
from latticeflow.experiments.grid import Record
from latticeflow.experiments.objectives_study import Plan
from latticeflow.experiments.published_experiment import FULL, REDUCED, is_flat, published_cases, run_published
from latticeflow.plots import figures as plots
from latticeflow.plots import flow_figures
from latticeflow.training.trainer import Trainer, TrainingDivergedError
from latticeflow.training.training_settings import PUBLISHED_CRITIC, TrainingSettings
from mcmc import InputError
from mcmc.runtime.stop import Stop

PLAN = replace(
    REDUCED,
    training=TrainingSettings(steps=4, batch_temperatures=2, batch_draws=4, learning_rate=0.05, warmup=0),
    size=4,
    temperatures=(0.8, 1.6),
    test_draws=40,
)
CASES = published_cases([20], {"couplings": 2, "filters": 2}, ("reverse_kl", "advnf_reverse"))


class During(Stop):
    """Asks to stop once a file has some lines."""

    def __init__(self, record, lines):
        super().__init__()
        self.record, self.lines = record, lines

    def asked(self, seconds=0.0):
        return self.record.exists() and len(self.record.read_text().splitlines()) >= self.lines


def strip(rows):
    return [{name: x for name, x in row.items() if name != "seconds"} for row in rows]


def test_trainings_take_turns_and_go_on_bit_for_bit(tmp_path):
    whole = run_published(PLAN, CASES, tmp_path / "whole", tmp_path / "whole.jsonl", block=2)
    assert [(row["objective"], row["steps"]) for row in whole] == [
        ("reverse_kl", 2), ("advnf_reverse", 2), ("reverse_kl", 4), ("advnf_reverse", 4)
    ]  # fmt: skip
    record = tmp_path / "part.jsonl"
    assert len(run_published(PLAN, CASES, tmp_path / "part", record, block=2, stop=During(record, 1))) == 1
    record.write_text(record.read_text() + '{"objective": "adv')  # killed in the middle of a line
    assert strip(run_published(PLAN, CASES, tmp_path / "part", record, block=2)) == strip(whole)
    assert len({row["nll"] for row in whole}) == 4
    text = experiment.published_text(whole, PLAN)
    assert "| advnf_reverse | 20 | 1 | 4 | 0 of 1 |" in text
    assert "0.3187" in text
    record.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1 is not a row"):
        run_published(PLAN, CASES, tmp_path / "part", record, block=2)


def test_full_size_is_that_of_the_notebook():
    training = FULL.training
    assert training.batch_temperatures * training.batch_draws == 512
    assert (training.steps, training.decay, experiment.FULL_DRAWS) == (500 * 5120 * 32 // 512, "published", 5120)
    assert training.rate(1250 * 30, 0.5) == pytest.approx(0.95**10)
    assert experiment.FULL_SIZES == {"couplings": 24, "filters": 64}


def test_a_curve_is_flat_when_its_last_quarters_agree():
    def curve(nll, acceptance=lambda k: 0.3):
        return [{"nll": nll(k), "acceptance": acceptance(k)} for k in range(20)]

    assert is_flat(curve(lambda k: 50.0))
    assert is_flat(curve(lambda k: 50.0 + 100 * (k < 10)))
    assert not is_flat(curve(lambda k: 50.0 - k))
    assert not is_flat(curve(lambda k: 50.0, lambda k: 0.01 * k))
    assert is_flat(curve(lambda k: 50.0 * 2.0 ** (k * k % 7)))  # as much as it scatters
    assert not is_flat(curve(lambda k: 50.0 * 2.0 ** (k * k % 7 - k)))
    assert not is_flat(curve(lambda k: None))
    assert not is_flat(curve(lambda k: 50.0)[:6])


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "REDUCED", PLAN)
    monkeypatch.setattr(experiment, "REDUCED_SIZES", {"couplings": 2, "filters": 2})
    monkeypatch.setattr(experiment, "REDUCED_DRAWS", 20)
    words = ["bench", "published", "--out", str(tmp_path), "--objectives", "forward_kl", "--block", "4"]
    assert main([*words, "--device", "cpu"]) == 0
    assert "| forward_kl | 20 | 1 | 4 |" in capsys.readouterr().out
    assert "| forward_kl | 20 | 1 | 4 |" in (tmp_path / "published.md").read_text()
    assert main([*words, "--device", "cpu", "--draws", "10"]) == 0  # shown beside what is there
    out = capsys.readouterr().out
    assert "| forward_kl | 10 | 1 | 4 |" in out
    assert "| forward_kl | 20 | 1 | 4 |" in out


def test_what_the_critic_changes_is_counted_seed_by_seed_at_equal_steps(tmp_path):
    def row(objective, seed, steps, acceptance, nll=50.0, draws=1000):
        values = dict.fromkeys(experiment.MEASURES, 0.0) | {"acceptance": acceptance, "nll": nll}
        return {
            "objective": objective,
            "seed": seed,
            "steps": steps,
            "sizes": {"couplings": 24, "filters": 8},
            "draws": draws,
            **values,
        }

    rows = [row("reverse_kl", seed, 10, 0.2 + 0.1 * seed) for seed in range(3)]
    rows += [row("advnf_reverse", seed, 10, 0.3 + 0.1 * seed + 0.01 * (seed - 1), 25.0) for seed in range(3)]
    rows += [row("advnf_reverse", 0, 20, 0.9), row("forward_kl", 0, 10, 0.5)]
    (gain,) = experiment.critic_gains(rows)
    assert (gain["objective"], gain["partner"], gain["steps"], gain["seeds"]) == ("advnf_reverse", "reverse_kl", 10, 3)
    assert gain["acceptance"] == pytest.approx((0.1, 0.01 / 3**0.5))  # not the scatter between seeds, 0.1
    assert gain["nll"] == pytest.approx((-0.6931, 0.0), abs=1e-4)
    text = experiment.published_text(rows, PLAN)
    assert "| advnf_reverse | reverse_kl | 1000 | 10 | 3 | -0.693 ± 0 | +0.1 ± 0.006 |" in text
    (gain,) = experiment.critic_gains([rows[0], rows[3]])
    assert gain["acceptance"] == (pytest.approx(0.09), None)
    assert experiment.critic_gains(rows[:3]) == []
    other = row("advnf_reverse", 1, 10, 0.9, draws=50)
    assert experiment.critic_gains([*rows[:3], other]) == []  # without an objective's partner on the same ensemble
    figure = flow_figures.published_curves(rows, [("reverse_kl", "advnf_reverse")])
    thick = [line for line in figure.axes[0].lines if line.get_label() in ("reverse_kl", "advnf_reverse")]
    assert [line.get_ydata()[0] for line in thick] == pytest.approx([0.3, 0.4])
    assert list(thick[1].get_xdata()) == [10]  # where all seeds are
    assert figure.axes[2].get_yscale() == "log"
    plots.save(figure, tmp_path / "curves.png")


class _StandIn(Trainer):
    """Stands in for a captured trainer, by plain steps."""

    ready, captured = True, False

    def __init__(self, flow, settings, reference):
        super().__init__(flow, settings, reference)
        self.picker = self.generator

    def launch(self):
        self.last, self.captured = self.step(), True
        if self.settings.objective == "advnf" and self.step_number == 3:
            self.broken = True

    def check(self):
        pass

    def metrics(self):
        if getattr(self, "broken", False):
            raise TrainingDivergedError("training diverged at step 3; start again")
        return self.last

    def snapshot(self):
        return copy.deepcopy(self.served)

    def _skip_draws(self, draws):
        pass


def test_side_by_side_every_training_comes_to_every_point_and_one_that_diverges_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "CapturedTrainer", _StandIn)
    settings = TrainingSettings(steps=4, batch_temperatures=2, batch_draws=4, critic=PUBLISHED_CRITIC)
    plan = Plan(settings, temperatures=(0.5, 1.0), test_draws=10)
    cases = experiment.published_cases([20], {"couplings": 2, "filters": 2}, ["advnf", "reverse_kl"])
    experiment.make_ensembles(plan, tmp_path, [20], Stop())
    record = Record(tmp_path / "rows.jsonl", experiment.key_of_row)

    def go_on(plan):
        with record.writing():
            for _ in experiment.train_together(
                plan, cases, tmp_path, record, 2, 2, torch.device("cpu"), Stop(), lambda _: None
            ):
                pass

    go_on(plan)
    found = [(row["objective"], row["seed"], row["steps"], bool(row["note"])) for row in record.rows]
    expected = [(name, seed, 2, False) for seed in (0, 1) for name in ("advnf", "reverse_kl")]
    assert found[:4] == expected
    assert found[4:] == [(name, seed, 4, name == "advnf") for seed in (0, 1) for name in ("advnf", "reverse_kl")]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[:-1]) + "\n")  # ended before the last evaluation did
    go_on(plan)
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == lines
    go_on(replace(plan, training=replace(settings, steps=6)))  # goes on from the checkpoints
    assert [(row["objective"], row["steps"]) for row in record.rows[8:]] == [("advnf", 6), ("reverse_kl", 6)] * 2
    assert record.rows[-1]["nll"] != record.rows[-5]["nll"]
