"""The contest for energy curves: both ways are exact, and the gain is a ratio of times."""

import json

import numpy as np
import pytest

from latticeflow.cli import main
from latticeflow.experiments.energy_curve_contest import curve_contest, curve_text, grid_of_overlapping_energies
from latticeflow.flows import checkpoint
from mcmc import XY, InputError
from mcmc.models import presets
from tests import oracle
from tests.flows.test_flows import make


def test_both_ways_are_exact(tmp_path, capsys):
    flow = make("multiscale", XY(), 2, 2, disturb=0.0)
    checkpoint.save(tmp_path / "xy.pt", flow, {})
    T = (1.0, 1.4, 2.0)
    command = ["bench", "energy-curve", "--flows", str(tmp_path / "xy.pt"), "--seconds", "0.5", "--temperatures"]
    assert main([*command, ",".join(map(str, T)), "--device", "cpu", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["temperature"] for row in rows] == list(T)
    for row in rows:
        exact = oracle.exact(XY(), 2, 2, 1 / row["temperature"])
        for name in ("energy", "specific_heat"):
            assert abs(row[name] - exact[name]) < 5 * row[f"{name}_error"]
            ratio = row[f"{name}_error_alone"] / row[f"{name}_error"]
            assert row[f"{name}_gain"] == pytest.approx(ratio**2)
        assert abs(row["pull"]) < 5


def test_the_shipped_flow_sharpens_the_energy():
    rows = curve_contest("xy8", temperatures=np.linspace(0.8, 1.2, 5).tolist(), seconds=1.0, seed=1)
    # What is measured at length is a factor of 10 or more in time; the bound leaves room for a busy machine.
    assert min(row.energy_gain for row in rows[1:-1]) > 2
    assert all(abs(row.pull) < 5 for row in rows)
    assert len(curve_text(rows).splitlines()) == 2 + 5 + 1


def test_the_grid_has_overlapping_energies():
    flow = checkpoint.load_flow("xy8", device="cpu")
    grid = grid_of_overlapping_energies(flow, 0.4, 2.0)
    assert grid[0] == 0.4
    assert grid[-1] == 2.0
    assert (np.diff(grid) > 0).all()
    assert 9 < len(grid) < 20


def test_no_time_is_refused():
    with pytest.raises(InputError, match="seconds = 0 must be positive"):
        curve_contest("xy8", seconds=0)


def test_models_without_a_coupling_by_the_name_of_J_have_a_curve():
    flow = make("multiscale", presets.fully_frustrated(4), 4, 4, disturb=0.0)
    rows = curve_contest(flow, seconds=0.05)
    assert rows[0].temperature == max(flow.temperatures[0], 0.4)
    assert all(abs(row.pull) < 5 for row in rows)
