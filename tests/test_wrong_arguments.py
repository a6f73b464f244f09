"""The Python functions refuse what they cannot take in one line; nothing else than InputError comes out."""

import numpy as np
import pytest

import mcmc
from mcmc import InputError

FEW = {"size": 4, "temperatures": [1.0], "draws": 2}


@pytest.fixture(scope="module")
def ensemble():
    return mcmc.generate("xy", size=4, temperatures=[0.5, 0.9], draws=5, chains=2, thermalise=5, thin=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda e: mcmc.generate("xy", **FEW | {"temperatures": ["warm"]}), "temperatures .* must be numbers"),
        (lambda e: mcmc.generate("xy", **FEW | {"temperatures": None}), "temperatures .* must be numbers"),
        (lambda e: mcmc.generate("xy", **FEW | {"draws": "many"}), "draws = 'many' must be an integer"),
        (lambda e: mcmc.generate("xy", **FEW | {"draws": 2.5}), "draws = 2.5 must be an integer"),
        (lambda e: mcmc.generate("xy", **FEW | {"draws": float("nan")}), "draws = nan must be an integer"),
        (lambda e: mcmc.generate("xy", **FEW, sampler=None), "expected the name of a sampler; got NoneType"),
        (lambda e: mcmc.generate("xy", **FEW, sampler=["heat_bath"]), "expected the name of a sampler; got list"),
        (lambda e: mcmc.generate("xy", **FEW, out=3), "expected the path of a file; got int"),
        (lambda e: mcmc.generate("xy", **FEW, out="a.h5", workers="two"), "workers = 'two' must be an integer"),
        (lambda e: mcmc.generate("xy", **FEW, out="a.h5", max_minutes="1"), "max_minutes = '1' must be a number"),
        (lambda e: mcmc.open(3), "expected the path of a file; got int"),
        (lambda e: mcmc.open(e), "expected the path of a file; got MemoryEnsemble"),
        (lambda e: mcmc.verify(None), "expected the path of a file; got NoneType"),
        (lambda e: mcmc.observe(3), "expected an ensemble or the path of one; got int"),
        (lambda e: mcmc.observe(["a.h5", "b.h5"]), "expected an ensemble or the path of one; got list"),
        (lambda e: mcmc.observe(e, observables={"bad": lambda theta: 1 / 0}), "failed: ZeroDivisionError"),
        (lambda e: mcmc.observe(e).at("cold"), "expected a temperature; got 'cold'"),
        (lambda e: mcmc.observe(e)[3], "unknown observable 3"),
        (
            lambda e: mcmc.from_arrays(e.theta(), model=object(), temperatures=[0.5, 0.9]),
            "object is not a sum of terms",
        ),
        (lambda e: mcmc.from_arrays(e.theta(), model="xz", temperatures=[0.5, 0.9]), "unknown model 'xz'"),
        (lambda e: mcmc.merge("a.h5", "b.h5"), "expected a list of files to merge"),
        (lambda e: mcmc.estimate(["a"]), "a series must hold real numbers"),
        (lambda e: mcmc.transition("a.h5"), "fitted to tables, such as observe makes; got str"),
        (lambda e: mcmc.Reweighting(3), "expected an ensemble or the path of one; got int"),
        (lambda e: mcmc.register_observable("mine", 3), "expected an Observable or a function .*; got int"),
        (lambda e: mcmc.register_sampler("mine", "heat_bath"), "expected an mcmc.Sampler; got str"),
        (lambda e: mcmc.build_model(3), "expected the name of a model; got int"),
        (lambda e: mcmc.register_model("mine", 3), "expected a function that makes a model; got int"),
        (lambda e: mcmc.generate(mcmc.XY, size=4, temperatures=[1.0], draws=2), "XY is not a sum of terms: call it"),
        (lambda e: mcmc.observables.energy(e.theta(), "xy"), "str is not a sum of terms: give"),
    ],
)
def test_of_models_and_ensembles(call, said, ensemble, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        call(ensemble)
    assert not [*tmp_path.iterdir()]


def test_presets_are_taken_by_name_as_on_the_command_line():
    short = {"temperatures": [1.0], "draws": 2, "chains": 1, "thermalise": 2, "thin": 1}
    assert mcmc.generate("clock", size=4, **short).model == mcmc.build_model("clock")
    assert mcmc.generate("xy", size=(2, 2, 2), **short).model == mcmc.XY(dimensions=3)
    theta = np.random.default_rng(0).uniform(-3, 3, (30, 4, 4))
    assert mcmc.from_arrays(theta, model="exy", temperatures=1.0).model == mcmc.ExtendedXY()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda lf, e: lf.load(3), "expected"),
        (lambda lf, e: lf.sample("xy8", temperatures=[0.9], draws=2.5), "draws = 2.5 must be an integer"),
        (lambda lf, e: lf.sample("xy8", temperatures=[0.9], draws=3, seed=0.5), "seed = 0.5 must be an integer"),
        (lambda lf, e: lf.load("xy8").sample(-1, 0.9), "n = -1 must be at least"),
        (lambda lf, e: lf.train(e, steps="1"), "steps = '1' must be a positive number"),
        (lambda lf, e: lf.train(e, steps=1.5), "steps = 1.5 must be an integer"),
        (lambda lf, e: lf.train(e, steps=1, learning_rate="fast"), "learning_rate = 'fast' must be a positive number"),
        (lambda lf, e: lf.train(e, settings={"steps": 1}), "settings must be TrainingSettings; got dict"),
        (lambda lf, e: lf.wrap(1, 2, mcmc.XY(), 4, temperatures=(1, 2)), "expected a function"),
        (lambda lf, e: lf.plot.observables([]), "expected tables"),
        (lambda lf, e: lf.plot.observables(e), "expected tables, such as observe makes; got MemoryEnsemble"),
        (lambda lf, e: lf.plot.comparison(mcmc.observe(e)), "expected .* comparison"),
    ],
)
def test_of_flows_and_figures(call, said, ensemble):
    pytest.importorskip("torch")
    import latticeflow as lf

    with pytest.raises(InputError, match=said):
        call(lf, ensemble)


def test_a_flow_does_not_replace_an_ensemble(tmp_path):
    pytest.importorskip("torch")
    import latticeflow as lf

    path = tmp_path / "a.h5"
    mcmc.generate("xy", **FEW, chains=1, thermalise=2, out=path).close()
    kept, flow = path.read_bytes(), lf.load("xy8")
    for name, said in (("a.h5", "would be lost"), ("", "is a directory"), ("nowhere/f.pt", "does not exist: create")):
        with pytest.raises(InputError, match=said):
            flow.save(tmp_path / name)
    assert path.read_bytes() == kept
    flow.save(tmp_path / "f.pt")
    flow.save(tmp_path / "f.pt")
