# %% [markdown]
# # DataFrames, xarray and ArviZ
#
# Tables and ensembles convert to what other tools of data analysis read: `pandas`, `xarray` and `ArviZ`, each of which
# is loaded when a conversion is called.

# %%
# %matplotlib inline
import numpy as np
import pandas

import latticeflow as lf
import mcmc

temperatures = np.linspace(0.4, 1.6, 9)
ensembles = {L: mcmc.generate(mcmc.XY(), size=L, temperatures=temperatures, draws=250) for L in (8, 16)}
tables = {L: mcmc.observe(ensemble) for L, ensemble in ensembles.items()}

# %% [markdown]
# ## pandas
#
# A table becomes a DataFrame with one row for each temperature. Every observable has columns for its value, its error,
# its autocorrelation time with an error, and the number of draws that are missing for the error to be trusted.

# %%
frame = tables[16].to_pandas()
frame[["energy", "energy_error", "energy_tau_int", "energy_missing", "helicity_modulus", "helicity_modulus_error"]]

# %% [markdown]
# Several tables in one, with the size as a second index:

# %%
both = pandas.concat({L: table.to_pandas() for L, table in tables.items()}, names=["L"])
both["helicity_modulus"].unstack("L")

# %% [markdown]
# From there pandas does the rest: plots, CSV, LaTeX, Parquet.

# %%
axes = (
    both["helicity_modulus"]
    .unstack("L")
    .plot(yerr=both["helicity_modulus_error"].unstack("L"), marker="o", capsize=2, figsize=(5, 3.4))
)
axes.plot(temperatures[:6], 2 * temperatures[:6] / np.pi, "--", color="0.5", label=r"$2T/\pi$")
axes.set(xlabel="temperature $T$  [$J/k_B$]", ylabel=r"helicity modulus $\Upsilon$  [$J$]")
axes.legend(title="L")
axes.figure.tight_layout()

# %% [markdown]
# A comparison of a flow with an ensemble converts in the same way, one row for each temperature and every measure as a
# column:

# %%
found = lf.compare(lf.load("xy8", device="cpu"), ensembles[8])
found.to_pandas()[["acceptance", "ess_reverse", "ess_forward", "coverage", "tau_int", "overlap_energy"]].round(3)

# %% [markdown]
# ## xarray
#
# An ensemble becomes a Dataset whose axes have names, so that their order need not be remembered. Its attributes say
# how the draws were made:

# %%
data = ensembles[16].to_xarray()
print(*data.attrs, sep=", ")
data.drop_attrs()

# %% [markdown]
# The correlation of spins at a distance of 4, as the mean over the lattice of each draw:

# %%
correlation = np.cos(data.theta - data.theta.roll(x=4)).mean(("y", "x"))
correlation.mean(("chain", "draw")).to_pandas().round(4)

# %% [markdown]
# Means over draws are easy; their errors need the autocorrelation, which `mcmc.estimate` takes from the series
# (chains, draws) of one temperature:

# %%
for T in temperatures[::2]:
    print(f"T = {T:.2f}:", mcmc.estimate(correlation.sel(temperature=T).transpose("chain", "draw").values))

# %% [markdown]
# A file is read in parts: `mcmc.open("xy16.h5").to_xarray(slice(0, 100))` loads the first hundred draws. Tables have
# `to_xarray`, too:

# %%
tables[16].to_xarray()[["energy", "energy_error"]]

# %% [markdown]
# ## ArviZ
#
# One temperature's series, with axes chain and draw, are what ArviZ calls a posterior. With ArviZ installed
# (`pip install arviz`), its summaries and trace plots work on them:
#
#     data = ensembles[16].to_arviz(temperature=0.4)
#     arviz.summary(data)
#     arviz.plot_trace(data)
#
# The effective sample size that `arviz.summary` prints is $n / 2 \tau_\mathrm{int}$ in the notation of these notebooks.
