"""A caller's mistake is told as such, and selections behave as in numpy."""

import numpy as np
import pytest

from mcmc import InputError
from mcmc.storage import conversions
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.memory_ensemble import MemoryEnsemble
from tests.storage.test_ensemble import LATTICE, TEMPERATURES, create, random_block


@pytest.fixture(scope="module")
def block():
    return random_block(3, 20)


@pytest.fixture(params=["file", "memory"])
def ensemble(request, tmp_path, block):
    if request.param == "file":
        with create(tmp_path / "a.h5") as writer:
            writer.append(block)
        with Ensemble.open(tmp_path / "a.h5") as reader:
            yield reader
    else:
        from mcmc import XY

        held = MemoryEnsemble(XY(), LATTICE, TEMPERATURES, chains=2)
        held.append(block)
        yield held


CHOICES = [3, -1, np.int64(2), slice(None), slice(2, 9), slice(None, None, 3), slice(None, None, -1), slice(15, 3, -4)]
CHOICES += [slice(30, 40), slice(-5, None), [0, 4, 2], np.array([1, 1, 7]), np.arange(20) % 3 == 0, [], range(2, 6), ()]


@pytest.mark.parametrize("draws", CHOICES, ids=repr)
def test_selections_are_those_of_numpy(ensemble, block, draws):
    wanted = list(draws) if isinstance(draws, range | tuple) else draws
    expected = block.theta[:, :, np.array([], int) if isinstance(wanted, list) and not wanted else wanted]
    np.testing.assert_array_equal(ensemble.theta(draws), expected)
    np.testing.assert_array_equal(ensemble.theta(draws, temperatures=1), expected[1])
    np.testing.assert_array_equal(ensemble.theta(draws, temperatures=[2, 0], chains=-1), expected[[2, 0], 1])
    energy = block.series["energy"][:, :, np.array([], int) if isinstance(wanted, list) and not wanted else wanted]
    np.testing.assert_array_equal(ensemble.series("energy", draws, chains=slice(None, None, -1)), energy[:, ::-1])


def test_a_temperature_by_its_value(ensemble, block):
    np.testing.assert_array_equal(ensemble.theta(temperature=1), block.theta[1])
    np.testing.assert_array_equal(ensemble.theta(0, temperature=np.float32(1.5)), block.theta[2, :, 0])
    np.testing.assert_array_equal(ensemble.series("energy", temperature=0.5), block.series["energy"][0])


MISTAKES = [
    (
        {"temperatures": 0.5},
        "temperatures = 0.5 must be an integer.*choose a temperature by its value with temperature=",
    ),
    ({"temperatures": 99}, r"temperatures = 99 is out of range: the file has 3 \(0 to 2\)"),
    ({"temperatures": -4}, "temperatures = -4 is out of range"),
    ({"chains": 7}, r"chains = 7 is out of range: the file has 2 \(0 to 1\)"),
    ({"chains": "all"}, "chains = 'all' must be an integer"),
    ({"chains": None}, "chains = None must be an integer"),
    ({"chains": True}, "chains = True must be an integer"),
    ({"chains": ...}, "chains = Ellipsis must be an integer"),
    ({"chains": [[0]]}, "must be an integer"),
    ({"chains": [0, 2]}, "chains = 2 is out of range"),
    ({"chains": [True]}, "a mask of 1 does not fit chains: the file has 2"),
    ({"chains": [0.0]}, "must be an integer"),
    ({"chains": slice(0.5)}, "must be an integer, a slice"),
    ({"chains": slice(None, None, 0)}, "must be an integer, a slice"),
    ({"draws": 20}, r"draws = 20 is out of range: the file has 20 \(0 to 19\)"),
    ({"draws": {1}}, "must be an integer"),
    ({"temperature": 0.7}, r"no temperature 0\.7: the nearest are 0\.5, 1"),
    ({"temperature": "a"}, "temperature = 'a' must be a number"),
    ({"temperature": float("nan")}, "no temperature nan"),
    ({"temperature": 0.5, "temperatures": 0}, "exclude each other"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistakes_of_the_caller_are_not_damage(ensemble, words, message):
    for read in (ensemble.theta, lambda **words: ensemble.series("energy", **words)):
        with pytest.raises(InputError, match=message) as error:
            read(**words)
        assert "damaged" not in str(error.value)
    assert ensemble.theta().shape[2] == 20


def test_unknown_names(ensemble):
    with pytest.raises(InputError, match="unknown axis 'temp': choose one of temperature, chain, draw, y, x"):
        ensemble.coordinate("temp")
    with pytest.raises(InputError, match="has no series 'entropy'; it has energy, magnetization"):
        ensemble.series("entropy")


def test_a_closed_file_says_so(tmp_path, block):
    with create(tmp_path / "a.h5") as writer:
        writer.append(block)
    for opening in (Ensemble.open, Ensemble.append_to):
        with opening(tmp_path / "a.h5") as ensemble:
            pass
        for read in (
            ensemble.theta,
            lambda: ensemble.series("energy"),
            lambda: ensemble.coordinate("x"),
            ensemble.state,
            ensemble.report,
            lambda: next(ensemble.blocks()),
        ):
            with pytest.raises(InputError, match="is closed: open it again"):
                read()
        with pytest.raises(InputError, match="is closed: nothing can be appended"):
            ensemble.append(block)
        assert "closed" in repr(ensemble)
        ensemble.close()


def test_a_file_shows_what_it_holds(tmp_path, block):
    with create(tmp_path / "a<b>.h5") as writer:
        writer.append(block)
        assert "20 draws" in repr(writer)
    with Ensemble.open(tmp_path / "a<b>.h5") as ensemble:
        lines = repr(ensemble).splitlines()
        assert len(lines) == 5
        for line, words in zip(
            lines, ("a<b>.h5", "XY(J=1.0)", "4 x 6", "3 from 0.5 to 1.5", "2 chains x 20"), strict=True
        ):
            assert words in line
        html = ensemble._repr_html_()
        assert html.startswith("<table")
        assert "a&lt;b&gt;.h5" in html


def test_xarray_has_names_for_everything(ensemble, block):
    pytest.importorskip("xarray")
    dataset = ensemble.to_xarray()
    assert dict(dataset.sizes) == {"temperature": 3, "chain": 2, "draw": 20, "y": 6, "x": 4}
    np.testing.assert_array_equal(dataset.theta.sel(temperature=1.0, chain=1, draw=4), block.theta[1, 1, 4])
    assert dataset.energy.dims == ("temperature", "chain", "draw")
    assert dataset.theta.attrs["units"] == "rad"
    assert ensemble.to_xarray(3).theta.dims == ("temperature", "chain", "y", "x")
    assert ensemble.to_xarray([1, 5]).draw.values.tolist() == [1, 5]


class OldArviz:
    """What is used of ArviZ before version 1."""

    class InferenceData(dict):
        pass

    @classmethod
    def from_dict(cls, posterior):
        import xarray

        arrays = {name: (("chain", "draw"), values) for name, values in posterior.items()}
        return cls.InferenceData(posterior=xarray.Dataset(arrays))


class NewArviz:
    """What is used of ArviZ from version 1 on."""

    @staticmethod
    def from_dict(groups):
        return OldArviz.from_dict(**groups)


@pytest.mark.parametrize("package", [OldArviz, NewArviz])
def test_arviz_gets_the_series_of_one_temperature(ensemble, block, monkeypatch, package):
    pytest.importorskip("xarray")
    monkeypatch.setattr(conversions, "require", lambda name, purpose: package)
    found = ensemble.to_arviz(temperature=1.0)["posterior"]
    np.testing.assert_array_equal(found["energy"], block.series["energy"][1])
    assert found.attrs["temperature"] == 1.0
    with pytest.raises(InputError, match=r"takes one temperature of 3 from 0\.5 to 1\.5: give temperature=\.\.\."):
        ensemble.to_arviz()


def test_a_missing_package_is_named(ensemble, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "arviz", None)
    with pytest.raises(InputError, match=r"to_arviz needs.*`pip install arviz`"):
        ensemble.to_arviz(temperature=1.0)
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(InputError, match=r"to_xarray needs.*`pip install xarray`"):
        ensemble.to_xarray()
