"""Crossings of curves: where they must be, with the error that they have."""

import json
from contextlib import suppress

import numpy as np
import pytest

import mcmc
from latticeflow.cli import main
from mcmc import XY, InputError, Lattice
from mcmc.analysis.crossings import crossings, scaling_power
from mcmc.analysis.reweighting import Reweighting
from mcmc.bench.critical_points import CASES, locate
from mcmc.models import presets

T = (0.9, 1.1)
EXACT = 1.02


def oscillators(L, seed, *, shift=0.0, temperatures=T, draws=400):
    """N oscillators, whose energy is a Gamma variate, with a "magnetisation" (a e + b): its mean is a T / 2 + b.

    a = L and b = -L EXACT / 2 make the curves of all sizes cross at T = EXACT.
    """
    rng, N = np.random.default_rng(seed), L * L
    moments = []
    for t in temperatures:
        energy = rng.gamma(N / 2, t, (4, draws)) / N
        moments.append({"energy": energy, "magnetization": L * (energy - EXACT / 2) + shift})
    return Reweighting.from_moments(moments, XY(), Lattice(L, L), temperatures)


def deviations(seeds, **other):
    """Of crossings from the exact one, in standard errors; of the common values; and the errors."""
    found = [crossings([oscillators(3, s), oscillators(6, s + 1000, **other)], "magnetization")[0] for s in seeds]
    away = np.array([each.temperature - EXACT for each in found])
    errors = np.array([each.error for each in found])
    return away / errors, np.array([each.value / each.value_error for each in found]), away.mean(), errors.mean()


def test_a_crossing_is_where_it_must_be_with_its_error():
    z, of_value, _, _ = deviations(range(25))
    for each in (z, of_value):
        assert abs(each.mean()) < 5 / np.sqrt(25)
        assert 0.5 < each.std() < 1.7  # five standard errors of the deviation of 25
    # Negative control: a curve that is shifted crosses elsewhere, by as much as the slopes say.
    z, _, away, error = deviations(range(12), shift=0.09)
    assert abs(z.mean()) > 5 / np.sqrt(12)
    assert abs(away + 0.09 / (6 / 2 - 3 / 2)) < 5 * error / np.sqrt(12)


def test_pairs_are_neighbouring_sizes_and_lengths_are_scaled():
    sizes = [oscillators(L, L) for L in (8, 3, 5)]
    found = crossings(sizes, "magnetization")
    assert [(each.smaller.Lx, each.larger.Lx) for each in found] == [(3, 5), (5, 8)]
    assert "3x3 and 5x5 cross at T = 1.0" in str(found[0])
    assert [scaling_power(name, 2) for name in ("correlation_length", "helicity_modulus", "chirality_binder")] == [
        -1,
        0,
        0,
    ]
    # Energies are T / 2 for every size, so that L (e + 1) never cross.
    parallel = [
        Reweighting.from_moments(
            [{**m, "magnetization": m["energy"] + 1} for m in each._moments], XY(), each.lattice, T
        )
        for each in sizes
    ]
    with pytest.raises(InputError, match="do not cross"):
        crossings(parallel, "magnetization", power=1)


@pytest.mark.parametrize(
    ("sizes", "name", "words"),
    [
        (lambda: [3, 4], "magnetization", "3 is not a reweighting"),
        (lambda: [oscillators(4, 1)], "magnetization", "two or more sizes"),
        (lambda: [oscillators(4, 1), oscillators(4, 2)], "magnetization", "two or more sizes"),
        (lambda: [oscillators(4, 1), oscillators(6, 2, temperatures=(1.2, 1.3))], "magnetization", "in common"),
        (lambda: [oscillators(L, L, temperatures=(1.1, 1.2)) for L in (4, 6)], "magnetization", "between T = 1.1 and"),
        (lambda: [oscillators(4, 1), oscillators(6, 2)], "chirality_binder", "chirality_binder makes no sense"),
        (lambda: [oscillators(4, 1), oscillators(6, 2)], "magnetisation", "unknown observable"),
    ],
)  # fmt: skip
def test_bad_input(sizes, name, words):
    with pytest.raises(InputError, match=words):
        crossings(sizes(), name)


def test_shapes_must_agree():
    long = Reweighting.from_moments(oscillators(4, 1)._moments, XY(), Lattice(8, 2), T)
    with pytest.raises(InputError, match="one shape"):
        crossings([long, oscillators(6, 2)], "magnetization")


def test_the_command_finds_the_crossing_of_files(tmp_path, capsys):
    paths = []
    for L in (2, 4):
        paths.append(str(tmp_path / f"{L}.h5"))
        mcmc.generate(
            XY(dimensions=3), size=(L, L, L), temperatures=[2.0, 2.3, 2.6], draws=300, chains=8, out=paths[-1],
            thin=2, thermalise=100, series_only=True, seed=L,
        ).close()  # fmt: skip
    assert main(["observe", *paths, "--crossing", "correlation_length", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["crossings"]
    both = [mcmc.open(path) for path in paths]
    (expected,) = crossings([Reweighting(each) for each in both])
    assert found["temperature"] == expected.temperature
    assert found["sizes"] == [[2, 2, 2], [4, 4, 4]]
    for each in both:
        each.close()

    # An independent look: at the crossing both sizes have the same xi / L, and 0.2 above it they differ.
    def gap(at, seed):
        found = []
        for L in (2, 4):
            drawn = mcmc.generate(
                XY(dimensions=3), size=(L, L, L), temperatures=[at], draws=500, chains=8, thin=2, thermalise=100,
                seed=seed, series_only=True,
            )  # fmt: skip
            found.append(mcmc.observe(drawn).rows[0]["correlation_length"] / L)
        return found[0].value - found[1].value, np.hypot(found[0].error, found[1].error)

    slope = abs(gap(expected.temperature + 0.2, 5)[0]) / 0.2
    difference, error = gap(expected.temperature, 6)
    assert abs(difference) < 5 * np.hypot(error, slope * expected.error)
    difference, error = gap(expected.temperature + 0.2, 7)
    assert difference > 5 * np.hypot(error, slope * expected.error)
    assert main(["observe", *paths, "--crossing", "chirality_binder"]) == 2
    assert "makes no sense" in capsys.readouterr().err


def test_known_transitions_can_be_gone_on_with(tmp_path):
    case = CASES["triangular"]._replace(draws={3: 100, 6: 100}, temperatures=(0.4, 0.7), thermalise=50)
    lines = []
    with suppress(InputError):  # so few draws may show no crossing
        locate(case, tmp_path, report=lines.append)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["L3.h5", "L6.h5"]
    with mcmc.open(tmp_path / "L6.h5") as ensemble:
        assert ensemble.series_only
        before = ensemble.series("chirality").copy()
    with suppress(InputError):
        locate(case, tmp_path, effort=1.5, report=lines.append)
    with mcmc.open(tmp_path / "L6.h5") as ensemble:
        np.testing.assert_array_equal(ensemble.series("chirality")[:, :, :100], before)
        assert ensemble.draws == 150
    assert sum(line.startswith("L = ") for line in lines) >= 4
    assert {*CASES} == {"xy3d", "fully_frustrated", "triangular"}
    for each in CASES.values():
        sides = [*each.draws]
        assert sides == sorted(sides)
        lattice = Lattice(*(sides[0],) * each.dimensions)
        assert each.observable in mcmc.analysis.observable_registry.observables_of(each.model(lattice), lattice)
    assert presets.triangular(-1.0) == CASES["triangular"].model(Lattice(3, 3))
