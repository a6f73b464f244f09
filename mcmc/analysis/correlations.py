"""The spin-spin correlation function and its power law, with errors.

Below a Kosterlitz-Thouless transition G(r) falls as r^(-eta); eta grows with T to 1/4 at the transition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcmc.analysis.statistics import jackknife
from mcmc.errors import InputError
from mcmc.models import observables

if TYPE_CHECKING:
    from mcmc.storage.ensemble import Ensemble


class Correlation(NamedTuple):
    """The correlation function at one temperature, in blocks of draws."""

    blocks: np.ndarray
    """Mean of each block, (blocks, Ly, Lx) or (blocks, Lz, Ly, Lx); entry [y, x] belongs to the distance (x, y)."""

    def along_axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances 0, 1, ..., value and error along the lattice axes, the mean of those that reach so far."""
        value, error = jackknife(_along_axes, self.blocks)
        return np.arange(len(value)), value, error

    def structure_factor(self) -> tuple[np.ndarray, np.ndarray]:
        """S(k) = sum_r G(r) exp(-i k r) at all wave vectors, and its error, each of the lattice's shape.

        G is the mean of cosines, so that this is the mean of S(k) and S(-k): the same for models without phases.
        Entry [ny, nx] has k = 2 pi (nx / Lx, ny / Ly); ``numpy.fft.fftshift`` puts k = 0 in the middle. Peaks tell what
        order there is: at 0 of a ferromagnet, at (pi, pi) of an antiferromagnet.

        Example:
            >>> import mcmc
            >>> model = mcmc.build_model("antiferromagnet")
            >>> ensemble = mcmc.generate(model, size=4, temperatures=[0.3], draws=100, thermalise=100)
            >>> S, error = correlation_function(ensemble, 0.3).structure_factor()
            >>> int(S.argmax()) == 2 * 4 + 2, bool(S[2, 2] > 8)
            (True, True)
        """

        def transform(mean: np.ndarray) -> np.ndarray:
            return np.fft.fftn(mean).real

        return jackknife(transform, self.blocks)

    def exponent(self, *, closest: int = 2) -> tuple[float, float]:
        """Exponent eta of the power law along the axes, and its error.

        The fit is a straight line through log G against the log of `torus_distance`, which takes the periodic images
        into account: without vortices G is a power of that distance.

        Args:
            closest: smallest distance in the fit, in lattice spacings.

        Raises:
            InputError: a lattice of three axes, fewer than three distances, or correlations lost in the noise there: no
                power law to fit.
        """
        if self.blocks.ndim != 3:
            raise InputError("power laws of this kind are of lattices with two axes: fit along_axes() yourself")
        Ly, Lx = self.blocks.shape[1:]
        distance = np.arange(closest, max(Lx, Ly) // 2 + 1)
        if len(distance) < 3 or closest < 1:
            raise InputError(f"no three distances from {closest} to half of a {Lx}x{Ly} lattice: use a larger one")
        _, value, error = self.along_axes()
        if (value < 3 * error)[closest:].any():
            raise InputError("correlations drown in noise within the lattice: no power law at so high a temperature")
        along = [torus_distance(distance[distance <= L // 2], L, other) for L, other in ((Lx, Ly), (Ly, Lx))]

        def slope(mean: np.ndarray) -> float:
            lines = [mean[0, closest : Lx // 2 + 1], mean[closest : Ly // 2 + 1, 0]]
            log_g = np.log(np.maximum(np.concatenate(lines), 1e-300))
            return -float(np.polyfit(np.log(np.concatenate(along)), log_g, 1)[0])

        value, error = jackknife(slope, self.blocks)
        return float(value), float(error)


def _along_axes(mean: np.ndarray) -> np.ndarray:
    """G along the axes, averaged over those that reach so far, from G(r) of shape (Ly, Lx) or (Lz, Ly, Lx)."""
    lines = []
    for axis, side in reversed([*enumerate(mean.shape)]):
        lines.append(np.moveaxis(mean, axis, 0).reshape(side, -1)[: side // 2 + 1, 0])
    return np.array([np.mean([line[r] for line in lines if r < len(line)]) for r in range(max(map(len, lines)))])


def torus_distance(distance: Any, side: int, other: int) -> Any:
    """The distance that spin waves see on a periodic lattice, at displacements along one side.

    The Green function of the torus is -log |theta_1(pi r / side)| / 2 pi, with Jacobi's theta function of nome
    q = exp(-pi other / side) (for instance Di Francesco, Mathieu, Senechal, Conformal Field Theory, section 12.6); for
    a square theta_1 is a sine to 0.4 %. Short distances are left as they are.

    Args:
        distance: displacements, in lattice spacings.
        side: length of the lattice along them.
        other: length across them.
    """
    q = math.exp(-math.pi * other / side)

    def theta_1(z: Any) -> Any:
        return sum((-1) ** n * q ** (n * (n + 1)) * np.sin((2 * n + 1) * z) for n in range(8))

    slope_at_zero = sum((-1) ** n * q ** (n * (n + 1)) * (2 * n + 1) for n in range(8))
    return side / math.pi * theta_1(math.pi * np.asarray(distance) / side) / slope_at_zero


def correlation_function(
    ensemble: Ensemble, temperature: float, *, blocks: int = 32, report: Callable[[int], None] = lambda draws: None
) -> Correlation:
    """Correlation function of an ensemble at one of its temperatures, streaming over the file.

    Args:
        ensemble: open for reading.
        temperature: the nearest one of the ensemble is taken if it is within a millionth of it.
        blocks: about how many jackknife blocks; they must be much longer than the autocorrelation time.
        report: called with the number of draws measured since the last call.

    Raises:
        InputError: another temperature, or fewer than two draws.
    """
    t = int(np.argmin(abs(ensemble.temperatures - temperature)))
    if abs(ensemble.temperatures[t] - temperature) > 1e-6 * temperature:
        known = ", ".join(f"{T:.6g}" for T in ensemble.temperatures)
        raise InputError(f"no draws at T = {temperature:g}: the file has {known}")
    per_chain = max(1, min(ensemble.draws, -(-blocks // ensemble.chains)))
    if ensemble.chains * per_chain < 2:
        raise InputError("fewer than two draws have no error: draw more")
    length = ensemble.draws // per_chain
    first = ensemble.draws - per_chain * length
    means = []
    for start in range(first, ensemble.draws, length):
        theta = ensemble.theta(slice(start, start + length), temperatures=slice(t, t + 1))[0]
        means.append(observables.correlation(theta, ensemble.model).mean(1))
        report(theta.shape[0] * length)
    return Correlation(np.concatenate(means))
