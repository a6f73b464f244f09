"""The contest of free energies: every method is exact, and the sums of time and error are right."""

import json
import math

import pytest

from latticeflow.cli import main
from latticeflow.experiments.free_energy_contest import (
    BRIDGE,
    CLASSICAL_METHODS,
    INTEGRATION,
    MBAR,
    METHODS,
    POPULATIONS,
    WEIGHTS,
    FreeEnergyResult,
    gains,
    results_text,
)
from latticeflow.flows import checkpoint
from mcmc import XY
from tests import oracle
from tests.helpers import make


def rows(**errors):
    """A system at two temperatures, ten seconds for both; of the ladder, the first takes four of them alone."""
    alone = dict.fromkeys(METHODS, 4.0) | {WEIGHTS: 5.0, BRIDGE: 5.0}
    names = dict(zip(METHODS, ("weights", "bridge", "mbar", "integral", "annealed", "populations"), strict=True))
    errors = {"annealed": 0.06, "populations": 0.06} | errors
    return [
        FreeEnergyResult(
            "XY 4x4",
            method,
            T,
            -2.0,
            errors[name],
            math.nan if method == INTEGRATION else 1.0,
            0.1,
            10.0,
            alone[method],
        )
        for T in (1.0, 0.5)
        for method, name in names.items()
    ]


def test_gains_are_ratios_of_time_at_equal_error():
    first, second = gains(rows(weights=0.02, bridge=0.01, mbar=0.04, integral=0.05), 60.0)
    assert (first.flow, first.classical, first.temperature, second.temperature) == (BRIDGE, MBAR, 1.0, 0.5)
    assert first.free_energy == pytest.approx(16)
    assert first.free_energy_alone == pytest.approx(16 * 4 / 5)
    assert first.entropy == pytest.approx(1)
    # Classical: 0.016 s / error^2; flow: 0.001 s / error^2 and 60 s once.
    assert first.pays_below == pytest.approx(math.sqrt(0.015 / 60))
    assert 0.016 / first.pays_below**2 == pytest.approx(0.001 / first.pays_below**2 + 60)
    annealed = gains(rows(weights=0.02, bridge=0.01, mbar=0.04, integral=0.05, populations=0.02), 60.0)[0]
    assert annealed.classical == POPULATIONS
    assert annealed.free_energy == pytest.approx(4)
    lost = gains(rows(weights=0.02, bridge=0.1, mbar=0.01, integral=0.05), 60.0)[0]
    assert (lost.flow, lost.pays_below) == (WEIGHTS, 0.0)
    assert lost.free_energy == pytest.approx(0.25)


def test_every_method_is_exact_by_the_command_line(tmp_path, capsys):
    flow = make("multiscale", XY(), 4, 4, disturb=0.0)
    checkpoint.save(tmp_path / "xy.pt", flow, {"source": {"temperatures": [0.5, 2.0]}, "seconds": 9.0})
    command = ["bench", "free-energy", "--flows", str(tmp_path / "xy.pt"), "--seconds", "0.5", "--temperatures", "1,2"]
    figure = tmp_path / "f.png"
    assert main([*command, "--device", "cpu", "--json", "--plot", str(figure)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(row["method"], row["temperature"]) for row in found["rows"]} == {
        (m, T) for m in METHODS for T in (1.0, 2.0)
    }
    for row in found["rows"]:
        exact = oracle.exact(XY(), 4, 4, 1 / row["temperature"])
        f = -row["temperature"] * exact["log_partition"] / 16
        assert 0 < row["free_energy_error"] < 0.02
        assert abs(row["free_energy"] - f) < 5 * row["free_energy_error"], row
        if row["method"] != INTEGRATION:
            s = (exact["energy"] - f) / row["temperature"]
            assert abs(row["entropy"] - s) < 5 * row["entropy_error"], row
        assert 0 < row["seconds_alone"] <= row["seconds"]
    assert len(found["gains"]) == 2
    assert figure.stat().st_size > 5000


def test_the_table_says_what_was_measured():
    errors = {"weights": 0.02, "bridge": 0.01, "mbar": 0.04, "integral": 0.05}
    text = results_text(rows(**errors), gains(rows(**errors), math.nan))
    errors_of_f, _, gained = text.partition(": gain in f and in s\n")
    assert len(errors_of_f.splitlines()) == 2 + 2 + 1  # and the name of the system
    assert "0.02" in errors_of_f.splitlines()[2]
    assert "16" in gained.splitlines()[1]
    assert max(map(len, text.splitlines())) <= 80


def test_no_time_is_refused(tmp_path, capsys):
    checkpoint.save(tmp_path / "f.pt", make("multiscale", XY(), 4, 4), {})
    assert main(["bench", "free-energy", "--flows", str(tmp_path / "f.pt"), "--seconds", "0", "--device", "cpu"]) == 2
    assert "seconds = 0.0 must be positive" in capsys.readouterr().err


def test_classical_methods_alone(capsys):
    command = ["bench", "free-energy", "--without-flow", "--model", "xy", "--size", "2", "--device", "cpu"]
    assert main([*command, "--temperatures", "1,2", "--seconds", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gains"] == []
    assert {(row["method"], row["temperature"]) for row in found["rows"]} == {
        (method, T) for method in CLASSICAL_METHODS for T in (1.0, 2.0)
    }
    for row in found["rows"]:
        expected = -row["temperature"] * oracle.exact(XY(), 2, 2, 1 / row["temperature"])["log_partition"] / 4
        assert abs(row["free_energy"] - expected) < 5 * row["free_energy_error"]
    assert main([*command, "--flows", "xy8"]) == 2
    assert "leave out --flows" in capsys.readouterr().err
