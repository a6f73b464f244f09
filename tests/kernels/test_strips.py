"""Lattices that are cut into strips, one a lane, are sampled like whole ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numba.core.errors import TypingError

from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.sampling import rng, strip_layout
from mcmc.sampling.moves import OverRelaxation
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler
from mcmc.sampling.settings import Settings, settings_from_dict, settings_to_dict
from mcmc.sampling.simulation import Simulation
from mcmc.sampling.strip_layout import choose_strips, fits, sections_of, strip_neighbours
from tests.kernels.test_kernels import CASES, averages, truth
from tests.oracle import exact
from tests.sampling.test_samplers import REFLECTED  # noqa: F401  (named in a test below)

LAYOUTS = [(Lattice(3, 4), 2), (Lattice(2, 8), 4), (Lattice(5, 16), 8), (Lattice(4, 48), 16)]


def replicas(model, lattice, strips, count=5, beta=1.0):
    keys = np.array([rng.key(3, c) for c in range(count)])
    return Replicas(model, lattice, np.full(count, beta), keys, strips=strips)


@pytest.fixture
def shared(monkeypatch):
    """Lattices of 16 columns are divided into eight sections."""
    monkeypatch.setattr(strip_layout, "LEAST_SHARED", 0)
    monkeypatch.setattr(strip_layout, "LEAST_COLUMNS", 2)


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, -0.6)], ids=str)
def test_a_sweep_of_sections_is_a_sequential_one(model, shared):
    for lattice, strips in ((Lattice(16, 4), 2), (Lattice(21, 24), 8)):
        assert sections_of(lattice, strips) == 8
        test_a_sweep_of_strips_is_a_sequential_one(model, lattice, strips)


@pytest.mark.parametrize(("lattice", "strips"), LAYOUTS, ids=str)
@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, -0.6)], ids=str)
def test_a_sweep_of_strips_is_a_sequential_one(model, lattice, strips):
    """Over-relaxation has no random numbers: site by site in float64, in the order that the kernels state."""
    r = replicas(model, lattice, strips)
    theta = np.random.default_rng(1).uniform(-np.pi, np.pi, (r.size, lattice.N))
    r.spins = np.stack([np.cos(theta), np.sin(theta)]).astype(np.float32)
    spins = np.exp(1j * theta)
    height, J, K = lattice.Ly // strips, model.square.J, model.square.K
    e, w, s, n, se, ne, sw, nw = lattice.neighbours(
        (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)
    ).T
    sections = sections_of(lattice, strips)
    sides = [lattice.Lx * k // sections for k in range(sections + 1)]
    parts = [[*pairwise(sides)]]
    if sections > 1:
        parts = [[(a, z - 1) for a, z in parts[0]], [(z - 1, z) for _, z in parts[0]]]
    for a, z in (section for part in parts for section in part):
        for row, x in ((row, x) for row in range(height) for x in [*range(a, z, 2), *range(a + 1, z, 2)]):
            for i in (lattice.site(x, strip * height + row) for strip in range(strips)):
                u = spins.T
                ring = u[e[i]] * (u[n[i]] * u[ne[i]].conj() + u[s[i]] * u[se[i]].conj())
                ring += u[w[i]] * (u[n[i]] * u[nw[i]].conj() + u[s[i]] * u[sw[i]].conj())
                h = J * (u[e[i]] + u[w[i]] + u[s[i]] + u[n[i]]) + K * ring
                spins[:, i] = h / h.conj() * u[i].conj()
    r.advance(Sampler((OverRelaxation(),)), 1)
    x, y = r.spins
    # A weak field amplifies rounding: the median tells the order, the mean of all would not.
    assert np.median(np.abs(x + 1j * y - spins)) < 1e-6
    assert np.quantile(np.abs(x + 1j * y - spins), 0.9) < 1e-3


@pytest.mark.parametrize(("lattice", "strips"), LAYOUTS, ids=str)
def test_measurements_and_configurations_do_not_depend_on_the_layout(lattice, strips):
    model = ExtendedXY(1.0, 0.4)
    theta = np.random.default_rng(2).uniform(-np.pi, np.pi, (5, lattice.N))
    spins = np.stack([np.cos(theta), np.sin(theta)]).astype(np.float32)
    found = []
    for each in (1, strips):
        r, angles = replicas(model, lattice, each), np.empty((5, 1, lattice.N), np.float32)
        r.spins = spins
        found.append((r.measure(angles), angles, r.spins))
    assert np.allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-4)
    for whole, cut in zip(found[0][1:], found[1][1:], strict=True):
        np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
@pytest.mark.parametrize(("lattice", "strips"), [(Lattice(3, 4), 2), (Lattice(2, 8), 4)], ids=str)
def test_exact_values(model, sampler, lattice, strips):
    settings = {"chains": 128, "draws": 1000, "thin": 3, "strips": strips}
    means, errors = averages(model, lattice, SAMPLERS[sampler], 1.0, **settings)
    assert errors.max() < 5e-3
    assert np.abs((means - truth(model, lattice.Lx, lattice.Ly, 1.0)) / errors).max() < 5


def closed(r):
    """A negative control: every strip is a lattice of its own."""
    for block in r.blocks:
        block.neighbours[:] = Lattice(r.lattice.Lx, r.lattice.Ly // r.strips).neighbours(
            (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)
        )


def repeated(r):
    """A negative control: the strips of a lattice use the same random numbers."""
    for block in r.blocks:
        block.keys[:] = block.shared_keys


@pytest.mark.parametrize("damage", [closed, repeated])
def test_damaged_strips_are_rejected(damage):
    settings = {"chains": 128, "draws": 1000, "thin": 3, "strips": 4}
    means, errors = averages(XY(), Lattice(2, 8), SAMPLERS["auto"], 1.0, damage=damage, **settings)
    assert np.abs((means - truth(XY(), 2, 8, 1.0)) / errors).max() > 5


def test_twists_of_strips_change_windings():
    """Windings of an elongated lattice have weight, and twists along both axes bring them: see `test_kernels`."""
    settings = {"chains": 64, "draws": 800, "thin": 8, "strips": 16}
    means, errors = averages(XY(), Lattice(2, 64), SAMPLERS["auto"], 5.0, **settings)
    assert abs(means[0] - exact(XY(), 2, 64, 5.0, 12)["energy"]) < 5 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "sampler"), CASES, ids=str)
@pytest.mark.parametrize(("lattice", "strips"), [(Lattice(3, 4), 2), (Lattice(2, 8), 4), (Lattice(2, 32), 16)], ids=str)
def test_exact_values_to_four_digits(model, sampler, lattice, strips):
    thin = {"metropolis": 20, "swendsen_wang": 12}.get(sampler, 6)
    settings = {"chains": 800, "draws": 8000, "thin": thin, "strips": strips}
    means, errors = averages(model, lattice, SAMPLERS[sampler], 1.0, **settings)
    z = (means[0] - exact(model, lattice.Lx, lattice.Ly, 1.0)["energy"]) / errors[0]
    print(f"{model} {lattice} in {strips} strips, {sampler}: E/N {means[0]:.6f}({errors[0]:.6f}), z = {z:.2f}")
    assert errors[0] < 1.1e-4
    assert abs(z) < 4  # of 30 cases


def test_what_fits():
    assert [fits(strips, Lattice(5, 12)) for strips in (1, 2, 3, 4, 8, 16)] == [True, True, False, True, False, False]
    assert choose_strips(Lattice(8, 8), 1) == 1
    assert choose_strips(Lattice(63, 63), 1) == 1
    assert choose_strips(Lattice(10, 1024), 3) == 16
    table = strip_neighbours(Lattice(3, 8), 4)
    assert table.shape == (6, 8)
    assert table[:3, 3].tolist() == [9, 10, 11]  # north of the first row: the last row of the strip before
    assert table[3:, 2].tolist() == [6, 7, 8]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_do_not_depend_on_threads_blocks_restarts_or_parts(sampler):
    model = ExtendedXY() if sampler == "plaquette_cluster" else XY()
    run = Settings(model, Lattice(16, 16), (0.7, 0.9, 1.1), chains=3, sampler=sampler, thermalise=6, thin=2)
    run = run.resolved()
    assert run.strips == 8
    whole = Simulation(run, threads=1)
    block = whole.block(4)
    first = Simulation(run, threads=3)
    pieces = [first.block(1)]
    second = Simulation(run, first.state(), threads=2)
    pieces.append(second.block(3))
    np.testing.assert_array_equal(np.concatenate([piece.theta for piece in pieces], 2), block.theta)
    assert second.report() == whole.report()
    part = Simulation(run.part(range(1, 2), range(1, 3)), threads=1).block(4)
    np.testing.assert_array_equal(part.theta, block.theta[1:2, 1:])
    other = Simulation(Settings(**{**vars(run), "strips": 4})).block(4)
    assert not (other.theta == block.theta).any((-1, -2)).any()


@pytest.mark.parametrize("model", [XY(), ExtendedXY(1.0, -0.6)], ids=str)
@pytest.mark.parametrize("sampler", ["metropolis", "auto"])
def test_threads_that_share_a_lattice_change_nothing(model, sampler, shared):
    """Also moves that only one of them makes."""
    lattice, strips, found = Lattice(16, 48), 8, []
    for threads in (1, 2, 3, 9):
        r = replicas(model, lattice, strips, count=2)
        r = Replicas(model, lattice, r.beta, r.keys, threads=threads, strips=strips)
        assert [block.threads for block in r.blocks] == [min(threads, 8)]
        theta = np.empty((2, 4, lattice.N), np.float32)
        series = r.run(SAMPLERS[sampler], 4, 3, theta)
        r.advance(SAMPLERS[sampler], 2)
        found.append((series, theta, r.spins, *r.accepted.values()))
    for other in found[1:]:
        for mine, expected in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(mine, expected)


def test_threads_that_share_a_lattice_end_together(monkeypatch, shared):
    """Where one thread's share cannot begin, the other does not wait for ever."""
    r = replicas(XY(), Lattice(16, 48), 8, count=2)
    r = Replicas(XY(), r.lattice, r.beta, r.keys, threads=2, strips=8)
    steps = r.blocks[0].steps

    class Refusing:
        def submit(self, share, *arguments):
            raise KeyboardInterrupt

    monkeypatch.setattr(steps, "_pool", Refusing())
    with pytest.raises(KeyboardInterrupt):
        r.advance(SAMPLERS["metropolis"], 1)

    class Failing(Refusing):
        def submit(self, share, thread):
            with pytest.raises(TypingError):
                share(None)
            return Failing()

        def result(self):
            raise AttributeError

    r = Replicas(XY(), r.lattice, r.beta, r.keys, threads=2, strips=8)
    monkeypatch.setattr(r.blocks[0].steps, "_pool", Failing())
    with pytest.raises(AttributeError):
        r.advance(SAMPLERS["metropolis"], 1)


def test_files_of_earlier_versions_keep_their_layout():
    run = Settings(XY(), Lattice(64, 64), (0.9,)).resolved()
    stored = settings_to_dict(run)
    assert stored["strips"] == 16
    assert settings_from_dict(stored) == run
    del stored["strips"]
    assert settings_from_dict(stored).strips == 1


def test_moves_that_need_whole_lattices_get_them():
    name = f"{__name__}:REFLECTED"
    assert Settings(XY(), Lattice(64, 64), (0.9,), sampler=name).resolved().strips == 1
    with pytest.raises(InputError, match="needs whole lattices, set strips = 1"):
        Settings(XY(), Lattice(64, 64), (0.9,), sampler=name, strips=4)
    for strips in (3, 32):
        with pytest.raises(InputError, match=f"strips = {strips} must be 1, 2, 4, 8 or 16"):
            Settings(XY(), Lattice(64, 64), (0.9,), strips=strips)
