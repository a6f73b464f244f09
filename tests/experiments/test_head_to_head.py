"""The head-to-head measures what it says, and does its sums right."""

import json
import math

import numpy as np
import pytest
import torch

from latticeflow.chains.neural_mcmc import propose
from latticeflow.cli import main
from latticeflow.experiments.head_to_head import (
    CHAIN,
    NEURAL,
    OBSERVABLES,
    WEIGHTED,
    Rate,
    _deviations,
    _weighted,
    balance,
    rates_text,
)
from latticeflow.flows import checkpoint
from latticeflow.flows.weights import ess_reverse
from mcmc import XY, ExtendedXY
from tests.helpers import make


def rows(neural, auto, metropolis):
    """A system at two temperatures, where a draw takes the given seconds by each method and is independent."""
    costs = {CHAIN: neural, WEIGHTED: 2 * neural, "auto": auto, "metropolis": metropolis}
    tau = (0.5, 0.5, 1.0, 0.5, 0.5, math.nan)
    return [Rate("XY 4x4", name, T, 100 * cost, 100, tau) for name, cost in costs.items() for T in (0.5, 1.0)]


def test_rates_and_break_even_are_those_of_the_costs():
    energy, _, vortices, *_ = balance(rows(0.01, 0.03, 0.04), 60.0)
    assert rows(0.01, 0.03, 0.04)[0].rates[:3] == pytest.approx((100, 100, 50))
    assert (energy.neural, energy.best, energy.observable) == (CHAIN, "auto", "energy")
    assert energy.speedup == pytest.approx(3)
    # At two temperatures a draw saves 0.04 s, of vortices, where each costs twice as much, 0.08 s.
    assert energy.break_even == pytest.approx(1500)
    assert vortices.break_even == pytest.approx(750)
    slow = balance(rows(0.05, 0.03, 0.04), 60.0)[0]
    assert slow.speedup == pytest.approx(0.6)
    assert slow.break_even == math.inf
    assert "it is never faster" in rates_text(rows(0.05, 0.03, 0.04), [slow])
    assert "its training of 60 s, it is faster from 1,500" in rates_text([], [energy])


def test_contest_of_two_systems_by_the_command_line(tmp_path, capsys):
    for model in (XY(), ExtendedXY()):
        flow = make("multiscale", model, 4, 4, disturb=0.0)
        checkpoint.save(tmp_path / f"{model.name}.pt", flow, {"source": {"temperatures": [0.5, 2.0]}, "seconds": 9.0})
    flows = [str(tmp_path / name) for name in ("xy.pt", "exy.pt")]
    figure = tmp_path / "h.png"
    command = ["bench", "head-to-head", "--flows", *flows, "--seconds", "0.05", "--temperatures", "0.7,1.5"]
    assert main([*command, "--device", "cpu", "--json", "--plot", str(figure)]) == 0
    found = json.loads(capsys.readouterr().out)
    methods = {(row["system"], row["method"]) for row in found["rows"]}
    both = (*NEURAL, "auto", "over_relaxation", "metropolis")
    assert methods == {("XY 4x4", name) for name in (*both, "wolff", "swendsen_wang")} | {
        ("EXY K=1 4x4", name) for name in both
    }
    assert len(found["rows"]) == 2 * len(methods)
    for row in found["rows"]:
        for name, tau in zip(OBSERVABLES, row["tau_int"], strict=True):
            rate = row["effective_draws_per_second"][name]
            if name == "sign_of_order":
                assert rate is tau is row["both_signs"] is None
                continue
            assert rate == pytest.approx(row["draws"] / (2 * tau * row["seconds"]))
    assert len(found["balance"]) == 2 * (len(OBSERVABLES) - 1)
    assert figure.stat().st_size > 5000


def test_a_sign_that_never_changes_has_not_been_sampled(capsys):
    command = ["bench", "head-to-head", "--without-flow", "--model", "exy", "--K", "-1", "--size", "8", "--json"]
    assert main([*command, "--temperatures", "0.2,3", "--seconds", "0.3", "--device", "cpu"]) == 0
    found = {(row["method"], row["temperature"]): row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert {name for name, _ in found} == {"auto", "over_relaxation", "metropolis"}
    frozen, mixed = found["metropolis", 0.2], found["auto", 0.2]
    assert frozen["both_signs"] < 0.2 < 0.9 < mixed["both_signs"]
    rate = mixed["effective_draws_per_second"]["sign_of_order"]
    assert rate > 20 * (frozen["effective_draws_per_second"]["sign_of_order"] or 0.0)
    assert found["metropolis", 3.0]["both_signs"] == 1


def test_fluctuations_count_as_what_they_are_made_of():
    """Energies of independent draws: c is worth as many draws, and its series is the square about the mean."""
    series = np.random.default_rng(1).normal(size=(5, 4, 2000))
    values = _deviations(series)
    np.testing.assert_allclose(values[3], (series[0] - series[0].mean()) ** 2)
    assert values[3].mean() == pytest.approx(series[0].var())


def test_chains_that_are_too_short_are_marked():
    sure, unsure = (
        rows(0.01, 0.03, 0.04),
        [row._replace(sure=(True, False, True, True, True, True)) for row in rows(0.01, 0.03, 0.04)],
    )
    assert "?" not in rates_text(sure, [])
    assert "0.50?" in rates_text(unsure, [])
    assert "too short" in rates_text(unsure, []).splitlines()[-1]


def test_what_is_measured_is_worth_what_it_says():
    """Weighted draws, of a flow whose weights are known to be worth a half: tau is that of the chain's prediction."""
    flow = make("multiscale", XY(), 4, 4, disturb=0.1)
    found = _weighted("XY 4x4", flow, [1.0], 1.0, 3)[0]
    log_w = propose(flow, 1.0, 8000, generator=torch.Generator().manual_seed(4)).log_weight
    assert found.tau_int[0] == pytest.approx(0.5 / float(ess_reverse(log_w)), rel=0.35)
    assert found.draws > 500


def test_bad_contests_are_named(tmp_path, capsys):
    assert main(["bench", "head-to-head", "--flows", str(tmp_path / "no.pt"), "--device", "cpu"]) == 2
    assert "no flow at" in capsys.readouterr().err
    checkpoint.save(tmp_path / "f.pt", make("multiscale", XY(), 4, 4), {})
    assert main(["bench", "head-to-head", "--flows", str(tmp_path / "f.pt"), "--seconds", "0", "--device", "cpu"]) == 2
    assert "seconds = 0.0 must be positive" in capsys.readouterr().err
