"""Files keep any model and lattices of three axes; the command line builds presets and reads files of terms."""

import json

import numpy as np
import pytest

import mcmc
from latticeflow.cli import main
from mcmc import XY, InputError, Lattice
from mcmc.models import presets
from mcmc.models.presets import build_model, load_model


def test_three_axes_and_long_arrays_come_back(tmp_path):
    # Couplings of 32x32x4 sites are longer than an attribute of HDF5 may be.
    model = presets.gauge_glass((32, 32, 4), seed=5)
    made = mcmc.generate(
        model, size=(32, 32, 4), temperatures=[0.8, 1.2], draws=3, thermalise=4, thin=1, out=tmp_path / "a.h5"
    )
    with mcmc.open(tmp_path / "a.h5") as ensemble:
        assert (ensemble.model, ensemble.lattice, ensemble.model.name) == (model, Lattice(32, 32, 4), "gauge_glass")
        assert ensemble.theta().shape == (2, made.chains, 3, 4, 32, 32)
        assert ensemble.coordinate("z").tolist() == [0, 1, 2, 3]
        energies = model.energy(ensemble.theta()) / 4096
        np.testing.assert_allclose(ensemble.series("energy"), energies, atol=1e-6)
        table = mcmc.observe(ensemble)
    assert {"energy", "vortex_density", "correlation_length", "overlap"} <= set(table.observables)
    assert mcmc.verify(tmp_path / "a.h5").intact == 3


def test_a_model_file_on_the_command_line(tmp_path):
    path = tmp_path / "mine.toml"
    terms = """name = "mine"
[[terms]]
charges = [1, -1]
offsets = [[0, 0], [1, 0]]
[[terms]]
charges = [3]
offsets = [[0, 0]]
coupling = 0.5
"""
    path.write_text(terms)
    run = ["--size", "4x6", "-T", "0.7", "--draws", "4", "--thermalise", "4"]
    assert main(["generate", "--model", str(path), *run, "--out", str(tmp_path / "a.h5")]) == 0
    with mcmc.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.model == load_model(path)
    assert main(["generate", "--model", "clock", "--set", "q=4", *run, "--out", str(tmp_path / "b.h5")]) == 0
    with mcmc.open(tmp_path / "b.h5") as ensemble:
        assert ensemble.model == presets.clock(4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"terms": []}, "at least one term"),
        ({"terms": [{"charges": [1, -1], "offsets": [[0, 0]]}]}, "one for each"),
        ({"terms": [{"charges": [1.5], "offsets": [[0, 0]]}]}, "must be integers"),
        ({"terms": [{"charges": [1], "offsets": [[0, 0]], "coupling": None}]}, "finite number"),
        ({"terms": [{"charges": [1], "offsets": [[0, 0]], "kopling": 1}]}, "kopling"),
        ({"preset": "clok"}, "did you mean 'clock'"),
        ({"preset": "clock", "p": 2}, "no option 'p'"),
        ([1], "described by its name and its terms"),
    ],
)
def test_bad_descriptions_of_models(content, words, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as raised:
        load_model(path, 4)
    assert "\n" not in str(raised.value)


def test_models_and_lattices_that_do_not_fit():
    with pytest.raises(InputError, match="has 2 axes, the lattice 4x4x4 has 3"):
        mcmc.generate(XY(), size=(4, 4, 4), temperatures=[1.0], draws=1)
    with pytest.raises(InputError, match=r"is an array \(4, 4\), but the lattice is \(6, 6\)"):
        mcmc.generate(presets.plus_minus_j(4), size=6, temperatures=[1.0], draws=1)
    with pytest.raises(InputError, match=r"cannot sample clock.*multiples of its angle"):
        mcmc.generate(presets.clock(6), size=4, temperatures=[1.0], draws=1, sampler="heat_bath")
    with pytest.raises(InputError, match="cannot sample open_exy"):
        mcmc.generate(
            presets.open_boundaries(mcmc.ExtendedXY(), 4), size=4, temperatures=[1.0], draws=1, sampler="wolff"
        )
    with pytest.raises(InputError, match="depends on the lattice"):
        build_model("gauge_glass")
