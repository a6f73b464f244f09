"""The baselines on the lattice: C-GAN, implicit GAN and C-HG-VAE."""

import json
import math

import pytest
import torch

from latticeflow.cli import main
from latticeflow.laboratory import METHODS, DivergedError, Effort, Sampler
from latticeflow.laboratory.measures.spin_measures import compare_spins, mean_spin_row
from latticeflow.laboratory.methods.controls import ExactSampler
from latticeflow.laboratory.methods.spin_networks import Aligned, SiteGenerator, site_energies, temperature_loss
from latticeflow.laboratory.targets import XYLattice, build_target
from latticeflow.laboratory.targets.xy_lattice import xy8_paper
from mcmc import XY

SPINS = ["c_gan", "implicit_gan", "c_hg_vae"]
every_baseline = pytest.mark.parametrize("name", SPINS)
TINY = Effort(steps=2, batch=8)


def lattice():
    return XYLattice("xy", 8, (0.4, 2.0), draws=64)


@every_baseline
def test_draws_are_angles_and_a_function_of_seed_and_temperature(name):
    method = METHODS[name]
    cold, hot = torch.zeros(16, 1), torch.ones(16, 1)

    def draw(sampler, condition):
        return sampler.sample(16, condition=condition, generator=torch.Generator().manual_seed(5))

    first, again, other = (method.fit(lattice(), TINY, seed=seed) for seed in (3, 3, 4))
    theta = draw(first, cold)
    assert theta.shape == (16, 64)
    assert theta.dtype == torch.float32
    assert not theta.requires_grad
    assert theta.min() >= -math.pi
    assert theta.max() < math.pi
    assert len(theta.unique(dim=0)) == 16
    assert torch.equal(theta, draw(again, cold))
    assert not torch.equal(theta, draw(other, cold))
    assert not torch.isclose(theta, draw(first, hot)).all(1).any()


@every_baseline
def test_divergence_is_noticed(name, monkeypatch):
    honest = XYLattice._sample
    monkeypatch.setattr(XYLattice, "_sample", lambda self, *rest: honest(self, *rest) * math.nan)
    with pytest.raises(DivergedError, match="diverged"):
        METHODS[name].fit(lattice(), TINY)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["implicit_gan", "c_hg_vae"])
def test_temperature_is_learned(name):
    """Colder draws have less energy; in truth it is -1.78 and -0.55 per site."""
    sampler = METHODS[name].fit(lattice(), Effort(steps=120, batch=64), seed=0)
    generator = torch.Generator().manual_seed(1)
    cold, hot = (
        sampler.sample(100, condition=torch.full((100, 1), c), generator=generator).view(-1, 8, 8) for c in (0.0, 1.0)
    )
    assert XY().energy(cold).mean() < XY().energy(hot).mean() - 3


def test_loss_of_the_thermometer():
    read = torch.tensor([[0.5, 0.0], [0.0, math.log(4)]])
    by_hand = (0.5 * 0.25 + 0.5 * (1 / 4 + math.log(4)) + math.log(2 * math.pi)) / 2
    assert float(temperature_loss(read, torch.tensor([[1.0], [1.0]]))) == pytest.approx(by_hand)


def test_spin_baselines_want_a_lattice():
    assert not any(METHODS[name].supports(build_target("ring8")) for name in SPINS)


def test_energies_of_sites_sum_to_the_energy():
    theta = 6 * torch.rand(5, 64, dtype=torch.float64)
    torch.testing.assert_close(site_energies(theta).sum(1), XY().energy(theta.view(5, 8, 8)))


def test_alignment_takes_out_the_direction_and_puts_it_back():
    torch.manual_seed(0)
    theta, aligned = 3 * torch.randn(400, 64), Aligned()
    turned = aligned.shrink(theta)
    assert turned.sin().mean(1).abs().max() < 1e-5
    assert turned.cos().mean(1).min() > 0
    back = aligned.stretch(turned, torch.Generator().manual_seed(1))
    torch.testing.assert_close(site_energies(back), site_energies(theta), atol=1e-4, rtol=0)
    direction = torch.atan2(back.sin().sum(1), back.cos().sum(1))
    assert abs(direction.cos().mean()) < 5 / math.sqrt(800)
    assert abs(direction.sin().mean()) < 5 / math.sqrt(800)


def test_implicit_generator_knows_no_corner():
    torch.manual_seed(0)
    generator, z = SiteGenerator(8), torch.randn(3, 64)
    T = torch.rand(3, 1)

    def paint(noise):
        return generator(torch.cat((noise.reshape(3, 64), T), dim=1)).view(3, 8, 8)

    shifted = paint(z.view(3, 8, 8).roll((2, 3), (1, 2)))
    torch.testing.assert_close(shifted, paint(z).roll((2, 3), (1, 2)), atol=1e-5, rtol=0)


class Hotter(Sampler):
    """Exact draws, but of a condition further up."""

    def __init__(self, target, shift):
        self.target, self.shift = target, shift

    def sample(self, n, *, condition=None, generator=None):
        return self.target.sample(n, condition=(condition + self.shift).clamp(max=1), generator=generator)


def test_measures_of_spins_know_the_truth_and_another_temperature():
    target = XYLattice("xy", 8, (0.4, 0.8, 2.0), draws=256)
    right, wrong = (compare_spins(Hotter(target, shift), target, draws=400) for shift in (0.0, 1.0))
    assert [row.temperature for row in right] == [0.4, 0.8, 2.0]
    for row in right:
        # 400 draws in about 20 filled bins: the overlap of two such histograms lacks about sqrt(20 / (pi 400)).
        assert min(row.overlap_energy, row.overlap_magnetization) > 70
        assert row.emd_energy < 0.02
        assert row.emd_magnetization < 0.03
    assert wrong[0].overlap_energy < 5
    assert wrong[0].emd_energy > 0.8
    assert wrong[0].emd_magnetization > 0.4


def test_angles_outside_of_the_circle_are_wrapped():
    class Turned(ExactSampler):
        def sample(self, n, *, condition=None, generator=None):
            return super().sample(n, condition=condition, generator=generator) + 2 * math.pi

    target = XYLattice("xy", 8, (0.4, 0.8), draws=64)
    plain, turned = (compare_spins(sampler(target), target, draws=100) for sampler in (ExactSampler, Turned))
    assert mean_spin_row(turned) == pytest.approx(mean_spin_row(plain), abs=1e-3)
    assert mean_spin_row(plain).temperature == pytest.approx(0.6)


def test_command_compares_spins(capsys):
    words = ["modes", "--spins", "--target", "xy8", "--method", "exact", "gaussian", "--steps", "2"]
    assert main([*words, "--json"]) == 0
    exact, gaussian = json.loads(capsys.readouterr().out)
    assert exact["mean"]["overlap_energy"] > 85 > 20 > gaussian["mean"]["overlap_energy"]
    assert [row["temperature"] for row in exact["rows"]] == [0.4, 0.6, 0.8, 1.0]
    assert main(words) == 0
    assert "ovl e %" in capsys.readouterr().out
    assert main(["modes", "--spins", "--target", "xy8", "ring8", "--method", "exact"]) == 2
    assert "ring8 is not a lattice" in capsys.readouterr().err
    assert main([*words, "--plot", "a.png"]) == 2
    assert "leave out --plot" in capsys.readouterr().err


def test_grid_of_the_paper():
    target = xy8_paper()
    assert (len(target.temperatures), target.temperatures[0], target.temperatures[-1]) == (32, 0.05, 2.05)
