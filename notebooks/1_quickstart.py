# %% [markdown]
# # Quickstart: from three lines to a phase transition
#
# The two-dimensional XY model puts an angle $\theta_i$ on every site of a periodic square lattice; neighbours like to
# agree, $E = -J \sum_{\langle ij \rangle} \cos(\theta_i - \theta_j)$. In ten minutes you will have drawn it at many
# temperatures, measured it with error bars, and seen its vortices unbind.

# %%
# %matplotlib inline
import numpy as np

import latticeflow as lf
import mcmc

ensemble = mcmc.generate(mcmc.XY(), size=16, temperatures=np.linspace(0.1, 2.0, 16), draws=100)
ensemble

# %% [markdown]
# That drew 100 configurations in each of four Markov chains at 16 temperatures, into memory; with `out="xy16.h5"` it
# writes a file, which can be resumed and merged with others. Now measure it:

# %%
table = mcmc.observe(ensemble)
table

# %% [markdown]
# Read `-1.4803(25)` as $-1.4803 \pm 0.0025$: every number carries one standard deviation in its last digits, with the
# correlation of successive draws taken into account. `tau` is that correlation, in draws: 0.5 means none at all.
# Chains that are too short to know their own error are marked with `?`, and a warning says how many draws are missing.
#
# A table gives columns, rows and numbers to calculate with:

# %%
print(table["energy"])
print(table.at(0.1)["energy"], "at T = 0.1; spin waves alone give", -2 + 0.1 / 2 * (1 - 1 / 256))
print("specific heat peaks near T =", table.temperatures[np.argmax(table["specific_heat"])])

# %%
lf.plot.observables({"16 x 16": table})

# %% [markdown]
# The magnetisation fades, but the sharpest sign is the **helicity modulus**: how stiff the lattice is against a
# twist. It drops where it meets the line $2T/\pi$. That is the Kosterlitz-Thouless transition, and vortices cause it.
# Look at them: one draw from the cold side, one from the hot side.

# %%
theta = ensemble.theta()
print(theta.shape, theta.dtype)  # temperature, chain, draw, y, x; radians in [-pi, pi)
lf.plot.spins([theta[5, 0, 0], theta[9, 0, 0]], titles=[f"T = {ensemble.temperatures[t]:.2f}" for t in (5, 9)])

# %% [markdown]
# Going once around a vortex (circle), the angle turns once with you; around an antivortex (square), once against you.
# When cold, they appear in tight pairs, if at all; when hot, they roam, and stiffness is gone.
#
# ## Your own observable
#
# Any function of configurations becomes an estimate with an error, for instance how often a bond is bent by more than
# a right angle:


# %%
def bent(theta):
    """Share of horizontal bonds bent by more than a right angle, one number for each configuration."""
    return (np.cos(theta - np.roll(theta, -1, axis=-1)) < 0).mean((-2, -1))


mcmc.observe(ensemble, observables={"bent": bent})["bent"]

# %% [markdown]
# ## The same from the command line
#
#     latticeflow generate --model xy --size 16 --temperatures 0.1:2.0:16 --draws 100 --chains 4 --out xy16.h5
#     latticeflow info xy16.h5
#     latticeflow observe xy16.h5 --plot xy16.png
#
# Next: [thermodynamics over the grid](2_thermodynamics.ipynb), [what error bars are worth](3_error_bars.ipynb), [the
# transition temperature to three digits](4_kosterlitz_thouless.ipynb), and [ring exchange](5_extended_xy.ipynb).
