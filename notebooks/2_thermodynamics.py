# %% [markdown]
# # Thermodynamics of the XY model
#
# From files to figures: two lattice sizes over a grid of temperatures, checked against what is known exactly at both
# ends, then smooth curves and peak positions from all draws together. With `out` the draws go to a file; with `resume`
# a second call goes on with a file that exists.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import numpy as np

import latticeflow as lf
import mcmc

folder = Path(tempfile.mkdtemp())  # or a folder of yours
grid = np.linspace(0.05, 2.05, 32)
for L in (8, 16):
    mcmc.generate(mcmc.XY(), size=L, temperatures=grid, draws=500, out=folder / f"xy{L}.h5", resume=True).close()

ensembles = {L: mcmc.open(folder / f"xy{L}.h5") for L in (8, 16)}
for ensemble in ensembles.values():
    print(ensemble.path.name, ensemble.theta().shape)  # temperature, chain, draw, y, x

# %%
tables = {L: mcmc.observe(ensemble) for L, ensemble in ensembles.items()}
lf.plot.observables({f"L = {L}": table for L, table in tables.items()})

# %% [markdown]
# Three things to see. The specific heat has a peak that hardly grows with the lattice: it is *not* the transition, it
# lies above it. The susceptibility's peak does grow. And the helicity modulus drops more steeply for the larger
# lattice, always near the line $2T/\pi$.
#
# ## Are the numbers right?
#
# At low temperature angles are almost Gaussian: $e = -2 + \frac{T}{2}(1 - \frac1N) + \frac{T^2}{16} + \dots$ At high
# temperature $\ln Z / N = 2 \ln I_0(\beta) + 2 t^4 + 4 t^6 + \dots$ with $t = I_1(\beta) / I_0(\beta)$, and $e =
# -\partial_\beta \ln Z / N$. Compare in units of the error bar:

# %%
from scipy.special import ive

N = 16 * 16
table = tables[16]
values, errors = table["energy"].values, table["energy"].errors


def high_temperature(T):
    def log_z(beta):
        t = ive(1, beta) / ive(0, beta)
        return 2 * (np.log(ive(0, beta)) + beta) + 2 * t**4 + 4 * t**6

    return -(log_z(1 / T + 1e-5) - log_z(1 / T - 1e-5)) / 2e-5


print("    T      e measured       low-T series         high-T series")
for t in (0, 1, 2, 29, 30, 31):
    T = table.temperatures[t]
    low, high = -2 + T / 2 * (1 - 1 / N) + T**2 / 16, high_temperature(T)
    pulls = [
        f"{e:9.5f} ({(values[t] - e) / errors[t]:+.1f} sigma)" if near else 22 * " "
        for e, near in ((low, T < 1), (high, T > 1))
    ]
    print(f"{T:.4f}  {table['energy'][t]!s:>14}  {pulls[0]}  {pulls[1]}")

# %% [markdown]
# ## Between the grid points: reweighting
#
# A draw at temperature $T_k$ is also a draw at $T$, with weight $e^{-(1/T - 1/T_k) E}$. Neighbouring temperatures
# overlap, as these histograms show:

# %%
energies = ensembles[16].series("energy")
window = [t for t, T in enumerate(table.temperatures) if 0.7 < T < 1.5]
lf.plot.histograms({f"$T$ = {table.temperatures[t]:.2f}": energies[t] for t in window[::2]}, "energy")

# %% [markdown]
# so all draws together give observables at every temperature in between. `mcmc.Reweighting` combines them (MBAR, that
# is multiple histograms without the histograms), with jackknife errors that take autocorrelation into account. Figures
# of one's own are put together from the functions of `latticeflow.plots.figures`, which draw into given axes:

# %%
from latticeflow.plots import figures as plots

grid = np.linspace(0.75, 1.45, 60)
with plots.style():
    figure, axes = plots.new_figure(1, 2, width=4.2, height=3)
    for number, (L, ensemble) in enumerate(ensembles.items()):
        T = ensemble.temperatures[window]
        together, points = mcmc.Reweighting(ensemble, T), tables[L].select(temperatures=T)
        for panel, name in zip(axes, ("specific_heat", "susceptibility"), strict=True):
            plots.observable(panel, points, name, label=f"L = {L}", series=number, joined=False)
            plots.curve(panel, together.curve(name, grid), series=number)
            peak = together.peak(name)
            print(
                f"L = {L:2}: {name:14} peaks at T = {peak.temperature:.3f} +- {peak.temperature_error:.3f}, "
                f"height {peak.value:.3f} +- {peak.value_error:.3f}"
            )
    axes[0].legend()
figure

# %% [markdown]
# Lines with bands are reweighted, points are the grid. A curve is drawn only where enough draws carry its weight:
# outside the temperatures that were drawn it ends by itself.
