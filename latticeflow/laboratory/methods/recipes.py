"""From our baselines to those of the literature, one change after another: why their figures differ.

Our GANs see draws of mean 0 and variance 1, normalise batches in the generator, and lower their learning rates to
zero; those of VEEGAN's code (arXiv:1705.07761) do none of that, have 128 units, 254 noise variables and batches of 500
draws. These methods are in the registry, but stand outside the table; ``notebooks/tables/recipes.md`` is made by

    latticeflow modes --table --rows notebooks/tables/recipes.jsonl --report notebooks/tables/recipes.md ...

with ``--target ring8 --method gan gan_constant gan_raw gan_plain gan_published`` for the ladder, and
``--target digits xy8 manifold1200 --method veegan veegan_noise2 veegan_noise32 ...`` for the rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from latticeflow.laboratory.methods.adversarial import Adversarial
from latticeflow.laboratory.methods.gan import GAN
from latticeflow.laboratory.methods.joint import VEEGAN
from latticeflow.laboratory.methods.method_registry import register

GROUP = "recipe"

PLAIN: dict[str, Any] = {"fall": 0.0, "scale": False, "normalise": False}
PUBLISHED: dict[str, Any] = {**PLAIN, "noise": (254, 254), "batch": 500, "width": 128}


def vary(method: Adversarial, name: str, title: str, **changes: Any) -> None:
    """Register a method with some of its settings changed."""
    register(replace(method, name=f"{method.name}_{name}", title=f"{method.title}, {title}", group=GROUP, **changes))


vary(GAN, "constant", "constant rates", fall=0.0)
vary(GAN, "raw", "constant rates, raw draws", fall=0.0, scale=False)
vary(GAN, "plain", "constant rates, raw draws, no normalisation", **PLAIN)
vary(GAN, "published", "as VEEGAN's code", **PUBLISHED)
for noise in (2, 32, 254):
    vary(VEEGAN, f"noise{noise}", f"{noise} noise variables", noise=(2, noise))
vary(VEEGAN, "plain", "254, constant rates, raw draws, no normalisation", **PLAIN, noise=(2, 254))
vary(VEEGAN, "published", "as its code", **PUBLISHED)
