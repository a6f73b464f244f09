"""A start that did not reach equilibrium is told by everything that uses the draws."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

import latticeflow as lf
from latticeflow.__main__ import main
from mcmc import XY, ExtendedXY, Lattice, observe
from mcmc.models import presets
from mcmc.sampling import thermalisation
from mcmc.sampling.executors import hire
from mcmc.sampling.generate import generate_file
from mcmc.sampling.merge import merge
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble


def draw(path, thermalise, temperatures=(0.02, 0.04), **changes):
    # Clusters do not mix where it is cold: few steps leave the starts apart.
    settings = Settings(XY(), Lattice(8, 8), temperatures, 2, "wolff", thermalise=thermalise, thin=2, seed=1)
    generate_file(settings, path, draws=12, **changes)
    return path


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("bad") / "bad.h5", 40)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("good") / "good.h5", 400, (0.9, 1.0))


def warned(path):
    with Ensemble.open(path) as ensemble:
        return ensemble.warnings()


def test_the_file_keeps_the_warning(bad, good):
    [line] = warned(bad)
    assert line.startswith("not in equilibrium after 40 steps")
    assert "T = 0.0" in line
    assert "say 160 steps, or use the sampler auto" in line
    assert "\n" not in line
    assert warned(good) == []


def test_info_shows_it(bad, good, capsys):
    assert main(["info", str(bad)]) == 0
    assert "not in equilibrium" in capsys.readouterr().out
    assert main(["info", "--json", str(bad), str(good)]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert "not in equilibrium" in first["warnings"][0]
    assert second["warnings"] == []


def test_observe_repeats_it(bad, good, capsys):
    assert [line for line in observe(bad).warnings() if "not in equilibrium" in line]
    assert not [line for line in observe(good).warnings() if "not in equilibrium" in line]
    assert main(["observe", str(bad)]) == 0
    assert "not in equilibrium" in capsys.readouterr().err


def test_compare_repeats_it(bad, good):
    for path, grid in ((bad, (0.01, 0.05)), (good, (0.8, 1.1))):
        flow = lf.build_flow("multiscale", XY(), 8, grid, width=8)
        found = lf.compare(flow, path, draws=20)
        assert bool([line for line in found.warnings if "not in equilibrium" in line]) == (path == bad)


def test_training_repeats_it(bad, good, caplog):
    for path in (bad, good):
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            lf.train(path, sizes={"width": 8}, steps=1, device="cpu")
        assert ("not in equilibrium" in caplog.text) == (path == bad)


def test_workers_and_merging_keep_it(bad, good, tmp_path):
    with hire("processes", 2) as workers:
        draw(tmp_path / "parts.h5", 40, workers=workers)
    assert len(warned(tmp_path / "parts.h5")) == 2  # one for each worker's part
    cold = draw(tmp_path / "cold.h5", 40, (0.03,))
    merge([bad, cold], tmp_path / "merged.h5")
    assert set(warned(bad)) <= set(warned(tmp_path / "merged.h5"))
    generate_file(
        Settings(XY(), Lattice(8, 8), (0.02, 0.04), 2, "wolff", thermalise=40, thin=2, seed=1),
        bad,
        draws=14,
        resume=True,
    )
    assert len(warned(bad)) == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ExtendedXY(1.0, -1.0), "the sign of the chirality never changed in "),
        (presets.clock(4, h=2.0), "the direction of the order never changed in "),
    ],
)
def test_an_order_that_has_not_moved_is_told(tmp_path, capsys, model, words):
    """Local moves keep a broken symmetry at low temperature; the sampler auto applies it, and heat moves it."""

    def lines(sampler, temperature):
        path = tmp_path / f"{sampler}-{temperature}.h5"
        chain = Settings(model, Lattice(8, 8), (temperature, 1.1 * temperature), 4, sampler, thermalise=600, seed=1)
        generate_file(chain, path, draws=6)
        with Ensemble.open(path) as ensemble:
            told = [line for line in ensemble.warnings() if "never changed" in line]
            stored = ensemble.report()["thermalisation"]["frozen"]
            [(chains, of, _)] = (each.values() for each in stored.values())
            assert (chains > 0) == bool(told)
            assert of == 8
        return told

    [line] = lines("metropolis", 0.2)
    assert line.startswith(words)
    assert "of 8 chains, up to T = 0.2" in line
    assert "use the sampler auto" in line
    assert lines("auto", 0.2) == []
    assert lines("metropolis", 5.0) == []
    assert main(["observe", str(tmp_path / "metropolis-0.2.h5")]) == 0
    assert words in capsys.readouterr().err


def test_watching_an_order_changes_no_draw(monkeypatch):
    """The second half of thermalisation is run in parts where there is an order to look at: the same steps."""
    settings = Settings(ExtendedXY(1.0, -1.0), Lattice(6, 6), (0.5, 1.0), 2, thermalise=90, thin=2, seed=3)
    watched = Simulation(settings).block(3)
    monkeypatch.setattr(thermalisation, "sectors", lambda theta, model: {})
    plain = Simulation(settings).block(3)
    np.testing.assert_array_equal(watched.theta, plain.theta)
    np.testing.assert_array_equal(watched.series["energy"], plain.series["energy"])
