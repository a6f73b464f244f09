"""Our values beside exact and published ones; `pytest -m slow -s tests/analysis/test_published.py` prints them."""

import math

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, Lattice
from mcmc.analysis.observable_registry import OBSERVABLES, System
from mcmc.analysis.thermodynamics import measure, thermodynamics
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

# Charge transfer matrices and quadrature agree on these digits (tests/oracle.py); conventions of the README.
EXACT = {
    (XY(), 2, 1.0): {"energy": -1.5591218454, "specific_heat": 0.5562745743, "helicity_modulus": 0.7795609227},
    (XY(), 3, 1.0): {"energy": -1.4553176755, "specific_heat": 0.75432413, "helicity_modulus": 0.6997268483},
    (XY(), 4, 0.5): {"energy": -0.6074089408, "specific_heat": 0.430735921, "helicity_modulus": 0.1074259674},
    (XY(), 4, 1.0): {"energy": -1.411729120, "specific_heat": 0.86526495, "helicity_modulus": 0.655523435},
    (ExtendedXY(1.0, 1.0), 2, 1.0): {"energy": -2.5891476960, "specific_heat": 0.4647363309},
    (ExtendedXY(1.0, 0.5), 2, 1.0): {"energy": -2.0815265335, "specific_heat": 0.4890258381},
    (ExtendedXY(1.0, -0.5), 2, 1.0): {"energy": -1.0709802404, "specific_heat": 0.4686686},
    (ExtendedXY(1.0, 1.0), 3, 1.0): {"energy": -2.50929647},
}
SQUARES = {  # <m^2>
    (XY(), 2, 1.0): (0.8182431723, 0.0),
    (XY(), 3, 1.0): (0.731466, 1e-6),
    (XY(), 4, 1.0): (0.67185, 1e-5),
    (ExtendedXY(1.0, 1.0), 2, 1.0): (0.8545550844, 0.0),
}
# M. Hasenbusch, cond-mat/0502556, table 1.
HASENBUSCH = {
    "helicity_modulus": (0.72536 / 1.1199, 0.00007 / 1.1199),
    "correlation_length": (0.79953 * 16, 0.00017 * 16),
    "structure_factor": (133.011, 0.009),
}
# A public event-chain code; its errors ignore autocorrelation and are taken half as large again.
EVENT_CHAIN = {
    0.8929: {
        "energy": (-1.44991, 0.00021),
        "magnetization": (0.71885, 0.00021),
        "helicity_modulus": (0.64831, 0.00051),
    },
    1.0: {"energy": (-1.33567, 0.00027), "magnetization": (0.63928, 0.00033), "helicity_modulus": (0.4933, 0.0011)},
}


def draw(model, L, T, *, chains, draws, seed=5, **settings):
    """Moments (chains, draws) at one temperature, measured block by block."""
    simulation = Simulation(Settings(model, Lattice(L, L), (T,), chains=chains, seed=seed, **settings))
    parts = [measure(simulation.block(min(draws, 250)).theta[0], model) for _ in range(max(1, draws // 250))]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def compare(title, found, expected):
    """Print a line for each value, and return the distances in standard deviations."""
    distances = []
    for name, (value, error) in expected.items():
        ours = found[name]
        distances.append((ours.value - value) / math.hypot(ours.error, error))
        print(f"{title:34} {name:20} {ours!s:>16}   reference {value:.7g} +- {error:.2g}   {distances[-1]:+.1f} sigma")
    return distances


@pytest.mark.slow
@pytest.mark.parametrize(("model", "L", "beta"), EXACT, ids=str)
def test_exact_values(model, L, beta):
    lattice = Lattice(L, L)
    moments = draw(model, L, 1 / beta, chains=64, draws=4000)
    found = thermodynamics(moments, model, lattice, 1 / beta)
    expected = {name: (value, 0.0) for name, value in EXACT[model, L, beta].items()}
    if (model, L, beta) in SQUARES:
        square, error = SQUARES[model, L, beta]
        expected["structure_factor"] = (L * L * square, L * L * error)
    assert max(map(abs, compare(f"exact {model} {L}x{L} beta {beta}", found, expected))) < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "T", "expected"),
    [
        ("Hasenbusch 16x16 beta 1.1199", 1 / 1.1199, HASENBUSCH),
        *((f"event chain 16x16 T {T}", T, values) for T, values in EVENT_CHAIN.items()),
    ],
)
def test_published_values(title, T, expected):
    moments = draw(XY(), 16, T, chains=128, draws=3000)
    distances = compare(title, thermodynamics(moments, XY(), Lattice(16, 16), T), expected)
    assert max(map(abs, distances)) < 4
    # The same check at a temperature one per cent off must fail, or it says nothing.
    wrong = draw(XY(), 16, 1.01 * T, chains=128, draws=500)
    assert max(map(abs, compare("(one per cent off)", thermodynamics(wrong, XY(), Lattice(16, 16), T), expected))) > 5


@pytest.mark.parametrize("sampler", ["metropolis", pytest.param("auto", marks=pytest.mark.slow)])
def test_coverage_on_real_chains(sampler):
    # A thousand tau_int a chain: at 250 the skewed energies cost about two per cent of coverage.
    runs, draws, T = 800, 4000, 1.0
    moments = draw(XY(), 4, T, chains=runs, draws=draws, sampler=sampler, thin=1, seed=11)
    system = System(XY(), Lattice(4, 4), T)
    for name, value in EXACT[XY(), 4, 1.0].items():
        found = [
            OBSERVABLES[name].estimate({key: series[run : run + 1] for key, series in moments.items()}, system)
            for run in range(runs)
        ]
        share = np.mean([abs(bar.value - value) < bar.error for bar in found])
        tau = np.mean([bar.tau_int for bar in found])
        error = math.sqrt(0.6827 * 0.3173 / runs)
        print(f"{sampler:10} {name:18} tau_int {tau:5.2f}   one-sigma coverage {share:.3f} +- {error:.3f}")
        assert abs(share - 0.6827) < 3 * error
