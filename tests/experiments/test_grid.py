"""One grid of jobs: nothing finished is lost or made twice, whatever stops it."""

import json
import multiprocessing
import os
import time
from functools import partial

import pytest

from latticeflow.experiments.grid import Record, run_grid
from mcmc import InputError
from mcmc.runtime.stop import Stop
from tests.helpers import After


def square(job, stop):
    return {"name": job, "square": job**2, "process": os.getpid()}


def slow(seconds, job, stop):
    """Works until it is told to stop, then for some seconds more; the first job is quick."""
    while job and not stop.asked():
        time.sleep(0.02)
    time.sleep(seconds if job else 0)
    return None if job else {"name": job}


def hold(path, ready, done):
    with Record(path, name).writing():
        ready.set()
        done.wait(60)


def name(row):
    return row["name"]


def test_rows_stay_and_a_line_cut_short_is_made_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert not run_grid(range(4), square, Record(path, name), stop=After(2))
    first = path.read_bytes()
    assert [json.loads(line)["square"] for line in first.splitlines()] == [0, 1]
    path.write_bytes(first[:-5])
    seen = []
    record = Record(path, name)
    assert record.done == {0}
    assert run_grid(range(4), square, record, report=seen.append)
    assert seen == [1, 2, 3]
    assert [row["square"] for row in Record(path, name).rows] == [0, 1, 4, 9]
    assert run_grid(range(4), square, Record(path, name), report=seen.append)
    assert seen == [1, 2, 3]


def test_what_is_not_a_record_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"name": 1}\n{"other": 2}\n')
    with pytest.raises(InputError, match="line 2 is not a row"):
        Record(path, name)
    with pytest.raises(InputError, match="does not exist: make it first"):
        Record(tmp_path / "none" / "rows.jsonl", name)
    with pytest.raises(InputError, match="workers = 0"):
        run_grid([1], square, Record(None, name), workers=0)


def test_workers_make_all_rows_in_other_processes(tmp_path):
    record = Record(tmp_path / "rows.jsonl", name)
    assert run_grid(range(5), square, record, workers=2)
    assert record.done == {*range(5)}
    assert os.getpid() not in {row["process"] for row in record.rows}


@pytest.mark.parametrize(("seconds", "patience"), [(0.0, 60.0), (600.0, 0.0)], ids=["they end", "they are killed"])
def test_running_jobs_are_told_to_stop(tmp_path, seconds, patience):
    stop = Stop()
    record = Record(tmp_path / "rows.jsonl", name)
    started = time.monotonic()
    complete = run_grid(
        range(3),
        partial(slow, seconds),
        record,
        workers=2,
        patience=patience,
        stop=stop,
        report=lambda job: setattr(stop, "reason", "a test"),
    )
    assert not complete
    assert record.done == {0}
    assert time.monotonic() - started < 100


def test_two_runs_cannot_write_one_record(tmp_path):
    path = tmp_path / "rows.jsonl"
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(path, ready, done))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(InputError, match="is being written by another process"):
            run_grid([1], square, Record(path, name))
    finally:
        done.set()
        other.join(60)
    assert run_grid([1], square, Record(path, name))
