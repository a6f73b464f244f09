"""Tables of ensembles, by the library and by the command."""

import csv
import json
import tracemalloc

import numpy as np
import pytest

from latticeflow.cli import main
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.observable_registry import observables_of
from mcmc.analysis.table import Table
from mcmc.analysis.thermodynamics import measure, observe, simulate, tabulate, thermodynamics
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble

TEMPERATURES = (0.5, 0.9, 1.4)
REQUIRED = (
    "energy",
    "specific_heat",
    "magnetization",
    "susceptibility",
    "structure_factor",
    "binder_cumulant",
    "vortex_density",
    "helicity_modulus",
    "correlation_length",
)


def write(path, model, *, chains=2, draws=100, shape=(4, 6)):
    lattice = Lattice(shape[1], shape[0])
    settings = Settings(model, lattice, TEMPERATURES, chains=chains, thermalise=50, thin=2)
    with Ensemble.create(path, model=model, lattice=lattice, temperatures=TEMPERATURES, chains=chains) as ensemble:
        if draws:
            ensemble.append(Simulation(settings).block(draws))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("observe")
    return write(folder / "xy.h5", XY()), write(folder / "exy.h5", ExtendedXY(1.0, 0.5), shape=(4, 4))


def test_streaming_changes_nothing(files):
    for path in files:
        seen = []
        with Ensemble.open(path) as ensemble:
            table = observe(ensemble, max_bytes=5000, report=seen.append)
            theta = ensemble.theta()
            for t, T in enumerate(TEMPERATURES):
                whole = thermodynamics(measure(theta[t], ensemble.model), ensemble.model, ensemble.lattice, T)
                assert table.rows[t] == whole
        assert sum(seen) == 3 * 2 * 100
        assert len(seen) > 6


def test_memory_does_not_grow_with_the_file(tmp_path):
    lattice, draws = Lattice(32, 32), 6000
    theta = np.zeros((1, 1, draws, 32, 32), np.float32)
    path = tmp_path / "large.h5"
    with Ensemble.create(path, model=XY(), lattice=lattice, temperatures=(1.0,), draws=draws) as ensemble:
        ensemble.append(Block(theta, {name: np.zeros((1, 1, draws)) for name in ("energy", "magnetization")}))
    with Ensemble.open(path) as ensemble:
        observe(ensemble, max_bytes=2**20, threads=2)  # modules that load when they are first needed
        tracemalloc.start()
        observe(ensemble, max_bytes=2**20, threads=2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert theta.nbytes > 24e6
    assert peak < 8e6


def test_json(files, capsys):
    assert main(["observe", str(files[0]), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["ensembles"]
    assert (found["model"], found["size"], found["J"], found["K"]) == ("xy", [6, 4], 1.0, 0.0)
    assert [row["temperature"] for row in found["rows"]] == list(TEMPERATURES)
    for name in REQUIRED:
        assert {"value", "error", "tau_int", "tau_int_error", "draws"} <= set(found["rows"][0][name])
    assert found["rows"][1]["energy"]["draws"] == 200


def test_several_files_in_json_csv_and_plot(files, tmp_path, capsys):
    table, plot = tmp_path / "both.csv", tmp_path / "both.png"
    assert main(["observe", *map(str, files), "--json", "--csv", str(table), "--plot", str(plot)]) == 0
    printed = json.loads(capsys.readouterr().out)["ensembles"]
    assert [(each["model"], each["size"]) for each in printed] == [("xy", [6, 4]), ("exy", [4, 4])]
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for name in observables_of(XY(), Lattice(6, 4)):
        assert float(rows[4][name]) == printed[1]["rows"][1][name]["value"]
        assert float(rows[4][f"{name}_error"]) == printed[1]["rows"][1][name]["error"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_transition_of_two_sizes(tmp_path, capsys):
    paths = []
    for L in (4, 8):
        settings = Settings(XY(), Lattice(L, L), (0.87, 0.9, 0.93), chains=8)
        paths.append(str(tmp_path / f"{L}.h5"))
        with Ensemble.create(
            paths[-1], model=XY(), lattice=Lattice(L, L), temperatures=settings.temperatures, chains=8
        ) as ensemble:
            ensemble.append(Simulation(settings).block(300))
    assert main(["observe", *paths, "--transition", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["ensembles"]) == 2
    assert abs(found["transition"]["temperature"] - 0.893) < 0.05
    assert main(["observe", *paths, "--transition"]) == 0
    assert "Kosterlitz-Thouless transition at T = 0." in capsys.readouterr().out
    assert main(["observe", paths[0], "--transition"]) == 2


def test_text_and_its_warning(tmp_path, capsys):
    assert main(["observe", str(write(tmp_path / "short.h5", XY(), draws=12, shape=(8, 8)))]) == 0
    captured = capsys.readouterr()
    assert "XY(J=1.0) 8x8, 2 chains, 24 draws per temperature" in captured.out
    assert "?" in captured.out
    assert "too few" in captured.err
    assert "add about" in captured.err


def test_draws_too_few_for_any_error_are_null_in_json(tmp_path, capsys):
    assert main(["observe", str(write(tmp_path / "tiny.h5", XY(), draws=2)), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["ensembles"][0]["rows"][0]
    assert row["energy"]["error"] is None
    assert row["energy"]["missing"] > 0


def test_chains_that_never_meet_are_called_out():
    rng = np.random.default_rng(0)
    model, lattice = XY(), Lattice(4, 4)
    theta = 0.1 * rng.normal(size=(2, 500, 4, 4))
    theta[1] += np.linspace(0, 2 * np.pi, 4, endpoint=False) - np.pi  # a winding state that never unwinds
    theta = (theta + np.pi) % (2 * np.pi) - np.pi
    row = thermodynamics(measure(theta, model), model, lattice, 0.05)
    table = Table(model, lattice, np.array([0.05]), [row], np.array([[5.0, 5.0]]), 2)
    assert "too few" in table.warnings()[0]  # tau_int is as long as the chains
    assert row["energy"].error > 0.1  # ignoring autocorrelation it would be 0.016


def test_a_chain_that_never_moves_is_called_out():
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (1, 4, 4)).repeat(200, 0)[None]
    table = tabulate([measure(theta, XY())], XY(), Lattice(4, 4), [1.0])
    assert "never moved" in table.warnings()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{folder}/missing.h5"], "missing.h5"),
        (["{file}", "--plot", "figure.jpeg"], "figure.jpeg"),
        (["{file}", "--plot", "{folder}/no/figure.png"], "does not exist"),
        (["{file}", "{file}"], "twice"),
        (["{folder}/empty.h5"], "no draws"),
        (["{file}", "--csv", "{folder}/no/table.csv"], "does not exist"),
    ],
)
def test_bad_input_takes_one_line(files, tmp_path, capsys, arguments, words):
    write(tmp_path / "empty.h5", XY(), draws=0)
    assert main(["observe", *(word.format(folder=tmp_path, file=files[0]) for word in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_json_comes_back(files, tmp_path):
    for path in (files[0], write(tmp_path / "tiny.h5", XY(), draws=2)):
        with Ensemble.open(path) as ensemble:
            table = observe(ensemble)
        again = Table.from_json(json.loads(json.dumps(table.as_json())))
        assert (again.model, again.lattice, again.chains) == (table.model, table.lattice, table.chains)
        np.testing.assert_array_equal(again.temperatures, table.temperatures)
        np.testing.assert_array_equal(again.r_hat, table.r_hat)
        for ours, theirs in zip(again.rows, table.rows, strict=True):
            np.testing.assert_array_equal(list(ours.values()), list(theirs.values()))
    with pytest.raises(InputError, match="rows"):
        Table.from_json({"model": "xy"})


def test_a_run_that_keeps_no_configurations_measures_the_same(files):
    settings = Settings(XY(), Lattice(6, 4), TEMPERATURES, chains=2, thermalise=50, thin=2)
    moments = simulate(settings, 100, max_bytes=20000)
    with Ensemble.open(files[0]) as ensemble:
        stored = observe(ensemble)
    assert tabulate(moments, XY(), Lattice(6, 4), TEMPERATURES).rows == stored.rows


def test_bench_observables(capsys):
    assert main(["bench", "observables", "--size", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == 4
    assert all(0 < seconds < 60 for seconds in found["seconds_per_million"].values())
    assert main(["bench", "observables", "--size", "1"]) == 2


def test_columns(files):
    with Ensemble.open(files[0]) as ensemble:
        table = observe(ensemble)
    values, errors = table["energy"].values, table["energy"].errors
    assert values.shape == errors.shape == (3,)
    assert (np.diff(values) > 0).all()
    with pytest.raises(InputError, match="entropy"):
        table["entropy"]
