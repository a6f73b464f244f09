"""Exact values of small periodic lattices, from two derivations that share nothing.

`exact` expands every Boltzmann factor in modified Bessel functions, exp(b cos t) = sum_n I_n(b) exp(i n t), integrates
the angles (which conserves charge at every site) and sums the charges that remain with a transfer matrix. `quadrature`
integrates the angles of the 2x2 lattice on a grid, which converges exponentially for periodic functions.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
from scipy.special import factorial, ive

from mcmc.models.presets import Model


class Charges:
    """Transfer matrices of an Lx x Ly lattice in the charge basis at one inverse temperature.

    The state of a row is the charge w_x that crosses its vertical link x, of bonds and of plaquettes together; the sum
    q of a row's charges is conserved.
    """

    def __init__(self, model: Model, Lx: int, Ly: int, beta: float, cut: int):
        self.Lx, self.Ly, self.cut = Lx, Ly, cut
        J, K = (beta * coupling for coupling in model.square)
        self.log_scale = Lx * Ly * (2 * abs(J) + abs(K))
        orders = np.arange(-4 * cut * Lx, 4 * cut * Lx + 1)
        self.zero = 4 * cut * Lx
        self.bond = bond = ive(np.abs(orders), J)
        ring = ive(np.abs(orders), K)
        # Plaquette charges m_x add m_x - m_(x-1) to the links on their two sides: a ring of small matrices.
        m = np.arange(-2 * cut, 2 * cut + 1)
        w = np.array(list(product(range(-cut, cut + 1), repeat=Lx)))
        link = {
            n: bond[self.zero + n - m[None, :] + m[:, None]] * ring[self.zero + m][None, :]
            for n in range(-cut, cut + 1)
        }
        # Each weight is the trace of a product of Lx of them: products of both halves of the row, then all pairs.
        ones, size = np.eye(len(m))[None], len(m) ** 2
        first, second = ones, ones
        each = np.array([link[n] for n in range(-cut, cut + 1)])
        for _ in range(Lx // 2):
            first = (first[:, None] @ each).reshape(-1, len(m), len(m))
        for _ in range(Lx - Lx // 2):
            second = (second[:, None] @ each).reshape(-1, len(m), len(m))
        weights = (first.reshape(-1, size) @ second.transpose(0, 2, 1).reshape(-1, size).T).ravel()
        # Of all steps of a row, the last of which follows from the others.
        self.reach = 2 * cut + 1
        grid = np.stack(np.meshgrid(*[np.arange(-self.reach, self.reach + 1)] * (Lx - 1), indexing="ij"), -1)
        self.table = self.row(np.concatenate([grid, -grid.sum(-1, keepdims=True)], -1)).ravel()
        self.states = {q: w[w.sum(1) == q] for q in range(-cut, cut + 1)}
        self.weights = {q: weights[w.sum(1) == q] for q in range(-cut, cut + 1)}

    def row(self, steps: np.ndarray) -> np.ndarray:
        """Sum over the circulating charge of a row whose sites take up ``steps`` (..., Lx), which add to zero."""
        heights = self.zero + np.cumsum(steps, -1)
        return sum(np.prod(self.bond[heights + n], -1) for n in range(-3 * self.cut, 3 * self.cut + 1))

    def matrix(self, q: int, q_next: int, insertions: tuple[tuple[int, ...], ...]) -> np.ndarray:
        """Transfer matrix between rows of charge q and q_next, summed over charges inserted into the row between."""
        # The place of a row's steps in the table is linear in them.
        strides = (2 * self.reach + 1) ** np.arange(self.Lx - 1)[::-1]
        start, end = (self.states[n][:, :-1] @ strides for n in (q, q_next))
        places = start[:, None] - end[None] + self.reach * strides.sum()
        total = sum(self.table[places + np.array(inserted[:-1]) @ strides] for inserted in insertions)
        return total * self.weights[q_next][None, :]


def log_partition(model: Model, Lx: int, Ly: int, beta: float, cut: int) -> tuple[float, np.ndarray]:
    """ln Z with all angles integrated over 2 pi, and the weight of each conserved charge q."""
    charges = Charges(model, Lx, Ly, beta, cut)
    weight = []
    for q in range(cut + 1):
        T = charges.matrix(q, q, ((0,) * Lx,))
        half = np.linalg.matrix_power(T, Ly // 2)
        weight.append(np.sum(half * (half @ T if Ly % 2 else half).T))  # the trace of T ** Ly
    sectors = np.array([*weight[:0:-1], *weight])  # theta -> -theta changes the sign of q
    Z = sectors.sum()
    return float(np.log(Z) + charges.log_scale + Lx * Ly * np.log(2 * np.pi)), sectors / Z


@lru_cache
def square_magnetization(model: Model, Lx: int, Ly: int, beta: float, cut: int = 8) -> float:
    """<m^2>: the mean of <cos(t_i - t_j)> over pairs, a charge +1 inserted at i and -1 at j."""
    charges = Charges(model, Lx, Ly, beta, cut)
    unit = np.eye(Lx, dtype=int)
    none = ((0,) * Lx,)
    Z = total = 0.0
    for q in range(-cut, cut):
        T = charges.matrix(q, q, none)
        powers = [np.linalg.matrix_power(T, k) for k in range(Ly + 1)]
        Z += np.trace(powers[Ly])
        same = charges.matrix(q, q, tuple(tuple(unit[0] - unit[x]) for x in range(Lx)))
        total += np.trace(same @ powers[Ly - 1])
        if Ly > 1:
            up = charges.matrix(q, q + 1, (tuple(unit[0]),))
            down = charges.matrix(q + 1, q, tuple(tuple(-unit[x]) for x in range(Lx)))
            T_next = charges.matrix(q + 1, q + 1, none)
            for rows in range(1, Ly):
                between = np.linalg.matrix_power(T_next, rows - 1)
                total += np.trace(up @ between @ down @ powers[Ly - rows - 1])
    return float(total / Z / (Lx * Ly))


@lru_cache
def exact(model: Model, Lx: int, Ly: int, beta: float, cut: int = 0) -> dict[str, float]:
    """Exact values at inverse temperature ``beta``, in the conventions of the file format.

    Args:
        model: XY or EXY with its couplings.
        Lx, Ly: sides; the cost grows as ``(2 cut + 1) ** (3 Lx - 3)``.
        beta: inverse temperature.
        cut: largest charge kept; 0 chooses one that leaves about 1e-7 for couplings times beta up to 1.

    Returns:
        ``log_partition`` (all angles integrated), ``energy`` and ``specific_heat`` per site, ``helicity_modulus``
        (mean of both directions; not divided by J; for sides up to 4).
    """
    cut = cut or (5 if max(Lx, Ly) > 3 else 8)
    h = 0.02 * beta
    # Central differences of sixth order in beta.
    points = {k: log_partition(model, Lx, Ly, beta + k * h, cut) for k in range(-3, 4)}
    log_z = {k: value for k, (value, _) in points.items()}
    first = sum(c * (log_z[k] - log_z[-k]) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * h)
    second = sum(c * (log_z[k] + log_z[-k]) for k, c in ((1, 270), (2, -27), (3, 2))) - 490 * log_z[0]
    N = Lx * Ly
    values = {
        "log_partition": log_z[0],
        "energy": -first / N,
        "specific_heat": beta**2 * second / (180 * h**2) / N,
    }
    if max(Lx, Ly) <= 4:
        charge = np.arange(-cut, cut + 1)
        sectors = points[0][1], log_partition(model, Ly, Lx, beta, cut)[1] if Lx != Ly else points[0][1]
        along_y, along_x = (float(weights @ charge**2) / beta for weights in sectors)
        values["helicity_modulus"] = (Ly / Lx * along_y + Lx / Ly * along_x) / 2
    return values


def _ring_log_partition(Lx: int, Ly: int, beta_k: float, cut: int) -> float:
    """ln Z / (2 pi)^N with ring exchange alone; see `ring_exchange`."""
    a = np.arange(-3 * cut, 3 * cut + 1)
    weights = ive(np.abs(np.subtract.outer(a, np.arange(-cut, cut + 1))), beta_k)  # of a row's link to each b
    # b of rows 1, ..., Ly - 1 as multisets, a row of n for each: how often every value occurs. That of row 0 is 0.
    values = np.array(list(combinations_with_replacement(range(2 * cut + 1), Ly - 1)))
    n = (values[:, :, None] == np.arange(2 * cut + 1)).sum(1)
    ways = factorial(Ly - 1) / np.prod(factorial(n), 1)
    n[:, cut] += 1
    total = ways @ np.prod(weights ** n[:, None], 2).sum(1) ** Lx
    return float(np.log(total) + Lx * Ly * beta_k)


def ring_exchange(Lx: int, Ly: int, beta_k: float, cut: int = 0) -> dict[str, float]:
    """Exact values of the model with ring exchange K alone (J = 0), for any size.

    Expanding each plaquette's factor in Bessel functions, site (x, y) integrates to a factor that leaves only plaquette
    charges with n(x, y) - n(x - 1, y) - n(x, y - 1) + n(x - 1, y - 1) = 0, which are n(x, y) = a(x) + b(y). So

        Z / (2 pi)^N = sum_b [ sum_a prod_y I_(a + b(y))(beta K) ]^Lx,     b(0) = 0,

    where the sum in brackets depends on how often each value of b occurs alone.

    Args:
        Lx, Ly: sides.
        beta_k: K / T, positive.
        cut: largest abs(b) kept; 0 chooses one that leaves less than 1e-8 for beta K up to 1.

    Returns:
        ``log_partition`` (all angles integrated) and ``energy`` per site in units of K.
    """
    cut = cut or {2: 12, 3: 10, 4: 8}.get(Ly, 4 if Ly <= 8 else 2)
    h = 0.02 * beta_k
    log_z = {k: _ring_log_partition(Lx, Ly, beta_k + k * h, cut) for k in range(-3, 4)}
    slope = sum(c * (log_z[k] - log_z[-k]) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * h)
    N = Lx * Ly
    return {"log_partition": log_z[0] + N * np.log(2 * np.pi), "energy": -slope / N}


@lru_cache
def torus(model: Model, beta: float, points: int = 24) -> dict[str, float]:
    """Exact values of any model on the 2x2 lattice, by integrating all angles on a grid.

    The first angle stays at zero where turning all spins keeps the energy. Sums are exact to rounding once the grid
    resolves exp(-beta E), as for every periodic function.
    """
    grid = 2 * np.pi * np.arange(points) / points
    first = grid[:1] if model.rotation else grid
    angles = np.meshgrid(first, grid, grid, grid, indexing="ij")
    theta = np.stack([angle.ravel() for angle in angles], -1).reshape(-1, 2, 2)
    E = model.energy(theta)
    weight = np.exp(-beta * (E - E.min()))
    weight /= weight.sum()
    spins = np.exp(1j * theta)
    return {
        "energy": float(weight @ E) / 4,
        "energy_square": float(weight @ E**2) / 16,
        "square_magnetization": float(weight @ np.abs(spins.mean((1, 2))) ** 2),
        "square_nematic": float(weight @ np.abs((spins**2).mean((1, 2))) ** 2),
        "square_first": 0.5 if model.rotation else float(weight @ spins[:, 0, 0].real ** 2),
    }


def cube(J: float, beta: float, cut: int = 5) -> float:
    """Exact energy per site of XY on the 2x2x2 torus: a cube whose edges are bonds of strength 2 J.

    Charges that flow along the 12 edges and close at the 8 corners make a space of 5 dimensions.
    """
    corners = list(product((0, 1), repeat=3))
    edges = [
        (a, b)
        for a, b in product(range(8), range(8))
        if a < b and np.abs(np.subtract(corners[a], corners[b])).sum() == 1
    ]
    closed = np.zeros((8, 12), int)
    for e, (a, b) in enumerate(edges):
        closed[a, e], closed[b, e] = 1, -1
    # Free charges: the edges outside a spanning tree; those of the tree follow.
    tree: list[int] = []
    for e in range(12):
        if np.linalg.matrix_rank(closed[:, [*tree, e]]) > len(tree):
            tree.append(e)
    free = [e for e in range(12) if e not in tree]
    n_free = np.array(list(product(range(-cut, cut + 1), repeat=len(free))))
    n_tree = np.rint(-n_free @ closed[:, free].T @ np.linalg.pinv(closed[:, tree]).T).astype(int)
    charges = np.abs(np.concatenate([n_free, n_tree], 1))

    def log_z(b: float) -> float:
        bessel = ive(np.arange(charges.max() + 1), 2 * b * J)
        return float(np.log(np.prod(bessel[charges], 1).sum())) + 12 * 2 * b * J

    h = 1e-3
    return -(log_z(beta + h) - log_z(beta - h)) / (2 * h) / 8


def quadrature(model: Model, beta: float, points: int = 40) -> dict[str, float]:
    """Exact values of the 2x2 lattice by integrating three angles on a grid (the fourth is fixed by symmetry)."""
    grid = 2 * np.pi * np.arange(points) / points
    a, b, c = (g.ravel() for g in np.meshgrid(grid, grid, grid, indexing="ij"))
    theta = np.stack([np.zeros_like(a), a, b, c], -1).reshape(-1, 2, 2)
    E = model.energy(theta)
    weight = np.exp(-beta * (E - E.min()))
    Z = weight.sum()
    weight /= Z
    mean = weight @ E
    m = np.abs(np.exp(1j * theta).mean((1, 2)))
    return {
        "log_partition": float(np.log(Z * (2 * np.pi) ** 4 / points**3) - beta * E.min()),
        "energy": float(mean / 4),
        "specific_heat": float(beta**2 * (weight @ (E - mean) ** 2) / 4),
        "magnetization": float(weight @ m),
        "square_magnetization": float(weight @ m**2),
    }
