# %% [markdown]
# # The free energy of the XY model
#
# A Markov chain uses ratios of probabilities, never the partition function
# $Z = \int e^{-E/T} d\theta_1 \dots d\theta_N$. A flow with a normalised density gives it: the mean of its weights
# $w = e^{-E/T}/q$ is $Z$. So every draw of the shipped 8x8 flow is a measurement of the free energy and the entropy,
#
# $$f = -\frac{T}{N} \ln Z, \qquad s = \frac{e - f}{T},$$
#
# at any temperature of its range, each on its own. Weighted draws, without a chain:

# %%
# %matplotlib inline
import numpy as np
import torch
from scipy.special import ive

import latticeflow as lf
import mcmc

torch.set_num_threads(1)
flow, N = lf.load("xy8", device="cpu"), 64
grid = np.linspace(0.2, 2.0, 25)
table = lf.importance(flow, grid[::3], draws=2000)
table.select(observables=["energy", "free_energy", "entropy"])

# %% [markdown]
# Five to seven digits from 2,000 draws. Three independent checks follow.

# %% [markdown]
# ## 1. High temperatures: the series
#
# Expanding in $t = I_1(1/T)/I_0(1/T)$, the infinite lattice has
# $\ln Z/N = \ln 2\pi + 2 \ln I_0 + 2t^4 + 4t^6 + O(t^8)$.


# %%
def series(T):
    t = ive(1, 1 / T) / ive(0, 1 / T)
    return -T * (np.log(2 * np.pi) + 2 * (np.log(ive(0, 1 / T)) + 1 / T) + 2 * t**4 + 4 * t**6)


print("T = 2: flow", table["free_energy"][-1], "  series", round(series(2.0), 6))

# %% [markdown]
# The difference that remains is the size of the first term left out, $2 t^8$ or so, and of the finite lattice.
#
# ## 2. All temperatures: thermodynamic integration
#
# Classical chains give energies, and $d \ln Z / d \ln T = E/T$. The integral needs an anchor and a whole grid of
# temperatures; here the anchor is the flow's value at the hottest one.

# %%
from mcmc.analysis.free_energy import integrate
from mcmc.analysis.statistics import block_means, format_uncertainty, jackknife

chains = mcmc.generate(mcmc.XY(), size=8, temperatures=grid, chains=16, draws=400, seed=1)
energy = chains.series("energy")
moments = block_means(np.stack([energy, energy**2], -1).transpose(1, 2, 0, 3), 64)


def log_z(mean):
    e, square = mean.T
    found = integrate(grid, e, N * (square - e**2) / grid**2)
    return found - found[-1]


change, error = jackknife(log_z, moments)
anchor = table["free_energy"][-1] / -grid[-1]
print("     T       flow   integration   difference / error")
for t, f in zip(range(0, len(grid), 3), table["free_energy"], strict=True):
    T = grid[t]
    other, bar = -T * (anchor.value + change[t]), T * np.hypot(error[t], anchor.error)
    pull = (f.value - other) / np.hypot(f.error, bar) if t < len(grid) - 1 else 0.0
    print(f"{T:6.3f}  {f!s:>12}  {format_uncertainty(other, bar):>12}  {pull:8.1f}")

# %% [markdown]
# ## 3. Each temperature: a bridge
#
# Draws of the flow *and* of the ensemble together give $\ln Z$ with the least error (Bennett 1976). Unlike the mean
# weight it also notices if the flow misses a part of the ensemble.

# %%
T = 0.9
reference = mcmc.generate(mcmc.XY(), size=8, temperatures=T, draws=500, seed=2)
[both] = lf.compare(flow, reference, draws=2000, seed=3)
bridged = format_uncertainty(both.free_energy_bridge, both.free_energy_bridge_error)
weighted = lf.importance(flow, T, draws=2000, seed=4).at(T)["free_energy"]
print(f"T = {T}: from weights {weighted}, by the bridge {bridged}")

# %% [markdown]
# ## Free energy and entropy
#
# The energy alone cannot tell what drives the vortices apart. At low temperature $s \approx \frac12 \ln T$ plus a
# constant, the spin waves; where vortices appear it rises faster.

# %%
from latticeflow.plots import figures as plots

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
    waves = s + 0.5 * (1 - 1 / N) * np.log(grid / grid[0])
    axes[1].plot(grid, waves, color=plots.COLOURS[1], label="spin waves")
    axes[1].legend()
figure

# %% [markdown]
# ## A transition without an order parameter
#
# Free energies of *compared* systems say more than one alone. Two replicas that share half of their spins give the
# Renyi-2 mutual information $I_2$ of the halves: how much one half knows of the other. Over $L$, curves of different
# sizes cross near $T_{KT} = 0.893$ and near $2 T_{KT}$, where the replicas glued together order (Iaconis, Inglis,
# Kallin, Melko, arXiv:1210.2403). Antiperiodic boundaries force a domain wall, which below the transition costs
# $\frac{\pi^2}{2} \Upsilon$ at any size, and above it nothing. Both come from annealing
# (`mcmc.analysis.free_energy_differences`); `python notebooks/mutual_information.py` made the table, which lies in
# `tables/` beside this notebook.

# %%
import json
from pathlib import Path

found = json.loads(Path("tables/mutual-information.json").read_text())
with plots.style():
    figure, axes = plots.new_figure(1, 2, width=4.2, height=3)
    for number, size in enumerate(found["sizes"]):
        look = {"color": plots.COLOURS[number], "marker": plots.MARKERS[number], "label": f"L = {size['L']}"}
        for panel, part, over in ((axes[0], size, size["L"]), (axes[1], size["wall"], 1)):
            values, errors = np.array(part["value"]) / over, np.array(part["error"]) / over
            panel.errorbar(found["temperatures"], values, errors, linestyle=":", **look)
    for panel, label in zip(axes, ("mutual information $I_2 / L$", "cost of a domain wall  [$J$]"), strict=True):
        panel.set(xlabel=plots.TEMPERATURE, ylabel=label)
        for T in (0.893, 1.786)[: 2 if panel is axes[0] else 1]:
            panel.axvline(T, color="0.7", linewidth=0.8, zorder=0)
    axes[0].legend()
for each in found["crossings"]:
    print(f"sizes {each['sizes']} cross {each['where']}: T = {each['T']:.3f} +- {each['error']:.3f}")
figure

# %% [markdown]
# ## How much time does it save?
#
# Classical chains can find $Z$, too: at infinite temperature it is $(2\pi)^N$, and a ladder of temperatures leads down
# from there. But the error adds up along the ladder, while a flow needs only the one temperature that is asked for. At
# equal time, thermalisation counted (`latticeflow bench free-energy` takes longer and finds it more precisely):

# %%
from latticeflow.experiments import free_energy_contest

rows, gains = free_energy_contest.contest("xy8", temperatures=(0.3, 1.5), seconds=1.5)
print(free_energy_contest.results_text(rows, gains))

# %% [markdown]
# A gain of 10 means that the classical ladder would need ten times the time for the same error of $f$. `break-even`
# is the error below which the flow is faster with the time of its training added. For the entropy there is much less to
# gain: most of its error is that of the energy, which classical chains measure best.
