"""Can a generator make draws that it has not seen? Inference by optimisation, and reconstruction by an encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from latticeflow.laboratory.methods.adversarial import GeneratorSampler
from latticeflow.laboratory.methods.method_registry import seeded
from latticeflow.laboratory.methods.networks import Batch
from mcmc import InputError


class Inferred(NamedTuple):
    """What a generator makes that is nearest to given draws."""

    nearest: Tensor
    """The nearest of its draws that was found, (n, d)."""
    distance: Tensor
    """Root mean square over the coordinates of the difference, (n,)."""


def nearest_generated(
    sampler: GeneratorSampler, x: Tensor, *, starts: int = 4, steps: int = 200, rate: float = 0.05, seed: int = 0
) -> Inferred:
    """For each draw the noise whose image is nearest to it, by Adam from several random starts.

    The measure of Metz, Poole, Pfau, Sohl-Dickstein (arXiv:1611.02163), which VEEGAN (arXiv:1705.07761) reports too. It
    sees what the generator cannot make, not what it makes too seldom.

    Args:
        sampler: of an adversarial method, on a target without condition.
        x: held-out draws, (n, d).
        starts: random starts for each; the best end counts.
        steps: of each.
        rate: of Adam, in units of the noise's standard deviation.
        seed: of the starts.

    Returns:
        The nearest draws and their distances, in the target's coordinates.

    Example:
        >>> from latticeflow.laboratory import Effort, get_method
        >>> from latticeflow.laboratory.targets import build_target
        >>> target = build_target("ring8")
        >>> gan = get_method("gan").fit(target, Effort(steps=20, batch=32, width=8))
        >>> found = nearest_generated(gan, target.sample(3, generator=torch.Generator().manual_seed(0)), steps=5)
        >>> found.nearest.shape, bool((found.distance > 0).all())
        (torch.Size([3, 2]), True)
    """
    networks, best = sampler.networks, Inferred(torch.empty_like(x), torch.full((len(x),), torch.inf))
    with seeded(seed) as generator:
        for _ in range(starts):
            z = torch.randn(len(x), networks.noise, generator=generator).requires_grad_()
            optimiser = torch.optim.Adam([z], rate)
            for step in range(steps + 1):
                made = sampler.coordinates.stretch(networks.generate(z, None), generator)
                distance = (made - x).square().mean(1)
                if step < steps:
                    (z.grad,) = torch.autograd.grad(distance.sum(), z)
                    optimiser.step()
            found = distance.detach().sqrt()
            nearer = found < best.distance
            best = Inferred(torch.where(nearer[:, None], made.detach(), best.nearest), found.minimum(best.distance))
    return best


@torch.no_grad()
def reconstructed(sampler: GeneratorSampler, x: Tensor, *, seed: int = 0) -> Tensor:
    """Draws after a way through the encoder, VEEGAN's reconstructor, to noise, and back through the generator.

    Args:
        sampler: of a method with an encoder, on a target without condition.
        x: held-out draws, (n, d).
        seed: of the encoder's own randomness.

    Returns:
        (n, d).

    Raises:
        InputError: the method has no encoder.
    """
    networks = sampler.networks
    if networks.auxiliary is None:
        raise InputError(
            "this method has no encoder: take veegan or ali, or look for the nearest draws by optimisation"
        )
    generator = torch.Generator().manual_seed(seed)
    z = networks.encode(Batch(sampler.coordinates.shrink(x), None), generator)
    return sampler.coordinates.stretch(networks.generate(z, None), generator)
