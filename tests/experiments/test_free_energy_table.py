"""The table of f(T): both ways agree with exact values, and each would notice a fault of the other."""

import json

import numpy as np
import pytest

from latticeflow.experiments import free_energy_table as tables
from latticeflow.flows import build_flow
from mcmc import XY, Lattice
from mcmc.analysis.free_energy_ladder import anchor
from tests.oracle import exact


def test_anchored_ladders_are_least_squares():
    """Against the same fit by a pseudo-inverse of all measurements together."""
    rng = np.random.default_rng(1)
    steps = rng.normal(size=(40, 6))
    covariance, value = np.cov(np.cumsum(steps, 1).T), rng.normal(size=6)
    known, error = np.full(6, np.nan), np.full(6, np.nan)
    known[[1, 4]], error[[1, 4]] = rng.normal(size=2), (0.2, 0.5)
    found = anchor(value, covariance, known, error)
    weight = np.linalg.inv(covariance)
    precision, right = weight.copy(), weight @ value
    for k in (1, 4):
        precision[k, k] += 1 / error[k] ** 2
        right[k] += known[k] / error[k] ** 2
    best = np.linalg.solve(precision, right)
    np.testing.assert_allclose(found.value, best)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(precision), atol=1e-10)
    rest = best - value
    expected = rest @ weight @ rest + sum((best[k] - known[k]) ** 2 / error[k] ** 2 for k in (1, 4))
    assert found.chi_square == pytest.approx(expected)
    untouched = anchor(value, covariance, np.full(6, np.nan), error)
    assert untouched.chi_square == 0
    np.testing.assert_array_equal(untouched.value, value)


def by_quadrature(T, points=80):
    """f of the 2x2 lattice: one angle at zero, the others on a grid."""
    grid = 2 * np.pi * np.arange(points) / points
    a, b, c = np.meshgrid(grid, grid, grid, indexing="ij")
    boltzmann = np.exp(2 / T * (np.cos(a) + np.cos(b) + np.cos(a - c) + np.cos(b - c) - 4))
    return -T / 4 * (np.log(boltzmann.sum() * (2 * np.pi) ** 4 / points**3) + 8 / T)


def test_series_are_right_where_they_should_be():
    for T, most in ((0.05, 1e-7), (0.1, 1e-6)):
        f = by_quadrature(T)  # what third order leaves out is of fourth; a wrong third order would show
        assert abs(f - tables.low_temperature(2, T)) < most
        assert abs(f - tables.low_temperature(2, T) - 0.03 * T**3) > most
    # Walks round a torus of 4 are of fourth order, too, so that only two orders less than the series can agree.
    f = -20 * exact(XY(), 4, 4, 1 / 20)["log_partition"] / 16
    assert f == pytest.approx(tables.high_temperature(20.0), abs=20 * 0.025**4 * 2)


def test_the_table_of_a_small_lattice(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "TEMPERATURES", (0.5, 1.0, 2.0))
    monkeypatch.setattr(tables, "HOTTER", (4.0,))
    monkeypatch.setattr(tables, "SHIPPED", {8: "xy8"})
    monkeypatch.setattr("sys.argv", ["table", str(tmp_path), "--out", str(tmp_path / "t.json"), "--flow-seconds", "0.2",
                                     "--ladder-seconds", "1"])  # fmt: skip
    tables.main()
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert [row["T"] for row in rows] == [0.5, 1.0, 2.0, 4.0]
    assert all(abs(row["pull"]) < 5 for row in rows[:3])
    for row in rows[:3]:
        assert row["f"][1] <= min(row["flow"][1], row["ladder"][1]) * (1 + 1e-9)
    assert rows[0]["chi_square"] < 30
    assert abs(rows[3]["f"][0] - tables.high_temperature(4.0)) < 5 * rows[3]["f"][1] + 1e-5
    # A flow whose ln Z is off by three parts in a thousand is noticed.
    drawn = json.loads((tmp_path / "flow_8_1.json").read_text())
    (tmp_path / "flow_8_1.json").write_text(json.dumps(drawn | {"ln_z": drawn["ln_z"] * 1.003}))
    tables.main()
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert abs(rows[1]["pull"]) > 5
    assert rows[0]["chi_square"] > 30


def test_flows_of_a_folder_take_the_place_of_those_that_are_included(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "TEMPERATURES", (1.0,))
    monkeypatch.setattr(tables, "ladder_piece", lambda *_: {"none": np.zeros(1)})
    flows = tmp_path / "flows"
    command = ["table", str(tmp_path / "rows"), "--sizes", "8", "--flow-seconds", "0.01", "--flows", str(flows)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        tables.main()
    assert "is not a folder of flows" in capsys.readouterr().err
    flows.mkdir()
    build_flow("multiscale", XY(), Lattice(8, 8), (0.5, 2.0), width=8).save(flows / "xy8.pt")
    tables.main()
    untrained = json.loads((tmp_path / "rows" / "flow_8_1.json").read_text())
    assert untrained["variance"] > 0.1  # 0.002 of the flow that is included
