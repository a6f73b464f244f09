"""The oracle agrees with itself, with published expansions and with values derived elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import i0, i1

from mcmc import XY, ExtendedXY
from tests.oracle import exact, quadrature, ring_exchange, square_magnetization

MODELS = [XY(), XY(-1.0), ExtendedXY(1.0, 1.0), ExtendedXY(1.0, 0.5), ExtendedXY(1.0, -0.5)]


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_two_derivations_agree(model, beta):
    charges, angles = exact(model, 2, 2, beta), quadrature(model, beta)
    for name in ("log_partition", "energy", "specific_heat"):
        assert charges[name] == pytest.approx(angles[name], abs=1e-6)
    assert square_magnetization(model, 2, 2, beta) == pytest.approx(angles["square_magnetization"], abs=1e-6)


def test_values_derived_elsewhere():
    three = exact(XY(), 3, 3, 1.0)
    assert three["energy"] == pytest.approx(-1.4553176755, abs=1e-7)
    assert three["specific_heat"] == pytest.approx(0.75432413, abs=1e-7)
    assert three["helicity_modulus"] == pytest.approx(0.6997268483, abs=1e-7)
    assert square_magnetization(XY(), 3, 3, 1.0) == pytest.approx(0.731466, abs=1e-6)
    assert exact(ExtendedXY(), 3, 3, 1.0)["energy"] == pytest.approx(-2.50929647, abs=1e-7)


def test_ring_exchange_alone():
    # REFERENCE: E/N = -0.863522611 on the 2x2 torus at beta K = 1.
    assert ring_exchange(2, 2, 1.0)["energy"] == pytest.approx(-0.863522611, abs=1e-9)
    for sides in ((2, 2), (2, 3), (3, 3)):
        charges, closed = exact(ExtendedXY(0.0, 1.0), *sides, 1.0), ring_exchange(*sides, 1.0)
        assert closed["energy"] == pytest.approx(charges["energy"], abs=1e-6)
        assert closed["log_partition"] == pytest.approx(charges["log_partition"], abs=1e-6)
    wide, tall = ring_exchange(4, 3, 1.0), ring_exchange(3, 4, 1.0)
    assert wide["energy"] == pytest.approx(tall["energy"], abs=1e-9)
    # Plaquettes of a large lattice are independent, but for charges a(x) + b(y).
    assert ring_exchange(16, 16, 1.0)["energy"] == pytest.approx(-i1(1.0) / i0(1.0), abs=1e-5)


def test_rectangle_does_not_depend_on_orientation():
    for model in (XY(), ExtendedXY()):
        tall, wide = exact(model, 2, 3, 0.8), exact(model, 3, 2, 0.8)
        for name in tall:
            assert tall[name] == pytest.approx(wide[name], abs=1e-7)


def test_high_temperature_series():
    beta = 0.2
    t = i1(beta) / i0(beta)
    series = np.log(2 * np.pi) + 2 * np.log(i0(beta))
    # The smallest loop of a 3x3 torus winds around it: 6 of length 3.
    assert exact(XY(), 3, 3, beta)["log_partition"] / 9 == pytest.approx(series + 2 * t**4 + 12 * t**3 / 9, abs=2e-4)


@pytest.mark.slow
def test_four_by_four():
    values = exact(XY(), 4, 4, 1.0)
    assert values["energy"] == pytest.approx(-1.411729120, abs=1e-6)
    assert values["specific_heat"] == pytest.approx(0.86526495, abs=1e-5)
    assert values["helicity_modulus"] == pytest.approx(0.655523435, abs=1e-6)
    assert square_magnetization(XY(), 4, 4, 1.0, 5) == pytest.approx(0.67185, abs=1e-5)
