# %% [markdown]
# # Train a flow on your own arrays
#
# You have configurations from another program, as angles in radians in a numpy array, and want to train a flow on them.
# Here twenty lines of numpy stand for that program. The notebook checks its draws, trains a flow on them, and tests
# the flow on draws that it has not seen. Everything stays in Python.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import numpy as np

import latticeflow as lf
import mcmc

L, temperatures = 6, np.array([0.6, 0.9, 1.2, 1.6])


def other_program(seed, chains=40, draws=50, between=10, thermalise=300):
    """Metropolis of the XY model on both colours of a checkerboard in turn; (temperatures, chains, draws, y, x)."""
    rng = np.random.default_rng(seed)
    theta = np.zeros((len(temperatures), chains, L, L))
    white = np.add.outer(np.arange(L), np.arange(L)) % 2 == 0
    kept = []
    for sweep in range(thermalise + draws * between):
        for colour in (white, ~white):
            around = sum(np.exp(1j * np.roll(theta, shift, axis)) for shift in (1, -1) for axis in (-1, -2))
            proposed = theta + rng.uniform(-2, 2, theta.shape)
            change = np.exp(1j * proposed) - np.exp(1j * theta)
            gain = (np.conj(around) * change).real / temperatures[:, None, None, None]
            accepted = colour & (rng.random(theta.shape) < np.exp(np.minimum(gain, 0)))
            theta = np.where(accepted, proposed, theta)
        if sweep >= thermalise and (sweep - thermalise) % between == 0:
            kept.append(theta)
    return mcmc.wrap(np.stack(kept, axis=2))


known, unseen = other_program(seed=1), other_program(seed=2)
print(known.shape)

# %% [markdown]
# ## Are they what they should be?
#
# `mcmc.from_arrays` takes (temperatures, chains, draws, y, x), or fewer axes where there is one chain or one
# temperature. It refuses what cannot be angles in radians: degrees, unit vectors, or angles of many turns, which
# `mcmc.wrap` brings back to $[-\pi, \pi)$, as above.

# %%
ensemble = mcmc.from_arrays(known, model=mcmc.XY(), temperatures=temperatures)
table = mcmc.observe(ensemble)
table.select(observables=["energy", "magnetization", "vortex_density", "helicity_modulus"])

# %% [markdown]
# Draws of `mcmc.generate` at the same temperatures agree, as differences in standard errors show:

# %%
reference = mcmc.observe(mcmc.generate(mcmc.XY(), size=L, temperatures=temperatures, draws=500))
for name in ("energy", "magnetization", "vortex_density", "helicity_modulus"):
    pulls = [ours.deviation(theirs) for ours, theirs in zip(table[name], reference[name], strict=True)]
    print(f"{name:18}", *(f"{pull:+.1f}" for pull in pulls))

# %% [markdown]
# ## Train
#
# `lf.train` takes the arrays themselves, with their model and temperatures, or the ensemble. With `minutes=10` it would
# train for ten minutes; here are some seconds. The objective decides whether the draws are used: forward KL fits the
# flow to them, reverse KL uses only the energy of the model.

# %%
flow = lf.train(
    known,
    model=mcmc.XY(),
    temperatures=temperatures,
    flow="multiscale",
    sizes={"invariants": 16, "vectors": 6, "products": 4, "directions": 4, "harmonics": 3, "width": 32},
    objective="forward_kl",
    steps=100,
    learning_rate=2e-3,
    device="cpu",
)
flow

# %%
path = Path(tempfile.mkdtemp()) / "own.pt"  # or a name in a folder of yours
flow.save(path)
flow = lf.load(path, device="cpu")

# %% [markdown]
# ## Evaluate it on draws that it has not seen

# %%
found = lf.compare(flow, unseen, temperatures=temperatures)
found

# %%
lf.plot.comparison(found)

# %% [markdown]
# ## Exact draws of it
#
# Chains of the flow's proposals with a Metropolis test are exact, however short the training was: compare them with the
# arrays.

# %%
chain = lf.sample(flow, temperatures=temperatures, draws=500)
tables = {"flow + Metropolis": mcmc.observe(chain), "own arrays": table}
lf.plot.observables(tables, ["energy", "magnetization", "vortex_density", "helicity_modulus"])

# %% [markdown]
# The draws go back into arrays by `chain.theta()`. And without a chain, the flow's weights give what the other program
# cannot, the free energy:

# %%
weighted = lf.importance(flow, temperatures, draws=2000)
weighted.select(observables=["energy", "free_energy", "entropy"])
