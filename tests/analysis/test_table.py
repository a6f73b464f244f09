"""Tables and estimates: what one calculates, prints and converts."""

import json
import operator

import matplotlib.pyplot as plt
import numpy as np
import pytest

import mcmc
from mcmc import InputError
from mcmc.analysis.observable_registry import OBSERVABLES, Observable, register_observable
from mcmc.analysis.reweighting import Reweighting
from mcmc.analysis.statistics import Estimate, independent
from mcmc.analysis.table import legend, write_csv
from mcmc.analysis.thermodynamics import measure, read_moments

T = (0.5, 0.9, 1.4)


@pytest.fixture(scope="module")
def ensemble():
    return mcmc.generate("xy", size=4, temperatures=T, draws=200, thermalise=60, thin=3)


@pytest.fixture(scope="module")
def table(ensemble):
    return mcmc.observe(ensemble)


def test_a_column_is_an_array_of_values(table):
    energies = table["energy"]
    assert np.mean(energies) == pytest.approx(np.mean([row["energy"].value for row in table]))
    assert np.mean([row["energy"] for row in table]) == np.mean(energies)
    assert (2 * np.asarray(energies)).shape == energies.errors.shape == energies.tau_int.shape == (3,)
    assert (np.diff(energies) > 0).all()
    figure, axes = plt.subplots()
    (line,) = axes.plot(table.temperatures, [row["energy"] for row in table])
    assert line.get_ydata().tolist() == energies.values.tolist()
    plt.close(figure)


def test_rows_by_temperature(table):
    assert table.at(0.9) is table.rows[1]
    assert float(table.at(0.9)["energy"]) == table["energy"].values[1]
    with pytest.raises(InputError, match=r"no T = 0.95: the nearest is 0.9"):
        table.at(0.95)
    with pytest.raises(InputError, match="did you mean 'energy'"):
        table["enrgy"]


def test_a_part_of_a_table(table):
    part = table.select(temperatures=[1.4, 0.5], observables=["energy", "vortex_density"])
    assert part.temperatures.tolist() == [1.4, 0.5]
    assert part.observables == ("energy", "vortex_density")
    assert part.at(1.4)["energy"] == table.at(1.4)["energy"]


def test_numbers_scale_and_shift_an_estimate():
    one = Estimate(2.0, 0.25, 1.5, 0.1, 100)
    for result, value, error in (
        (3 * one, 6.0, 0.75),
        (one * -2, -4.0, 0.5),
        (one / 4, 0.5, 0.0625),
        (1 - one, -1.0, 0.25),
        (one + 1, 3.0, 0.25),
        (-one, -2.0, 0.25),
    ):
        assert (result.value, result.error, result.tau_int) == (value, error, 1.5)
    assert f"{one:.3f}" == "2.000"
    assert f"{one:>10}" == "  2.00(25)"


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_two_estimates_are_not_combined_silently(operation):
    one = Estimate(2.0, 0.25, 1.5, 0.1, 100)
    with pytest.raises(TypeError, match=r"mcmc.derived .* mcmc.independent"):
        operation(one, one)
    with pytest.raises(TypeError, match="list"):
        operation(one, [1])


def test_estimates_have_no_order():
    one = Estimate(2.0, 0.25, 1.5, 0.1, 100)
    for operation in (operator.lt, operator.ge):
        with pytest.raises(TypeError, match="no order"):
            operation(one, 1.0)
    assert one.deviation(1.5) == 2
    assert one != Estimate(2.0, 0.3, 1.5, 0.1, 100)


def test_independent_errors_are_those_of_many_pairs():
    """The spread of a product over many pairs of runs is what the propagated error says."""
    rng = np.random.default_rng(3)
    a, b = 2 + 0.03 * rng.normal(size=4000), 5 + 0.05 * rng.normal(size=4000)
    found = independent(lambda x, y: x * y, Estimate(2.0, 0.03, 0.5, 0, 10), Estimate(5.0, 0.05, 0.5, 0, 10))
    assert found.value == pytest.approx(10)
    assert abs(found.error / (a * b).std() - 1) < 5 / np.sqrt(2 * 4000)
    assert abs(0.5 * found.error / (a * b).std() - 1) > 5 / np.sqrt(2 * 4000)  # half of it would be seen


def test_reprs_fit_a_screen(ensemble, table):
    assert len(repr(table)) < 1500
    assert max(map(len, repr(table).splitlines())) <= 80
    assert "XY" in repr(table)
    assert "energy" in repr(table.at(0.9))
    assert "tau_int" in repr(table["energy"][0])
    many = mcmc.Table(
        table.model, table.lattice, np.linspace(1, 2, 40), [table.rows[0]] * 40, np.full((40, 2), 1.0), table.chains
    )
    assert len(repr(many).splitlines()) < 20
    assert "..." in repr(many)
    assert "<table>" in table._repr_html_()
    assert max(map(len, legend(table.observables).splitlines())) <= 80
    assert "sum |q|" in legend(["vortex_density"])
    assert "sum |q|" not in legend(["energy"])


def test_text_by_width_and_by_name(table):
    for width in (60, 80, 120):
        assert max(map(len, table.text(width=width).splitlines())) <= width
    assert "winding^2" in table.text(width=None)
    assert table.text(["vortex_density"]).split()[:3] == ["T", "vortices", "tau"]


def test_conversions(table, tmp_path):
    frame = table.to_pandas()
    assert frame.index.tolist() == [*T]
    assert frame["energy_error"].tolist() == table["energy"].errors.tolist()
    data = table.to_xarray()
    assert data["energy"].sel(temperature=0.9).item() == table.at(0.9)["energy"].value
    write_csv(tmp_path / "t.csv", {"a": table})
    assert (tmp_path / "t.csv").read_text().count("\n") == 4
    json.dumps(table.as_json())


@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_a_package_that_is_missing_is_named(table, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        getattr(table, f"to_{package}")()


def corner(theta):
    return np.cos(theta[..., 0, 0] - theta[..., 0, 1])


@pytest.fixture
def registered():
    register_observable("corner", corner, replace=True)
    yield
    OBSERVABLES.remove("corner")


def test_a_function_of_ones_own_in_tables_curves_and_figures(ensemble, registered):
    from latticeflow.plots.figures import overview

    table = mcmc.observe(ensemble)
    # By translation its mean is that of the bonds, -e / 2.
    for row in table:
        assert abs(row["corner"].value + row["energy"].value / 2) < 5 * row["corner"].error
    moments = [read_moments(ensemble, t) for t in range(3)]
    curve = Reweighting.from_moments(moments, ensemble.model, ensemble.lattice, T).curve("corner", [0.9])
    assert abs(curve.value[0] - table.at(0.9)["corner"].value) < 5 * table.at(0.9)["corner"].error
    overview({"mine": table}, ["corner"])


def test_functions_and_fluctuations_for_one_table(ensemble):
    table = mcmc.observe(
        ensemble,
        observables={
            "corner": corner,
            "twice": lambda theta: 2 * corner(theta),
            "c": Observable.fluctuation(lambda theta: ensemble.model.energy(theta) / 16, power=2),
        },
        temperatures=[0.9],
    )
    assert table["twice"].values == pytest.approx(2 * table["corner"].values)
    whole = mcmc.observe(ensemble, observables=["specific_heat"]).at(0.9)["specific_heat"]
    assert table.at(0.9)["c"].value == pytest.approx(whole.value, rel=1e-5)
    assert table.observables == ("corner", "twice", "c")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"observables": ["enrgy"]}, "did you mean 'energy'"),
        ({"observables": {"rows": lambda theta: theta.mean(-1)}}, "one number for each"),
        ({"temperatures": [0.7]}, r"no T = 0.7"),
    ],
)
def test_what_cannot_be_observed(ensemble, options, words):
    with pytest.raises(InputError, match=words):
        mcmc.observe(ensemble, **options)


def test_module_and_name(ensemble):
    assert mcmc.observe(ensemble, observables=[f"{__name__}:corner"]).observables == ("corner",)


def test_moments_of_nobody_are_not_measured():
    assert not [name for name in measure(np.zeros((2, 4, 4)), mcmc.XY()) if "#" in name]
