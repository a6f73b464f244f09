# %% [markdown]
# # The free energy of the XY model
#
# A Markov chain knows ratios of probabilities, never the partition function
# $Z = \int e^{-E/T} d\theta_1 \dots d\theta_N$. A flow with a normalised density knows it: the mean of its weights
# $w = e^{-E/T}/q$ is $Z$. So every draw of the shipped 8x8 flow is a measurement of the free energy and the entropy,
#
# $$f = -\frac{T}{N} \ln Z, \qquad s = \frac{e - f}{T},$$
#
# at any temperature of its range, each on its own. Weighted draws, without a chain:

# %%
# !latticeflow sample xy8 --importance --draws 2000 --temperatures 0.2:2.0:7

# %% [markdown]
# Five digits from 2,000 draws. Three independent checks follow.

# %%
# %matplotlib inline
import numpy as np
import torch
from scipy.special import ive

from latticeflow.chains.importance import importance
from latticeflow.chains.neural_mcmc import log_weights, propose
from latticeflow.flows import checkpoint
from latticeflow.plots import figures as plots
from mcmc import XY, Lattice
from mcmc.analysis.free_energy import bridge, integrate
from mcmc.analysis.statistics import block_means, format_uncertainty, jackknife
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

torch.set_num_threads(1)
flow, lattice = checkpoint.load("xy8").flow, Lattice(8, 8)
grid = np.linspace(0.2, 2.0, 25)
table = importance(flow, grid[::3], draws=1000)

# %% [markdown]
# ## 1. High temperatures: the series
#
# Expanding in $t = I_1(1/T)/I_0(1/T)$, the infinite lattice has
# $\ln Z/N = \ln 2\pi + 2 \ln I_0 + 2t^4 + 4t^6 + O(t^8)$.


# %%
def series(T):
    t = ive(1, 1 / T) / ive(0, 1 / T)
    return -T * (np.log(2 * np.pi) + 2 * (np.log(ive(0, 1 / T)) + 1 / T) + 2 * t**4 + 4 * t**6)


print("T = 2: flow", table.rows[-1]["free_energy"], "  series", round(series(2.0), 6))

# %% [markdown]
# The difference that remains is the size of the first term left out, $2 t^8$ or so, and of the finite lattice.
#
# ## 2. All temperatures: thermodynamic integration
#
# Classical chains give energies, and $d \ln Z / d \ln T = E/T$. The integral needs an anchor and a whole grid of
# temperatures; here the anchor is the flow's value at the hottest one.

# %%
chains = Simulation(Settings(XY(), lattice, tuple(grid), chains=16, seed=1))
energy = chains.block(400).series["energy"]
moments = block_means(np.stack([energy, energy**2], -1).transpose(1, 2, 0, 3), 64)


def log_z(mean):
    e, square = mean.T
    found = integrate(grid, e, lattice.N * (square - e**2) / grid**2)
    return found - found[-1]


change, error = jackknife(log_z, moments)
anchor = table.rows[-1]["free_energy"].value / -grid[-1]
print("     T       flow   integration   difference / error")
for t, row in zip(range(0, len(grid), 3), table.rows, strict=True):
    T, f = grid[t], row["free_energy"]
    other, bar = -T * (anchor + change[t]), np.hypot(T * error[t], T / grid[-1] * table.rows[-1]["free_energy"].error)
    pull = (f.value - other) / np.hypot(f.error, bar) if t < len(grid) - 1 else 0.0
    print(f"{T:6.3f}  {f!s:>12}  {format_uncertainty(other, bar):>12}  {pull:8.1f}")

# %% [markdown]
# ## 3. Each temperature: a bridge
#
# Draws of the flow *and* of the ensemble together give $\ln Z$ with the least error (Bennett 1976). Unlike the mean
# weight it also notices if the flow misses a part of the ensemble.

# %%
T = 0.9
reference = Simulation(Settings(XY(), lattice, (T,), chains=4, seed=2)).block(500).theta[0]
weights = log_weights(flow, reference.reshape(-1, *lattice.shape), T).reshape(reference.shape[:2])
drawn = propose(flow, T, 2000, generator=torch.Generator().manual_seed(3))
both = bridge(drawn.log_weight, weights)
one = importance(flow, [T], draws=2000, seed=4).rows[0]["free_energy"]
print(f"T = {T}: from weights {one}, by the bridge", format_uncertainty(-T * both.value / 64, T * both.error / 64))

# %% [markdown]
# ## Free energy and entropy
#
# The energy alone cannot tell what drives the vortices apart. At low temperature $s \approx \frac12 \ln T$ plus a
# constant, the spin waves; where vortices appear it rises faster.

# %%
with plots.style():
    figure, axes = plots.new_figure(1, 2)
    T = grid[::3]
    for panel, name in zip(axes, ("free_energy", "entropy"), strict=True):
        values, errors = table[name].values, table[name].errors
        panel.errorbar(T, values, errors, marker="o", linestyle=":", label="flow")
        panel.set(xlabel=plots.TEMPERATURE, ylabel=plots.LABELS[name])
    axes[0].plot(grid[12:], [series(T) for T in grid[12:]], color=plots.COLOURS[1], label="series")
    axes[0].legend()
    s = table["entropy"].values[0]
    waves = s + 0.5 * (1 - 1 / lattice.N) * np.log(grid / grid[0])
    axes[1].plot(grid, waves, color=plots.COLOURS[1], label="spin waves")
    axes[1].legend()
figure

# %% [markdown]
# ## Does it pay?
#
# Classical chains can find $Z$, too: where all angles are free it is $(2\pi)^N$, and a ladder of temperatures leads
# down from there. But the error grows with the whole way, while a flow needs the one temperature that is asked for.
# At equal time, thermalisation counted (`latticeflow bench free-energy` does it at length):

# %%
from latticeflow.experiments import free_energy_contest

rows, gains = free_energy_contest.contest("xy8", temperatures=(0.3, 0.9, 1.5), seconds=2.0)
print(free_energy_contest.results_text(rows, gains))

# %% [markdown]
# A gain of 10 means that the classical ladder would need ten times the time for the same error of $f$. `pays below` is
# the error from which on the flow is ahead with the time of its training added. For the entropy there is much less to
# gain: most of its error is that of the energy, which classical chains measure best.
