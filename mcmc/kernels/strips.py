"""One lattice in several lanes: strips of rows, one a lane.

The layout of lattice QCD (Boyle et al., Grid, arXiv:1512.03487): a lattice of Ly rows is cut into S = 2, 4, 8 or 16
strips of h = Ly / S >= 2 rows. Lane ``r * S + s`` holds strip s of replica r, so that a site's neighbours are whole
vectors, like those of S replicas. Only the first and the last row of a strip have neighbours in another lane: two more
rows follow the strip's own, row h with a copy of the next strip's first row, and row h + 1 with a copy of the last row
of the strip before. ``neighbours`` (h * Lx, 8) points to them.

A sweep visits the same row of all strips at once. These are h >= 2 rows apart, so no bond and no plaquette holds two
of them, and every spin is updated in the field of its neighbours as they are at that moment: the first row is copied to
the strips before once it is done, and the last row to the strips that follow. Large lattices are divided into 8
sections of columns: a sweep visits all but the last column of each section, row by row, and then these last columns.
What it updates in one section is so far no neighbour of what it updates in another, so that threads can share the
sections, with a barrier after each of the two parts (`mcmc.kernels.barrier`); draws do not depend on how many do. In
all cases a sweep is one of the sequential ones, in a fixed order. Lanes have streams of their own, see
`mcmc.sampling.rng.lane_keys`.

Along a row even columns go first, then odd ones: neighbours along the row would wait for one another, where there is
one vector of lanes.

Million updates a second of XY, one thread of an Intel Xeon with AVX-512 that others used too, 2026-11-26: a chain in
one lane, a chain in strips (8 at L = 16, else 16), and 16 chains in 16 lanes:

    L                  16                64                256               1024
    Metropolis         10, 152, 143      11, 256, 223      17, 289, 204      8, 195, 152
    heat bath          10, 83, 151       6, 180, 150       7, 147, 97        7, 109, 79
    over-relaxation    28, 971, 625      41, 1966, 785     38, 961, 746      21, 1081, 347
"""

from __future__ import annotations

from mcmc.kernels.calls import Kernel
from mcmc.kernels.field import sites
from mcmc.kernels.lanes import from_last, from_next, load, pointer, store


@Kernel
def copy_row(block, last, begin, end):
    """Copy every strip's first row to the strip before, or its last row to the strip that follows.

    Only columns ``begin`` to ``end`` of it.
    """
    W, Lx, strips = len(block.beta), block.Lx, block.strips
    x, y, n = pointer(block.x), pointer(block.y), sites(block.interaction)
    if last:
        source, target = (n - Lx) * W, (n + Lx) * W
        for k in range(begin * W, end * W, 16):
            store(x, target + k, from_last(load(x, source + k), strips))
            store(y, target + k, from_last(load(y, source + k), strips))
    else:
        for k in range(begin * W, end * W, 16):
            store(x, n * W + k, from_next(load(x, k), strips))
            store(y, n * W + k, from_next(load(y, k), strips))
