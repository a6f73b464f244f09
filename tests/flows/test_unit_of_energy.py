"""Flows depend on T / J and K / J alone, whatever the unit in which J, K and T are given."""

import json

import pytest
import torch

from latticeflow.flows import FLOWS, build_flow, checkpoint
from latticeflow.flows.flow import energy_unit, working_in
from latticeflow.training.trainer import Trainer
from latticeflow.training.training_settings import TrainingSettings
from mcmc import XY, ExtendedXY, Lattice
from tests.helpers import SMALL

UNITS = [2.0**-70, 1e-3, 300.0, 1e12]
MODELS = [XY(), ExtendedXY(1.0, 0.5), ExtendedXY(0.0, 1.0), XY(-1.0)]


def scaled(model, unit):
    return model.in_units_of(1 / unit)


def draws_in(unit, name, model):
    torch.manual_seed(1)
    flow = build_flow(name, scaled(model, unit), Lattice(4, 4), (0.5 * unit, 2.0 * unit), **SMALL[name])
    theta, log_q = flow.sample(16, 0.75 * unit, generator=torch.Generator().manual_seed(2))
    moved = flow.rsample(16, 0.75 * unit, generator=torch.Generator().manual_seed(2)) if flow.reparameterised else ()
    return theta, log_q.detach(), *(each.detach() for each in moved), flow.log_prob(theta, 0.75 * unit).detach()


@pytest.mark.parametrize("name", sorted(FLOWS))
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_draws_and_densities_do_not_depend_on_the_unit(name, model):
    here = draws_in(1.0, name, model)
    for unit in UNITS:
        for ours, theirs in zip(here, draws_in(unit, name, model), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)
    # Control: a network that takes T itself is seen.
    with working_in(1.0):
        elsewhere = draws_in(300.0, name, model)
    assert (here[1] - elsewhere[1]).abs().max() > 1


def test_training_does_not_depend_on_the_unit():
    found = []
    for unit in (1.0, 300.0):
        torch.manual_seed(1)
        flow = build_flow("multiscale", XY(unit), Lattice(4, 4), (0.5 * unit, 2.0 * unit), **SMALL["multiscale"])
        metrics = []
        trainer = Trainer(flow, TrainingSettings("reverse_kl", steps=30, batch_temperatures=4, batch_draws=32), None)
        trainer.run(metrics.append)
        found.append([each.acceptance for each in metrics])
    assert found[0] == pytest.approx(found[1], abs=0.02)
    assert found[0][-1] > found[0][0]


def test_unit():
    assert [energy_unit(m) for m in (XY(-3.0), ExtendedXY(0.0, 2.0), XY(0.0))] == [3.0, 2.0, 1.0]


def test_a_checkpoint_of_version_1_keeps_its_density(tmp_path):
    model, lattice = XY(2.0), Lattice(4, 4)
    for name in sorted(FLOWS):
        with working_in(1.0):
            torch.manual_seed(1)
            flow = build_flow(name, model, lattice, (1.0, 4.0), **SMALL[name])
        theta, log_q = flow.sample(8, torch.tensor(1.5))
        path = tmp_path / f"{name}.pt"
        checkpoint.save(path, flow, {})
        content = torch.load(path, weights_only=True)
        description = json.loads(content["json"])
        assert description["recipe"].pop("unit") == 1.0
        description["recipe"] |= {"model": "xy", "J": 2.0, "K": 0.0, "Lx": 4, "Ly": 4}
        torch.save(content | {"version": 1, "json": json.dumps(description)}, path)
        torch.testing.assert_close(checkpoint.load(path).flow.log_prob(theta, 1.5), log_q, rtol=1e-5, atol=1e-3)
        # Control: a new flow of this model works in units of J.
        torch.manual_seed(1)
        assert not torch.allclose(
            build_flow(name, model, lattice, (1.0, 4.0), **SMALL[name]).log_prob(theta, 1.5),
            log_q,
            rtol=1e-5,
            atol=1e-3,
        )
