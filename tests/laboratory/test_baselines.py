"""What the laboratory's baselines have in common, and their losses against values worked out by hand."""

import copy
import dataclasses
import math

import pytest
import torch

from latticeflow.laboratory import METHODS, DivergedError, Effort
from latticeflow.laboratory.methods.adversarial import AdversarialNetworks
from latticeflow.laboratory.methods.gan import slope_penalty
from latticeflow.laboratory.methods.infogan import CLASSES
from latticeflow.laboratory.methods.joint import reconstruction
from latticeflow.laboratory.methods.networks import Batch, Pool, perceptron
from latticeflow.laboratory.methods.vae import Autoencoder, divergence
from latticeflow.laboratory.targets import Target, build_target
from latticeflow.laboratory.targets.target import device_of
from latticeflow.training.critic import critic_loss

ADVERSARIAL = ["gan", "infogan", "pacgan2", "pacgan4", "wgan_gp", "unrolled_gan", "ali", "veegan"]
every_baseline = pytest.mark.parametrize("name", [*ADVERSARIAL, "vae"])
TINY = Effort(steps=3, batch=16, width=8)


class Shifted(Target):
    """A Gaussian of width 0.1 at 2 c on the diagonal of the plane, c being the condition."""

    def __init__(self, noise=0.1):
        super().__init__("shifted", 2, 1, condition_size=1)
        self.noise = noise

    def _sample(self, n, condition, generator):
        return 2 * condition + self.noise * torch.randn(n, 2, generator=generator, device=device_of(generator))

    def _assign(self, x, condition):
        raise NotImplementedError


def draw(sampler, target, n=32, seed=5):
    generator = torch.Generator().manual_seed(seed)
    condition = target.sample_conditions(n, generator)
    return sampler.sample(n, condition=condition, generator=generator)


def test_all_baselines_are_registered():
    assert {*ADVERSARIAL, "vae"} <= {name for name, method in METHODS.items() if method.group == "baseline"}


def test_infogan_has_equal_classes_and_reads_them():
    method, target = METHODS["infogan"], Shifted()
    networks = method.build(target, TINY)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, networks.noise, generator=generator)
    counts = z[:, :CLASSES].argmax(1).bincount(minlength=CLASSES)
    assert bool(((counts - 400).abs() < 5 * math.sqrt(400)).all())
    # Only which of them is largest matters.
    same = torch.cat((2 * z[:, :CLASSES], z[:, CLASSES:]), dim=1)
    networks.eval()
    condition = torch.full((4000, 1), 0.5)
    assert torch.equal(networks.generate(z, condition), networks.generate(same, condition))
    networks.auxiliary = torch.nn.Linear(3, CLASSES)
    torch.nn.init.zeros_(networks.auxiliary.weight)
    torch.nn.init.zeros_(networks.auxiliary.bias)
    batch = Batch(torch.zeros(64, 2), torch.zeros(64, 1))
    losses = [
        float(dataclasses.replace(method, information=weight).generator_objective(networks, batch, generator).detach())
        for weight in (0.0, 1.0)
    ]
    assert losses[1] - losses[0] == pytest.approx(math.log(CLASSES), abs=0.2)  # a reader that knows nothing


@every_baseline
def test_draws_have_shape_and_type_and_are_numbers(name):
    target, method = Shifted(), METHODS[name]
    done = []
    sampler = method.fit(target, TINY, seed=1, report=done.append)
    x = draw(sampler, target)
    assert x.shape == (32, target.dimension)
    assert x.dtype == torch.float32
    assert not x.requires_grad
    assert torch.isfinite(x).all()
    assert done[-1] == 1
    assert len(x.unique(dim=0)) == 32  # noise reaches the draws


@every_baseline
def test_condition_reaches_the_draws(name):
    sampler = METHODS[name].fit(Shifted(), TINY, seed=1)
    low, again, high = (
        sampler.sample(8, condition=torch.full((8, 1), c), generator=torch.Generator().manual_seed(1))
        for c in (0.0, 0.0, 1.0)
    )
    assert torch.equal(low, again)
    assert not torch.isclose(low, high).any()


@every_baseline
def test_condition_is_learned(name):
    rates = {"rate": 5e-3} if name == "vae" else {"rate": 5e-3, "critic_rate": 5e-3}
    method = dataclasses.replace(METHODS[name], **rates)
    steps = 240 if name == "infogan" else 120  # beside the condition it has a class to learn
    sampler = method.fit(Shifted(), Effort(steps=steps, batch=64, width=16), seed=0)
    generator = torch.Generator().manual_seed(1)
    low, high = (sampler.sample(200, condition=torch.full((200, 1), c), generator=generator) for c in (0.0, 1.0))
    assert (high.mean(0) - low.mean(0)).min() > 0.5  # 2 in truth, 0 for a method that does not look


@every_baseline
def test_divergence_is_noticed(name):
    with pytest.raises(DivergedError, match="diverged"):
        METHODS[name].fit(Shifted(noise=math.nan), TINY)


def test_a_rate_that_is_far_too_high_diverges():
    with pytest.raises(DivergedError, match="lower the learning rate"):
        dataclasses.replace(METHODS["gan"], rate=1e30, critic_rate=1e30).fit(Shifted(), Effort(steps=20, batch=16))


def test_critic_is_best_at_the_log_ratio_of_densities():
    """For N(0, 1) against N(1, 1) that is 1/2 - x; expectations by quantiles."""
    u = (torch.arange(20_001, dtype=torch.float64) + 0.5) / 20_001
    real = torch.special.ndtri(u)

    def slope(a, b):
        line = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)
        critic_loss(line[0] + line[1] * real, line[0] + line[1] * (real + 1)).backward()
        return line.grad.abs().max()

    assert slope(0.5, -1.0) < 1e-3
    assert slope(0.6, -1.0) > 1e-2
    zero = torch.zeros(3)
    assert float(critic_loss(zero, zero)) == pytest.approx(math.log(4))


def test_packed_draws_stand_together_and_share_their_condition():
    networks = AdversarialNetworks(torch.nn.Identity(), perceptron(7, 1, width=4), noise=2, packing=3)
    x, condition = torch.arange(12.0).view(6, 2), torch.tensor([8.0, 8, 8, 9, 9, 9])[:, None]
    expected = torch.tensor([[0.0, 1, 2, 3, 4, 5, 8], [6, 7, 8, 9, 10, 11, 9]])
    assert torch.equal(networks.pack(x, condition), expected)
    assert networks.logits(x, condition).shape == (2,)
    generator = torch.Generator().manual_seed(0)
    batch = Pool(Shifted(noise=1e-4), Effort(steps=9, batch=12), generator, packing=3).batch()
    assert batch.x.shape == (12, 2)
    assert (batch.condition.view(4, 3) == batch.condition[::3]).all()
    assert len(batch.condition.unique()) > 1
    torch.testing.assert_close(batch.x, 2 * batch.condition.expand(-1, 2), atol=1e-3, rtol=0)


def test_slope_penalty_of_a_linear_critic():
    critic = torch.nn.Linear(3, 1)
    networks = AdversarialNetworks(torch.nn.Identity(), critic, noise=2)
    penalty = slope_penalty(networks, torch.randn(5, 2), torch.rand(5, 1))
    assert penalty.item() == pytest.approx((critic.weight[0, :2].norm().item() - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert critic.weight.grad[0, :2].abs().min() > 0


def unrolled_case():
    torch.manual_seed(0)
    critic = perceptron(2, 1, width=8).double()
    real, fake, way = torch.randn(3, 16, 2, dtype=torch.float64)
    return critic, real, fake, way, dataclasses.replace(METHODS["unrolled_gan"], unrolling=3, critic_rate=0.05)


def test_unrolled_objective_is_that_of_the_critic_after_adam():
    critic, real, fake, _, method = unrolled_case()
    foreseen = method.foresee(critic, real, fake).item()
    trained = copy.deepcopy(critic)
    optimiser = torch.optim.Adam(trained.parameters(), 0.05, betas=method.betas)
    for _ in range(3):
        optimiser.zero_grad()
        critic_loss(trained(real), trained(fake)).backward()
        optimiser.step()
    loss = [torch.nn.functional.softplus(-network(fake)).mean().item() for network in (trained, critic)]
    assert foreseen == pytest.approx(loss[0], rel=1e-6)
    assert abs(foreseen - loss[1]) > 0.01  # the critic at hand


def test_unrolled_gradient_is_that_of_finite_differences():
    critic, real, fake, way, method = unrolled_case()

    def slope(method):
        t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(method.foresee(critic, real, fake + t * way), t)[0])

    h = 1e-6
    up, down = (method.foresee(critic, real, fake + s * way).item() for s in (h, -h))
    assert slope(method) == pytest.approx((up - down) / (2 * h), rel=1e-4)
    # What does not look ahead, or not through the updates, is another number.
    assert abs(slope(dataclasses.replace(method, unrolling=0)) - slope(method)) > 1e-3


def joint_case(name):
    torch.manual_seed(0)
    method = METHODS[name]
    networks = method.build(build_target("ring8"), Effort(width=8)).eval()
    return method, networks, Batch(torch.randn(12, 2), None)


def test_joint_losses_of_an_undecided_critic():
    method, networks, batch = joint_case("veegan")
    for parameter in networks.critic.parameters():
        torch.nn.init.zeros_(parameter)
    seeds = [torch.Generator().manual_seed(1) for _ in range(4)]
    loss = method.generator_objective(networks, batch, seeds[0])
    z = networks.draw_noise(batch, seeds[1])
    expected = reconstruction(z, networks.encode(Batch(networks.generate(z, None), None), seeds[1]))
    torch.testing.assert_close(loss, expected)
    assert method.critic_objective(networks, batch, seeds[2]).item() == pytest.approx(math.log(4))
    assert METHODS["ali"].generator_objective(networks, batch, seeds[3]).item() == pytest.approx(math.log(4))
    by_hand = reconstruction(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2))
    assert float(by_hand) == pytest.approx((1 + 4) / 4)


@pytest.mark.parametrize(("name", "heeds"), [("veegan", False), ("ali", True)])
def test_reconstructor_of_veegan_learns_from_noise_alone(name, heeds):
    """Whatever the critic says, the reconstructor has the same gradient; ALI's encoder has not."""
    method, networks, batch = joint_case(name)
    gradients = []
    for factor in (1.0, -3.0):
        with torch.no_grad():
            networks.critic[-1].weight.mul_(factor)
        loss = method.generator_objective(networks, batch, torch.Generator().manual_seed(1))
        gradients.append(torch.autograd.grad(loss, networks.auxiliary[-1].weight)[0])
    assert torch.allclose(*gradients) != heeds


def test_bound_of_the_autoencoder_never_exceeds_the_likelihood():
    assert float(divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(2)]]))) == pytest.approx(
        0.5 * (1 + 2 - 1 - math.log(2))
    )
    torch.manual_seed(0)
    autoencoder = Autoencoder(build_target("ring8"), 8)
    for parameter in autoencoder.decoder.parameters():  # then x is standard normal, whatever z
        torch.nn.init.zeros_(parameter)
    batch, epsilon = Batch(torch.randn(50, 2), None), torch.randn(50, 2)
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(batch.x).sum(1)
    assert (autoencoder.bound(batch, epsilon) < truth).all()
    for parameter in autoencoder.encoder.parameters():  # the posterior is the prior: no gap
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(autoencoder.bound(batch, epsilon), truth)


def trained(network, loss, steps=150):
    """The mean loss of the last of these steps; each draws afresh."""
    optimiser, last = torch.optim.Adam(network.parameters(), 0.01), []
    for _ in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        last.append(value.item())
    return sum(last[-20:]) / 20


@pytest.mark.parametrize("packing", [1, 2])
def test_packing_shows_a_lack_of_diversity(packing):
    """Draws that are right one by one, but agree with their neighbour in the mode, +1 or -1.

    One by one the critic can do nothing, log 4. In pairs it knows those of unlike modes as real, half of the real ones,
    and gives the others odds of one to two: log(3) / 2 + log(3 / 2).
    """
    torch.manual_seed(0)
    networks = AdversarialNetworks(torch.nn.Identity(), perceptron(packing, 1, width=16), noise=1, packing=packing)

    def draws(modes):
        return torch.sign(modes - 0.5) + 0.1 * torch.randn(256, 1)

    def loss():
        real, fake = draws(torch.rand(256, 1)), draws(torch.rand(128, 1).repeat_interleave(2, 0))
        return critic_loss(networks.logits(real, None), networks.logits(fake, None))

    expected = {1: math.log(4), 2: math.log(3) / 2 + math.log(1.5)}
    assert trained(networks.critic, loss) == pytest.approx(expected[packing], abs=0.06)


@pytest.mark.parametrize(("stretch", "expected"), [(1.0, 0.0), (0.0, 1.0)])
def test_reconstructor_shows_a_collapsed_generator(stretch, expected):
    """Noise of two numbers cannot be told from a constant: half their variance is left, 1. Else nothing is."""
    torch.manual_seed(0)
    encoder = perceptron(2, 2, width=16)

    def loss():
        z = torch.randn(256, 2)
        return reconstruction(z, encoder(stretch * z))

    assert trained(encoder, loss) == pytest.approx(expected, abs=0.06)


def modes_reached(name, steps, **settings):
    """Modes of the ring with at least one draw of high quality among 2,500."""
    target, method = build_target("ring8"), dataclasses.replace(METHODS[name], **settings)
    sampler = method.fit(target, Effort(steps=steps), seed=0)
    found = target.assign(sampler.sample(2500, generator=torch.Generator().manual_seed(1)))
    return len(found.mode[found.high_quality].unique())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gan", "pacgan2", "wgan_gp"])
def test_games_reach_the_modes_of_the_ring(name):
    """At least six of eight; a critic that never learns leads nowhere."""
    steps = 600 if name == "wgan_gp" else 1500
    assert modes_reached(name, steps) >= 6
    assert modes_reached(name, 50, critic_rate=0.0) < 6
