# %% [markdown]
# # Beyond XY: vortex lines, chirality, clock order
#
# A model here is a sum of terms,
#
# $$E = -\sum_t \sum_i J_t(i) \cos\Bigl(\sum_k n_k \theta_{i + d_k} - A_t(i)\Bigr).$$
#
# Three dimensions, frustration and anisotropy are three choices of the charges $n$, offsets $d$, couplings $J$ and
# phases $A$; energies, moves and observables follow from the terms. Each of the three has an order of its own.

# %%
# %matplotlib inline
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import mcmc
from latticeflow.plots import figures
from mcmc.models import observables, presets

for model in (mcmc.XY(dimensions=3), presets.fully_frustrated(16), presets.clock(6, h=0.5)):
    print(model, "has", len(model.terms), "terms; rotation:", model.rotation, "reflection:", model.reflection)

# %% [markdown]
# ## 1. Vortex lines in three dimensions
#
# In a plane a vortex is a point; in space it is a line, and lines close upon themselves: a configuration below the
# transition ($T_c = 2.2018$) holds small rings, one above it a tangle that reaches through the lattice.

# %%
L = 12
cubic = mcmc.XY(dimensions=3)
space = mcmc.generate(cubic, size=(L, L, L), temperatures=[1.6, 2.2, 2.8], draws=20, chains=2, thermalise=300, seed=1)


def pieces(lines):
    """Number of the connected piece that each link belongs to, and the pieces' lengths."""
    corners, ends = np.unique(np.mod(lines, L).round(1).reshape(-1, 3), axis=0, return_inverse=True)
    begin, end = ends.reshape(-1, 2).T
    joined = coo_array((np.ones(len(begin)), (begin, end)), shape=(len(corners), len(corners)))
    number = connected_components(joined, directed=False)[1][begin]
    return number, np.bincount(number)


# %%
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

with figures.style():
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for k, T in enumerate(space.temperatures):
        lines = observables.vortex_lines(space.theta()[k, 0, -1], cubic)
        number, sizes = pieces(lines)
        axes = figure.add_subplot(1, 3, k + 1, projection="3d")
        longest = number == sizes.argmax()
        for mask, colour, width in ((~longest, "0.45", 1.0), (longest, figures.COLOURS[1], 1.8)):
            axes.add_collection3d(Line3DCollection(lines[mask], colors=colour, linewidths=width))
        axes.set(xlim=(0, L), ylim=(0, L), zlim=(0, L), xticks=[0, L], yticks=[0, L], zticks=[0, L])
        axes.set_box_aspect((1, 1, 1))
        axes.set_title(f"T = {T:g}: {len(lines)} links in {len(sizes)} pieces,\nthe longest (orange) has {sizes.max()}")
figure

# %% [markdown]
# Lines that leave on one side come back on the other. No line ends: into every corner of the dual lattice lead as many
# as lead out of it. That is exact for every configuration:

# %%
links = np.mod(observables.vortex_lines(space.theta()[2, 0, -1], cubic), L)
corners, place = np.unique(links.reshape(-1, 3), axis=0, return_inverse=True)
balance = np.bincount(place.ravel(), weights=np.tile([-1, 1], len(links)))
print(len(corners), "corners; largest difference of lines in and out:", abs(balance).max())

# %% [markdown]
# Tables of three axes have the vortex density of all planes, and a helicity modulus along each axis:

# %%
mcmc.observe(space).select(observables=["energy", "magnetization", "vortex_density", "helicity_modulus_z"])

# %% [markdown]
# ## 2. Domains of chirality
#
# In Villain's model every other column of bonds is antiferromagnetic, so that no plaquette can satisfy all of its four.
# Each makes a vortex of $\pm 1/2$ instead, and these order like the squares of a chessboard, in one of two ways.
# Counted from what the bonds prefer, the vorticity says so; its staggered sign is the chirality $\kappa$, an Ising
# variable beside the rotations of the spins.

# %%
size = 32
villain = presets.fully_frustrated(size)
grid = [0.3, 0.4, 0.44, 0.48, 0.6]
frustrated = mcmc.generate(villain, size=size, temperatures=grid, draws=50, chains=8, seed=3)
# A quench: aligned spins, not a ground state here, at T = 0.2, left to heat bath and over-relaxation.
quench = mcmc.generate(
    villain, size=size, temperatures=[0.2], draws=40, chains=1, sampler="over_relaxation", thermalise=0, thin=4, seed=2
)

# %%
with figures.style():
    figure, panels = figures.new_figure(2, 3, width=3.0, height=2.8)
    shown = [(f"quench, step {4 * (n + 1)}", quench.theta()[0, 0, n]) for n in (0, 3, 39)]
    shown += [(f"equilibrium, T = {grid[t]:g}", frustrated.theta()[t, 0, -1]) for t in (1, 2, 4)]
    for axes, (title, theta) in zip(panels.ravel(), shown, strict=True):
        image = axes.imshow(observables.chirality_map(theta, villain), cmap="RdBu_r", vmin=-1.3, vmax=1.3)
        axes.set(title=f"{title}: $\\kappa$ = {observables.chirality(theta, villain):+.2f}", xticks=[], yticks=[])
    figure.colorbar(image, ax=panels, shrink=0.6, label="chirality of a plaquette")
figure

# %% [markdown]
# Above: domains of both signs form, meet and grow, until straight walls are left that hardly move. Below: one sign
# fills the lattice up to the Ising transition near $T = 0.453$, and above it neither does.

# %%
table = mcmc.observe(frustrated)
table.select(
    observables=["energy", "vortex_density", "chirality", "chirality_square", "chirality_binder", "helicity_modulus"]
)

# %% [markdown]
# The vortex density does not fall below 1/2: every plaquette has half a vortex. Below the transition a chain of local
# moves keeps its sign for ever, and what depends on the sign would be one-sided. The sampler `auto` applies an exact
# symmetry of the energy to whole configurations now and then, which costs nothing; thermalisation says where an order
# has not moved:

# %%
import logging

logging.getLogger("mcmc").setLevel("ERROR")  # what it warns of is printed below
smaller = presets.fully_frustrated(16)
for name in ("over_relaxation", "auto"):
    ensemble = mcmc.generate(smaller, size=16, temperatures=[0.3], draws=60, chains=8, sampler=name, seed=4)
    signs = np.sign(observables.chirality(ensemble.theta()[0], smaller))
    print(f"{name}: the sign changes between {(signs[:, 1:] != signs[:, :-1]).mean():.0%} of the draws")
    print("   ", *ensemble.warnings())

# %% [markdown]
# Where curves of two sizes cross is the transition, or near it. Here it is Binder's cumulant of the chirality,
# reweighted between the temperatures drawn; `python -m mcmc.bench.critical_points fully_frustrated` does it for larger
# lattices:

# %%
from mcmc.analysis.crossings import crossings

drawn = [
    mcmc.generate(presets.fully_frustrated(L), size=L, temperatures=[0.44, 0.46], draws=400, chains=16, seed=L,
                  series_only=True)
    for L in (8, 16)
]  # fmt: skip
for crossing in crossings([mcmc.Reweighting(each) for each in drawn], "chirality_binder"):
    print(crossing)

# %% [markdown]
# ## 3. Clock order
#
# Six preferred directions, a weak field $h_6 = 0.5$. At low temperature the magnetisation points along one of the six.
# Above, and below the Kosterlitz-Thouless transition, the sixfold field does not matter at large distances: the
# magnetisation has any direction, though it is not small (José, Kadanoff, Kirkpatrick, Nelson, 1977). The clock order
# $\langle\cos 6\varphi\rangle$, $\varphi$ the magnetisation's direction, tells the two apart.

# %%
clock = presets.clock(6, h=0.5)
grid = [0.3, 0.6, 0.85, 1.3]
six = mcmc.generate(clock, size=12, temperatures=grid, draws=100, chains=8, thin=60, seed=5)
table = mcmc.observe(six)
with figures.style():
    figure, panels = figures.new_figure(1, 4, width=2.5, height=2.7)
    for k, (axes, T) in enumerate(zip(panels, grid, strict=True)):
        m = np.exp(1j * six.theta()[k].astype(float)).mean((-1, -2)).ravel()
        axes.plot(m.real, m.imag, ".", markersize=2, color=figures.COLOURS[0])
        axes.set(
            xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1], xlabel="$m_x$"
        )
        axes.set_title(f"T = {T:g}\nclock order {table.at(T)['clock_order']}")
    panels[0].set_ylabel("$m_y$")
figure

# %% [markdown]
# Each point is a configuration: six spots, a ring, a disc. The energies of the bonds and of the anisotropy, one by one:

# %%
table.select(observables=["magnetization", "clock_order", "energy_J", "energy_h6"])

# %% [markdown]
# Which observables a table has depends on the model, as these three show: chirality makes no sense for a clock.

# %%
try:
    mcmc.observe(six, observables=["chirality"])
except mcmc.InputError as error:
    print(error)
