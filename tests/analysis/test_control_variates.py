"""Known free energies sharpen energies and specific heats, without bias."""

import numpy as np
import pytest

from mcmc import XY, InputError, Lattice
from mcmc.analysis.control_variates import with_known_free_energies
from mcmc.analysis.mbar import Mbar
from mcmc.analysis.statistics import Estimate, estimate
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from tests import oracle

TEMPERATURES = (1.0, 1.3, 1.7, 2.2, 3.0)
COLUMNS = ("energy", "specific_heat", "entropy")


def exact(model=XY(), side=2):  # noqa: B008
    values = [oracle.exact(model, side, side, 1 / T) for T in TEMPERATURES]
    N = side**2
    return {
        "log_partition": np.array([each["log_partition"] for each in values]),
        "energy": np.array([each["energy"] for each in values]),
        "specific_heat": np.array([each["specific_heat"] for each in values]),
        "entropy": np.array(
            [each["energy"] / T + each["log_partition"] / N for each, T in zip(values, TEMPERATURES, strict=True)]
        ),
    }


def draw(draws, chains=4, seed=1, thin=None):
    settings = Settings(XY(), Lattice(2, 2), TEMPERATURES, chains=chains, seed=seed, thin=thin)
    return 4 * Simulation(settings).block(draws).series["energy"]


def known(ln_z, error=1e-9):
    return [Estimate(float(value), error, 0.5, 0.0, 1000) for value in ln_z]


def test_known_free_energies_sharpen_the_rest():
    E, truth = draw(1000), exact()
    rows = with_known_free_energies(E, TEMPERATURES, known(truth["log_partition"]), 4)
    for name, gain in (("energy", 5), ("entropy", 5), ("specific_heat", 1.3)):
        for k, row in enumerate(rows):
            assert abs(row[name].value - truth[name][k]) < 5 * row[name].error, name
        if name == "energy":
            alone = [estimate(each / 4).error for each in E]
            assert all(gain * row[name].error < error for row, error in zip(rows[1:-1], alone[1:-1], strict=True))
    # A slope of ln Z that is wrong by a hundredth is a wrong energy, and seen.
    wrong = with_known_free_energies(E, TEMPERATURES, known(truth["log_partition"] * 1.01), 4)
    pulls = [(row["energy"].value - u) / row["energy"].error for row, u in zip(wrong, truth["energy"], strict=True)]
    assert max(map(abs, pulls)) > 5


def test_useless_knowledge_changes_nothing():
    E, truth = draw(500), exact()
    mbar = Mbar(E, 1 / np.array(TEMPERATURES))
    rows = with_known_free_energies(E, TEMPERATURES, known(truth["log_partition"], 1e6), 4)
    for T, row in zip(TEMPERATURES, rows, strict=True):
        plain = mbar.mean(1 / T, E / 4).estimate()
        assert row["energy"].value == pytest.approx(plain.value, abs=1e-6)
        assert row["energy"].error == pytest.approx(plain.error, rel=1e-3)


@pytest.mark.parametrize(
    ("thin", "error"),
    [
        pytest.param(None, 1e-9, id="spaced, exact"),
        pytest.param(1, 0.01, id="correlated, estimated"),
        pytest.param(1, 1e-9, id="correlated, exact", marks=pytest.mark.slow),
        pytest.param(None, 0.01, id="spaced, estimated", marks=pytest.mark.slow),
    ],
)
def test_errors_are_those_of_repeated_runs(thin, error):
    runs, truth, rng = 100, exact(), np.random.default_rng(2)
    E = draw(300, chains=4 * runs, seed=3, thin=thin).reshape(len(TEMPERATURES), runs, 4, 300)
    pulls = []
    for run in range(runs):
        ln_z = truth["log_partition"] + error * rng.normal(size=len(TEMPERATURES))
        rows = with_known_free_energies(E[:, run], TEMPERATURES, known(ln_z, error), 4)
        pulls.append(
            [[(row[name].value - truth[name][k]) / row[name].error for k, row in enumerate(rows)] for name in COLUMNS]
        )
    pulls = np.array(pulls)
    assert (abs(pulls.mean(0)) < 5 / np.sqrt(runs)).all()
    assert ((pulls.std(0) > 0.75) & (pulls.std(0) < 1.35)).all()


def test_bad_input():
    E, truth = draw(100), exact()
    with pytest.raises(InputError, match="4 values of ln Z"):
        with_known_free_energies(E, TEMPERATURES, known(truth["log_partition"][:4]), 4)
    with pytest.raises(InputError, match="too few for 5 control variates"):
        with_known_free_energies(E[:, :, :5], TEMPERATURES, known(truth["log_partition"]), 4)
