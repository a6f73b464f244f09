"""Data from elsewhere come in; random draws go out to training in bounded memory."""

import numpy as np
import pytest

from latticeflow.cli import main
from mcmc import XY, InputError, Lattice
from mcmc.models import observables
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.from_numpy import from_array
from mcmc.storage.loader import Loader
from mcmc.storage.verify import verify


@pytest.mark.parametrize(("shape", "T"), [((2, 3, 5, 4, 6), 2), ((2, 5, 4, 6), 2), ((5, 4, 6), 1)])
def test_an_array_becomes_an_ensemble(tmp_path, shape, T):
    rng = np.random.default_rng(0)
    theta = rng.uniform(-7, 7, shape)
    np.save(tmp_path / "a.npy", theta)
    words = ["--temperatures", "0.5,0.7" if T == 2 else "0.5", "--note", "by hand", "--model", "exy", "--K", "0.2"]
    assert main(["import", f"{tmp_path}/a.npy", *words, "--out", f"{tmp_path}/a.h5"]) == 0
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.lattice == Lattice(6, 4)
        assert ensemble.attributes["note"] == "by hand"
        stored = ensemble.theta()
        assert stored.shape == (T, 3 if len(shape) == 5 else 1, 5, 4, 6)
        np.testing.assert_allclose(np.exp(1j * stored.reshape(shape)), np.exp(1j * theta), atol=2e-6)
        np.testing.assert_array_equal(ensemble.series("magnetization"), observables.magnetization(stored))
    assert verify(tmp_path / "a.h5").problems == []


def test_arrays_that_do_not_fit_are_refused(tmp_path, capsys):
    options = {"model": XY(), "temperatures": [0.5, 0.7]}
    with pytest.raises(InputError, match=r"shape \(3, 5, 4, 6\) does not fit 2 temperatures"):
        from_array(tmp_path / "a.h5", np.zeros((3, 5, 4, 6)), **options)
    theta = np.zeros((2, 5, 4, 6))
    theta[1, 3] = np.nan
    with pytest.raises(InputError, match="holds values that are not finite"):
        from_array(tmp_path / "a.h5", theta, **options)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("0.1 0.2\n")
    for name, message in (
        ("pickled", "is not a plain array of real numbers"),
        ("text", "is not a plain array of real numbers"),
        ("missing", "does not exist"),
    ):
        arguments = ["import", f"{tmp_path}/{name}.npy", "--temperatures", "1", "--out", f"{tmp_path}/a.h5"]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.h5").exists()


@pytest.fixture
def numbered(tmp_path):
    """A file whose every draw tells by its angle which it is: (chain * draws + draw) / 1000 at each temperature."""
    path, draws = tmp_path / "a.h5", 100
    angles = np.arange(3 * draws, dtype=np.float32).reshape(1, 3, draws, 1, 1) / 1000
    theta = np.broadcast_to(angles, (2, 3, draws, 4, 4)).copy()
    options = {"temperatures": [0.5, 1.0], "chains": 3, "series": ["energy"], "draws": 9}
    with Ensemble.create(path, model=XY(), lattice=Lattice(4, 4), **options) as ensemble:
        ensemble.append(Block(theta, {"energy": theta.mean((-2, -1))}))
    return path


@pytest.mark.parametrize("max_bytes", [1, 30_000, 2**30])
def test_an_epoch_hands_out_every_draw_once(numbered, max_bytes):
    with Ensemble.open(numbered) as ensemble:
        loader = Loader(ensemble, np.random.default_rng(1), max_bytes=max_bytes)
        epochs = [np.concatenate([loader.sample(50) for _ in range(6)], axis=1) for _ in range(2)]
        again = Loader(ensemble, np.random.default_rng(1), max_bytes=max_bytes).sample(50)
    np.testing.assert_array_equal(again, epochs[0][:, :50])
    orders = [np.rint(1000 * epoch[:, :, 0, 0]).astype(int) for epoch in epochs]
    for order in orders:
        assert (np.sort(order, axis=1) == np.arange(300)).all()
    assert (orders[0] != orders[1]).any()
    assert (orders[0][0] != orders[0][1]).any(), "temperatures are shuffled apart"
