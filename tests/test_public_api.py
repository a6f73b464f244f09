"""The public names, and the few lines that a notebook user types."""

import subprocess
import sys

import numpy as np
import pytest

import mcmc

MCMC = {
    "XY",
    "Ensemble",
    "Estimate",
    "ExtendedXY",
    "InputError",
    "Lattice",
    "MemoryEnsemble",
    "Model",
    "Observable",
    "Reweighting",
    "Sampler",
    "Table",
    "Update",
    "autocorrelation",
    "correlation_function",
    "derived",
    "estimate",
    "from_arrays",
    "generate",
    "independent",
    "merge",
    "build_model",
    "load_model",
    "model_from_name",
    "register_model",
    "Term",
    "observables",
    "observe",
    "open",
    "register_observable",
    "register_sampler",
    "transition",
    "verify",
    "wrap",
}


def test_public_names_of_mcmc():
    """A name is added or removed on purpose, here and in CHANGELOG."""
    assert set(mcmc.__all__) == MCMC
    assert all(hasattr(mcmc, name) for name in MCMC)
    assert set(mcmc.__all__) <= set(dir(mcmc))
    with pytest.raises(AttributeError, match="generat"):
        mcmc.generat  # noqa: B018


def test_a_notebook_of_mcmc(tmp_path):
    path = tmp_path / "xy4.h5"
    temperatures = np.linspace(0.5, 1.5, 3)
    made = mcmc.generate(mcmc.XY(), size=4, temperatures=temperatures, draws=60, out=path, thermalise=50)
    assert made.draws == 60
    again = mcmc.generate(mcmc.XY(), size=4, temperatures=temperatures, draws=60, thermalise=50)
    np.testing.assert_array_equal(again.theta(), made.theta())
    made.close()
    with mcmc.open(path) as ensemble:
        table = mcmc.observe(ensemble)
    assert table.temperatures.tolist() == temperatures.tolist()
    assert mcmc.observe(path).rows == mcmc.observe(str(path)).rows == mcmc.observe(again).rows == table.rows


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 1}, "Lx = 1"),
        ({"size": (4, 4, 4, 4)}, "size"),
        ({"size": "4"}, "size = '4'"),
        ({"model": "xyz"}, "unknown model 'xyz'"),
        ({"temperatures": [0.0]}, "0.0"),
        ({"draws": 0}, "draws = 0"),
        ({"sampler": "wolf"}, "did you mean 'wolff'"),
        ({"resume": True}, "for files"),
    ],
)
def test_what_cannot_be_generated(options, words):
    options = {"model": "xy", "size": 4, "temperatures": [1.0], **options}
    with pytest.raises(mcmc.InputError, match=words):
        mcmc.generate(options.pop("model"), **options)


def test_importing_a_submodule_does_not_hide_a_function():
    code = "import mcmc; import mcmc.sampling.generate, mcmc.sampling.merge, mcmc.storage.verify; print(mcmc.generate)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<function generate")
