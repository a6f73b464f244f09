"""f(T), s(T), u(T) and c(T) from a flow: exact values, series, and the command."""

import json

import numpy as np
import pytest
import torch
from scipy.special import ive

from latticeflow.chains.free_energy_curve import COLUMNS, free_energy
from latticeflow.chains.importance import importance
from latticeflow.chains.neural_mcmc import propose
from latticeflow.cli import main
from latticeflow.flows import checkpoint
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.free_energy import log_partition
from mcmc.analysis.statistics import estimate
from mcmc.analysis.table import Table
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from tests import oracle
from tests.helpers import make

SYSTEMS = pytest.mark.parametrize(
    ("model", "side"), [(XY(), 2), (ExtendedXY(), 2), (XY(), 3), (XY(), 4)], ids=("XY 2", "EXY 2", "XY 3", "XY 4")
)


def pulls(temperatures, rows, model, side):
    """Deviations from exact values in standard errors, by column, (T,)."""
    found = {name: [] for name in COLUMNS}
    for T, row in zip(temperatures, rows, strict=True):
        exact = oracle.exact(model, side, side, 1 / T)
        f = -T * exact["log_partition"] / side**2
        values = exact | {"free_energy": f, "entropy": (exact["energy"] - f) / T}
        for name in COLUMNS:
            found[name].append((row[name].value - values[name]) / row[name].error)
    return {name: np.array(values) for name, values in found.items()}


@SYSTEMS
def test_potentials_are_exact(model, side):
    flow = make("multiscale", model, side, side, disturb=0.0)
    T = np.array([1.0, 2.0][: 2 if side < 4 else 1])  # exact values of the largest lattice take long
    table = free_energy(flow, T, draws=8000, seed=1)
    assert set(table.rows[0]) == set(COLUMNS)
    for name, values in pulls(T, table.rows, model, side).items():
        assert (abs(values) < 5).all(), name
    assert (table["free_energy"].errors < 0.005).all()
    # Taken for values at another temperature they fail.
    if side < 4:
        wrong = pulls(4 * T / 3, table.rows, model, side)
        assert all((abs(values) > 5).any() for values in wrong.values())


def test_with_markov_chains_errors_are_smaller_and_values_exact():
    flow, T = make("multiscale", XY(), 2, 2, disturb=0.0), np.array([0.8, 1.0, 1.25, 1.6, 2.0])
    alone = free_energy(flow, T, draws=8000, seed=5)
    both = free_energy(flow, T, draws=8000, classical_draws=2000, seed=5)
    assert both["free_energy"].estimates == alone["free_energy"].estimates
    for name, values in pulls(T[1:], both.rows[1:], XY(), 2).items():
        assert (abs(values) < 5).all(), name
    assert (both["energy"].errors < 0.6 * alone["energy"].errors).all()
    assert (both["specific_heat"].errors < 0.8 * alone["specific_heat"].errors).all()
    with pytest.raises(InputError, match="do not overlap"):
        free_energy("xy8", [0.1, 2.0], draws=100, classical_draws=100, device="cpu")


def test_errors_cover_the_truth():
    flow = make("multiscale", XY(), 2, 2, disturb=0.0)
    found = [pulls([1.0], free_energy(flow, [1.0], draws=400, seed=seed).rows, XY(), 2) for seed in range(100)]
    for name in COLUMNS:
        z = np.array([each[name][0] for each in found])
        assert abs(z.mean()) < 0.5, name
        assert 0.8 < z.std() < 1.25, name


def test_agrees_with_importance_sampling():
    flow = make("multiscale", XY(), 4, 4, disturb=0.0)
    table, other = (take(flow, [1.0], draws=700, seed=2) for take in (free_energy, importance))
    for name in COLUMNS:
        assert table.rows[0][name].value == pytest.approx(other.rows[0][name].value, rel=1e-6)
        assert table.rows[0][name].error == pytest.approx(other.rows[0][name].error, rel=1e-6)


def low_temperature(T, L):
    """f of the XY model to order T^2: spin waves with the zero mode apart, and their first correction.

    ln Z = 2 N / T + ln 2 pi + ln(N) / 2 + sum_k ln(2 pi T / lambda_k) / 2 + N T (1 - 1/N)^2 / 16 + O(T^2), with
    lambda_k = 4 - 2 cos k_x - 2 cos k_y, k not 0.
    """
    N, k = L * L, 2 * np.pi * np.arange(L) / L
    modes = (4 - 2 * np.add.outer(np.cos(k), np.cos(k))).ravel()[1:]
    waves = np.log(2 * np.pi) + np.log(N) / 2 + np.log(2 * np.pi * T[:, None] / modes).sum(1) / 2
    return -T / N * (2 * N / T + waves + N * T * (1 - 1 / N) ** 2 / 16)


def test_low_temperature_series():
    flow, T = checkpoint.load_flow("xy8", device="cpu"), np.array([0.05, 0.1])
    column = free_energy(flow, T, draws=2000, seed=3)["free_energy"]
    f, error = column.values, column.errors
    gap = f - low_temperature(T, 8)
    # What is left out is of third order, -0.02 T^3 or so.
    assert (abs(gap) < 0.05 * T**3 + 5 * error).all()
    # Without the correction the same comparison fails.
    assert (abs(gap - T**2 * (1 - 1 / 64) ** 2 / 16) > 0.05 * T**3 + 5 * error).all()


def test_high_temperature_series():
    flow, T = checkpoint.load_flow("xy8", device="cpu"), 2.0
    column = free_energy(flow, [T], draws=2000, seed=4)["free_energy"]
    f, error = column.values, column.errors
    t = ive(1, 1 / T) / ive(0, 1 / T)
    series = -T * (np.log(2 * np.pi) + 2 * (np.log(ive(0, 1 / T)) + 1 / T) + 2 * t**4 + 4 * t**6)
    assert abs(f[0] - series) < 5 * error[0] + 12 * T * t**8
    assert abs(f[0] - series - T * 2 * t**4) > 5 * error[0] + 12 * T * t**8


def test_the_command(tmp_path, capsys):
    flow = make("multiscale", XY(), 4, 4, disturb=0.0)
    path, figure = tmp_path / "xy.pt", tmp_path / "f.png"
    checkpoint.save(path, flow, {})
    command = ["free-energy", str(path), "--temperatures", "1,1.5", "--draws", "600", "--device", "cpu"]
    assert main([*command, "--json", "--plot", str(figure)]) == 0
    table = Table.from_json(json.loads(capsys.readouterr().out))
    assert table.temperatures.tolist() == [1.0, 1.5]
    same = free_energy(flow, [1.0, 1.5], draws=600)
    for name in COLUMNS:
        np.testing.assert_array_equal(table[name].values, same[name].values)
        np.testing.assert_array_equal(table[name].errors, same[name].errors)
    assert figure.stat().st_size > 5000
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "free en." in text
    assert "entropy" in text
    assert str(table.rows[0]["free_energy"]) in text
    assert main(["free-energy", str(tmp_path / "none.pt"), "--device", "cpu"]) == 2
    assert "none.pt" in capsys.readouterr().err


def test_a_bad_flow_says_that_draws_are_missing():
    flow = make("multiscale", XY(), 4, 4, disturb=1.0)
    table = free_energy(flow, [0.5], draws=200)
    assert any("draws are too few" in line for line in table.warnings())


def test_bad_input():
    flow = make("multiscale", XY(), 2, 2)
    with pytest.raises(InputError, match="draws = 1"):
        free_energy(flow, [1.0], draws=1)
    for bad in ([], [0.0], [float("nan")], [1.0, 1.0], "warm"):
        with pytest.raises(InputError, match="temperature"):
            free_energy(flow, bad)
    with pytest.raises(InputError, match="flow or the path of one"):
        free_energy(None)


def carried_to_ring_exchange_alone(name, T, blocks, proposals):
    """ln Z / N of a flow of J = K = 1, less the integral of d ln Z / d J = <sum of cosines> / T down to J = 0."""
    flow = checkpoint.load_flow(name, device="cpu")
    N, side = flow.lattice.N, flow.lattice.Lx
    log_weight = propose(flow, T, proposals, generator=torch.Generator().manual_seed(1)).log_weight
    of_flow = log_partition(log_weight)
    value, variance = of_flow.value / N, (of_flow.error / N) ** 2
    nodes, weights = np.polynomial.legendre.leggauss(5)
    for k, (J, weight) in enumerate(zip((nodes + 1) / 2, weights / 2, strict=True)):
        settings = Settings(ExtendedXY(float(J), 1.0), Lattice(side, side), (T,), chains=16, seed=100 + k)
        simulation = Simulation(settings)
        bonds = np.concatenate([-XY().energy(simulation.block(64).theta[0]) for _ in range(blocks)], axis=-1)
        found = estimate(bonds / N)
        value -= weight * found.value / T
        variance += (weight * found.error / T) ** 2
    return value, variance**0.5


@pytest.mark.parametrize(
    ("name", "T", "blocks", "proposals"),
    [
        ("exy8", 2.0, 12, 1024),
        *(pytest.param(*case, 600, 20000, marks=pytest.mark.slow) for case in (("exy8", 1.0), ("exy8", 2.0))),
        *(pytest.param(*case, 250, 15000, marks=pytest.mark.slow) for case in (("exy16", 1.0), ("exy16", 2.0))),
    ],
)
def test_free_energies_of_included_flows_lead_to_the_exact_one_without_bonds(name, T, blocks, proposals):
    """EXY with J = 0 is exactly solvable at any size, see `tests.oracle.ring_exchange`."""
    value, error = carried_to_ring_exchange_alone(name, T, blocks, proposals)
    side, cut = (8, 2 if T == 2 else 3) if name == "exy8" else (16, 2)
    exact, other = (
        oracle.ring_exchange(side, side, beta, cut)["log_partition"] / side**2 for beta in (1 / T, 1.02 / T)
    )
    print(f"{name}, T = {T:g}: {value:.6f}({error:.6f}), exact {exact:.6f}, z {(value - exact) / error:.2f}")
    assert abs(value - exact) < 5 * error
    assert error < 5e-4
    assert abs(value - other) > 5 * error
