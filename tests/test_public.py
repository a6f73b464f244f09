"""What is public, how fast it loads, and the script that a notebook user types."""

import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import latticeflow as lf
import mcmc
from mcmc.analysis.thermodynamics import measure, observe
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

PUBLIC = [
    "Comparison",
    "CriticSettings",
    "FLOWS",
    "Flow",
    "FlowQuality",
    "InputError",
    "Multiscale",
    "NeuralChains",
    "OBJECTIVES",
    "RealNVP",
    "Spline",
    "TrainingDivergedError",
    "TrainingSettings",
    "Verdict",
    "__version__",
    "build_flow",
    "compare",
    "free_energy",
    "importance",
    "load",
    "plot",
    "register_flow",
    "sample",
    "shipped",
    "train",
    "wrap",
]


def test_the_public_names_are_these_and_all_of_them_load():
    assert sorted(lf.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(lf))
    for name in PUBLIC:
        assert getattr(lf, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        lf.trian  # noqa: B018
    with pytest.raises(ImportError):
        from latticeflow import trian  # noqa: F401


def test_walking_over_all_modules_runs_no_command():
    code = "import pkgutil, sys, mcmc, latticeflow; sys.argv = ['x', '--help']\n"
    code += "for package in (mcmc, latticeflow):\n"
    code += "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
    code += "        __import__(found.name)\n"
    code += "print('all imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "all imported\n", done.stderr
    assert any(found.name == "latticeflow.__main__" for found in pkgutil.walk_packages(lf.__path__, "latticeflow."))


def test_a_session_from_ensemble_to_figure(few_draws, tmp_path):
    """The second half of the API's script, on a small lattice."""
    flow = lf.train(few_draws, steps=30, batch_draws=4, seed=3, sizes={"width": 16, "invariants": 8})
    assert flow.history["training"]["seed"] == 3
    assert flow.history["source"]["temperatures"] == [0.5, 1.0, 1.5, 2.0]
    assert "trained 30 steps" in repr(flow)
    flow.save(tmp_path / "xy4.pt")
    loaded = lf.load(tmp_path / "xy4.pt")
    assert loaded.history == flow.history

    found = lf.compare(loaded, few_draws)
    assert found.verdict.grade in ("good", "usable", "useless")
    assert "is what the flow was trained on" in found.warnings[0]
    assert "warning: " in repr(found)
    assert "<table>" in found._repr_html_()
    assert found.as_json()["warnings"] == found.warnings
    assert len(found.to_pandas()) == len(found) == 4

    chain = lf.sample(flow, temperatures=[0.9], draws=200)
    assert (chain.chains, chain.draws, chain.lattice) == (4, 200, mcmc.Lattice(4, 4))
    table = observe(chain)
    weighted = lf.importance(tmp_path / "xy4.pt", temperatures=[0.9], draws=2000)
    a, b = table.rows[0]["energy"], weighted.rows[0]["energy"]
    assert abs(a.value - b.value) < 5 * np.hypot(a.error, b.error)

    with lf.sample(flow, temperatures=[0.9], draws=200, out=tmp_path / "chain.h5") as stored:
        np.testing.assert_array_equal(stored.theta(), chain.theta())
        assert not lf.compare(flow, stored).warnings
    figure = lf.plot.observables({"exact chain": table, "weighted": weighted}, ["energy", "helicity_modulus"])
    lf.plot.save(figure, tmp_path / "figure.png")
    assert figure._repr_png_().startswith(b"\x89PNG")
    lf.plot.save(lf.plot.spins(chain.theta()[0, 0, :3], titles="abc"), tmp_path / "spins.svg")
    lf.plot.save(lf.plot.comparison(found), tmp_path / "comparison.pdf")
    lf.plot.histograms({"chain": chain.series("energy")})
    lf.plot.autocorrelations(chain.series("energy")[0])


def test_unknown_settings_name_the_nearest_known_one(few_draws):
    with pytest.raises(mcmc.InputError, match="unknown training setting 'minuets': did you mean 'minutes'"):
        lf.train(few_draws, minuets=3)
    with pytest.raises(mcmc.InputError, match=r"unknown training setting 'draws': .*batch_draws"):
        lf.train(few_draws, draws=3)
    with pytest.raises(mcmc.InputError, match="unknown critic setting 'chanels': did you mean 'channels'"):
        lf.train(few_draws, critic={"chanels": 3})
    with pytest.raises(mcmc.InputError, match="give either settings or seed, not both"):
        lf.train(few_draws, settings=lf.TrainingSettings(steps=1), seed=3)
    with pytest.raises(mcmc.InputError, match="arrays do not say what they are draws of"):
        lf.train(np.zeros((2, 9, 4, 4)), steps=1)
    with pytest.raises(mcmc.InputError, match="an ensemble knows its model and temperatures"):
        lf.train(few_draws, temperatures=[0.5], steps=1)


def test_arrays_train_a_flow_in_one_call():
    """What took seven imports."""
    theta = np.random.default_rng(1).uniform(-np.pi, np.pi, (2, 3, 20, 4, 4))
    flow = lf.train(
        theta, model="xy", temperatures=[5.0, 9.0], steps=2, flow="realnvp", sizes={"couplings": 2, "filters": 4}
    )
    assert flow.temperatures == (5.0, 9.0)
    assert "is what the flow was trained on" in lf.compare(flow, theta, temperatures=[5.0, 9.0]).warnings[0]
    again = lf.train(theta, model="xy", temperatures=[5.0, 9.0], flow=flow, steps=1)
    assert again is not flow
    assert again.history["steps"] == 1
    assert flow.history["steps"] == 2


def test_objects_show_what_they_are():
    chains = lf.NeuralChains(lf.load("xy8", device="cpu"), [0.5, 1.0], chains=3)
    assert "3 chains at each; 0 steps made" in repr(chains)
    settings = Settings(mcmc.XY(), mcmc.Lattice(4, 4), (0.8, 0.9), chains=2, thermalise=5)
    simulation = Simulation(settings)
    assert "Simulation of XY(J=1.0) on 4x4 sites" in repr(simulation)
    moments = [measure(each, mcmc.XY()) for each in simulation.block(200).theta]
    reweighting = mcmc.Reweighting.from_moments(moments, mcmc.XY(), mcmc.Lattice(4, 4), (0.8, 0.9))
    assert "800 draws at 2 temperatures, 0.8 to 0.9" in repr(reweighting)
    assert max(map(len, (repr(chains), repr(simulation), repr(reweighting)))) < 300


def test_shipped_flows_load_by_name():
    assert list(lf.shipped()) == ["exy16", "exy8", "xy16", "xy8"]
    assert lf.load("xy8", device="cpu").lattice == mcmc.Lattice(8, 8)
    known = "exy16, exy8, xy16, xy8"
    with pytest.raises(mcmc.InputError, match=f"no flow at xy9: give the path of a file, or a name of {known}"):
        lf.load("xy9")
