"""Spin waves: the harmonic model that XY and EXY become at low temperature, as a first guess for every flow.

Around the ferromagnetic state E = E_0 + theta^T Q theta / 2 + ..., and as Q commutes with translations all that is
asked of it follows from one Fourier transform: with Q(k) its eigenvalues, the lattice Green function

    G(r) = (1/N) sum_{k: Q(k) > 0} exp(i k r) / Q(k)

is T^-1 times the covariance of the angles, up to the global rotation. The conditional of one angle given n others, all
further ones integrated out, then takes a linear system of n unknowns, at any lattice size: ordinary kriging (Cressie,
Statistics for Spatial Data, 1993, section 3.2), whose weights sum to 1 by rotation symmetry; in a field simple kriging,
and what weights lack to 1 is the field's.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from mcmc import Lattice
from mcmc.models.terms import Model


class SpinWaves:
    """The harmonic model on a lattice, possibly with a mass: E = theta^T (Q + mass max|Q|) theta / 2.

    Args:
        model, lattice: decide the stiffness Q.
        mass: square of the mass in units of the largest element of Q; correlations end after 1 / sqrt(mass) sites.

    Example:
        >>> from mcmc import XY
        >>> weights, precision = SpinWaves(XY(), Lattice(8, 8)).regression(9, np.array([8, 10, 1, 17]))
        >>> weights.round(3).tolist(), round(precision, 3)
        ([0.25, 0.25, 0.25, 0.25], 4.0)
    """

    def __init__(self, model: Model, lattice: Lattice, mass: float = 0.0):
        self.lattice, self.massless = lattice, model.rotation and not mass
        if not model.translation:  # its waves have other shapes than those of a Fourier transform
            self.stiffness, self.stable, self.green = 0.0, False, np.zeros(lattice.shape)
            return
        spectrum = stiffness_spectrum(model, lattice)
        scale = float(np.abs(np.fft.ifftn(spectrum).real).max())
        self.stiffness = float(spectrum.mean()) + mass * scale
        """Second derivative of the energy with respect to one angle."""
        spectrum = spectrum + mass * scale
        if self.massless:
            spectrum.flat[0] = np.inf  # the global rotation, which nothing restores
        self.stable = bool(spectrum.min() > 1e-9 * scale)
        """Whether the ferromagnetic state is a minimum of the energy, and couplings are the same at all sites."""
        self.green = np.fft.ifftn(1 / spectrum).real if self.stable else np.zeros(lattice.shape)
        """G(r), float64 (Ly, Lx) or (Lz, Ly, Lx), indexed by (z,) y and x of r."""

    def covariance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """G between sites, int (n,) and (m,) -> float64 (n, m): covariance over T, up to a common constant."""
        shape = self.lattice.shape
        places = (np.unravel_index(np.asarray(sites), shape) for sites in (a, b))
        return self.green[tuple((p[:, None] - q) % side for p, q, side in zip(*places, shape, strict=True))]

    def regression(self, site: int, seen: np.ndarray) -> tuple[np.ndarray, float]:
        """The conditional of one site given others, every further site integrated out.

        Args:
            site: the site.
            seen: int (n,), the sites that are given.

        Returns:
            Weights, float64 (n,), of the given angles in the mean (without a mass they sum to 1), and the precision
            times temperature: the conditional has variance T / precision. Where the ferromagnetic state is not a
            minimum of the energy: zeros, a uniform law.
        """
        if not self.stable:
            return np.zeros(len(seen)), 0.0
        n = len(seen)
        c = self.covariance(seen, np.array([site]))[:, 0]
        if not self.massless:
            weights = np.linalg.solve(self.covariance(seen, seen), c)
            return weights, 1 / float(self.green.flat[0] - weights @ c)
        system = np.ones((n + 1, n + 1))
        system[:n, :n], system[n, n] = self.covariance(seen, seen), 0.0
        solution = np.linalg.solve(system, np.append(c, 1.0))
        return solution[:n], 1 / float(self.green.flat[0] - solution @ np.append(c, 1.0))

    def sequential(self, sites: np.ndarray) -> np.ndarray:
        """Weights times precision of every site given those before it, float64 (n, n), by one factorisation.

        Args:
            sites: int (n,), in order. The first has no others before it, and its row is zero.

        Returns:
            Lower triangular with a zero diagonal; row i holds what `regression` gives for ``sites[:i]``.
        """
        n = len(sites)
        if not self.stable:
            return np.zeros((n, n))
        C = self.covariance(sites, sites)
        if self.massless:  # relative to the first angle, which is uniform
            C = (C - C[:1] - C[:, :1] + C[0, 0])[1:, 1:]
        inverse = solve_triangular(np.linalg.cholesky(C), np.eye(len(C)), lower=True)
        scaled = -inverse * np.diag(inverse)[:, None]
        rows = np.zeros((n, n))
        rows[n - len(C) :, n - len(C) :] = np.tril(scaled, -1)
        if self.massless:
            # With the first weight all of them sum to 1, and its product with the precision closes the sum of a row.
            rows[1:, 0] = np.diag(inverse) ** 2 - rows[1:].sum(1)
        rows[0] = 0.0
        return rows


def stiffness_spectrum(model: Model, lattice: Lattice) -> np.ndarray:
    """Eigenvalues of the Hessian Q of the energy at equal angles by wave vector, float64 of the lattice's shape."""
    unit = np.zeros(lattice.shape)
    unit.flat[0] = 1.0
    rows = [(term.coupling, np.fft.fftn(term.angle(unit))) for term in model.terms]
    return np.sum([coupling * np.abs(row) ** 2 for coupling, row in rows], axis=0)
