"""Files that belong together become one; others are refused with a line that says why."""

import numpy as np
import pytest

from latticeflow.cli import main
from mcmc import ExtendedXY, InputError, Lattice
from mcmc.sampling.executors import share
from mcmc.sampling.generate import generate_file
from mcmc.sampling.merge import merge, origins
from mcmc.storage.ensemble import Ensemble
from tests.helpers import content, settings


@pytest.mark.parametrize("count", [2, 5, 6])
def test_the_tasks_of_a_batch_array_become_the_file_of_one_run(tmp_path, count):
    generate_file(settings(), tmp_path / "whole.h5", draws=25)
    parts = [tmp_path / f"{k}.h5" for k in range(count)]
    for k in reversed(range(count)):
        generate_file(share(settings(), k, count), parts[k], draws=25)
    merge(parts[::-1], tmp_path / "merged.h5", max_bytes=1)
    assert content(tmp_path / "whole.h5") == content(tmp_path / "merged.h5")
    for name in ("whole", "merged"):
        assert generate_file(settings(), tmp_path / f"{name}.h5", draws=31, resume=True)
    assert content(tmp_path / "whole.h5") == content(tmp_path / "merged.h5")


def test_the_command_line_of_a_batch_array(tmp_path):
    words = ["generate", "--size", "4", "--temperatures", "0.5,1", "--draws", "5", "--thermalise", "5", "--thin", "1"]
    assert main([*words, "--out", f"{tmp_path}/whole.h5"]) == 0
    for k in "01":
        assert main([*words, "--out", f"{tmp_path}/run.h5", "--task-index", k, "--task-count", "2"]) == 0
    parts = [f"{tmp_path}/run.{k}-of-2.h5" for k in "01"]
    assert main(["merge", *parts, "--out", f"{tmp_path}/run.h5"]) == 0
    assert content(tmp_path / "run.h5") == content(tmp_path / "whole.h5")


def test_independent_runs_keep_their_chains_apart(tmp_path):
    for seed in (3, 20):
        generate_file(settings(seed=seed), tmp_path / f"{seed}.h5", draws=10)
    merge([tmp_path / "20.h5", tmp_path / "3.h5"], tmp_path / "both.h5")
    generate_file(settings(seed=4), tmp_path / "4.h5", draws=10)
    merge([tmp_path / "both.h5", tmp_path / "4.h5"], tmp_path / "three.h5")
    with Ensemble.open(tmp_path / "three.h5") as all_three:
        assert [tuple(origin) for origin in origins(all_three)] == [(s, c) for s in ("3", "20", "4") for c in (0, 1)]
        assert all_three.chain_numbers.tolist() == [*range(6)]
        for k, seed in enumerate((3, 20, 4)):
            with Ensemble.open(tmp_path / f"{seed}.h5") as one:
                np.testing.assert_array_equal(all_three.theta(chains=slice(2 * k, 2 * k + 2)), one.theta())
    with pytest.raises(InputError, match="cannot be resumed"):
        generate_file(settings(), tmp_path / "three.h5", draws=20, resume=True)


STRANGERS = {
    "model is ExtendedXY": lambda: (settings(model=ExtendedXY(), seed=1), 10),
    "lattice is Lattice": lambda: (settings(lattice=Lattice(4, 6), seed=1), 10),
    "thin is 3, not 2": lambda: (settings(thin=3, seed=1), 10),
    "draws of each chain is 11, not 10": lambda: (settings(seed=1), 11),
    "hold the same chains at the same temperatures": lambda: (settings(), 10),
    "no file holds chain 0 of seed 7 at T = 2": lambda: (settings(temperatures=(0.5, 0.9, 1.3, 2.0), seed=1), 10),
}


@pytest.mark.parametrize("message", STRANGERS)
def test_what_does_not_belong_together_is_refused(tmp_path, message):
    generate_file(settings(), tmp_path / "a.h5", draws=10)
    other, draws = STRANGERS[message]()
    generate_file(other, tmp_path / "b.h5", draws=draws)
    with pytest.raises(InputError, match=message):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_a_missing_task_is_named(tmp_path):
    for k in range(5):
        generate_file(share(settings(), k, 6), tmp_path / f"{k}.h5", draws=5)
    with pytest.raises(InputError, match=r"no file holds chain 1 of seed 7 at T = 1\.3: name all files of the run"):
        merge(sorted(tmp_path.iterdir()), tmp_path / "merged.h5")
    with pytest.raises(InputError, match="at least two files"):
        merge([tmp_path / "0.h5"], tmp_path / "merged.h5")
