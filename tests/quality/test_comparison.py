"""Flows are evaluated for what they miss, however well they look to themselves."""

import json
import math

import numpy as np
import pytest
import torch

from latticeflow.chains.neural_mcmc import NeuralChains, propose
from latticeflow.cli import main
from latticeflow.flows import Flow, checkpoint
from latticeflow.flows.weights import (
    acceptance_from,
    acceptance_of_weights,
    coverage,
    normalise,
    predicted_tau_int,
)
from latticeflow.plots import figures as plots
from latticeflow.plots import flow_figures as flow_plots
from latticeflow.quality import mode_coverage as modes
from latticeflow.quality.compare import compare, evaluate
from latticeflow.quality.flow_quality import mean_row
from latticeflow.quality.verdict import verdict
from mcmc import XY, Lattice
from mcmc.analysis.statistics import estimate
from mcmc.kernels.independence import walk
from mcmc.models import observables
from mcmc.sampling.generate import generate_file
from mcmc.sampling.rng import key
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble
from tests.helpers import make


class Restricted(Flow):
    """A flow that draws only some of the configurations of another, with the right density of those."""

    name = "restricted"

    def __init__(self, flow, allows, temperature):
        super().__init__(flow.model, flow.lattice, flow.temperatures)
        self.flow, self.allows = flow, allows
        theta, _ = flow.sample(8000, temperature, generator=torch.Generator().manual_seed(60))
        self.log_share = math.log(allows(theta).float().mean())

    def _sample(self, temperature, generator):
        n, found = len(temperature), []
        while sum(len(theta) for theta, _ in found) < n:
            theta, log_q = self.flow.sample(4 * n, float(temperature[0]), generator=generator)
            kept = self.allows(theta)
            found.append((theta[kept], log_q[kept]))
        theta, log_q = (torch.cat(parts)[:n] for parts in zip(*found, strict=True))
        return theta, log_q - self.log_share

    def _log_prob(self, theta, temperature):
        inside = self.flow.log_prob(theta, temperature) - self.log_share
        return torch.where(self.allows(theta), inside, -math.inf)


def without_vortices(theta):
    return observables.vortex_density(theta) == 0


def unwound(theta):
    return (observables.winding_numbers(theta).round() == 0).all(-1)


def wound(theta):
    return ~unwound(theta)


def reference(lattice, T, draws=250):
    return Simulation(Settings(XY(), lattice, (T,), chains=4, seed=61)).block(draws).theta.reshape(-1, *lattice.shape)


@pytest.fixture(scope="module")
def evaluated():
    """A fair flow and its restrictions, evaluated where the ensemble has what they miss."""
    square, strip = (4, 4, 1.5), (8, 2, 1.0)
    plants = {"vortices": (square, without_vortices), "winding": (strip, unwound), "unwound": (strip, wound)}
    rows = {}
    for name, ((Lx, Ly, T), allows) in plants.items():
        fair = make("multiscale", XY(), Lx, Ly, disturb=0.0)
        draws = reference(fair.lattice, T)
        rows[name] = evaluate(Restricted(fair, allows, T), draws, T, seed=key(62))
        rows[f"fair {name}"] = evaluate(fair, draws, T, seed=key(62))
    return rows


@pytest.mark.parametrize("name", ["vortices", "winding", "unwound"])
def test_a_collapsed_flow_is_called_so_though_its_acceptance_is_fine(evaluated, name):
    row, fair = evaluated[name], evaluated[f"fair {name}"]
    # Nothing that the flow's own draws say would make one suspicious.
    assert row.acceptance > 0.6
    assert row.ess_reverse > 0.6
    found = verdict([row], 1000)
    assert found.grade == "useless"
    assert "mode collapse" in found.sentence
    assert {"vortices": "vortices", "winding": "winding", "unwound": "(0, 0)"}[name] in found.sentence
    assert row.ess_forward < 0.01
    assert row.tau_int_predicted == math.inf
    # The same check passes the flow that was restricted, on the same draws.
    assert verdict([fair], 1000).grade == "good"
    assert fair.missed_share < 0.02
    assert abs(fair.coverage - 1) < 5 * fair.coverage_error


def test_coverage_is_the_share_of_the_ensemble_that_the_flow_reaches(evaluated):
    row = evaluated["vortices"]
    share = row.kinds[0].ensemble[0]
    assert row.kinds[0].labels[0] == "0"
    assert abs(row.coverage - share) < 5 * row.coverage_error
    assert row.coverage_error < 0.05
    assert row.kinds[0].flow[0] == row.kinds[0].chain[0] == 1
    assert row.proposal_overlap_vortices == pytest.approx(100 * share)
    # The bridge knows of the rest of Z, the flow's own weights do not.
    fair = evaluated["fair vortices"]
    assert abs(row.free_energy - fair.free_energy_bridge) > 5 * (row.free_energy_error + fair.free_energy_bridge_error)
    assert coverage(np.zeros(9), np.full(9, np.inf)).value == 0


@pytest.mark.parametrize("spread", [30, 300, 2000])
def test_coverage_is_unknown_where_a_few_draws_carry_all_the_weight(spread):
    """Log weights as untrained flows have them; their means of w and 1/w are those of the largest terms."""
    rng = np.random.default_rng(68)
    known = [coverage(rng.normal(0, spread, 300), rng.normal(0, spread, 300)).value for _ in range(20)]
    assert np.isnan(known).all()
    # The control: log weights of a good flow, Gaussian with means that differ by the variance.
    fair = [coverage(rng.normal(0, 0.3, 300), rng.normal(0.09, 0.3, 300)) for _ in range(20)]
    assert all(abs(each.value - 1) < 5 * each.error < 0.5 for each in fair)


def test_noise_is_no_collapse():
    """Two halves of one ensemble, hot and small, with many rare kinds of configurations."""
    for n, side in ((60, 8), (300, 16)):
        draws = reference(Lattice(side, side), 2.0, n // 2)
        first, second = draws[::2], draws[1::2]
        found = modes.kinds(first, second, np.arange(len(second)))
        assert modes.collapsed(found, len(first)) is None
        for each in found:
            assert each.ensemble.sum() == pytest.approx(1)
            assert each.overlap(each.flow) > 60
            assert len(each.labels) == len(each.flow) <= 30


def test_weights_predict_acceptance_and_autocorrelation():
    rng, s = np.random.default_rng(63), 1.2
    proposals, states = rng.normal(0, s, 500), rng.normal(s**2, s, 400)
    ratio = np.minimum(1, np.exp(proposals[None] - states[:, None])).mean(1)
    np.testing.assert_allclose(acceptance_from(states, proposals), ratio, rtol=1e-12)
    assert acceptance_from(np.array([np.inf, -np.inf]), proposals).tolist() == [0, 1]
    own = normalise(proposals) @ acceptance_from(proposals, proposals)
    assert own == pytest.approx(acceptance_of_weights(proposals), abs=0.01)


def test_autocorrelation_time_of_the_chain_is_the_predicted_one():
    flow, T = make("multiscale", XY(), 4, 4, disturb=0.1), 1.0
    block = NeuralChains(flow, [T], chains=4, seed=64).block(6000)
    # The direction of one spin is independent of the weight, by symmetry.
    measured = estimate(np.cos(block.theta[0, :, :, 0, 0]))
    log_w = propose(flow, T, 6000, generator=torch.Generator().manual_seed(65)).log_weight
    predicted = predicted_tau_int(block.series["log_weight"][0].ravel(), log_w)
    assert predicted > 1
    assert abs(measured.tau_int - predicted) < 5 * measured.tau_int_error
    assert predicted_tau_int(log_w, log_w, normalise(log_w)) == pytest.approx(predicted, rel=0.1)


def test_autocorrelation_is_not_the_odds_of_acceptance():
    rng, n = np.random.default_rng(66), 100_000
    log_w = rng.normal(0, 0.7, (4, n))
    held = walk(log_w, np.log(rng.random((4, n))), np.full(4, -np.inf))
    measured = estimate(np.take_along_axis(rng.normal(size=(4, n)), held, 1))
    predicted = predicted_tau_int(log_w[0], log_w[1], normalise(log_w[0]))
    assert abs(measured.tau_int - predicted) < 5 * measured.tau_int_error
    # The negative control takes all states to be left equally easily.
    naive = 1 / (held == np.arange(n)).mean() - 0.5
    assert abs(measured.tau_int - naive) > 5 * measured.tau_int_error


def test_grades_follow_the_steps_that_an_independent_draw_takes(evaluated):
    row = evaluated["fair vortices"]
    assert verdict([row, row._replace(tau_int_predicted=0.6)], 1000).sentence.startswith("good: at its worst")
    usable = verdict([row, row._replace(tau_int_predicted=20.0)], 1000)
    assert str(usable).startswith("usable with 40,000 draws per temperature")
    useless = verdict([row._replace(tau_int_predicted=math.inf, log_weight_variance=40.0)], 1000)
    assert useless.grade == "useless"
    assert "variance of its log weights, 40" in useless.sentence
    # Where the share is unknown it decides nothing.
    assert verdict([row._replace(coverage=math.nan, coverage_error=math.nan)], 1000).grade == "good"
    # Smooth weights that reach half of the ensemble, in no mode that the histograms know.
    dark = verdict([row._replace(coverage=0.5, coverage_error=0.02)], 1000)
    assert dark.grade == "useless"
    assert "reach only 50%" in dark.sentence


def test_bad_flows_are_useless():
    flow = make("multiscale", XY(), 4, 4, disturb=0.6)
    row = evaluate(flow, reference(flow.lattice, 0.5), 0.5, seed=key(66))
    assert verdict([row], 1000).grade == "useless"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    temperatures = (0.6, 1.0, 1.6)
    flow = make("multiscale", XY(), 4, 4, disturb=0.0)
    checkpoint.save(folder / "flow.pt", flow, {"source": {"temperatures": temperatures}})
    generate_file(Settings(XY(), Lattice(4, 4), temperatures, chains=2, seed=67), folder / "xy4.h5", draws=200)
    return folder


def test_compare_prints_a_table_json_and_a_figure(files, capsys):
    flow, ensemble, figure = (str(files / name) for name in ("flow.pt", "xy4.h5", "c.png"))
    command = ["compare", flow, ensemble, "--draws", "300", "--device", "cpu"]
    assert main([*command, "--plot", figure]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["T", "0.6", "1", "1.6", "mean"]
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("good: at its worst temperature") for line in lines)
    assert main([*command, "--wide"]) == 0
    assert "NLL" in capsys.readouterr().out.splitlines()[0]
    assert main([*command, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["verdict"]["grade"] == "good"
    names = {"acceptance", "ess_reverse", "ess_forward", "log_weight_variance", "overlap_energy", "emd_energy", "nll"}
    names |= {"overlap_magnetization", "emd_magnetization", "longest_rejection_run"}
    for row in (*table["rows"], table["mean"]):
        assert all(math.isfinite(row[name]) for name in names)
    for found in table["rows"][0]["kinds"].values():
        assert sum(found["ensemble"]) == pytest.approx(1, abs=1e-4)
        assert len(found["labels"]) == len(found["chain"])
    with Ensemble.open(ensemble) as file:
        rows = compare(checkpoint.load(flow).flow, file, draws=300)
    assert mean_row(rows)["acceptance"] == pytest.approx(table["mean"]["acceptance"])


def test_infinite_numbers_are_null_in_json_and_absent_in_figures(evaluated, tmp_path):
    row = evaluated["vortices"]
    assert row.as_json()["nll"] is None
    json.dumps(row.as_json(), allow_nan=False)
    plots.save(flow_plots.comparison([row, evaluated["fair vortices"]]), tmp_path / "c.png")
