"""A thousand damaged files for every reader, and settings at random: an answer or one clear line, nothing else.

`pytest -m slow -s tests/test_fuzz.py` prints how many cases there were and how they ended.
"""

import contextlib
import io
import json
import math
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import mcmc
from mcmc import InputError
from mcmc.sampling.settings import Settings, settings_from_dict, settings_to_dict
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.from_numpy import from_array, load
from mcmc.storage.verify import verify

STORED = Path(__file__).parent / "data" / "ensemble-v1.h5"
CASES = 1000
HANGS = "HDF5 loops for ever inside the library"
SAMPLERS = ("auto", "metropolis", "heat_bath", "wolff", "swendsen_wang", "plaquette_cluster")
FUZZ = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

edits = st.one_of(
    st.tuples(st.just("set"), st.floats(0, 1), st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("set"), st.floats(0, 0.05), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.binary(min_size=1, max_size=64)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("zero"), st.floats(0, 1), st.just(bytes(64))),
)
damage = st.one_of(st.lists(edits, min_size=1, max_size=4), st.binary(max_size=200))


def damaged(good: bytes, how) -> bytes:
    """A file with some bytes changed, or altogether other bytes."""
    if isinstance(how, bytes):
        return how
    content = bytearray(good)
    for kind, where, data in how:
        place = int(where * max(0, len(content) - 1))
        if kind == "insert":
            content[place:place] = data
        elif kind == "cut":
            del content[place:]
        else:
            content[place : place + len(data)] = data
    return bytes(content)


def read_ensemble(path) -> None:
    with Ensemble.open(path) as ensemble:
        repr(ensemble)
        for read in (ensemble.theta, ensemble.state, ensemble.report, lambda: ensemble.coordinate("draw")):
            with contextlib.suppress(InputError):
                read()
        for name in ensemble.series_names:
            with contextlib.suppress(InputError):
                ensemble.series(name)
    verify(path)


def read_array(path) -> None:
    array = load(path)
    from_array(path.with_suffix(".h5"), array, model=mcmc.XY(), temperatures=np.linspace(0.5, 1, max(1, len(array))))


def read_settings(path) -> None:
    try:
        stored = json.loads(path.read_bytes())
    except ValueError:
        raise InputError("not JSON") from None
    if not isinstance(stored, dict):
        raise InputError("not settings")
    settings_from_dict(stored)


def read_journal(path) -> None:
    from mcmc.storage import journal

    journal.journal_path(path.with_suffix(".j")).write_bytes(path.read_bytes())
    if journal.read_journal(path.with_suffix(".j")) is None:
        raise InputError("not a whole journal")


def read_checkpoint(path) -> None:
    from latticeflow.flows import checkpoint

    checkpoint.load(path)


def good_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).uniform(-3, 3, (2, 3, 4, 4)))
    return file.getvalue()


def good_settings() -> bytes:
    run = Settings(mcmc.XY(), mcmc.Lattice(4, 4), (0.5, 1.0))
    return json.dumps(settings_to_dict(run.resolved())).encode()


def good_journal() -> bytes:
    from mcmc.storage.journal import Record

    return Record(1, 8192, {0: bytes(4096), 4096: bytes(range(256)) * 16}).to_bytes()


def good_checkpoint() -> bytes:
    import latticeflow

    return (Path(latticeflow.__file__).parent / "data" / "flows" / "xy8.pt").read_bytes()


def in_a_child(read, path) -> str:
    """How reading ends in a process of its own: the HDF5 library itself crashes or loops on some damaged files."""
    come, go = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        try:
            read(path)
            end = "read"
        except InputError as error:
            end = "refused" if "\n" not in str(error) else "more than one line"
        except BaseException as error:
            end = f"{type(error).__name__}: {error}"[:90]
        os.write(go, end.encode())
        os._exit(0)
    os.close(go)
    _, status = os.waitpid(child, 0)
    end = os.read(come, 500).decode()
    os.close(come)
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        return HANGS if number == signal.SIGALRM else number.name
    return end


READERS = {
    "ensemble": (STORED.read_bytes, read_ensemble),
    "array": (good_array, read_array),
    "settings": (good_settings, read_settings),
    "journal": (good_journal, read_journal),
    "checkpoint": (good_checkpoint, read_checkpoint),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_damaged_bytes_are_read_or_refused_in_one_line(tmp_path, kind):
    make, read = READERS[kind]
    good, found = make(), Counter()
    path = tmp_path / "damaged"

    @seed(1)
    @FUZZ
    @given(how=damage)
    def attempt(how):
        for file in tmp_path.iterdir():
            file.unlink()
        path.write_bytes(damaged(good, how))
        if kind == "ensemble":
            found[in_a_child(read, path)] += 1
            return
        try:
            read(path)
            found["read"] += 1
        except InputError as error:
            found["refused" if "\n" not in str(error) else "more than one line"] += 1
        except Exception as error:
            found[f"{type(error).__name__}: {error}"[:90]] += 1

    attempt()
    print(f"\n{kind}: {sum(found.values())} cases, {dict(found)}")
    assert set(found) <= {"read", "refused", HANGS}, found
    assert found["refused"] > 50
    assert found[HANGS] <= 0.04 * CASES


@pytest.mark.slow
def test_settings_at_random_are_sampled_or_refused_in_one_line(tmp_path):
    found = Counter()
    coupling = st.one_of(st.floats(-2, 2), st.sampled_from([0.0, 1.0, -1.0, 1e-20, 1e5]))
    faults = {
        "J": st.sampled_from([math.nan, math.inf]),
        "K": st.sampled_from([math.nan, math.inf, -1e300]),
        "sides": st.tuples(st.integers(0, 2), st.integers(-1, 5)),
        "temperatures": st.lists(st.sampled_from([0.0, -1.0, 1e-7, 1e6, math.nan, 0.5]), max_size=4),
        "sampler": st.just("unknown"),
        "chains": st.just(0),
        "thin": st.just(0),
        "number": st.just(-1),
    }
    fault = st.one_of(*(st.tuples(st.just(name), each) for name, each in faults.items()))

    @seed(1)
    @FUZZ
    @given(
        J=coupling,
        K=st.one_of(st.none(), coupling),
        sides=st.tuples(st.integers(2, 5), st.integers(2, 5)),
        temperatures=st.lists(st.floats(0.05, 3), min_size=2, max_size=4, unique=True),
        sampler=st.sampled_from(SAMPLERS),
        chains=st.integers(1, 3),
        thin=st.sampled_from((1, 2, None)),
        tempering=st.booleans(),
        number=st.integers(0, 2**64),
        fault=fault,
        faulty=st.booleans(),  # half of the cases have one fault
    )
    def attempt(J, K, sides, temperatures, sampler, chains, thin, tempering, number, fault, faulty):
        plain = {"J": J, "K": K, "sides": sides, "temperatures": temperatures, "sampler": sampler, "chains": chains}
        case = plain | {"thin": thin, "number": number} | dict([fault] if faulty else [])
        path = tmp_path / "a.h5"
        path.unlink(missing_ok=True)
        try:
            ensemble = mcmc.generate(
                mcmc.XY(case["J"]) if case["K"] is None else mcmc.ExtendedXY(case["J"], case["K"]),
                size=case["sides"],
                temperatures=case["temperatures"],
                draws=12,
                chains=case["chains"],
                sampler=case["sampler"],
                thermalise=20,
                thin=case["thin"],
                tempering=tempering,
                seed=case["number"],
                out=path,
            )
            with ensemble:
                repr(mcmc.observe(ensemble))
            found["sampled"] += 1
        except InputError as error:
            found["refused" if "\n" not in str(error) and not path.exists() else f"leaves a file: {error}"[:90]] += 1
        except Exception as error:
            found[f"{type(error).__name__}: {error}"[:90]] += 1

    attempt()
    print(f"\nsettings: {sum(found.values())} cases, {dict(found)}")
    assert set(found) <= {"sampled", "refused"}, found
    assert found["sampled"] > 0.3 * CASES
