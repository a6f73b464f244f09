"""The table of the laboratory: measures that tell good from bad, cells that resume, and what is written of them."""

import json
import math
import signal
import subprocess
import time
from dataclasses import asdict, replace

import pytest
import torch

from latticeflow.cli import main
from latticeflow.laboratory import METHODS, Effort
from latticeflow.laboratory.measures.mode_measures import emd, measure, sliced_emd
from latticeflow.laboratory.methods.controls import ExactSampler
from latticeflow.laboratory.report import cells as table
from latticeflow.laboratory.report.cells import Rows, Trial, cells, run_trial, run_trials
from latticeflow.laboratory.report.summary import (
    PUBLISHED,
    QUICK_METHODS,
    QUICK_TARGETS,
    Spread,
    answers,
    completed,
    read,
    spread,
    summarise,
    write,
)
from latticeflow.laboratory.targets import TARGETS, GaussianMixture, build_target
from latticeflow.plots import figures as plots
from latticeflow.plots import mode_figures as mode_plots
from mcmc import InputError
from mcmc.runtime.stop import Stop
from tests.processes import LATTICEFLOW, ROOT, STARTED, wait_until

EFFORT = Effort(steps=4, batch=16, width=8)


class Collapsed(ExactSampler):
    """Exact draws, but for those of the first mode that all go to the second."""

    def __init__(self, target, kept):
        super().__init__(GaussianMixture("kept", target.means[kept], target.sigma))


def test_measures_see_a_lost_mode():
    target = build_target("mog8")
    good, bad = measure(ExactSampler(target), target), measure(Collapsed(target, [0, 1, 2, 3, 4]), target)
    assert (good.modes, bad.modes) == (good.kept, bad.kept) == (8, 5)
    assert good.fidelity > 96
    assert bad.fidelity == pytest.approx(100 * 5 / 8, abs=2)
    assert min(good.high_quality, bad.high_quality) > 97  # quality is blind to what is missing
    assert good.weight_kl < 0.01
    assert bad.weight_kl == pytest.approx(math.log(8 / 5), abs=0.01)
    assert bad.acceptance > 0.99  # and so is the acceptance, and the effective size of the sampler's own draws
    assert bad.ess_reverse > 0.99
    assert bad.ess_forward < 1e-3
    assert good.ess_forward > 0.99
    assert bad.emd > 4 * good.emd
    assert bad.sliced_emd > 4 * good.sliced_emd
    assert good.nll == pytest.approx(math.log(8) + math.log(2 * math.pi * 0.09) + 1, abs=0.1)


def test_one_gaussian_reaches_all_modes_and_keeps_none():
    """The published count is blind to it; so would be a figure of that count."""
    target = build_target("mog8")
    found = measure(METHODS["gaussian"].fit(target, EFFORT), target)
    assert found.modes == 8
    assert found.kept == 0
    assert found.fidelity < 20


def test_a_budget_is_doubled_until_that_gains_nothing(monkeypatch):
    fidelities = iter([10.0, 50.0, 51.0, 99.0])
    monkeypatch.setattr(
        table,
        "_train_once",
        lambda cell, effort: {"diverged": None, "nll": None, "fidelity": next(fidelities), "seconds": effort.steps},
    )
    row = run_trial(Trial("ring8", "gan", 0), EFFORT, 4)
    assert (row["steps"], row["converged"], row["fidelity"]) == (16, True, 51.0)
    assert [point["steps"] for point in row["curve"]] == [4, 8, 16]
    fidelities = iter([10.0, 20.0, 30.0])
    row = run_trial(Trial("ring8", "gan", 0), EFFORT, 2)
    assert (row["steps"], row["converged"]) == (16, False)
    fidelities = iter([10.0])
    assert "curve" not in run_trial(Trial("ring8", "gan", 0), EFFORT)


def test_doubling_is_a_training_of_its_own_and_may_diverge():
    row = run_trial(Trial("ring8", "realnvp", 0), EFFORT, 1)
    assert row["effort"] == asdict(EFFORT)
    again = run_trial(Trial("ring8", "realnvp", 0), replace(EFFORT, steps=8))
    assert row["nll"] == again["nll"]
    assert row["curve"][0]["nll"] == run_trial(Trial("ring8", "realnvp", 0), EFFORT)["nll"] != row["nll"]


def test_measures_of_a_conditional_target_are_taken_at_each_condition():
    target = build_target("mog4_weights")
    blind = ExactSampler(GaussianMixture("blind", target.means, target.sigma))
    blind.sample = lambda n, condition=None, generator=None: blind.target.sample(n, generator=generator)
    blind.has_density = False
    assert measure(ExactSampler(target), target).weight_kl < 0.01
    assert measure(blind, target).weight_kl > 0.1  # right on average, wrong at each condition
    assert math.isnan(measure(blind, target).nll)


def test_earth_movers_distances():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    assert emd(x, x.flip(0)) == pytest.approx(0, abs=1e-6)
    shift = torch.tensor([3.0, 0.0, 0.0])
    assert emd(x, x + shift) == pytest.approx(3, abs=1e-4)  # no assignment is shorter than the shift
    # The mean of |cos| of a random direction in three dimensions is a half.
    assert sliced_emd(x, x + shift, torch.Generator().manual_seed(1)) == pytest.approx(1.5, abs=0.3)


def test_cells_come_seed_by_seed_and_only_where_supported():
    found = cells(["ring8", "digits"], ["exact", "realnvp", "realnvp_reverse_kl"], 2)
    assert found[0] == Trial("ring8", "exact", 0)
    assert Trial("digits", "realnvp_reverse_kl", 0) not in found
    assert [cell.seed for cell in found] == sorted(cell.seed for cell in found)
    assert sum(cell.method == "exact" for cell in found) == 2  # it does not depend on the seed


def test_run_resumes_where_the_file_ends(tmp_path):
    path = tmp_path / "rows.jsonl"
    todo = cells(["ring8"], ["exact", "gaussian", "realnvp"], 1)
    assert run_trials(todo[:2], Rows(path, EFFORT), EFFORT)
    path.write_text(path.read_text() + '{"target": "ring8", "met')  # killed in the middle of a line
    seen = []
    rows = Rows(path, EFFORT)
    assert run_trials(todo, rows, EFFORT, report=seen.append)
    assert seen == [todo[2]]
    assert Rows(path, EFFORT).done == {*todo}
    again = run_trial(todo[2], EFFORT)
    stored = rows.rows[-1]
    assert {**again, "seconds": 0} == {**stored, "seconds": 0}
    with pytest.raises(InputError, match="another file"):
        Rows(path, Effort(steps=5))
    path.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1"):
        Rows(path, EFFORT)


@pytest.mark.slow
def test_workers_give_the_same_rows(tmp_path):
    todo = cells(["ring8", "mog4"], ["exact", "realnvp"], 1)
    alone, together = Rows(None, EFFORT), Rows(tmp_path / "rows.jsonl", EFFORT)
    assert run_trials(todo, alone, EFFORT)
    assert run_trials(todo, together, EFFORT, workers=2)
    key = lambda row: (row["target"], row["method"])  # noqa: E731
    for one, other in zip(sorted(alone.rows, key=key), sorted(together.rows, key=key), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_run_stops_when_asked():
    with Stop() as stop:
        stop.reason = "the test"
        rows = Rows(None, EFFORT)
        assert not run_trials(cells(["ring8"], ["exact"], 1), rows, EFFORT, stop=stop)
    assert rows.rows == []


def row(target, method, seed, modes, diverged=None):
    values = dict.fromkeys(("nll", "emd", "sliced_emd", "acceptance", "ess_reverse", "ess_forward"), None)
    found = {"kept": modes, "modes": modes, "fidelity": 40.0, "high_quality": 50.0, "weight_kl": 0.1}
    found = (found | {"steps": 8, "converged": False}) if diverged is None else {}
    return {"target": target, "method": method, "seed": seed, "diverged": diverged, "seconds": 1.0, **values, **found}


def test_summary_counts_diverged_runs_and_answers_the_question(tmp_path):
    rows = [row("ring8", "realnvp_advnf", seed, 8.0) for seed in range(3)]
    rows += [row("ring8", "realnvp_reverse_kl", seed, 2.0 + seed) for seed in range(3)]
    rows += [row("ring8", "veegan", 0, 8.0), row("ring8", "veegan", 1, None, "at step 3")]
    means = summarise(rows)
    veegan = next(each for each in means if each.method == "veegan")
    assert (veegan.runs, veegan.diverged, veegan.values["modes"]) == (2, 1, Spread(8.0, 0.0))
    (line,) = answers(means)
    assert "MORE than RKL (3.0(1.0)" in line
    assert "as many as VEEGAN" in line
    write(means, tmp_path / "table.md", effort=EFFORT)
    text = (tmp_path / "table.md").read_text()
    assert "8 (52.9)" in text or "veegan" not in METHODS
    assert "2-1" in text
    assert "| 8, cap 3 |" in text
    assert json.loads((tmp_path / "table.json").read_text())["answers"] == [line]
    assert read(tmp_path / "table.json") == means
    rows = [each.as_json() for each in means]
    (tmp_path / "fixed.json").write_text(json.dumps({"means": [{k: r[k] for k in r if k != "capped"} for r in rows]}))
    assert read(tmp_path / "fixed.json") == [each._replace(capped=0) for each in means]
    with pytest.raises(InputError, match="not a table of the laboratory"):
        read(tmp_path / "table.md")
    figure = mode_plots.heatmap(means)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["3*", "(3)", "8*", "(8)", "8*", "(8)"]
    (colours,) = (image.get_array() for image in figure.axes[0].images)
    assert colours.compressed().tolist() == [3 / 8, 1, 1]
    plots.save(figure, tmp_path / "table.png")
    more = summarise([row("ring8", "veegan", 0, 1.0), *(row("ring8", "gan", seed, 2.0) for seed in range(3))])
    assert completed(means, more, runs=2) == [*means, next(each for each in more if each.method == "gan")]
    lost = summarise([row("ring8", "veegan", 0, None, "at step 3")])
    assert [text.get_text() for text in mode_plots.heatmap(lost).axes[0].texts] == ["div"]


def test_frontier_is_drawn_for_methods_with_a_density(tmp_path):
    rows = [row("mog4", name, 0, modes) for name, modes in (("exact", 4.0), ("realnvp", 4.0), ("spline", 2.0))]
    for each, nll in zip(rows, (1.8, 2.0, 9.0), strict=True):
        each["nll"] = nll
    figure = mode_plots.frontier(summarise([*rows, row("mog4", "gan", 0, 4.0)]))
    (panel,) = figure.axes
    assert sorted(float(line.get_ydata()[0]) for line in panel.lines) == pytest.approx([0.18, 7.18], abs=0.05)
    plots.save(figure, tmp_path / "frontier.png")


def test_spread_shows_the_digits_that_mean_something():
    assert spread(None) == "-"
    assert spread(Spread(7.6, 0.52)) == "7.6(5)"
    assert spread(Spread(97.31, 12.0)) == "97(12)"
    assert spread(Spread(8.0, 0.0)) == "8.00"
    assert spread(Spread(0.01234, 0.004)) == "0.012(4)"
    assert spread(Spread(3.2e-141, 1e-141)) == "3e-141"


def test_published_figures_are_of_targets_that_we_have():
    assert {*PUBLISHED} <= {*TARGETS}


def test_pictures_of_targets(tmp_path):
    plots.save(mode_plots.targets(["mog8", "mog4_weights", "digits", "manifold1200"]), tmp_path / "targets.png")


def test_quick_table(tmp_path, capsys):
    assert {*QUICK_TARGETS} <= {*TARGETS}
    assert {*QUICK_METHODS} <= {*METHODS}
    words = ["modes", "--table", "--quick", "--steps", "2", "--rows", str(tmp_path / "rows.jsonl")]
    words += ["--method", "exact", "realnvp", "realnvp_advnf"]
    assert main([*words, "--plot", str(tmp_path / "a.png"), "--report", str(tmp_path / "a.md")]) == 0
    assert "realnvp_advnf" in capsys.readouterr().out
    text = (tmp_path / "a.md").read_text()
    assert "## ring8" in text
    assert "keeps" in text.partition("Does AdvNF lose fewer modes?")[2]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 6
    capsys.readouterr()
    assert main([*words, "--show", "--target", "ring8", "--json"]) == 0
    assert {row["target"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"ring8"}
    assert main(["modes", "--table", "--quick", "--show"]) == 2


def test_command(tmp_path, capsys):
    words = ["modes", "--target", "ring8", "--method", "exact", "gaussian", "--steps", "3"]
    plot = ["--plot", str(tmp_path / "a.png"), "--report", str(tmp_path / "a.md")]
    assert main([*words, "--json", *plot]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["method"] for each in found["means"]] == ["exact", "gaussian"]
    assert found["means"][0]["values"]["modes"]["mean"] == 8
    assert (tmp_path / "a.png").stat().st_size > 5000
    mine = [
        "modes",
        "--target",
        "latticeflow.laboratory.targets:mog4",
        "--method",
        "latticeflow.laboratory.methods.controls:MINE",
    ]
    assert main(mine) == 2
    assert "has no 'MINE'" in capsys.readouterr().err
    assert main(["modes"]) == 2
    assert "--list" in capsys.readouterr().err
    assert main(["modes", "--list"]) == 0
    assert "manifold1200" in capsys.readouterr().out


def test_a_budget_of_processor_time_ends_a_table_between_cells(tmp_path, capsys):
    rows = Rows(None, EFFORT)
    todo = cells(["ring8"], ["realnvp", "planar", "nice"], 1)
    with Stop() as stop:
        assert not run_trials(todo, rows, EFFORT, minutes=1e-9, stop=stop)
    assert len(rows.rows) == 1
    words = ["modes", "--table", "--quick", "--steps", "2", "--method", "realnvp", "nice"]
    words += ["--rows", str(tmp_path / "rows.jsonl")]
    assert main([*words, "--minutes", "1e-9"]) == 75
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "latticeflow: stopped by the limit of 1e-09 processor minutes: go on with the same command"
    assert main([*words, "--minutes", "10"]) == 0
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 4
    assert main([*words, "--minutes", "0"]) == 2


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_a_long_cell_and_keeps_those_that_are_finished(tmp_path, number, workers):
    path = tmp_path / "rows.jsonl"
    words = ["modes", "--table", "--target", "ring8", "--method", "exact", "realnvp", "--rows", str(path)]
    words += ["--steps", "1000000", "--doublings", "0", "--seeds", "1", "--workers", str(workers)]
    process = subprocess.Popen([*LATTICEFLOW, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    STARTED.append(process)
    wait_until(lambda: path.exists() and path.read_bytes().endswith(b"\n"), process)
    time.sleep(0.5)  # in the middle of the training that would take an hour
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < 20  # a second or two on an idle machine
    assert process.returncode == 128 + number
    assert errors.decode().splitlines()[-1] == f"latticeflow: stopped by {number.name}: go on with the same command"
    assert [json.loads(line)["method"] for line in path.read_text().splitlines()] == ["exact"]
