# %% [markdown]
# # What an error bar is worth
#
# Draws of a Markov chain remember their past. This notebook shows what that does to error bars, how the Gamma method
# mends them, how you can tell that it did, and what a bad run looks like.
#
# We take the slow old-fashioned sampler, Metropolis, and keep *every* sweep of 600 independent chains. (The default
# sampler and spacing of `latticeflow generate` make draws nearly independent; that is why we spoil them here.)

# %%
# %matplotlib inline
import numpy as np

import mcmc
from latticeflow.plots import figures as plots
from mcmc import Estimate, derived, estimate
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

T, L, chains, draws = 1.0, 8, 600, 4000
# mcmc.generate would keep the configurations, 600 MB; a Simulation hands them over block by block.
simulation = Simulation(Settings(mcmc.XY(), mcmc.Lattice(L, L), (T,), chains=chains, sampler="metropolis", thin=1))
blocks = [simulation.block(250).series for _ in range(draws // 250)]
energy = np.concatenate([block["energy"][0] for block in blocks], axis=1)  # (chains, draws)
print(energy.shape)

# %%
with plots.style():
    figure, axes = plots.new_figure(1, 2, width=4.2)
    axes[0].plot(energy[0, :400], color=plots.COLOURS[0])
    axes[0].set(xlabel="sweep", ylabel=plots.LABELS["energy"])
    plots.autocorrelations(axes[1], {"energy": energy}, longest=100)
figure

# %% [markdown]
# The chain wanders: a sweep resembles the one before. The autocorrelation function $\rho(t)$ says for how long, and
# its area $\tau_\mathrm{int} = \frac12 + \sum_{t \ge 1} \rho(t)$ says what it costs: $n$ draws are worth only $n /
# 2\tau_\mathrm{int}$ independent ones, so the naive bar $\sigma/\sqrt{n}$ is too small by
# $\sqrt{2\tau_\mathrm{int}}$.

# %%
one = energy[0]
naive = one.std() / np.sqrt(one.size)
honest = estimate(one)
print("naive  ", Estimate(one.mean(), naive, 0.5, 0, one.size))
print("honest ", honest, f"  tau_int = {honest.tau_int:.1f} +- {honest.tau_int_error:.1f}")
print(f"ratio {honest.error / naive:.2f}, expected sqrt(2 tau_int) = {np.sqrt(2 * honest.tau_int):.2f}")

# %% [markdown]
# ## Believe it only if it covers
#
# A one-sigma bar should hold the truth 68 % of the time. We have 600 chains and, from all of them together, a 25
# times better value to test against:

# %%
truth = energy.mean()
bars = [estimate(chain) for chain in energy]
covers = np.mean([abs(bar.value - truth) < bar.error for bar in bars])
covers_naive = np.mean([abs(chain.mean() - truth) < chain.std() / np.sqrt(draws) for chain in energy])
print(f"honest bars cover {covers:.0%} +- {np.sqrt(0.68 * 0.32 / chains):.0%}, naive ones {covers_naive:.0%}")

with plots.style():
    figure, axes = plots.new_figure(1, 1, width=7)
    for k, bar in enumerate(bars[:60]):
        hit = abs(bar.value - truth) < bar.error
        axes.errorbar(k, bar.value, bar.error, marker="o" if hit else "s", color=plots.COLOURS[0 if hit else 1])
    axes.axhline(truth, color="black", linewidth=0.8)
    axes.set(xlabel="chain", ylabel=plots.LABELS["energy"])
figure

# %% [markdown]
# Circles hold the truth, squares miss it. About a third should miss; with no square at all the bars would be too
# long.
#
# ## Derived quantities
#
# The specific heat is not a mean of anything: it is a function of two means. `derived` follows the errors of both, and
# their correlation, through the function:

# %%
scale = L * L / T**2
print("specific heat:", derived(lambda square, mean: scale * (square - mean**2), one**2, one))
print("of all chains:", derived(lambda square, mean: scale * (square - mean**2), energy**2, energy))

# %% [markdown]
# ## Too short
#
# Below some fifty $\tau_\mathrm{int}$ not even the error is known. The estimate then carries a question mark, and
# says what it would take:

# %%
for n in (50, 200, 1000, 4000):
    bar = estimate(one[:n])
    print(f"{n:5} draws: {bar!s:16} tau_int = {bar.tau_int:4.1f}   draws missing: {bar.missing}")

# %% [markdown]
# ## Seeing a bad run
#
# First mistake: no thermalisation, so that the start is part of the average. Two runs of eight chains; the second
# starts to draw at once, from perfect order.


# %%
def eight_chains(temperature, thermalise):
    how = {"chains": 8, "sampler": "metropolis", "thermalise": thermalise, "thin": 5}
    return mcmc.generate("xy", size=48, temperatures=temperature, draws=200, **how)


good, bad = eight_chains(1.1, 3000), eight_chains(1.1, 0)
with plots.style():
    figure, axes = plots.new_figure(1, 2, width=4.2)
    for panel, ensemble, title in zip(axes, (good, bad), ("thermalised", "not thermalised"), strict=True):
        run = ensemble.series("energy")[0]  # (chains, draws)
        panel.plot(run.T, linewidth=0.7)
        panel.set(xlabel="draw", ylabel=plots.LABELS["energy"], title=f"{title}: {estimate(run)}", ylim=(-1.7, -1))
figure

# %% [markdown]
# The average is pulled down, and the bar does not show it: statistics cannot tell a start from a fluctuation. Your eye
# can, and so can a comparison of starts, which is what `mcmc.generate` makes unless `thermalise` is given: it
# thermalises by itself, starts further chains hot and cold, and says so if they do not meet.
#
# Second mistake: chains that are not the same. Here one of eight was run at $T = 1.13$ instead of 1.10. Each looks
# fine; together they do not. **R-hat** compares chains, and the halves of each, with one another: 1 if they agree.
# `mcmc.observe` warns where it is larger than mixed chains of that length can make it by chance. Here another warning
# comes first: together, chains that disagree look like chains with a long memory, so that draws seem to be missing.

# %%
theta = good.theta().copy()
theta[0, 3] = eight_chains(1.13, 3000).theta()[0, 3]
mixed = mcmc.from_arrays(theta, model=good.model, temperatures=good.temperatures)
for name, ensemble in (("as it should be", good), ("one at T = 1.13", mixed)):
    table = mcmc.observe(ensemble, observables=["energy"])
    print(f"{name}: {table['energy'][0]}, R-hat = {table.r_hat[0, 0]:.3f}", *table.warnings(), sep="\n    ")
