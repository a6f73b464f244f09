"""Runs of one seed share random numbers only where they are the same run; what shares them is not merged."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcmc import ExtendedXY, InputError, Lattice
from mcmc.sampling.generate import generate_file
from mcmc.sampling.merge import merge
from mcmc.sampling.rng import key
from mcmc.sampling.settings import Settings, settings_from_dict, settings_to_dict
from mcmc.sampling.streams import chain_keys, exchange_keys, probe_keys
from mcmc.storage.ensemble import Ensemble
from tests.sampling.test_generate import content, settings

STORED = Path(__file__).parent.parent / "data" / "ensemble-v1.h5"
GRID = (0.6, 0.7, 0.8, 0.9)


def one_by_one(folder, **changes) -> list[Path]:
    """Files of runs at one temperature each, all with the same seed."""
    paths = [folder / f"{T}.h5" for T in changes.pop("temperatures", GRID)]
    for path in paths:
        generate_file(settings(temperatures=float(path.stem), **changes), path, draws=changes.pop("draws", 40))
    return paths


def largest_correlation(paths) -> float:
    """Of the energies of any two files, in standard errors of independent draws."""
    series = []
    for path in paths:
        with Ensemble.open(path) as ensemble:
            series.append(ensemble.series("energy", temperatures=0).ravel())
    return max(abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a)) for a, b in itertools.combinations(series, 2))


def run_at_each_temperature(folder, streams: int) -> list[Path]:
    """Long runs of single spins' worth of noise: the sampler heat_bath follows its random numbers closely."""
    paths = []
    for T in GRID:
        paths.append(folder / f"{T}.h5")
        run = settings(temperatures=(T,), lattice=Lattice(4, 4), sampler="heat_bath", thin=20, streams=streams)
        generate_file(run, paths[-1], draws=1000)
    return paths


def test_runs_of_one_seed_at_other_temperatures_share_no_noise(tmp_path):
    assert largest_correlation(run_at_each_temperature(tmp_path, 2)) < 5


def test_streams_by_index_share_their_noise_and_are_not_merged(tmp_path):
    """The negative control: files of the first version, which still open and are still analysed one by one."""
    paths = run_at_each_temperature(tmp_path, 1)
    assert largest_correlation(paths) > 15
    with pytest.raises(InputError, match="used the same random numbers"):
        merge(paths, tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


def test_runs_at_single_temperatures_merge_to_the_run_at_all(tmp_path):
    whole = settings(temperatures=GRID)
    generate_file(whole, tmp_path / "whole.h5", draws=40)
    merge(one_by_one(tmp_path)[::-1], tmp_path / "merged.h5")
    assert content(tmp_path / "merged.h5") == content(tmp_path / "whole.h5")
    with Ensemble.append_to(tmp_path / "merged.h5") as ensemble:
        ensemble.cut(25)
    for name in ("whole", "merged"):
        assert generate_file(whole, tmp_path / f"{name}.h5", draws=50, resume=True)
    assert content(tmp_path / "merged.h5") == content(tmp_path / "whole.h5")


def test_interleaved_grids_merge_in_order(tmp_path):
    whole = settings(temperatures=GRID)
    generate_file(whole, tmp_path / "whole.h5", draws=20)
    for name, grid in (("odd", GRID[::2]), ("even", GRID[1::2])):
        generate_file(settings(temperatures=grid), tmp_path / f"{name}.h5", draws=20)
    merge([tmp_path / "even.h5", tmp_path / "odd.h5"], tmp_path / "merged.h5")
    assert content(tmp_path / "merged.h5") == content(tmp_path / "whole.h5")


def test_any_order_of_temperatures_is_the_same_run(tmp_path):
    generate_file(settings(temperatures=GRID), tmp_path / "sorted.h5", draws=10)
    generate_file(settings(temperatures=[0.9, 0.6, 0.8, 0.7]), tmp_path / "mixed.h5", draws=10)
    assert content(tmp_path / "sorted.h5") == content(tmp_path / "mixed.h5")


def test_every_setting_has_streams_of_its_own():
    runs = [settings(), settings(temperatures=(0.5, 0.9, 1.4)), settings(seed=8), settings(thin=3)]
    runs += [settings(model=ExtendedXY(K=K)) for K in (0.0, 0.3)]
    runs += [settings(lattice=Lattice(*sides)) for sides in ((4, 6), (6, 4))]
    runs += [settings(sampler="heat_bath"), settings(thermalise=21), settings(tempering=True)]
    runs += [settings(tempering=True, temperatures=(0.5, 0.9, 1.5))]
    kinds = [chain_keys, lambda run: probe_keys(run, 4), exchange_keys]
    seen = {}
    for k, run in enumerate(runs):
        for kind, key_of in enumerate(kinds):
            for row in key_of(run):
                seen.setdefault(row.tobytes(), set()).add((k, kind))
    shared = [owners for owners in seen.values() if len(owners) > 1]
    # Two grids have two temperatures in common, without tempering and with it; their chains and probes are the same.
    assert {frozenset(owners) for owners in shared} <= {
        frozenset({(a, kind), (b, kind)}) for a, b in ((0, 1), (10, 11)) for kind in (0, 1)
    }


def test_parts_have_the_streams_of_the_whole():
    run = settings(temperatures=GRID, chains=3)
    keys = chain_keys(run).reshape(4, 3, 4)
    np.testing.assert_array_equal(chain_keys(run.part(range(1, 3), range(1, 3))), keys[1:3, 1:3].reshape(-1, 4))
    old = replace(run, streams=1)
    np.testing.assert_array_equal(chain_keys(old), [key(7, t, c) for t in range(4) for c in range(3)])
    np.testing.assert_array_equal(chain_keys(old.part(range(1, 3), range(1, 3)))[3], key(7, 2, 2))


def test_files_of_the_first_version_keep_their_rule(tmp_path):
    with Ensemble.open(STORED) as ensemble:
        stored = settings_from_dict(ensemble.attributes["settings"])
    assert stored.streams == 1
    path = shutil.copy(STORED, tmp_path / "a.h5")
    with pytest.raises(InputError, match="made other moves: go on with that version, or name another file"):
        generate_file(replace(stored, streams=None), path, draws=9, resume=True)
    run = settings(streams=1, temperatures=(0.9, 0.5))
    assert run.temperatures == (0.9, 0.5), "streams went by position, so the order counts"
    generate_file(run, tmp_path / "old.h5", draws=5)
    generate_file(run, tmp_path / "whole.h5", draws=9)
    assert generate_file(replace(run, streams=None), tmp_path / "old.h5", draws=9, resume=True)
    assert content(tmp_path / "old.h5") == content(tmp_path / "whole.h5")
    with Ensemble.open(tmp_path / "old.h5") as ensemble:
        assert ensemble.draws == 9
        assert ensemble.attributes["settings"]["streams"] == 1


def test_tempered_runs_on_other_grids_are_not_one_run(tmp_path):
    for name, grid in (("a", (0.5, 0.7)), ("b", (0.9, 1.1))):
        generate_file(settings(temperatures=grid, tempering=True), tmp_path / f"{name}.h5", draws=10)
    merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")
    with pytest.raises(InputError, match="cannot be resumed"):
        generate_file(settings(), tmp_path / "c.h5", draws=20, resume=True)


def test_plain_numbers_whatever_came_in(tmp_path):
    grid = np.linspace(0.5, 1.3, 3)
    numpys = settings(
        lattice=Lattice(np.int64(4), np.uint8(4)),
        temperatures=grid,
        chains=np.int32(2),
        seed=np.uint64(7),
        thin=np.int8(2),
        tempering=np.bool_(False),
    )
    plain = settings(temperatures=grid.tolist())
    assert numpys == plain
    assert repr(numpys) == repr(plain)
    assert settings_from_dict(settings_to_dict(numpys.resolved())) == plain.resolved()
    generate_file(numpys, tmp_path / "a.h5", draws=3)
    assert generate_file(plain, tmp_path / "a.h5", draws=6, resume=True)
    assert settings(temperatures=0.5).temperatures == (0.5,)
    assert settings(temperatures=np.float32(0.5)).temperatures == (0.5,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": (0.5, 0.5)}, r"temperature 0\.5 is given twice: leave one out"),
        ({"temperatures": (0.3, 0.1 * 3)}, "are the same: leave one out"),
        ({"temperatures": "0.5"}, "must be numbers"),
        ({"temperatures": ("a", 1)}, "must be numbers"),
        ({"temperatures": [[0.5, 1.0]]}, r"of shape \(1, 2\) must stand in one row"),
        ({"temperatures": [[0.5], [1.0, 2.0]]}, "must be numbers"),
        ({"temperatures": None}, "must be numbers"),
        ({"temperatures": 1j}, "must be numbers"),
        ({"temperatures": True}, "must be numbers"),
        ({"chains": 2.0}, r"chains = 2\.0 must be an integer"),
        ({"chains": True}, "chains = True must be an integer"),
        ({"thin": "2"}, "thin = '2' must be an integer"),
        ({"seed": 1.5}, r"seed = 1\.5 must be an integer"),
        ({"seed": -1}, "seed = -1 must be at least 0"),
        ({"tempering": "no"}, "tempering = 'no' must be True or False"),
        ({"lattice": 8}, r"lattice = 8 must be a Lattice, such as Lattice\(8, 8\)"),
        ({"streams": 3}, "random streams of version 3 are unknown here: upgrade latticeflow"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        settings(**changes)


def test_settings_are_hashable_and_equal_by_value():
    assert len({settings(temperatures=[1, 2]), settings(temperatures=(1.0, 2.0)), settings()}) == 2
    assert isinstance(settings(), Settings)
