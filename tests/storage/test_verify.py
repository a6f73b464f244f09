"""A flipped byte is found and named; what it spoilt can be cut off and made again."""

import json
import shutil

import h5py
import numpy as np
import pytest

from latticeflow.cli import main
from mcmc.sampling.generate import generate_file
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.verify import verify
from tests.helpers import content, settings

DRAWS = 700


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.h5"
    assert generate_file(settings(), path, draws=300)
    assert generate_file(settings(), path, draws=DRAWS, resume=True)  # chunks of 300 draws
    return path


@pytest.fixture
def bad(good, tmp_path):
    return shutil.copy(good, tmp_path / "bad.h5")


def flip(path, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))


def byte_of(path, name: str, index) -> int:
    """Where in the file a byte of the chunk that holds this element lies."""
    with h5py.File(path, "r") as file:
        dataset = file[name]
        chunk = tuple(i - i % n for i, n in zip(index, dataset.chunks, strict=True))
        return dataset.id.get_chunk_info_by_coord(chunk).byte_offset + 77


def test_a_sound_file_is_sound(good, capsys):
    assert verify(good).problems == []
    assert main(["verify", str(good), "--json"]) == 0
    sound = {"ok": True, "draws": DRAWS, "intact_draws": DRAWS, "cut": False, "problems": []}
    assert json.loads(capsys.readouterr().out) == [{"file": str(good), **sound}]


@pytest.mark.parametrize(
    ("name", "index", "problem"),
    [
        ("theta", (1, 1, 450, 0, 0), "theta, T = 0.9, chains 0 to 1, draws 300 to 599: checksum does not match"),
        ("energy", (0, 0, 310), "series energy, draws 300 to 599: checksum does not match"),
    ],
)
def test_a_flipped_byte_is_named_cut_off_and_made_again(good, bad, capsys, name, index, problem):
    flip(bad, byte_of(bad, name, index))
    assert verify(bad).problems == [problem]
    assert main(["verify", str(bad)]) == 1
    assert (
        f"{bad}: {problem}\n{bad}: the first 300 of 700 draws are sound; --cut keeps only these"
        in capsys.readouterr().out
    )
    assert main(["verify", str(bad), "--cut"]) == 0
    assert "cut to 300 of 700 draws; generate --resume makes the others again" in capsys.readouterr().out
    with Ensemble.open(bad) as cut, Ensemble.open(good) as whole:
        assert cut.draws == 300
        np.testing.assert_array_equal(cut.theta(), whole.theta(slice(300)))
    assert verify(bad).problems == []
    assert generate_file(settings(), bad, draws=DRAWS, resume=True)
    assert content(bad) == content(good)


def test_reading_a_damaged_block_points_to_verify(bad):
    flip(bad, byte_of(bad, "theta", (1, 1, 450, 0, 0)))
    with Ensemble.open(bad) as ensemble:
        ensemble.theta(slice(0, 300))
        with pytest.raises(ValueError, match="is damaged: run `latticeflow verify "):
            ensemble.theta()


def test_wrong_content_under_right_checksums_is_found(bad):
    with h5py.File(bad, "r+") as file:
        file["theta"][2, 1, 650] = 0.5
        file["theta"][0, 0, 20, 1, 1] = 4.0
        file.attrs["seed"] = "8"
    found = verify(bad)
    assert found.intact == 0
    assert found.problems[0] == "the attributes are damaged"
    assert found.problems[1] == "theta, draws 0 to 299: not all are angles in [-pi, pi)"
    assert found.problems[2].startswith("energy of 1 draws in draws 600 to 699 is not that of the configuration")
    assert found.problems[2].endswith("(first: T = 1.3, chain 1, draw 650)")


@pytest.mark.slow
def test_no_flipped_byte_goes_unnoticed(good, tmp_path):
    """Wherever a byte flips, either it is found, or the file still says the same."""
    size, rng = good.stat().st_size, np.random.default_rng(0)
    found = harmless = 0
    for position in rng.choice(size, 400, replace=False):
        bad = shutil.copy(good, tmp_path / "bad.h5")
        flip(bad, int(position))
        try:
            noticed = bool(verify(bad).problems)
        except ValueError:
            noticed = True
        try:
            assert noticed or content(bad) == content(good), f"byte {position}"
        except OSError as error:
            raise AssertionError(f"byte {position}") from error
        found, harmless = found + noticed, harmless + (not noticed)
    print(f"{found} of {found + harmless} flipped bytes found, {harmless} changed nothing")
    assert found > 100
