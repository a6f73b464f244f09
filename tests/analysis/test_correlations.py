"""Correlation functions: against loops, the Green function of the torus, and exact spin waves."""

import math

import numpy as np
import pytest

from mcmc import XY, InputError, Lattice, wrap
from mcmc.analysis.correlations import Correlation, correlation_function, torus_distance
from mcmc.models import observables
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble


def green_function(Lx, Ly):
    """g(r) - g(0) of the lattice Laplacian without its zero mode, (Ly, Lx)."""
    kx, ky = 2 * np.pi * np.fft.fftfreq(Lx), 2 * np.pi * np.fft.fftfreq(Ly)
    spectrum = 4 - 2 * np.cos(kx)[None] - 2 * np.cos(ky)[:, None]
    spectrum[0, 0] = np.inf
    g = np.fft.ifft2(1 / spectrum).real
    return g - g[0, 0]


@pytest.mark.parametrize(("Lx", "Ly"), [(64, 64), (64, 96), (64, 32)])
def test_torus_distance_is_that_of_the_green_function(Lx, Ly):
    r = np.arange(6, Lx // 2 + 1)
    logarithm = -np.log(torus_distance(r, Lx, Ly)) / (2 * np.pi)
    g = green_function(Lx, Ly)[0, r]
    gap = (g - logarithm) - (g - logarithm)[-1]
    assert abs(gap).max() < 6e-4  # what the lattice does to short distances
    plain = -np.log(r) / (2 * np.pi)  # the distance itself would not do
    assert abs((g - plain) - (g - plain)[-1]).max() > 0.02


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_exponent_of_spin_waves(shape):
    # Gaussian angles with E = (1/2) sum (difference)^2: G = exp(-T (g(0) - g(r))), so eta = T / 2 pi exactly.
    rng, T, n = np.random.default_rng(1), 0.8, 4000
    ky, kx = (2 * np.pi * np.fft.fftfreq(L) for L in shape)
    spectrum = 4 - 2 * np.cos(kx)[None] - 2 * np.cos(ky)[:, None]
    spectrum[0, 0] = np.inf
    noise = np.fft.fft2(rng.normal(size=(n, *shape)))
    theta = wrap(np.fft.ifft2(noise * np.sqrt(T / spectrum)).real)
    found = Correlation(observables.correlation(theta).reshape(40, n // 40, *shape).mean(1))
    distance, value, error = found.along_axes()
    assert len(distance) == max(shape) // 2 + 1
    expected = np.exp(T * green_function(*shape[::-1]))
    x, y = expected[0, : shape[1] // 2 + 1], expected[: shape[0] // 2 + 1, 0]
    both = min(len(x), len(y))
    np.testing.assert_array_less(abs(value[:both] - (x[:both] + y[:both]) / 2), 5 * error[:both] + 1e-9)
    eta, eta_error = found.exponent(closest=4)
    assert eta_error < 0.02 * eta
    assert abs(eta - T / (2 * math.pi)) < 4 * eta_error


@pytest.fixture
def ensemble(tmp_path):
    model, lattice = XY(), Lattice(8, 8)
    block = Simulation(Settings(model, lattice, (0.6, 3.0), chains=2, thermalise=100, thin=3)).block(200)
    with Ensemble.create(tmp_path / "e.h5", model=model, lattice=lattice, temperatures=(0.6, 3.0), chains=2) as made:
        made.append(block)
    with Ensemble.open(tmp_path / "e.h5") as opened:
        yield opened


def test_streaming_an_ensemble(ensemble):
    seen = []
    found = correlation_function(ensemble, 0.6, blocks=10, report=seen.append)
    assert found.blocks.shape == (10, 8, 8)
    assert sum(seen) == 400
    np.testing.assert_allclose(
        found.blocks.mean(0), observables.correlation(ensemble.theta()[0]).mean((0, 1)), rtol=1e-9
    )
    assert found.along_axes()[1][0] == pytest.approx(1)


def test_bad_input(ensemble):
    with pytest.raises(InputError, match=r"no draws at T = 0.7: the file has 0.6, 3"):
        correlation_function(ensemble, 0.7)
    with pytest.raises(InputError, match="no power law"):
        correlation_function(ensemble, 3.0).exponent(closest=1)
    with pytest.raises(InputError, match="larger"):
        correlation_function(ensemble, 0.6).exponent(closest=4)
