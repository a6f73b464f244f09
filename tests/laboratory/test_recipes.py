"""The recipes that lead from our baselines to the published ones: each setting does what its name says."""

import dataclasses

import pytest
import torch

from latticeflow.laboratory import METHODS, Effort
from latticeflow.laboratory.methods import recipes, weight_scan
from latticeflow.laboratory.report.summary import all_methods
from latticeflow.laboratory.targets import GaussianMixture, build_target

TINY = Effort(steps=3, batch=16, width=8)


def draws(method, target, effort=TINY):
    return method.fit(target, effort, seed=1).sample(64, generator=torch.Generator().manual_seed(2))


def test_recipes_stand_outside_the_table():
    found = {name for name, method in METHODS.items() if method.group == recipes.GROUP}
    assert {"gan_published", "veegan_noise254"} <= found
    scanned = {name for name, method in METHODS.items() if method.group == weight_scan.GROUP}
    assert scanned
    assert {*all_methods()} == {*METHODS} - found - scanned


def test_size_of_the_noise_is_the_dimension_within_bounds():
    wide = GaussianMixture("wide", torch.zeros(1, 300), 1.0)
    sizes = {
        (name, target.name): METHODS[name].build(target, TINY).noise
        for name in ("gan", "gan_published", "veegan", "veegan_noise2", "veegan_noise254")
        for target in (build_target("ring8"), wide)
    }
    assert sizes["gan", "ring8"] == sizes["veegan", "ring8"] == sizes["veegan_noise254", "ring8"] == 2
    assert (sizes["gan", "wide"], sizes["veegan", "wide"], sizes["veegan_noise2", "wide"]) == (254, 8, 2)
    assert sizes["gan_published", "ring8"] == sizes["gan_published", "wide"] == sizes["veegan_noise254", "wide"] == 254


def test_published_networks():
    ours, theirs = (METHODS[name].build(build_target("ring8"), TINY) for name in ("gan_plain", "gan_published"))
    kinds = [type(layer).__name__ for layer in theirs.generator]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert "BatchNorm1d" in [
        type(layer).__name__ for layer in METHODS["gan"].build(build_target("ring8"), TINY).generator
    ]
    assert len(ours.generator) == len(theirs.generator)


@pytest.mark.parametrize("setting", [{"batch": 24}, {"width": 12}])
def test_own_batch_and_width_stand_for_the_efforts(setting):
    target, gan = build_target("ring8"), METHODS["gan"]
    own = dataclasses.replace(gan, **setting)
    assert torch.equal(draws(own, target), draws(gan, target, dataclasses.replace(TINY, **setting)))
    assert not torch.equal(draws(own, target), draws(gan, target))


def test_only_scaled_draws_are_near_a_target_far_away():
    far = GaussianMixture("far", torch.full((1, 2), 1000.0), 1.0)
    assert (draws(METHODS["gan"], far) - 1000).abs().max() < 20
    assert draws(METHODS["gan_raw"], far).abs().max() < 20


@pytest.mark.parametrize(("steps", "fallen"), [(2, False), (4, True)])
def test_constant_rates_do_not_fall(steps, fallen):
    """Learning rates fall over the last half of the steps: in the last of four, but not yet in two."""
    effort = dataclasses.replace(TINY, steps=steps)
    constant, falling = (draws(METHODS[name], build_target("ring8"), effort) for name in ("gan_constant", "gan"))
    assert torch.equal(constant, falling) != fallen
