"""Samplers are lists of moves; a move of one's own joins them, and is sampled correctly or refused."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice, generate, observe
from mcmc.models import presets
from mcmc.sampling import rng, samplers
from mcmc.sampling.moves import HeatBath, Metropolis, Move, OverRelaxation, SwendsenWang, Symmetry, Wolff
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler, Update, find_sampler
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from tests.oracle import exact


@dataclass(frozen=True)
class Reflection(Move):
    """Change the sign of every angle, of every replica: an exact symmetry of the energy."""

    name: ClassVar[str] = "reflection"
    numbers: ClassVar[int] = 0

    def obstacle(self, model, lattice):
        return "it needs two rows" if lattice.Ly < 2 else "not for ring exchange" * bool(model.couplings.get("K"))

    def advance(self, block, step, steps, *, numbers_per_step, number):
        block.y[:] *= (-1) ** steps
        block.counts[self.name] += np.float32(steps * block.lattice.N)


REFLECTED = Sampler((HeatBath(), Reflection(), Update(OverRelaxation(), times=2)))


def test_a_move_of_ones_own_is_sampled_and_counted():
    settings = Settings(XY(), Lattice(2, 2), (1.0,), chains=64, sampler=f"{__name__}:REFLECTED", thermalise=200, thin=2)
    simulation = Simulation(settings)
    energy = simulation.block(3000).series["energy"].mean(-1).ravel()
    target = exact(XY(), 2, 2, 1.0)["energy"]
    assert abs(energy.mean() - target) < 5 * energy.std(ddof=1) / 8
    report = simulation.report()
    assert report["acceptance"]["reflection"] == [1.0]
    assert [each["move"] for each in report["moves"]] == ["heat_bath", "reflection", "over_relaxation"]


def test_blocks_and_restarts_do_not_matter_to_it():
    settings = Settings(
        XY(), Lattice(3, 2), (0.7, 1.0), chains=3, sampler=f"{__name__}:REFLECTED", thermalise=9, thin=3
    )
    whole = Simulation(settings).block(7).theta
    parts = Simulation(settings)
    first = parts.block(3).theta
    second = Simulation(settings, parts.state()).block(4).theta
    np.testing.assert_array_equal(np.concatenate([first, second], 2), whole)


def test_a_move_says_why_it_refuses_a_model():
    with pytest.raises(InputError, match=r"reflection cannot sample ExtendedXY.*not for ring exchange"):
        find_sampler(f"{__name__}:REFLECTED", ExtendedXY(), Lattice(4, 4))


def numbers(sampler):
    placed = samplers._place(sampler.updates)
    return [{*range(each.number, each.number + each.times * each.move.numbers)} for each in placed]


@pytest.mark.parametrize(
    "sampler",
    [
        *SAMPLERS.values(),
        Sampler((HeatBath(), Metropolis(), Wolff(), SwendsenWang())),
        Sampler((Update(HeatBath(), times=9), Update(Wolff(), times=2, every=3))),
    ],
    ids=str,
)
def test_no_two_moves_of_a_step_share_random_numbers(sampler):
    used = numbers(sampler)
    assert sum(map(len, used)) == len(set().union(*used))
    assert max(set().union(*used), default=0) < sampler.numbers


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ((), "at least one move"),
        (("heat_bath",), "'heat_bath' is not a move"),
        ((Update(HeatBath(), times=0),), "times"),
    ],
)
def test_what_makes_no_sampler(updates, words):
    with pytest.raises(InputError, match=words):
        Sampler(updates)


def test_moves_called_by_themselves_sample_as_together():
    """Clusters between sweeps, some in every other step only: exact energies all the same."""
    mixed = Sampler((HeatBath(), Update(Wolff(), times=2, every=2), Metropolis(), Update(SwendsenWang(), every=3)))
    SAMPLERS.register("mixed", mixed, replace=True)
    settings = Settings(XY(), Lattice(3, 2), (1.0,), chains=64, sampler="mixed", thermalise=100, thin=6)
    energy = Simulation(settings).block(1000).series["energy"].mean(-1).ravel()
    assert abs(energy.mean() - exact(XY(), 3, 2, 1.0)["energy"]) < 5 * energy.std(ddof=1) / 8


@pytest.mark.parametrize(
    "others",
    [(Update(Symmetry(), every=8),), (Update(Wolff(), every=3), Update(SwendsenWang(), times=2, every=4))],
    ids=str,
)
def test_steps_made_by_one_call_are_those_made_one_by_one(others):
    model, lattice = presets.fully_frustrated(6), Lattice(6, 6)
    sampler = Sampler((HeatBath(), Update(OverRelaxation(), every=2), *others))
    keys = np.array([rng.key(1, k) for k in range(16)])
    together, single = (Replicas(model, lattice, np.full(16, 2.0), keys) for _ in range(2))
    together.advance(sampler, 5)
    together.advance(sampler, 24)
    for _ in range(29):
        single.advance(sampler, 1)
    np.testing.assert_array_equal(together.spins, single.spins)
    segments = sampler._plan(together.blocks[0].interaction).segments
    assert samplers._steps_together(segments, 1, 100) == (8 if len(others) == 1 else 3)
    assert samplers._steps_together(segments, 8, 100) == 1


class Apart(SwendsenWang):
    """The same updates, each by a call of its own."""

    def kernel_for(self, interaction):
        return None


@pytest.mark.parametrize(("sides", "replicas", "strips"), [((6, 4), 5, 1), ((16, 16), 3, 4), ((18, 32), 2, 16)])
def test_clusters_within_one_call_are_those_made_by_themselves(sides, replicas, strips):
    keys = np.array([rng.key(1, k) for k in range(replicas)])
    both = []
    for clusters in (SwendsenWang(), Apart()):
        made = Replicas(XY(), Lattice(*sides), np.linspace(0.7, 1.5, replicas), keys, strips=strips)
        sampler = Sampler((HeatBath(), Update(clusters, every=2), OverRelaxation()))
        series = made.run(sampler, 3, 2)
        both.append((series, made.spins, made.accepted["swendsen_wang"]))
    for within, apart in zip(*both, strict=True):
        np.testing.assert_array_equal(within, apart)
    assert (made.accepted["swendsen_wang"] > 0).all()


def test_auto_grows_clusters_in_large_cubes_alone():
    def moves(L):
        return find_sampler("auto", XY(dimensions=3), Lattice(L, L, L)).move_names

    assert moves(8) == moves(32) == ("heat_bath", "over_relaxation")
    assert moves(40) == ("heat_bath", "over_relaxation", "wolff")


def test_auto_takes_moves_by_a_models_frustration_and_size():
    def updates(model, L):
        return {update.move.name: update.times for update in find_sampler("auto", model, Lattice(L, L)).updates}

    assert updates(presets.triangular(), 48) == {"heat_bath": 1, "over_relaxation": 3}
    assert updates(presets.triangular(), 96) == {"heat_bath": 1, "over_relaxation": 3, "wolff": 1}
    assert updates(presets.generalised_xy(), 32) == {"metropolis": 2}
    assert updates(presets.generalised_xy(), 48) == {"metropolis": 2, "wolff": 1}
    for model in (presets.triangular(-1.0), presets.fully_frustrated(48)):
        assert updates(model, 48) == {"heat_bath": 1, "over_relaxation": 9, "symmetry": 1}


def test_auto_mixes_where_ring_exchange_is_far_stronger_than_the_rest():
    """K = 50 at T = 0.5: single spins hardly move, rows and columns do. Another K is told apart."""
    how = {"size": 6, "temperatures": [0.5], "draws": 300, "chains": 8, "seed": 3}
    tables = {name: observe(generate(ExtendedXY(K=50.0), sampler=name, **how)) for name in ("auto", "metropolis")}
    auto, metropolis = (table.at(0.5) for table in tables.values())
    assert tables["auto"].warnings() == []
    for name in ("energy", "magnetization"):
        error = np.hypot(auto[name].error, metropolis[name].error)
        assert abs(auto[name].value - metropolis[name].value) < 5 * error
        assert auto[name].tau_int < 1
    other = observe(generate(ExtendedXY(K=48.0), **how)).at(0.5)
    assert abs(other["energy"].value - metropolis["energy"].value) > 5 * error
