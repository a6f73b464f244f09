"""The ensemble file: what goes in comes out, committed draws only."""

import numpy as np
import pytest

from mcmc import XY, InputError, Lattice
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.hdf5_layout import chunk_shape

TEMPERATURES = (0.5, 1.0, 1.5)
LATTICE = Lattice(4, 6)


def random_block(seed: int, draws: int) -> Block:
    rng = np.random.default_rng(seed)
    shape = (len(TEMPERATURES), 2, draws)
    theta = rng.uniform(-np.pi, np.pi, (*shape, *LATTICE.shape)).astype(np.float32)
    return Block(theta, {"energy": rng.normal(size=shape), "magnetization": rng.uniform(size=shape)})


def create(path, **changes) -> Ensemble:
    arguments = {"model": XY(), "lattice": LATTICE, "temperatures": TEMPERATURES, "chains": 2, "draws": 20}
    return Ensemble.create(path, **{**arguments, **changes})


def test_what_goes_in_comes_out(tmp_path):
    blocks = [random_block(seed, draws) for seed, draws in enumerate((7, 20, 1, 33))]
    with create(tmp_path / "a.h5", provenance={"note": "by hand", "settings": {"thin": [1, 2]}}) as ensemble:
        for k, block in enumerate(blocks):
            ensemble.append(block, state={"step": np.array(k)}, report={"k": k})
    theta = np.concatenate([block.theta for block in blocks], 2)
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert (ensemble.model, ensemble.lattice, ensemble.chains, ensemble.draws) == (XY(), LATTICE, 2, 61)
        assert ensemble.temperatures.tolist() == list(TEMPERATURES)
        assert ensemble.attributes["settings"] == {"thin": [1, 2]}
        assert ensemble.series_names == ("energy", "magnetization")
        assert ensemble.theta().dtype == np.float32
        np.testing.assert_array_equal(ensemble.theta(), theta)
        np.testing.assert_array_equal(ensemble.theta(slice(5, 9)), theta[:, :, 5:9])
        energy = np.concatenate([block.series["energy"] for block in blocks], 2)
        np.testing.assert_array_equal(ensemble.series("energy"), energy)
        np.testing.assert_array_equal(np.concatenate([b.theta for b in ensemble.blocks(1)], 2), theta)
        assert ensemble.state() == {"step": 3}
        assert ensemble.report() == {"k": 3}
        with pytest.raises(InputError, match="no series 'entropy'"):
            ensemble.series("entropy")


def test_a_reader_keeps_its_view_while_a_writer_works(tmp_path):
    first = random_block(0, 7)
    with create(tmp_path / "a.h5") as writer:
        writer.append(first)
        with Ensemble.open(tmp_path / "a.h5") as reader:
            for seed in range(1, 4):
                writer.append(random_block(seed, 50))
                np.testing.assert_array_equal(reader.theta(), first.theta)
                with Ensemble.open(tmp_path / "a.h5") as late:
                    assert late.draws == writer.draws


def test_only_one_writer(tmp_path):
    with create(tmp_path / "a.h5") as writer:
        writer.append(random_block(0, 3))
        with pytest.raises(InputError, match="being written by another process"):
            Ensemble.append_to(tmp_path / "a.h5")
    with Ensemble.append_to(tmp_path / "a.h5") as writer:
        assert writer.draws == 3
    with pytest.raises(InputError, match="exists"):
        create(tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("draws", [0, 1, 255, 256, 257, 300, 1000, 4097])
def test_expected_draws_fill_their_chunks(draws):
    """The space of a chunk is taken as a whole: 300 draws in chunks of 256 would take that of 512."""
    n = chunk_shape(21, 4, (16, 16), draws)[2]
    assert 1 <= n <= 256
    chunks = -(-draws // n)
    assert chunks * n - draws < max(chunks, 1)
    assert chunks == -(-draws // 256)  # no more of them than need be
