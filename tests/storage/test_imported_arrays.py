"""What somebody brings is understood as what it is, said so, or refused with the way to convert it."""

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.from_numpy import from_array
from mcmc.storage.memory_ensemble import MemoryEnsemble


def angles(*shape, seed=0, scale=1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, shape) * scale


def bring(how, tmp_path, theta, temperatures=(0.5, 1.0), model=None):
    model = model or XY()
    if how == "file":
        return from_array(tmp_path / "a.h5", np.asarray(theta), model=model, temperatures=temperatures)
    return MemoryEnsemble.from_arrays(theta, model=model, temperatures=temperatures)


unit = np.stack([np.cos(angles(2, 50, 8, 8)), np.sin(angles(2, 50, 8, 8))], axis=-1)
REFUSED = {
    "unit vectors": (unit, r"axis 4 .* unit vectors.*numpy.arctan2\(array\[:, :, :, :, 1\], array\[:, :, :, :, 0\]\)"),
    "unit vectors first": (np.moveaxis(unit, -1, 2), r"axis 2 .* unit vectors.*array\[:, :, 1, \.\.\.\]"),
    "float32 unit vectors": (unit.astype(np.float32), "unit vectors"),
    "complex numbers": (unit[..., 0] + 1j * unit[..., 1], r"complex numbers: bring angles, numpy\.angle"),
    "degrees": (np.degrees(angles(2, 50, 8, 8)), "are not angles in radians: convert degrees by numpy.radians"),
    "degrees from 0": (np.degrees(angles(2, 50, 8, 8) + np.pi), "convert degrees by numpy.radians"),
    "whole degrees": (np.round(np.degrees(angles(2, 50, 8, 8, scale=0.05))), "whole numbers only|degrees"),
    "many turns": (angles(2, 50, 8, 8, scale=9), r"wrap angles of several turns by mcmc\.wrap"),
    "states of a clock": (np.random.default_rng(0).integers(0, 6, (2, 50, 8, 8)), "states k of a clock of q hands"),
    "text": (np.full((2, 50, 8, 8), "a"), "real numbers"),
    "not finite": (np.where(angles(2, 50, 8, 8) > 3.1, np.nan, 0.1), "not finite"),
    "infinite": (np.where(angles(2, 50, 8, 8) > 3.1, np.inf, 0.1), "not finite"),
}


@pytest.mark.parametrize("how", ["file", "memory"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_angles_is_refused(tmp_path, how, kind):
    theta, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        bring(how, tmp_path, theta)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["file", "memory"])
@pytest.mark.parametrize(
    ("temperatures", "message"),
    [
        ((0.5, 0.5), "given twice"),
        ((0.5, -1.0), "positive finite"),
        ((0.0, 1.0), "positive finite"),
        ((0.5, np.nan), "positive finite"),
        ((0.5, 5000), r"temperature 5000 is out of proportion to the couplings of XY\(J=1\.0\)"),
        ((1e-7, 1), "out of proportion"),
        ((0.5, 1.0, 1.5), "does not fit 3 temperatures"),
        ("0.5", "must be numbers"),
    ],
)
def test_temperatures_that_cannot_be_meant_are_refused(tmp_path, how, temperatures, message):
    with pytest.raises(InputError, match=message):
        bring(how, tmp_path, angles(2, 50, 8, 8), temperatures)


def test_angles_of_every_usual_range_come_in(tmp_path):
    """The negative control of the refusals, among them lattices of two and three columns and an ordered one."""
    for k, theta in enumerate(
        [angles(2, 5, 4, 4), angles(2, 5, 4, 4) + np.pi, angles(2, 5, 4, 2), angles(2, 5, 4, 3), np.zeros((2, 5, 4, 4))]
    ):
        from_array(tmp_path / f"{k}.h5", theta, model=XY(), temperatures=[0.5, 1.0])
        MemoryEnsemble.from_arrays(theta, model=XY(), temperatures=[0.5, 1.0])
    from_array(tmp_path / "hot.h5", angles(2, 5, 4, 4), model=ExtendedXY(300, 100), temperatures=[300, 3e4])


def test_a_file_says_how_it_was_understood(tmp_path):
    theta = np.stack([angles(3, 200, 8, 6, scale=scale) for scale in (0.1, 0.4, 0.9)])
    understood = bring("file", tmp_path, theta, (0.1, 0.5, 1.0))
    assert understood.shape == (3, 3, 200, 8, 6)
    assert understood.falling == []
    lines = str(understood).splitlines()
    assert lines[0] == "3 temperatures x 3 chains x 200 draws on 6 x 8 sites"
    assert lines[1].startswith("angles from -2.8")
    assert lines[3].split()[:3] == ["T", "=", "0.1"]
    assert float(lines[3].split()[3]) == pytest.approx(-2 * (np.sin(0.1 * np.pi) / (0.1 * np.pi)) ** 2, rel=0.01)
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        np.testing.assert_allclose(ensemble.series("energy").mean((1, 2)), understood.energies)


def test_temperatures_in_any_order_are_sorted_with_their_draws(tmp_path):
    theta = np.stack([angles(3, 50, 8, 8, scale=scale) for scale in (0.9, 0.1, 0.4)])
    understood = bring("file", tmp_path, theta, (1.0, 0.1, 0.5))
    memory = bring("memory", tmp_path, theta, (1.0, 0.1, 0.5))
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.temperatures.tolist() == memory.temperatures.tolist() == [0.1, 0.5, 1.0]
        np.testing.assert_allclose(ensemble.theta(temperature=0.1), theta[1], atol=1e-6)
        np.testing.assert_array_equal(ensemble.theta(), memory.theta())
    assert understood.falling == []


def test_energies_that_fall_with_temperature_are_pointed_out(tmp_path):
    theta = np.stack([angles(1, 300, 8, 8, scale=scale) for scale in (0.9, 0.4)])
    understood = bring("file", tmp_path, theta)
    assert understood.falling == [1]
    assert "the energy falls from T = 0.5 to 1: in equilibrium it rises; check the order" in str(understood)
