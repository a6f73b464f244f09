"""Settings refuse nonsense; draws depend on the settings alone; starts are checked and windings cured."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mcmc import XY, ExtendedXY, InputError, Lattice, Model
from mcmc.analysis.statistics import estimate
from mcmc.models.observables import winding_numbers
from mcmc.sampling import rng
from mcmc.sampling.moves import HeatBath, OverRelaxation
from mcmc.sampling.replicas import Replicas
from mcmc.sampling.samplers import SAMPLERS, Sampler, Update
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.sampling.thermalisation import PROBES, forbidden_winding, thermalise
from mcmc.storage.ensemble import Ensemble
from tests.oracle import exact

TEMPERATURES = (0.3, 0.8, 1.1, 2.0)


def settings(model=None, lattice=None, **changes):
    defaults = {"temperatures": TEMPERATURES, "chains": 5, "thermalise": 60, "thin": 5, "seed": 3}
    return Settings(model or XY(), lattice or Lattice(4, 6), **{**defaults, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperatures": ()}, "no temperatures"),
        ({"temperatures": (0.0, 1.0)}, "0.0"),
        ({"temperatures": (-1.0,)}, "-1.0"),
        ({"temperatures": (float("nan"),)}, "nan"),
        ({"sampler": "magic"}, "magic"),
        ({"sampler": "wolff", "model": ExtendedXY()}, "ring exchange"),
        ({"sampler": "swendsen_wang", "model": ExtendedXY()}, "ring exchange"),
        ({"sampler": "plaquette_cluster"}, "ring exchange"),
        ({"chains": 0}, "chains = 0"),
        ({"thin": 0}, "thin = 0"),
        ({"thermalise": -1}, "thermalise = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"tempering": True, "temperatures": (1.0,)}, "at least 2 temperatures"),
    ],
)
def test_bad_settings_get_one_clear_line(changes, words):
    with pytest.raises(InputError) as error:
        settings(**changes)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_lattices_couplings_and_draws():
    for call in (lambda: Lattice(1, 4), lambda: XY(float("nan")), lambda: ExtendedXY(1.0, float("inf"))):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match="every side must be even"):
        Lattice(3, 4).sublattices(1)
    with pytest.raises(InputError, match="draws = 0"):
        Simulation(settings(thermalise=0)).block(0)


class FieldXY(Model):
    """A model with an energy that its terms do not tell."""

    def energy(self, theta):
        return super().energy(theta) - 0.5 * np.cos(theta).sum((-2, -1))


def test_a_model_that_the_kernels_do_not_know_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"FieldXY is not a sum of terms"):
        settings(FieldXY(XY().terms))
    with pytest.raises(InputError, match="FieldXY"):
        Ensemble.create(tmp_path / "a.h5", model=FieldXY(XY().terms), lattice=Lattice(4, 4), temperatures=[1.0])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("tempering", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_do_not_depend_on_blocks_threads_restarts_or_parts(sampler, tempering, caplog):
    model = ExtendedXY() if sampler == "plaquette_cluster" else XY()
    run = settings(model, sampler=sampler, tempering=tempering, chains=9)
    whole = Simulation(run, threads=1)
    block = whole.block(5)
    first = Simulation(run, threads=3)
    pieces = [first.block(2)]
    second = Simulation(run, first.state(), threads=2)
    pieces.append(second.block(3))
    assert (np.concatenate([p.theta for p in pieces], 2) == block.theta).all()
    for name, series in block.series.items():
        assert (np.concatenate([p.series[name] for p in pieces], 2) == series).all()
    assert second.report() == whole.report()
    assert all((a == b).all() for a, b in zip(second.state().values(), whole.state().values(), strict=True))
    temperatures = range(4) if tempering else range(1, 3)
    part = Simulation(run.part(temperatures, range(6, 9)), threads=1).block(5)
    assert (part.theta == block.theta[temperatures.start : temperatures.stop, 6:]).all()
    other = Simulation(settings(model, sampler=sampler, tempering=tempering, chains=9, seed=4)).block(5)
    assert not (other.theta == block.theta).any((-1, -2)).any()


def test_angles_and_series():
    model = ExtendedXY(1.0, 0.5)
    block = Simulation(settings(model)).block(4)
    assert block.theta.shape == (4, 5, 4, 6, 4)
    assert block.theta.dtype == np.float32
    assert np.abs(block.theta.astype(float)).max() < np.pi
    theta = block.theta.astype(float)
    assert np.allclose(block.series["energy"], model.energy(theta) / 24, atol=2e-6)
    m = np.abs(np.exp(1j * theta).mean((-1, -2)))
    assert np.allclose(block.series["magnetization"], m, atol=2e-6)


def start_wound(T, sampler, steps):
    """Winding numbers of 16 replicas that started with two turns along x, after some steps."""
    lattice = Lattice(12, 12)
    keys = np.array([rng.key(1, 0, c) for c in range(16)])
    r = Replicas(ExtendedXY(), lattice, np.full(16, 1 / T), keys)
    angle = np.tile(2 * np.pi * 2 * (np.arange(144) % 12) / 12, (16, 1))
    r.spins = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    r.advance(sampler, steps)
    spins = r.spins
    return winding_numbers(np.arctan2(spins[1], spins[0]).reshape(16, 12, 12))


def test_local_moves_keep_a_cold_winding_state_and_twists_free_it():
    assert (start_wound(0.1, Sampler((HeatBath(), Update(OverRelaxation(), times=3))), 300)[:, 0].round(6) == 2).all()
    assert (np.abs(start_wound(0.1, SAMPLERS["auto"], 300)) < 1e-6).all()


def test_windings_that_thermalisation_meets_are_cured_and_reported(caplog):
    """Without twists, annealed chains of a long ladder of cold temperatures end in windings; they start again."""
    model, lattice = ExtendedXY(), Lattice(16, 16)
    temperatures = np.full(8, 0.1)
    keys = np.array([rng.key(6, 0, c) for c in range(64)])
    replicas, findings = thermalise(
        model,
        lattice,
        Sampler((HeatBath(), OverRelaxation())),
        temperatures=temperatures,
        keys=keys,
        probe_keys=np.array([rng.key(5, 1, p) for p in range(8 * 2 * PROBES)]),
        steps=200,
        threads=1,
    )
    assert findings["windings_cured"].sum() > 0
    assert findings["windings_left"].sum() == 0
    theta = np.arctan2(replicas.spins[1], replicas.spins[0]).reshape(64, 16, 16)
    assert np.abs(winding_numbers(theta)).max() < 1e-6


def test_starts_that_disagree_are_reported(caplog):
    with caplog.at_level(logging.WARNING):
        Simulation(settings(ExtendedXY(), Lattice(24, 24), sampler="metropolis", thermalise=40))
    assert "thermalise longer" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        run = Simulation(settings(ExtendedXY(), Lattice(8, 8), thermalise=None))
    assert not caplog.text
    assert run.report()["thermalisation"]["agree"]


def test_useless_plaquette_clusters_are_called_so(caplog):
    with caplog.at_level(logging.WARNING):
        Simulation(settings(ExtendedXY(), Lattice(8, 8), sampler="plaquette_cluster"))
    assert "plaquette clusters are useless at 4 temperatures" in caplog.text


def test_rare_windings_of_a_square_are_forbidden_and_those_of_a_long_strip_are_not():
    beta = np.array([1 / 0.3, 1 / 2.0])
    assert forbidden_winding(XY(), Lattice(16, 16), beta).tolist() == [[True, True], [False, False]]
    assert forbidden_winding(XY(), Lattice(64, 4), beta).tolist() == [[False, True], [False, True]]


@pytest.mark.parametrize("model", [XY(), ExtendedXY()], ids=str)
def test_default_spacing_makes_draws_nearly_independent(model):
    run = Settings(model, Lattice(8, 8), tuple(np.linspace(0.05, 2.05, 8)), chains=4, seed=2)
    energy = Simulation(run).block(2500).series["energy"]
    assert max(estimate(energy[t]).tau_int for t in range(8)) < 0.6


@pytest.mark.parametrize("tempering", [False, True])
def test_simulation_gives_exact_values(tempering):
    run = settings(ExtendedXY(), Lattice(3, 3), temperatures=(1.0, 1.25), chains=32, tempering=tempering)
    simulation = Simulation(run)
    energy = simulation.block(3000).series["energy"]
    for t, T in enumerate(run.temperatures):
        means = energy[t].mean(-1)
        error = means.std(ddof=1) / np.sqrt(len(means))
        assert abs(means.mean() - exact(ExtendedXY(), 3, 3, 1 / T)["energy"]) < 5 * error
        # The negative control the values of the other temperature.
        assert abs(means.mean() - exact(ExtendedXY(), 3, 3, 1 / run.temperatures[1 - t])["energy"]) > 5 * error
    if tempering:
        report = simulation.report()["tempering"]
        assert 0.3 < report["swap_acceptance"][0] < 1
        assert report["round_trips"] > 1000


def test_a_broken_ladder_is_named_once(caplog):
    with caplog.at_level(logging.WARNING):
        simulation = Simulation(settings(temperatures=(0.05, 0.5, 0.6), tempering=True, thin=4, chains=8))
        simulation.block(40)
        simulation.block(40)
    assert caplog.text.count("0.05 and 0.5") == 1
    assert simulation.report()["tempering"]["swap_acceptance"][1] > 0.1
