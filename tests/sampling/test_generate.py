"""`latticeflow generate`: interrupted anywhere and resumed, anywhere it runs, the file holds the same bytes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from latticeflow.cli import main
from mcmc import XY, ExtendedXY, InputError
from mcmc.runtime.stop import Stop
from mcmc.sampling.executors import EXECUTORS, Team, hire, partition
from mcmc.sampling.generate import generate_file
from mcmc.sampling.samplers import SAMPLERS
from mcmc.sampling.settings import settings_from_dict
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble
from tests.helpers import content, settings
from tests.processes import start_generate, wait_for_draws, wait_until


class StopAfter(Stop):
    """Stops after a number of blocks."""

    def __init__(self, blocks: int):
        super().__init__()
        self.left = blocks

    def asked(self, seconds: float = 0.0) -> bool:
        self.left -= 1
        return self.left < 0


def variants() -> list:
    """Every sampler with every model that it can sample, and both models under tempering."""
    found = []
    for model in (XY(), ExtendedXY(K=0.5)):
        found.append(pytest.param({"model": model, "tempering": True}, id=f"tempering-{model.name}"))
        for sampler in SAMPLERS:
            with contextlib.suppress(InputError):
                settings(model=model, sampler=sampler)
                found.append(pytest.param({"model": model, "sampler": sampler}, id=f"{sampler}-{model.name}"))
    return found


@pytest.mark.parametrize("variant", variants())
def test_a_run_in_pieces_equals_one_in_one_piece(tmp_path, variant):
    run = settings(**variant)
    whole, pieces = tmp_path / "whole.h5", tmp_path / "pieces.h5"
    assert generate_file(run, whole, draws=90)
    assert not generate_file(run, pieces, draws=90, stop=StopAfter(1))
    for total in (17, 60, 61, 90):
        assert generate_file(run, pieces, draws=total, resume=True)
    assert content(whole) == content(pieces)
    with Ensemble.open(whole) as ensemble:
        assert ensemble.draws == 90


def test_other_settings_give_other_bytes(tmp_path):
    """The negative control of `content`."""
    for seed in (0, 1):
        generate_file(settings(seed=seed), tmp_path / f"{seed}.h5", draws=3)
    first, second = content(tmp_path / "0.h5"), content(tmp_path / "1.h5")
    assert {name for name in first if first[name] != second[name]} >= {"theta", "energy", "settings", "seed"}


def test_a_file_can_be_made_again_from_its_attributes_alone(tmp_path):
    assert main(f"generate --model exy --K 0.3 --size 6x4 --draws 30 --out {tmp_path}/a.h5".split()) == 0
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        stored = ensemble.attributes["settings"]
        assert ensemble.attributes["command"].startswith("latticeflow generate --model exy --K 0.3 ")
        assert ensemble.attributes["versions"]["latticeflow"]
    generate_file(settings_from_dict(json.loads(json.dumps(stored))), tmp_path / "b.h5", draws=30)
    assert content(tmp_path / "a.h5") == content(tmp_path / "b.h5")


def test_choices_left_open_are_the_files_on_resume(tmp_path):
    generate_file(settings(thin=3, thermalise=11), tmp_path / "a.h5", draws=5)
    assert generate_file(settings(thin=None, thermalise=None), tmp_path / "a.h5", draws=10, resume=True)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 50])
def test_parts_cover_everything_once(count):
    run = settings()
    parts = partition(run, count)
    assert len(parts) == min(count, 6)
    cells = [(t, c) for part in parts for t in part.temperatures for c in part.chains]
    assert sorted(cells) == [(t, c) for t in range(3) for c in range(2)]


@pytest.mark.parametrize("variant", variants())
def test_parts_draw_what_the_whole_draws(variant):
    run = settings(**variant).resolved()
    whole = Simulation(run)
    blocks, states = [whole.block(3), whole.block(2)], whole.state()
    for part in partition(run, 4):
        simulation = Simulation(run.part(*part))
        for block in blocks:
            mine = simulation.block(block.theta.shape[2])
            assert (mine.theta == part.of(block.theta)).all()
            assert all((mine.series[name] == part.of(block.series[name])).all() for name in block.series)
        for name, array in simulation.state().items():
            if not name.startswith("start_"):  # see `content`
                assert (array == part.of(states[name])).all(), name


def test_processes_give_the_same_bytes_and_a_killed_worker_costs_nothing(tmp_path):
    generate_file(settings(), tmp_path / "alone.h5", draws=40)
    with hire("processes", 2) as workers:
        assert not generate_file(settings(), tmp_path / "team.h5", draws=40, workers=workers, stop=StopAfter(1))
        victim = next(iter(workers.executor._processes))
        os.kill(victim, signal.SIGKILL)
        assert generate_file(settings(), tmp_path / "team.h5", draws=40, resume=True, workers=workers)
    assert content(tmp_path / "alone.h5") == content(tmp_path / "team.h5")


SCRIPT = """import mcmc
def run():
    mcmc.generate("xy", size=4, temperatures=[0.5, 1.0], draws=20, thermalise=5, thin=1, workers=2, out="a.h5")
"""


@pytest.mark.parametrize("how", ["a file", "standard input"])
def test_a_script_that_its_own_workers_import_is_told_to_guard_its_calls(tmp_path, how):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + "run()\n")
    words = [path] if how == "a file" else ["-"]
    done = subprocess.run(
        [sys.executable, *words],
        input=path.read_text(),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mcmc.errors.InputError: no worker could start")
    assert '`if __name__ == "__main__":`' in last
    assert "BrokenProcessPool" not in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_script_with_guarded_calls_has_workers(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT + 'if __name__ == "__main__":\n    run()\n')
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, check=True, timeout=120)
    with Ensemble.open(tmp_path / "a.h5") as ensemble:
        assert ensemble.draws == 20


def test_tasks_that_keep_failing_are_reported(tmp_path):
    with hire("processes", 1) as workers:
        team = Team(settings(), None, workers)
        team._states[0] = {"nonsense": team.state()["step"]}
        with pytest.raises(ChildProcessError, match=r"1 of 1 tasks failed 3 times \(KeyError"):
            team.block(1)
    assert EXECUTORS[0] == "processes"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_stops_cleanly_after_the_block(tmp_path, number):
    path = tmp_path / "a.h5"
    process = start_generate(path, text=True)
    wait_for_draws(path, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}: go on with the same command and --resume" in errors
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("how", ["option", "slurm"])
def test_a_wall_time_limit_stops_cleanly(tmp_path, how):
    path, words, limit = tmp_path / "a.h5", ["--resume"], "the end of the SLURM job"
    # The file is there already: the limit may come before the first draw.
    start_generate(path, "--draws", "1").communicate(timeout=60)
    environment = dict(os.environ)
    if how == "option":
        words, limit = ["--resume", "--max-minutes", "0.04"], "the limit of 0.04 minutes"
    else:
        environment["SLURM_JOB_END_TIME"] = str(int(time.time()) + 23)  # we stop 20 s before
    with start_generate(path, *words, env=environment, text=True) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"stopped by {limit}: go on with the same command and --resume" in errors
    with Ensemble.open(path) as ensemble:
        assert 1 <= ensemble.draws < 100_000


def test_a_signal_during_thermalisation_stops_at_once(tmp_path):
    process = start_generate(tmp_path / "a.h5", "--thermalise", "1000000000", "--workers", "1")
    wait_until((tmp_path / "a.h5").exists, process)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
