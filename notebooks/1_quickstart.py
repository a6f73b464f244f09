# %% [markdown]
# # Quickstart: from a command to a phase transition
#
# The two-dimensional XY model puts an angle $\theta_i$ on every site of a periodic square lattice; neighbours like to
# agree, $E = -J \sum_{\langle ij \rangle} \cos(\theta_i - \theta_j)$. In ten minutes you will have drawn it at many
# temperatures, measured it with honest error bars, and seen its vortices unbind.
#
# Everything starts with one command. It draws 400 configurations at each of 16 temperatures into an HDF5 file
# (`--resume`: running this notebook again goes on with the file instead of complaining that it exists).

# %%
# !latticeflow generate --model xy --size 16 --temperatures 0.1:2.0:16 --draws 400 --out ../data/quickstart.h5 --resume

# %% [markdown]
# What is in it? `info` says how it was made, `observe` measures it.

# %%
# !latticeflow info ../data/quickstart.h5

# %%
# !latticeflow observe ../data/quickstart.h5

# %% [markdown]
# Read `-1.4803(25)` as $-1.4803 \pm 0.0025$: every number carries one standard deviation in its last digits, with the
# correlation of successive draws taken into account. `tau_int` is that correlation, in draws: 0.5 means none at all.
# Chains that are too short to know their own error are marked with `?`, and the command says how many draws are
# missing.
#
# ## The same from Python

# %%
# %matplotlib inline
from latticeflow.plots import figures as plots
from mcmc.analysis.thermodynamics import observe
from mcmc.storage.ensemble import Ensemble

ensemble = Ensemble.open("../data/quickstart.h5")
table = observe(ensemble)
print("energy per site at T =", table.temperatures[0], "is", table.rows[0]["energy"])

# %%
plots.overview({"16 x 16": table})

# %% [markdown]
# The magnetisation fades, but the sharpest sign is the **helicity modulus**: how stiff the lattice is against a
# twist. It drops where it meets the line $2T/\pi$. That is the Kosterlitz-Thouless transition, and vortices cause it.
# Look at them: one draw from the cold side, one from the hot side.

# %%
with plots.style():
    figure, axes = plots.new_figure(1, 2, width=4.2, height=3.9)
    for panel, t in zip(axes, (5, 9), strict=True):
        theta = ensemble.theta(slice(0, 1), temperatures=slice(t, t + 1))[0, 0, 0]
        plots.configuration(panel, theta)
        panel.set_title(f"$T$ = {ensemble.temperatures[t]:.2f}", y=1.1)
figure

# %% [markdown]
# Going once around a vortex (circle), the angle turns once with you; around an antivortex (square), once against you.
# When cold, they appear in tight pairs, if at all; when hot, they roam, and stiffness is gone.
#
# ## Your own analysis
#
# Configurations are plain arrays, shape (temperature, chain, draw, y, x), angles in $[-\pi, \pi)$:

# %%
theta = ensemble.theta()
print(theta.shape, theta.dtype)

# %% [markdown]
# Any function of them becomes an estimate with an error, for instance how often a bond is bent by more than a right
# angle:

# %%
import numpy as np

from mcmc.analysis.statistics import estimate

bent = (np.cos(theta - np.roll(theta, -1, axis=-1)) < 0).mean((-2, -1))  # (temperature, chain, draw)
for t in (3, 7, 11):
    print(f"T = {ensemble.temperatures[t]:.2f}:", estimate(bent[t]))

# %% [markdown]
# Next: [thermodynamics over the grid](2_thermodynamics.ipynb), [what error bars are worth](3_error_bars.ipynb), [the
# transition temperature to three digits](4_kosterlitz_thouless.ipynb), and [ring exchange](5_extended_xy.ipynb).
