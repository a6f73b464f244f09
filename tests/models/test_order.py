"""Order relative to the model: vortices, windings, chirality, sublattices, overlaps, against loops and known states."""

import cmath
import itertools
import math

import numpy as np
import pytest

import mcmc
from mcmc import XY, ExtendedXY, InputError, Lattice, Model, Term, wrap
from mcmc.analysis.observable_registry import chosen, observables_of
from mcmc.analysis.thermodynamics import measure
from mcmc.models import observables, order, presets

SQUARE = Lattice(6, 4)
CUBE = XY(dimensions=3)


def random(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, shape)


def turn(difference):
    return (difference + math.pi) % (2 * math.pi) - math.pi


def by_loops(theta, wanted):
    """Vorticities and windings by walking round plaquettes; ``wanted(axis, x, y)`` is what a bond prefers."""
    Ly, Lx = theta.shape

    def excess(axis, x, y):
        there = theta[(y + axis) % Ly, (x + 1 - axis) % Lx]
        return turn(there - theta[y % Ly, x % Lx] - wanted(axis, x % Lx, y % Ly))

    q = np.zeros((Ly, Lx))
    for y, x in np.ndindex(Ly, Lx):
        around = excess(0, x, y) + excess(1, x + 1, y) - excess(0, x, y + 1) - excess(1, x, y)
        q[y, x] = around / (2 * math.pi)
    winding = [
        sum(excess(axis, x, y) for y, x in np.ndindex(Ly, Lx)) / (2 * math.pi * (Lx if axis else Ly)) for axis in (0, 1)
    ]
    return q, winding


def preferences():
    """Models with what their bonds prefer, written from the models' definitions."""
    yield "xy", XY(), lambda axis, x, y: 0.0
    yield "antiferromagnet", presets.antiferromagnet(), lambda axis, x, y: math.pi
    yield "frustrated", presets.fully_frustrated(SQUARE), lambda axis, x, y: math.pi * (axis == 1 and x % 2)
    glass = presets.plus_minus_j(SQUARE, seed=5)
    yield "plus_minus_j", glass, lambda axis, x, y: 0.0 if glass.terms[axis].coupling[y, x] > 0 else math.pi
    phases = presets.gauge_glass(SQUARE, seed=5)
    yield "gauge_glass", phases, lambda axis, x, y: -phases.terms[axis].phase[y, x]
    # The same bond from its other end, and from its site's neighbour.
    A = random(4, 6, seed=8)
    ends = Model((Term((-1, 1), ((0, 0), (1, 0)), 1.0, A), Term((1, -1), ((0, 1), (0, 2)), -1.0)))
    yield "other_ends", ends, lambda axis, x, y: math.pi if axis else A[y, x]


@pytest.mark.parametrize(("name", "model", "wanted"), [*preferences()], ids=[each[0] for each in preferences()])
def test_vortices_and_windings_are_relative_to_what_bonds_prefer(name, model, wanted):
    for theta in random(5, 4, 6, seed=1):
        # What a bond prefers is where its energy is least: the definition, by another way.
        q, winding = by_loops(theta, wanted)
        np.testing.assert_allclose(observables.vorticity(theta, model), q, atol=1e-9)
        np.testing.assert_allclose(observables.winding_numbers(theta, model), winding, atol=1e-9)
        assert observables.vortex_density(theta, model) == pytest.approx(abs(q).mean(), abs=1e-9)
        if name != "xy":  # negative control: the plain definition says something else
            assert np.abs(observables.vorticity(theta) - q).max() > 0.2
    found = order.bond(model, (1, 0))
    for more in (0.0, 0.01):
        change = np.broadcast_to(found.turns + more, SQUARE.shape)[2, 3] * 2 * math.pi
        theta = np.zeros(SQUARE.shape)
        theta[2, 4:] = change
        bonds = [term for term in model.terms if order.bond_offset(term) in ((1, 0), (-1, 0))]
        energies = sum(-term.coupling * np.cos(term.angle(theta)) for term in bonds)
        least = -sum(np.abs(term.coupling) * np.ones(SQUARE.shape) for term in bonds)[2, 3]
        assert (abs(energies[2, 3] - least) < 1e-9) == (more == 0)


def test_an_antiferromagnet_has_the_vortices_of_its_image():
    model, T = presets.antiferromagnet(), 0.1
    ensemble = mcmc.generate(model, size=8, temperatures=[T, 1.2], draws=50, chains=2, thermalise=300, seed=3)
    theta = ensemble.theta()
    parity = np.indices((8, 8)).sum(0) % 2
    image = wrap(theta + np.float32(np.pi) * parity.astype(np.float32))
    for name in ("vorticity", "vortex_density", "winding_numbers"):
        function = getattr(observables, name)
        np.testing.assert_allclose(function(theta, model), function(image), atol=1e-6)
    table = mcmc.observe(ensemble)
    assert table.at(T)["vortex_density"].value == table.at(T)["winding_square"].value == 0
    assert table.at(1.2)["vortex_density"].value > 0.05
    assert observables.vortex_density(theta[0]).mean() > 0.3  # counted from parallel spins
    ferromagnet = mcmc.observe(mcmc.from_arrays(image, model=XY(), temperatures=[T, 1.2]))
    staggered, plain = table["staggered_magnetization"].values, ferromagnet["magnetization"].values
    np.testing.assert_allclose(staggered, plain, atol=1e-5)
    np.testing.assert_allclose(table["staggered_binder"].values, ferromagnet["binder_cumulant"].values, atol=1e-5)
    assert staggered[0] > 0.9 > 10 * table["magnetization"].values[0]


def test_every_vortex_line_is_closed():
    theta = random(3, 4, 5, seed=2)
    q = observables.vorticity(theta, CUBE)
    assert q.shape == (3, 3, 4, 5)
    for k, axes in enumerate(((0, 1), (0, 2), (1, 2))):  # plane by plane, as two-dimensional layers
        across = 3 - sum(axes)
        layers = np.moveaxis(theta, -1 - across, 0)
        np.testing.assert_array_equal(np.moveaxis(q[k], -1 - across, 0), observables.vorticity(layers))
    lines = observables.vortex_lines(theta, CUBE)
    assert len(lines) == np.abs(q).sum() > 20
    np.testing.assert_array_equal(np.abs(lines[:, 1] - lines[:, 0]).sum(-1), 1)
    balance: dict[tuple, int] = {}
    for begin, end in np.mod(lines, [5, 4, 3]):
        balance[tuple(begin)] = balance.get(tuple(begin), 0) - 1
        balance[tuple(end)] = balance.get(tuple(end), 0) + 1
    assert not any(balance.values())
    broken = lines.copy()
    broken[0] = broken[0, ::-1]
    assert np.add.reduce(broken[:, 1] - broken[:, 0], 0).any() != np.add.reduce(lines[:, 1] - lines[:, 0], 0).any()


def test_beyond_an_open_side_there_are_no_vortices():
    model = presets.open_boundaries(XY(), SQUARE)
    q = observables.vorticity(random(50, 4, 6), model)
    inside = observables.vorticity(random(50, 4, 6))
    np.testing.assert_array_equal(q[:, :3, :5], inside[:, :3, :5])
    assert not q[:, 3].any()
    assert not q[:, :, 5].any()
    assert inside[:, 3].any()
    with pytest.raises(InputError, match=r"winding_square makes no sense .* missing round the lattice"):
        chosen(["winding_square"], model, SQUARE)


def relaxed(model, states=20, seed=0):
    """States of 6x6 spins, of little energy: each spin in turn is put along its field, from random states."""
    theta = random(states, 6, 6, seed=seed)
    y, x = np.indices((6, 6))
    for _ in range(150):
        for colour in range(9):  # no two neighbours at once, diagonals included
            theta = np.where((y % 3 * 3 + x % 3) == colour, np.angle(model.field(theta)), theta)
    return wrap(theta)


def test_chirality_of_ground_states():
    """+-1 where plaquettes or triangles are fully frustrated, and the canting angle's sine with ring exchange."""
    cases = [
        (presets.fully_frustrated(6), -math.sqrt(2), 1.0),
        (presets.triangular(-1.0), -1.5, 1.0),
        (ExtendedXY(1.0, -1.0), -1.5, math.sin(math.acos(0.5))),
    ]
    for model, energy, size in cases:
        ground = [theta for theta in relaxed(model) if model.energy(theta) / 36 < energy + 1e-6]
        assert len(ground) >= 2, model
        for theta in ground:
            assert abs(observables.chirality(theta, model)) == pytest.approx(size, abs=1e-3)
            faces = observables.chirality_map(theta, model)
            np.testing.assert_allclose(faces, observables.chirality(theta, model), atol=1e-2)
            mirrored = observables.chirality(wrap(-theta), model)
            assert mirrored == pytest.approx(-observables.chirality(theta, model), abs=1e-9)
        ordered = np.zeros((6, 6))
        assert observables.chirality(ordered, model) == pytest.approx(0, abs=1e-12)  # negative control
    with pytest.raises(InputError, match="leave no sign open"):
        observables.chirality(np.zeros((6, 6)), XY())


def test_chirality_by_loops_round_faces():
    """From the definitions: sines summed round each plaquette or triangle, with alternating signs."""
    theta = random(6, 6, seed=4)

    def at(x, y):
        return theta[y % 6, x % 6]

    def around(corners, phases):
        steps = zip(itertools.pairwise([*corners, corners[0]]), phases, strict=True)
        return sum(math.sin(at(*b) - at(*a) - wanted) for (a, b), wanted in steps)

    total = 0.0
    for y, x in np.ndindex(6, 6):
        odd, next_odd = math.pi * (x % 2), math.pi * ((x + 1) % 2)
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
        total += (-1) ** (x + y) * around(corners, (0, next_odd, 0, -odd)) / (2 * math.sqrt(2))
    frustrated = presets.fully_frustrated(6)
    assert observables.chirality(theta, frustrated) == pytest.approx(total / 36, abs=1e-12)
    assert observables.chirality_map(theta, frustrated).mean() == pytest.approx(total / 36, abs=1e-12)
    total = 0.0
    for y, x in np.ndindex(6, 6):
        up = around([(x, y), (x + 1, y), (x + 1, y + 1)], [math.pi] * 3)
        down = around([(x, y), (x + 1, y + 1), (x, y + 1)], [math.pi] * 3)
        total += (up - down) / 2 * 2 / (3 * math.sqrt(3))
    assert observables.chirality(theta, presets.triangular(-1.0)) == pytest.approx(total / 36, abs=1e-12)


def test_sublattices_of_known_states():
    y, x = np.indices((6, 6))
    states = {
        presets.antiferromagnet(): np.pi * ((x + y) % 2),
        Model((Term((1, -1), ((0, 0), (1, 0)), 1.0), Term((1, -1), ((0, 0), (0, 1)), -1.0))): np.pi * (y % 2),
        presets.triangular(-1.0): 2 * np.pi / 3 * ((x + y) % 3),
    }
    for model, state in states.items():
        theta = wrap(state + 0.4)
        np.testing.assert_allclose(observables.sublattice_magnetizations(theta, model), 1, atol=1e-12)
        assert observables.magnetization(theta) == pytest.approx(0, abs=1e-9)
        assert observables.sublattice_magnetizations(np.roll(np.sort(random(6, 6), 1), 1, 1), model).max() < 0.9
    frustrated = presets.fully_frustrated(6)
    assert observables.sublattice_magnetizations(relaxed(frustrated, 1), frustrated).shape == (1, 4)
    with pytest.raises(InputError, match="2 sublattices"):
        observables.staggered_magnetization(np.zeros((6, 6)), presets.triangular(-1.0))
    with pytest.raises(InputError, match="sublattices"):
        observables.sublattice_magnetizations(np.zeros((5, 4)), presets.antiferromagnet())


def test_clock_order_and_energy_by_term():
    model = presets.clock(6, h=0.5)
    theta = wrap(2 * np.pi / 6 * 4 + 0.05 * random(4, 6))
    direction = cmath.phase(np.exp(1j * theta).mean())
    assert observables.clock_order(theta, model) == pytest.approx(math.cos(6 * direction), abs=1e-12)
    assert observables.clock_order(theta, model) > 0.9 > 0 > observables.clock_order(wrap(theta + np.pi / 6), model)
    with pytest.raises(InputError, match="single out"):
        observables.clock_order(theta, XY())
    moments = measure(theta[None], model)
    bonds = -np.cos(theta - np.roll(theta, -1, 1)).mean() - np.cos(theta - np.roll(theta, -1, 0)).mean()
    assert moments["energy_J"] == pytest.approx(bonds, abs=1e-12)
    assert moments["energy_h6"] == pytest.approx(-0.5 * np.cos(6 * theta).mean(), abs=1e-12)
    np.testing.assert_allclose(moments["energy_J"] + moments["energy_h6"], moments["energy"], atol=1e-12)
    np.testing.assert_array_equal(moments["energy"], observables.energy(theta[None], model))


def test_stripes_of_known_states():
    model, columns = presets.j1j2(1.0, -1.0), np.where(np.arange(6) % 2, -math.pi / 2, math.pi / 2) * np.ones((6, 1))
    assert model.energy(columns) / 36 == pytest.approx(-2.0)  # J1 cancels, both diagonals are satisfied
    for theta, sign in ((columns, 1), (columns.T, -1)):
        assert observables.stripe_magnetization(theta, model) == pytest.approx(1)
        assert observables.stripe_direction(theta, model) == pytest.approx(sign)
        assert observables.sectors(theta[None], model)["stripes"] == sign
    theta = random(5, 6, 6)
    spins, (y, x) = np.exp(1j * theta), np.indices((6, 6))
    parts = [abs((spins * (-1.0) ** n).mean((1, 2))) ** 2 for n in (x, y)]
    np.testing.assert_allclose(observables.stripe_magnetization(theta, model), np.sqrt(sum(parts)), atol=1e-12)
    along = [(spins * np.roll(spins, 1, axis).conj()).real.mean((1, 2)) for axis in (1, 2)]
    np.testing.assert_allclose(observables.stripe_direction(theta, model), (along[0] - along[1]) / 2, atol=1e-12)
    for other in (presets.j1j2(1.0, 0.5), presets.triangular(-1.0), XY(), CUBE):
        with pytest.raises(InputError, match="both diagonals"):
            observables.stripe_direction(random(*(4,) * other.dimensions), other)
    unequal = Model((*model.terms, Term((1, -1), ((0, 0), (1, 0)), 0.3)))
    assert not order.no_stripes(unequal, (6, 6))
    assert "stripes" not in observables.sectors(theta, unequal)
    ensemble = mcmc.generate(model, size=6, temperatures=[0.2, 5.0], draws=100, chains=8, thermalise=400, seed=1)
    found = mcmc.observe(ensemble)["stripe_order"].values
    assert found[0] > 0.6 > 0.3 > found[1]


def test_overlap_of_replicas():
    glass, gauge = presets.plus_minus_j(6, seed=2), presets.gauge_glass(6, seed=2)
    first, second = random(2, 6, 6, seed=9)
    S, R = (np.stack([np.cos(each), np.sin(each)]).reshape(2, -1) for each in (first, second))
    matrix = S @ R.T / 36  # q_mu,nu
    assert observables.overlap(first, second, glass) == pytest.approx(np.sqrt((matrix**2).sum()), abs=1e-12)
    assert observables.overlap(first, second, gauge) == pytest.approx(
        abs(np.exp(1j * (first - second)).mean()), abs=1e-12
    )
    for image in (wrap(first + 1.3), wrap(-first)):  # symmetries of the couplings leave it
        assert observables.overlap(image, second, glass) == pytest.approx(
            observables.overlap(first, second, glass), abs=1e-12
        )
    assert observables.overlap(first, wrap(first + 0.7), gauge) == pytest.approx(1, abs=1e-12)
    theta = random(4, 10, 6, 6, seed=3)
    found = measure(theta, glass)["overlap"]
    assert found.shape == (2, 10)
    assert found[1, 4] == pytest.approx(observables.overlap(theta[1, 4], theta[3, 4], glass), abs=1e-12)
    with pytest.raises(InputError, match="two chains"):
        chosen(["overlap"], glass, Lattice(6, 6), 1)
    ensemble = mcmc.generate(glass, size=6, temperatures=[0.3, 3.0], draws=60, chains=4, thermalise=300)
    table = mcmc.observe(ensemble)
    assert table.at(0.3)["overlap_square"].value > 4 * table.at(3.0)["overlap_square"].value
    with pytest.raises(InputError, match="pairs of chains"):
        mcmc.Reweighting(ensemble, [3.0]).curve("overlap", [3.0])


def test_tables_show_what_makes_sense():
    plain = set(observables_of(XY(), SQUARE))
    stiff = {"helicity_modulus", "helicity_modulus_x", "helicity_modulus_y"}
    less = {
        presets.antiferromagnet(): {"correlation_length"},
        presets.triangular(-1.0): {"correlation_length"},
        presets.clock(5): stiff,
        presets.gauge_glass(SQUARE): {*stiff, "winding_square"},
        presets.twisted(XY(), SQUARE, (0.3, 0.2)): stiff,
    }
    cases = {
        presets.antiferromagnet(): {"staggered_magnetization", "staggered_binder", "sublattice_magnetization"},
        presets.triangular(-1.0): {"chirality", "chirality_square", "chirality_binder"},  # 4 is not a multiple of 3
        presets.j1j2(1.0, -1.0): {"stripe_magnetization", "stripe_order", "stripe_binder", "energy_J1", "energy_J2"},
        presets.j1j2(1.0, 1.0): {"energy_J1", "energy_J2"},
        presets.clock(5): {"clock_order", "energy_J", "energy_h5"},
        presets.gauge_glass(SQUARE): {"overlap", "overlap_square", "overlap_binder"},
        presets.twisted(XY(), SQUARE, (0.3, 0.2)): set(),
        ExtendedXY(): {"energy_J", "energy_K"},
    }
    for model, more in cases.items():
        assert set(observables_of(model, SQUARE, 2)) == (plain - less.get(model, set())) | more, model
    nematic = set(observables_of(presets.generalised_xy(0.0), SQUARE))
    assert plain - nematic == {"vortex_density", "winding_square", "correlation_length"}
    cubic = set(observables_of(XY(dimensions=3), Lattice(4, 4, 4)))
    assert cubic == plain | {"helicity_modulus_z"}
    with pytest.raises(InputError, match="two axes alone"):
        chosen(["chirality"], CUBE, Lattice(4, 4, 4))
    with pytest.raises(InputError, match=r"chirality makes no sense for XY.* leave no sign open"):
        chosen(["energy", "chirality"], XY(), SQUARE)
    with pytest.raises(InputError, match=r"unknown observable 'energy_q'.*energy_K"):
        chosen(["energy_q"], ExtendedXY(), SQUARE)


def test_structure_factor_as_a_map():
    ensemble = mcmc.generate(XY(dimensions=3), size=(4, 2, 3), temperatures=[2.0], draws=64, thermalise=20)
    S, error = mcmc.correlation_function(ensemble, 2.0).structure_factor()
    theta = ensemble.theta()[0].reshape(-1, 3, 2, 4).astype(np.float64)
    z, y, x = np.indices((3, 2, 4))
    for k in np.ndindex(3, 2, 4):
        wave = np.exp(-2j * np.pi * (k[2] * x / 4 + k[1] * y / 2 + k[0] * z / 3))
        per_draw = np.abs((np.exp(1j * theta) * wave).sum((1, 2, 3))) ** 2 / 24
        opposite = np.abs((np.exp(1j * theta) * wave.conj()).sum((1, 2, 3))) ** 2 / 24
        assert S[k] == pytest.approx((per_draw + opposite).mean() / 2, rel=1e-4)
        np.testing.assert_allclose(observables.structure_factor(theta, XY(dimensions=3))[:, *k], per_draw, atol=1e-9)
    assert S[0, 0, 0] > 1.5 * S[0, 0, 1]  # negative control: entries differ
    assert (error > 0).all()
    distance, G, _ = mcmc.correlation_function(ensemble, 2.0).along_axes()
    assert distance.tolist() == [0, 1, 2]
    assert G[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("helicity_modulus", XY() + presets.field(0.3), "turning all spins changes its energy"),
        ("helicity_modulus_x", presets.clock(6), "turning all spins changes its energy"),
        ("helicity_modulus_y", presets.gauge_glass(SQUARE), "its phases drive a mean current"),
        ("helicity_modulus_z", presets.clock(6, dimensions=3), "turning all spins changes its energy"),
        ("correlation_length", XY() + presets.field(0.3), "a field gives the spins a mean direction"),
        ("correlation_length", presets.antiferromagnet(), "do not order all spins alike"),
        ("correlation_length", presets.triangular(-1.0), "do not order all spins alike"),
        ("correlation_length", presets.fully_frustrated(SQUARE), "do not order all spins alike"),
        ("correlation_length", presets.generalised_xy(0.0), "no bonds of charges 1 and -1"),
        ("winding_square", presets.fully_frustrated(SQUARE), "its plaquettes are frustrated"),
        ("winding_square", presets.gauge_glass(SQUARE), "its plaquettes are frustrated"),
    ],
)
def test_what_makes_no_sense_is_left_out_with_the_reason(name, model, reason):
    lattice = SQUARE if model.dimensions == 2 else Lattice(4, 4, 4)
    assert name not in observables_of(model, lattice)
    with pytest.raises(InputError, match=f"{name} makes no sense for .*{reason}"):
        chosen([name], model, lattice)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (presets.clock(6), {"correlation_length", "winding_square", "vortex_density"}),
        (presets.antiferromagnet(), {"helicity_modulus", "winding_square"}),
        (presets.fully_frustrated(SQUARE), {"helicity_modulus", "vortex_density"}),
        (presets.plus_minus_j(SQUARE, p=0.05), {"helicity_modulus", "correlation_length"}),
        (presets.antiperiodic(XY(), SQUARE), {"helicity_modulus", "winding_square", "correlation_length"}),
        (presets.triangular(), {"helicity_modulus", "correlation_length"}),
    ],
)
def test_what_makes_sense_stays(model, names):
    assert names <= {*observables_of(model, SQUARE)}
