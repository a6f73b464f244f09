# %% [markdown]
# # Flow-accelerated Monte Carlo
#
# A normalizing flow draws whole configurations from a density $q(\theta)$ that it can also evaluate. That is all a
# Markov chain needs to be exact: propose $\theta' \sim q$, and accept it with probability
#
# $$\min\left(1, \frac{w(\theta')}{w(\theta)}\right), \qquad w = \frac{e^{-E/T}}{q}.$$
#
# However poor the flow, the chain samples the Boltzmann distribution; a poor flow only makes it stay where it is more
# often. latticeflow ships a flow of the 8x8 XY model, trained at temperatures from 0.05 to 2.05. Draw from it:

# %%
# %matplotlib inline
import numpy as np
import torch

import latticeflow as lf
import mcmc
from latticeflow.chains.sample import review

torch.set_num_threads(1)
flow, temperatures = lf.load("xy8", device="cpu"), np.linspace(0.3, 1.8, 6)
neural = lf.sample(flow, temperatures=temperatures, draws=500)
print("   T   acceptance   tau measured   tau predicted       free energy per site")
for row in review(neural):
    tau = f"{row.tau_int:9.3f}{row.tau_int_predicted:15.3f}"
    print(f"{row.temperature:.2f}{row.acceptance:10.3f}   {tau}{row.free_energy:19.6f} +- {row.free_energy_error:.1g}")

# %% [markdown]
# The autocorrelation time of the energy, in steps, is measured on the chain and predicted from the weights,
# $\tau_\mathrm{int} = \langle 1/a(w) \rangle - 1/2$, with $a(w)$ the probability to leave a state of weight $w$; 0.5
# means that successive draws are independent. The last column no ordinary Markov chain gives.
#
# The chains are an ordinary ensemble (with `out="neural8.h5"` a file), so everything else works on them:

# %%
mcmc.observe(neural)

# %% [markdown]
# ## Can it be trusted?
#
# The weights of its own draws cannot show what a flow misses. Draws from elsewhere can:

# %%
classical = mcmc.generate(mcmc.XY(), size=8, temperatures=temperatures, draws=250, seed=5)
found = lf.compare(flow, classical, draws=1000)
found

# %%
lf.plot.comparison(found)

# %% [markdown]
# The two effective sample sizes agree, and the flow makes vortices and windings as often as the ensemble has them:
# nothing is missed. (The next notebook shows what it looks like when something is.) So do the observables:

# %%
tables = {"classical": mcmc.observe(classical), "flow + Metropolis": mcmc.observe(neural)}
lf.plot.observables(tables, ("energy", "magnetization", "vortex_density", "helicity_modulus"))

# %% [markdown]
# ## Larger lattices: double, and redraw a part
#
# The networks of a coarse-to-fine flow depend on distances, not on the size of the lattice: `double` makes of this flow
# one for 16x16, before any training (`latticeflow train --from` goes on from there). The acceptance of whole
# configurations falls exponentially with the number of sites. But
# $q = q(\mathrm{coarse})\, q(\mathrm{fine} \mid \mathrm{coarse})$, so a step may keep the coarse spins and redraw the
# fine ones; the Metropolis test then contains only the redrawn factors.
# A redraw that keeps the 29 groups which make up the coarse 8x8 grid is nearly always accepted:

# %%
from latticeflow.flows.transfer import double

large = double(flow)
chains = lf.NeuralChains(large, [0.9], chains=64, seed=1, redraws=len(large.stages))
chains.block(6)
report = chains.report()
print(f"whole 16x16 configurations    {report['acceptance'][0]:.2f}")
for kept, rate in report["redraw_acceptance"].items():
    print(f"{kept:>2} groups kept               {rate[0]:.2f}")

# %% [markdown]
# ## Is it worth it?
#
# Not for energies and vortices: a vectorised heat bath makes an independent draw in less time than any network of
# this size makes a proposal. The tables hold every way to use the flow (its proposals as a chain, weighted without a
# chain, with a redraw or a local sweep after each) beside every classical sampler: first effective draws a second, then
# the autocorrelation times behind them.

# %%
from latticeflow.experiments import head_to_head

rows, balances = head_to_head.contest("xy8", temperatures=(0.5, 1.4), seconds=0.3)
print(head_to_head.rates_text(rows, balances))

# %% [markdown]
# A flow is worth its training where chains have no answer: its density is normalised, so it gives absolute free
# energies, in a fraction of the time that classical chains take for the same error
# ([notebook 8](8_free_energy.ipynb)).
