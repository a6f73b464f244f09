"""Error bars: equal to pyerrors, and right about their own size."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from mcmc import InputError
from mcmc.analysis.statistics import (
    Estimate,
    autocorrelation,
    block_means,
    derived,
    estimate,
    format_uncertainty,
    jackknife,
    r_hat,
    r_hat_limit,
)


def ar1(rng, tau, chains, draws):
    """Stationary Gaussian chains of unit variance with integrated autocorrelation time ``tau``."""
    rho = (2 * tau - 1) / (2 * tau + 1)
    noise = rng.normal(size=(chains, draws))
    noise[:, 1:] *= math.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise)


def pyerrors_observable(chains, centre):
    """The same deviations as ours handed to pyerrors, which by itself centres every chain on its own mean."""
    pyerrors = pytest.importorskip("pyerrors")
    names = [f"run|r{c:03d}" for c in range(len(chains))]
    return pyerrors.Obs([chain - centre for chain in chains], names, means=[chain.mean() for chain in chains])


@pytest.mark.parametrize("chains", [1, 2, 7])
@pytest.mark.parametrize(("tau", "draws"), [(0.5, 10), (0.5, 11), (3.0, 500), (20.0, 3001)])
def test_estimate_equals_pyerrors(chains, tau, draws):
    x = 3 + ar1(np.random.default_rng(1), tau, chains, draws)
    ours, theirs = estimate(x), pyerrors_observable(x, x.mean())
    theirs.gamma_method()
    assert ours.value == pytest.approx(x.mean(), rel=1e-12)
    assert ours.error == pytest.approx(theirs.dvalue, rel=1e-10)
    assert ours.tau_int == pytest.approx(theirs.e_tauint["run"], rel=1e-10)
    assert ours.tau_int_error == pytest.approx(theirs.e_dtauint["run"], rel=1e-10)


@pytest.mark.parametrize("S", [1.0, 1.5, 3.0])
def test_plain_pyerrors_and_its_window_parameter(S):
    pyerrors = pytest.importorskip("pyerrors")
    x = ar1(np.random.default_rng(2), 5.0, 1, 4000)
    theirs = pyerrors.Obs([x[0]], ["run"])
    theirs.gamma_method(S=S)
    ours = estimate(x, S=S)
    assert (ours.value, ours.error) == pytest.approx((theirs.value, theirs.dvalue), rel=1e-10)


def test_derived_equals_pyerrors():
    pyerrors = pytest.importorskip("pyerrors")
    x = 2 + 0.3 * ar1(np.random.default_rng(3), 4.0, 1, 5000)[0]

    def cumulant(square, fourth):
        return 1 - fourth / (3 * square**2)

    ours = derived(cumulant, x**2, x**4)
    observables = [pyerrors.Obs([x**k], ["run"]) for k in (2, 4)]
    theirs = pyerrors.derived_observable(lambda m, **_: cumulant(m[0], m[1]), observables)
    theirs.gamma_method()
    assert (ours.value, ours.error) == pytest.approx((theirs.value, theirs.dvalue), rel=1e-10)
    assert ours.tau_int == pytest.approx(theirs.e_tauint["run"], rel=1e-10)
    square, fourth = (x**2).mean(), (x**4).mean()
    given = derived(cumulant, x**2, x**4, gradient=(2 * fourth / (3 * square**3), -1 / (3 * square**2)))
    assert given == pytest.approx(ours, rel=1e-9)


def coverage(errors_of, trials, seed):
    """How often the true mean 0 lies within the bar that ``errors_of`` gives a series, and the error of that."""
    rng = np.random.default_rng(seed)
    inside = sum(abs(value) < error for value, error in (errors_of(rng) for _ in range(trials)))
    return inside / trials, math.sqrt(0.6827 * 0.3173 / trials)


@pytest.mark.parametrize(("tau", "chains", "draws"), [(0.5, 1, 1000), (4.0, 1, 4000), (4.0, 8, 500), (15.0, 4, 3000)])
def test_one_sigma_covers_the_truth_68_per_cent_of_the_time(tau, chains, draws):
    def bar(rng):
        found = estimate(ar1(rng, tau, chains, draws))
        return found.value, found.error

    share, sigma = coverage(bar, 1000, 4)
    assert abs(share - 0.6827) < 3 * sigma + 0.01  # the window truncates tau_int by one or two per cent


def test_an_error_bar_that_ignores_autocorrelation_is_caught():
    def naive(rng):
        x = ar1(rng, 4.0, 1, 4000)
        return x.mean(), x.std() / math.sqrt(x.size)

    share, sigma = coverage(naive, 500, 5)
    assert share < 0.6827 - 10 * sigma


@pytest.mark.parametrize(("tau", "chains"), [(2.0, 1), (10.0, 4)])
def test_tau_int_and_its_error(tau, chains):
    rng = np.random.default_rng(6)
    pulls = [
        (found.tau_int - tau) / found.tau_int_error
        for found in (estimate(ar1(rng, tau, chains, 4000)) for _ in range(200))
    ]
    # tau_int is biased low by the window, by less than half its own error.
    assert -0.6 < np.mean(pulls) < 0.2
    assert 0.7 < np.std(pulls) < 1.3


def test_derived_covers_the_truth():
    def variance(rng):
        x = ar1(rng, 3.0, 2, 2000)
        found = derived(lambda square, mean: square - mean**2, x**2, x)
        return found.value - 1, found.error

    share, sigma = coverage(variance, 600, 7)
    assert abs(share - 0.6827) < 3 * sigma + 0.01


def test_short_chains_say_how_many_draws_are_missing():
    rng = np.random.default_rng(8)
    long, short = estimate(ar1(rng, 10.0, 1, 20000)), estimate(ar1(rng, 10.0, 1, 200))
    assert long.missing == 0
    assert not str(long).endswith("?")
    assert short.missing > 0
    assert str(short).endswith("?")
    assert short.draws + short.missing >= 50 * short.tau_int - 1
    many_short = estimate(ar1(rng, 10.0, 100, 20))  # 200 tau in all, yet no chain shows its autocorrelation
    assert many_short.missing > 0
    tiny = estimate([1.0, 2.0])
    assert math.isnan(tiny.error)
    assert tiny.missing >= 23


def test_chains_that_disagree_get_a_wide_bar():
    rng = np.random.default_rng(9)
    stuck = 0.01 * rng.normal(size=(4, 1000)) + np.array([[0.0], [1.0], [2.0], [3.0]])
    found = estimate(stuck)
    assert found.error > 0.3
    assert found.missing > 0
    assert r_hat(stuck) > 2


def test_r_hat():
    rng = np.random.default_rng(10)
    assert r_hat(ar1(rng, 2.0, 4, 4000)) < 1.01
    assert r_hat(np.linspace(0, 1, 100)) > 1.5  # one drifting chain: its halves disagree
    assert r_hat(np.ones((3, 10))) == 1
    assert r_hat(np.arange(3.0)[:, None] * np.ones(10)) == math.inf


def test_r_hat_limit_lets_mixed_chains_pass_and_stops_drifting_ones():
    rng = np.random.default_rng(13)
    for chains, draws, tau in ((1, 500, 0.5), (4, 300, 3.0), (1, 20000, 10.0)):
        limit = r_hat_limit(chains, draws, tau)
        runs = [ar1(rng, tau, chains, draws) for _ in range(100)]
        assert max(r_hat(x) for x in runs) < limit
        drift = np.linspace(0, 3, draws)
        assert min(r_hat(x + drift) for x in runs) > limit


def test_constant_series_and_autocorrelation():
    assert estimate(np.full((2, 50), 0.25)) == Estimate(0.25, 0.0, 0.5, 0.0, 100)
    assert autocorrelation(np.ones(20)).tolist() == [1.0] + 9 * [0.0]
    rho = autocorrelation(ar1(np.random.default_rng(11), 5.0, 10, 20000))
    assert rho[:5] == pytest.approx((9 / 11) ** np.arange(5), abs=0.02)


def test_jackknife_agrees_with_derived():
    x = ar1(np.random.default_rng(12), 2.0, 2, 20000)
    value, error = jackknife(lambda m: m[0] / m[1], block_means(np.stack([x**2, x + 3], axis=-1), 100))
    projected = derived(lambda a, b: a / b, x**2, x + 3)
    assert value == pytest.approx(projected.value, rel=1e-12)
    assert error == pytest.approx(projected.error, rel=0.25)
    assert block_means(np.arange(20).reshape(2, 10), 4).tolist() == [2.0, 7.0, 12.0, 17.0]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.314983, 0.00072, "0.31498(72)"),
        (0.314983, 0.000996, "0.3150(10)"),
        (-1.5, 0.04, "-1.500(40)"),
        (12.34, 1.24, "12.3(1.2)"),
        (1234.5, 996.0, "1234(996)"),
        (123.0, 17.2, "123(17)"),
        (0.25, 0.0, "0.25"),
        (0.25, math.nan, "0.25(?)"),
        (1e-7, 3e-9, "1.000(30)e-07"),
        (-1.73391e9, 5.9e5, "-1.73391(59)e+09"),
    ],
)
def test_format(value, error, text):
    assert format_uncertainty(value, error) == text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: estimate([]), r"shape \(0,\)"),
        (lambda: estimate(np.zeros((2, 3, 4))), r"shape \(2, 3, 4\)"),
        (lambda: estimate([1.0, math.nan, 2.0, 3.0, 4.0]), "NaN"),
        (lambda: derived(lambda a, b: a + b, np.zeros(10), np.zeros(11)), "same draws"),
        (lambda: derived(lambda: 0.0), "same draws"),
        (lambda: autocorrelation([1.0, 2.0]), "at least 5"),
        (lambda: r_hat([1.0, 2.0]), "at least 4"),
        (lambda: jackknife(np.sum, np.ones((1, 2))), "at least two"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call()
