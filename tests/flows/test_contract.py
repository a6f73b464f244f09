"""What a user meets first: arrays and numbers as they are, names, reprs, files, classes of one's own."""

import math
import sys

import numpy as np
import pytest
import torch

from latticeflow.flows import FLOWS, Flow, build_flow, checkpoint, register_flow
from latticeflow.flows.multiscale import Multiscale
from mcmc import XY, InputError, Lattice, Model
from mcmc.models.presets import (
    antiferromagnet,
    clock,
    gauge_glass,
    generalised_xy,
    j1j2,
    plus_minus_j,
    require_known,
    triangular,
)
from mcmc.models.terms import Term

RANGE = (0.5, 1.5)


class Uniform(Flow):
    """Every configuration alike."""

    def __init__(self, model, lattice, temperatures, *, scale: int = 1):
        super().__init__(model, lattice, temperatures, {"scale": scale})

    def _sample(self, temperature, generator):
        theta = 2 * math.pi * torch.rand(len(temperature), *self.lattice.shape, generator=generator) - math.pi
        return theta, self._log_prob(theta, temperature)

    def _log_prob(self, theta, temperature):
        return torch.full((len(theta),), -self.lattice.N * math.log(2 * math.pi), dtype=torch.float64)


@pytest.fixture
def flow():
    torch.manual_seed(1)
    return build_flow("multiscale", XY(), Lattice(4, 4), RANGE)


def test_numbers_and_arrays_bring_arrays_and_tensors_bring_tensors(flow):
    theta, log_q = flow.sample(6, 0.9, seed=1)
    assert (type(theta), theta.dtype, type(log_q), log_q.dtype) == (np.ndarray, np.float32, np.ndarray, np.float64)
    again, _ = flow.sample(6, 0.9, seed=1)
    np.testing.assert_array_equal(theta, again)
    assert not np.array_equal(theta, flow.sample(6, 0.9, seed=2)[0])
    np.testing.assert_allclose(flow.log_prob(theta, 0.9), log_q, rtol=1e-5)
    np.testing.assert_allclose(flow.log_prob(theta.astype(np.float64), [0.9] * 6), log_q, rtol=1e-5)
    tensor = flow.log_prob(torch.as_tensor(theta, dtype=torch.float64), torch.tensor(0.9))
    assert tensor.requires_grad
    np.testing.assert_allclose(tensor.detach().numpy(), log_q, rtol=1e-5)
    assert isinstance(flow.sample(2, torch.tensor(0.9))[0], torch.Tensor)
    assert isinstance(flow.sample(2, 0.9, generator=torch.Generator().manual_seed(1))[0], torch.Tensor)


@pytest.mark.parametrize(
    ("theta", "T", "message"),
    [
        (np.zeros((4, 4)), 1.0, r"expected configurations of shape \(n, 4, 4\); got \(4, 4\)"),
        (np.full((1, 4, 4), np.nan), 1.0, "finite angles"),
        (np.zeros((1, 4, 4), complex), 1.0, "array of complex128"),
        (np.zeros((1, 4, 4)), 0.0, "temperature 0.0 must be positive"),
        (np.zeros((1, 4, 4)), "warm", "temperature 'warm' must be a number"),
        (np.zeros((2, 4, 4)), [1.0, 1.0, 1.0], r"temperature of shape \(3,\)"),
    ],
)
def test_wrong_input_is_named(flow, theta, T, message):
    with pytest.raises(InputError, match=message):
        flow.log_prob(theta, T)


def test_a_flow_shows_what_it_is_for_and_how_it_was_made(flow):
    shown = repr(flow)
    assert "XY(J=1.0)" in shown
    assert "4x4" in shown
    assert "0.5 to 1.5" in shown
    assert f"{flow.parameter_count:,} parameters" in shown
    assert "not trained" in shown
    flow.history = {"steps": 7, "seconds": 6.0, "training": {"objective": "advnf", "seed": 3}}
    assert "trained 7 steps in 0.1 minutes by advnf, seed 3" in repr(flow)
    assert len(repr(flow).splitlines()) == 3


def test_a_saved_flow_keeps_its_history(flow, tmp_path):
    flow.history = {"steps": 7}
    flow.save(tmp_path / "flow.pt")
    assert checkpoint.load_flow(tmp_path / "flow.pt").history == {"steps": 7}
    assert checkpoint.open_flow(flow) is flow
    with pytest.raises(InputError, match="expected a flow or the path of one; got int"):
        checkpoint.open_flow(3)


def test_flows_of_ones_own_are_built_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(FLOWS, "_things", dict(FLOWS._things))
    register_flow("uniform", Uniform)
    with pytest.raises(InputError, match="'uniform' exists already"):
        register_flow("uniform", Uniform)
    with pytest.raises(InputError, match="is not a class of flows"):
        register_flow("number", float)
    with pytest.raises(InputError, match="Flow lacks _log_prob, _sample"):
        register_flow("abstract", Flow)
    own = build_flow("uniform", XY(), 4, RANGE, scale=3)
    own.save(tmp_path / "own.pt")
    loaded = checkpoint.load(tmp_path / "own.pt").flow
    assert type(loaded) is Uniform
    assert loaded.sizes == {"scale": 3}


def test_flows_that_are_not_registered_go_by_module_and_name(tmp_path, monkeypatch):
    own = build_flow(f"{__name__}:Uniform", XY(), 4, RANGE)
    assert own.registered_name == f"{__name__}:Uniform"
    own.save(tmp_path / "own.pt")
    assert type(checkpoint.load(tmp_path / "own.pt").flow) is Uniform
    monkeypatch.delitem(sys.modules, __name__)
    with pytest.raises(InputError, match="which a file may not import by itself: import"):
        checkpoint.load(tmp_path / "own.pt")
    assert checkpoint.load(tmp_path / "own.pt", cls=Uniform).flow.sizes == {"scale": 1}
    with pytest.raises(InputError, match="did you mean 'Multiscale'"):
        build_flow("latticeflow.flows.multiscale:Multiscal", XY(), 4, RANGE)


def test_a_subclass_of_a_flow_is_not_loaded_as_the_flow(tmp_path):
    class Mine(Multiscale):
        """Another flow of the same parameters."""

    mine = Mine(XY(), Lattice(4, 4), RANGE)
    assert (mine.name, mine.registered_name) != ("multiscale", "multiscale")
    mine.save(tmp_path / "mine.pt")
    with pytest.raises(InputError, match="may not import by itself"):
        checkpoint.load(tmp_path / "mine.pt")


def test_models_with_terms_that_nobody_knows_are_refused():
    class FieldXY(Model):
        """A field that only its own energy knows."""

    require_known(XY())
    with pytest.raises(InputError, match="FieldXY is not a sum of terms"):
        build_flow("multiscale", FieldXY(XY().terms), 4, RANGE)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (XY() + clock(4, h=0.1), "turning all spins"),
        (gauge_glass(4), "reversing all angles"),
        (plus_minus_j(4, seed=1), "differ from site to site|repeat after 4x4 sites"),
        (generalised_xy(), "charges are not all 1 and -1"),
        (Model((Term((1, -1), ((0, 0), (2, 0))),)), "two steps apart"),
    ],
)
@pytest.mark.parametrize("name", ["multiscale", "spline"])
def test_flows_refuse_models_without_what_they_rely_on(name, model, reason):
    with pytest.raises(InputError, match=reason):
        build_flow(name, model, 4, RANGE)


@pytest.mark.parametrize("model", [j1j2(1.0, 0.3), triangular(), antiferromagnet()])
@pytest.mark.parametrize("name", ["multiscale", "spline"])
def test_the_last_colour_of_models_with_diagonal_bonds_is_exact(name, model):
    torch.manual_seed(3)
    flow = build_flow(name, model, 4, RANGE)
    T = torch.full((1,), 0.8)
    theta = torch.rand(1, 4, 4) * 6 - 3
    site = int(flow.last.get_buffer("_sites")[2])
    turned = theta.clone()
    turned.view(-1)[site] += 1.0
    change = flow.log_prob(turned, T) - flow.log_prob(theta, T)
    torch.testing.assert_close(change, (model.energy(theta) - model.energy(turned)) / 0.8, atol=1e-5, rtol=1e-5)
