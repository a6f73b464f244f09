"""Studies train and evaluate every cell once, whatever stops them; costs are those of the flow measured."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from latticeflow.cli import main
from latticeflow.experiments import flow_costs
from latticeflow.experiments import objectives_study as study
from latticeflow.experiments import objectives_table as study_table
from latticeflow.experiments.objectives_study import Case, Plan, objective_cells, without_critic
from latticeflow.flows import FLOWS, build_flow, checkpoint
from latticeflow.flows.harmonic_ceiling import harmonic_ceiling
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, InputError, Lattice
from mcmc.runtime.stop import Stop
from tests.helpers import SMALL, After

PLAN = Plan(
    TrainingSettings(steps=2, batch_temperatures=2, batch_draws=4), size=4, temperatures=(0.8, 1.6), test_draws=40
)
CELLS = [Case("multiscale", name, 20, SMALL["multiscale"]) for name in ("forward_kl", "advnf_forward")]


def test_a_study_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    trained, train = [], study.train

    def counted(*given, **named):
        trained.append(named["out"].name)
        return train(*given, **named)

    monkeypatch.setattr(study, "train", counted)
    assert study.run_study(PLAN, CELLS, tmp_path / "whole") == (
        whole := study.run_study(PLAN, CELLS, tmp_path / "whole")
    )
    assert len(trained) == 2
    trained.clear()
    assert study.run_study(PLAN, CELLS, tmp_path / "part", stop=After(0)) == []
    stop = Stop()
    first = study.run_study(
        PLAN, CELLS, tmp_path / "part", stop=stop, report=lambda _: setattr(stop, "reason", "a test")
    )
    assert len(first) == 1
    assert len(trained) == 1
    part = study.run_study(PLAN, CELLS, tmp_path / "part")
    assert len(trained) == 2
    strip = [{name: x for name, x in row.items() if name != "seconds"} for row in part]
    assert strip == [{name: x for name, x in row.items() if name != "seconds"} for row in whole]
    # Another plan in the same directory is another study.
    trained.clear()
    study.run_study(replace(PLAN, seed=1), CELLS[:1], tmp_path / "whole")
    assert len(trained) == 1
    # A line that a kill cut off is made again, from the flow that is there.
    record = tmp_path / "whole" / "cells.jsonl"
    record.write_bytes(record.read_bytes()[:-10])
    trained.clear()
    assert study.run_study(replace(PLAN, seed=1), CELLS[:1], tmp_path / "whole")
    assert not trained


def test_rows_and_tables_say_what_was_measured(tmp_path):
    rows = study.run_study(PLAN, CELLS, tmp_path)
    assert [row["objective"] for row in rows] == ["forward_kl", "advnf_forward"]
    for row in rows:
        assert row["steps"] == 2
        assert 0 < row["acceptance_min"] <= row["acceptance"] <= 1
        assert row["nll"] == pytest.approx(15, abs=15)
    text = study_table.study_text(rows, PLAN, "A title")
    assert text.startswith("# A title\n")
    assert "| multiscale | advnf_forward | 20 |" in text
    difference = rows[1]["nll"] - rows[0]["nll"]
    assert "| multiscale | advnf_forward | forward_kl |" in text
    assert f"| {difference:+.3g} |" in text


def test_every_objective_with_a_critic_has_one_without():
    assert without_critic("advnf") == "forward_reverse_kl"
    assert without_critic("log_variance_critic") == "log_variance"
    assert without_critic("forward_kl") is None
    for flow in FLOWS:
        names = [cell.objective for cell in objective_cells([flow], sizes={})]
        assert len(set(names)) == len(names) >= 6
        for name in names:
            partner = without_critic(name)
            assert partner is None or partner in names


def test_a_diverged_cell_is_evaluated_and_said(tmp_path, monkeypatch):
    from latticeflow.training.trainer import Trainer, TrainingDivergedError

    def step(self):
        raise TrainingDivergedError("training diverged at step 0: gradient norm nan; do this")

    monkeypatch.setattr(Trainer, "step", step)
    (row,) = study.run_study(PLAN, CELLS[:1], tmp_path)
    assert row["note"] == "training diverged at step 0: gradient norm nan"
    assert row["steps"] == 0


def test_impossible_studies_are_named(tmp_path):
    with pytest.raises(InputError, match="unknown flow 'realnvq'"):
        study.run_study(PLAN, [Case("realnvq", "advnf", 20)], tmp_path)
    with pytest.raises(InputError, match="unknown objective 'kl'"):
        study.run_study(PLAN, [Case("realnvp", "kl", 20)], tmp_path)
    with pytest.raises(InputError, match="workers = 0 must be at least 1"):
        study.run_study(PLAN, CELLS, tmp_path, workers=0)


STUDY = ["--size", "4", "--temperatures", "0.8,1.6", "--steps", "1", "--test-draws", "20", "--batch-draws", "4"]
SETS = [word for name, value in SMALL["multiscale"].items() for word in ("--set", f"multiscale.{name}={value}")]


def test_ensemble_sizes_by_the_command_line(tmp_path, capsys):
    words = ["bench", "ensemble-size", "--out", str(tmp_path / "study"), "--tables", str(tmp_path / "tables")]
    assert main([*words, *STUDY, *SETS, "--draws", "10,20"]) == 0
    assert "| multiscale | advnf | 10 |" in (tmp_path / "tables" / "ensemble-size.md").read_text()
    stored = json.loads((tmp_path / "tables" / "ensemble-size.json").read_text())
    assert [row["draws"] for row in stored["rows"]] == [10, 20]
    assert main([*words, *STUDY, "--set", "width=16"]) == 2
    assert "write it as multiscale.width=16" in capsys.readouterr().err


@pytest.mark.slow
def test_all_flows_by_all_objectives_in_two_processes(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    sets = [*SETS, "--set", "realnvp.filters=4", "--set", "realnvp.couplings=4"]
    words = ["bench", "objectives", "--out", str(tmp_path), "--workers", "2", "--draws", "20"]
    assert main([*words, *STUDY, *sets]) == 0
    rows = json.loads((tmp_path / "objectives.json").read_text())["rows"]
    assert {row["flow"] for row in rows} == set(FLOWS)
    assert len(rows) == len(objective_cells(tuple(FLOWS), sizes={}))


def test_costs_are_those_of_the_flow():
    cost = flow_costs.measure("multiscale", 4, "exy", 2, 0.05, 10, "cpu", 1)
    flow = build_flow("multiscale", XY(), Lattice(4, 4), (0.05, 2.05))
    assert cost.parameters != flow.parameter_count  # EXY models more sites than XY
    assert cost.configurations == 64
    assert cost.step_milliseconds > 0
    assert cost.sites_step_milliseconds > 0
    assert cost.draws_per_second > 64 / 60
    assert 0.9 < cost.ceiling < 1
    assert cost.acceptance is None
    table = flow_costs.costs_text([cost])
    assert f"{cost.parameters:,}" in table
    assert "acceptance" not in table


def test_a_trained_flow_is_evaluated_beside_its_costs(tmp_path):
    flow = build_flow("multiscale", XY(), Lattice(4, 4), (0.3, 2.05), width=16)
    checkpoint.save(tmp_path / "xy4.pt", flow, {})
    cost = flow_costs.measure(tmp_path / "xy4.pt", 0, "xy", 2, 0.05, 40, "cpu", 1)
    assert (cost.size, cost.parameters) == ("4x4", flow.parameter_count)
    assert 0 < cost.acceptance_minimum < cost.acceptance <= 1
    assert 0 < cost.ess_forward <= 1
    assert "acceptance" in flow_costs.costs_text([cost])


def test_the_ceiling_is_that_of_the_flows_own_schedule():
    ceiling = flow_costs._ceiling(checkpoint.load_flow("xy8", device="cpu"))
    assert ceiling == harmonic_ceiling(XY(), Lattice(8, 8), finer=True).acceptance
    assert ceiling > harmonic_ceiling(XY(), Lattice(8, 8)).acceptance


def test_included_flows_are_measured_by_name(monkeypatch, capsys):
    cost = flow_costs.Cost("xy8", "8x8", 1, 0.1, 1.0, 1.0, 32, 1.0, 1.0, None)
    asked = []
    monkeypatch.setattr(flow_costs, "costs", lambda flows, *_, **__: asked.extend(flows) or [cost])
    assert main(["bench", "flow", "--flows", "multiscale,xy8,own.pt"]) == 0
    assert asked == ["multiscale", Path("xy8"), Path("own.pt")]
    assert "xy8" in capsys.readouterr().out


@pytest.mark.slow
def test_costs_by_the_command_line_take_memory_of_their_own(capsys):
    words = ["--sizes", "4,8", "--seconds", "0.1", "--batch-draws", "8", "--flows", "realnvp", "--json"]
    assert main(["bench", "flow", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["size"] for row in rows] == ["4x4", "8x8"]
    assert rows[1]["peak_megabytes"] > 1.5 * rows[0]["peak_megabytes"]  # four times the sites
    assert rows[0]["parameters"] == rows[1]["parameters"]


def test_flows_by_module_and_name_are_studied_in_other_processes(tmp_path):
    cells = [Case("tests.helpers:Tilted", name, 20) for name in ("forward_kl", "reverse_kl")]
    rows = study.run_study(PLAN, cells, tmp_path, workers=2)
    assert [row["parameters"] for row in rows] == [1, 1]
    assert [row["flow"] for row in rows] == ["tests.helpers:Tilted"] * 2
