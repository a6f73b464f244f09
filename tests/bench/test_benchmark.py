"""The benchmark's yardstick samples correctly, and the command prints every kernel."""

from __future__ import annotations

import json

import numpy as np
import pytest

from latticeflow.cli import main
from mcmc import XY
from mcmc.bench import kernel_speed as benchmark
from mcmc.bench import model_speed
from mcmc.bench.cube_costs import MIXES, draw_costs
from mcmc.bench.sizes import sizes
from mcmc.bench.time_shares import time_shares
from mcmc.kernels.naive import naive_metropolis
from mcmc.sampling.interactions import interaction_of
from mcmc.sampling.moves import OverRelaxation
from mcmc.sampling.samplers import Sampler, Update
from tests.oracle import exact


def test_naive_sampler_is_exact():
    theta, energies = np.zeros((2, 2)), []
    for seed in range(40_000):
        naive_metropolis(theta, 1.0, 2.0, 2, seed)
        energies.append(XY().energy(theta) / 4)
    means = np.array(energies).reshape(40, -1).mean(-1)
    assert abs(means.mean() - exact(XY(), 2, 2, 1.0)["energy"]) < 5 * means.std(ddof=1) / np.sqrt(40)


def test_rates_are_work_over_time():
    """A kernel that does twice the work for one update has half the rate."""
    once, fourfold = Sampler((OverRelaxation(),)), Sampler((Update(OverRelaxation(), times=4),))
    r = benchmark._replicas(XY(), 16, 64, 1)
    single = benchmark._updates(r, once, 0.2)
    double = benchmark._updates(r, fourfold, 0.2)
    assert 2 < single / double < 8


def test_other_models_are_timed_beside_xy():
    found = dict(model_speed.measure(seconds=1e-4, rounds=1))
    assert [*found] == [case.name for case in model_speed.cases()]
    assert all(0.01 < ratio < 100 for name, each in found.items() if name != "XY" for ratio in each.values())
    kinds = [type(interaction_of(case.model, case.lattice)).__name__ for case in model_speed.cases()]
    assert kinds == ["Square", "Bonds", "Table", "Square", "Bonds", "Bonds", "Bonds"]


def test_clusters_cost_more_than_they_give_in_small_cubes():
    alone, every = (draw_costs(6, 2.2, MIXES[name], 400) for name in ("alone", "every one"))
    assert all(a < b for a, b in zip(alone, every, strict=True))


def test_bench_kernels_prints_every_kernel(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "CHAINS", benchmark.CHAINS[:2])
    assert main(["bench", "kernels", "--quick", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    expected = {(model.name, sampler.move_names[0]) for model, sampler in benchmark.KERNELS}
    assert {(s["model"], s["kernel"]) for s in result["speeds"]} == expected
    assert all(s["rate"] > 0 and s["to_naive"] > 0 for s in result["speeds"])
    assert [c["sampler"] for c in result["costs"]] == ["metropolis", "heat_bath"] * 2


@pytest.mark.parametrize("word", ["abc", "0", "-4", "1.5", ""])
def test_nonsense_for_a_size_takes_one_line(capsys, word):
    with pytest.raises(SystemExit) as ended:
        sizes("", (16,), ["8", word])
    assert ended.value.code == 2
    assert "whole number of at least 2" in capsys.readouterr().err


def test_shares_of_time_sum_to_one():
    shares = time_shares(4, seconds=0.5)
    assert shares.steps + shares.measuring + shares.storing == pytest.approx(1)
    assert min(shares.steps, shares.storing, shares.megabytes) > 0 <= shares.measuring
