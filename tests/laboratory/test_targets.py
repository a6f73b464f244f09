"""The contract of test densities: draws, density and modes of each agree with one another."""

import math

import numpy as np
import pytest
import torch

from latticeflow.laboratory.targets import TARGETS, GaussianMixture, build_target
from latticeflow.laboratory.targets.digits import _pictures, centred, train_classifier
from mcmc import InputError

PLANAR = ["mog4", "mog8", "rings4", "ring8", "grid25", "mog4_weights", "mog8_widths"]
every_target = pytest.mark.parametrize("name", sorted(TARGETS))
every_planar = pytest.mark.parametrize("name", PLANAR)


def draw(target, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    condition = target.sample_conditions(n, generator)
    return target.sample(n, condition=condition, generator=generator), condition


@every_target
def test_draws_have_their_shape_and_lie_in_their_modes(name):
    target = build_target(name)
    x, condition = draw(target, 2000)
    assert target.name == name
    assert x.dtype == torch.float32
    assert x.shape == (2000, target.dimension)
    again, _ = draw(target, 2000)
    assert torch.equal(x, again)
    if target.bounds:
        assert bool(((x >= target.bounds[0]) & (x < target.bounds[1])).all())
    mode, good = target.assign(x, condition)
    assert good.float().mean() > 0.95
    weights = target.mode_weights(condition).expand(2000, -1)
    torch.testing.assert_close(weights.sum(1), torch.ones(2000, dtype=torch.float64))
    # Counts of the modes follow their weights; where there are a thousand, those of each hundred.
    groups = min(target.mode_count, 10)
    size = target.mode_count // groups if target.mode_count > 10 else 1
    if target.mode_count <= 25:
        groups, size = target.mode_count, 1
    counts = (mode // size).bincount(minlength=groups).double()
    p = weights.view(2000, groups, size).sum(2)
    slack = 0.02 * 2000 if name == "digits" else 0  # where the classifier errs
    assert bool(((counts - p.sum(0)).abs() < 5 * (p * (1 - p)).sum(0).sqrt() + slack).all())
    # Points elsewhere are of no quality.
    lost = 30 * torch.ones_like(x) if not target.bounds else torch.linspace(-3, 3, x.numel()).view(x.shape).sin() * 3
    assert target.assign(lost, condition).high_quality.float().mean() < 0.05


@every_target
def test_shapes_are_checked(name):
    target = build_target(name)
    with pytest.raises(InputError, match=name):
        target.assign(torch.zeros(3, target.dimension + 1))
    with pytest.raises(InputError, match="condition"):
        target.sample(3, condition=None if target.condition_size else torch.zeros(3, 1))
    if not target.has_density:
        with pytest.raises(InputError, match="no density"):
            target.log_prob(torch.zeros(3, target.dimension))


@every_planar
@pytest.mark.parametrize("c", [0.0, 0.7])
def test_density_is_normalised(name, c):
    """The midpoint rule converges fast for smooth densities that vanish at the edge."""
    target = build_target(name)
    if not target.condition_size and c:
        pytest.skip("no condition")
    half = 1.1 if name == "ring8" else 6.0
    spacing = 0.003 if name == "ring8" else 0.02
    grid = torch.arange(-half, half, spacing, dtype=torch.float64) + spacing / 2
    total = 0.0
    for x in grid.split(100):
        points = torch.cartesian_prod(x, grid)
        condition = torch.full((len(points), 1), c) if target.condition_size else None
        total += float(target.log_prob(points, condition).exp().sum()) * spacing**2
    assert total == pytest.approx(1, abs=1e-6)


@every_planar
def test_draws_follow_the_density(name):
    """E_p[q / p] = 1 for the density q of the same target widened; draws of q fail the same check."""
    target = build_target(name)
    x, condition = draw(target, 20_000)
    scale = 1.02

    def mean_ratio(x):
        stretched = target.log_prob(x / scale, condition) - 2 * math.log(scale)
        ratio = (stretched - target.log_prob(x, condition)).exp().numpy()
        return ratio.mean(), ratio.std() / math.sqrt(len(ratio))

    if name in ("ring8", "grid25"):
        scale = 1.0005  # their modes are so narrow that a larger stretch leaves them
    mean, error = mean_ratio(x)
    assert error < 0.1
    assert abs(mean - 1) < 5 * error
    wrong, error = mean_ratio(x * (1 + 2 * (scale - 1)))
    assert abs(wrong - 1) > 5 * error


@pytest.mark.parametrize("name", [*PLANAR, "xy8"])
def test_density_has_its_gradient(name):
    target = build_target(name)
    x, condition = draw(target, 5)
    x = x.double().requires_grad_()
    target.log_prob(x, condition).sum().backward()
    step = torch.zeros_like(x.detach())
    step[:, 0] = 1e-6
    with torch.no_grad():
        slope = (target.log_prob(x + step, condition) - target.log_prob(x - step, condition)) / 2e-6
    torch.testing.assert_close(x.grad[:, 0], slope, rtol=1e-4, atol=1e-4)


def test_condition_moves_weights_and_widths():
    weights, widths = build_target("mog4_weights"), build_target("mog8_widths")
    ends = torch.tensor([[0.0], [1.0]])
    torch.testing.assert_close(weights.mode_weights(ends)[0, :2], torch.tensor([0.05, 0.45]).double())
    torch.testing.assert_close(widths.width(ends)[:, 0], torch.tensor([0.1, 0.4]).double())


def test_ring_weights_have_the_jacobian():
    from scipy.integrate import quad

    target = build_target("rings4")
    areas = [
        quad(lambda r, r0=r0: r * np.exp(-((r - r0) ** 2) / (2 * 0.15**2)), 0, 8, points=[r0])[0] for r0 in (1, 2, 3, 4)
    ]
    np.testing.assert_allclose(target.mode_weights()[0], np.array(areas) / sum(areas), rtol=1e-6)


def test_classifier_reads_digits_it_has_not_seen():
    pictures, labels = _pictures()
    held = torch.arange(len(labels)) % 5 == 0
    net = train_classifier(pictures[~held], labels[~held])
    right = (net(centred(pictures[held])).argmax(1) == labels[held]).float().mean()
    assert right > 0.95


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="ring8"):
        build_target("nonsense")
    with pytest.raises(InputError, match="positive"):
        GaussianMixture("mine", torch.zeros(2, 2), 0.0)
