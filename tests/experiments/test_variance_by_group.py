"""The variance of log w by group: a disturbed net is found, and so are correlations that independent draws lack."""

import numpy as np
import torch

from latticeflow.experiments.variance_by_group import main, variance_by_group
from latticeflow.flows import build_flow
from latticeflow.flows.harmonic_ceiling import harmonic_ceiling
from mcmc import XY, Lattice

SIZES = {"invariants": 8, "vectors": 4, "products": 3, "width": 16}


def spin_waves(side, **sizes):
    """A flow whose laws are those of spin waves."""
    flow = build_flow("multiscale", XY(), Lattice(side, side), (0.005, 2.0), **SIZES, **sizes)
    with torch.no_grad():
        for conditioner in flow.conditioners:
            conditioner.net[4].weight.zero_()
    return flow


def test_at_low_temperature_the_groups_add_what_the_harmonic_limit_says():
    flow = spin_waves(8, marginals=False)
    total, groups = variance_by_group(flow, [0.005], draws=1000)
    expected = harmonic_ceiling(XY(), Lattice(8, 8)).groups
    assert abs(sum(group.variance for group in groups) / total - 1) < 0.3
    for found, exact in zip(groups, expected, strict=True):
        assert (found.sites, found.spacing) == (exact.sites, exact.spacing)
        assert abs(found.variance - exact.variance) < 5 * found.error + 1e-4
        if found.sites > 1:  # all of it is that of pairs
            assert abs(found.pairs - exact.variance) < 5 * found.pairs_error + 1e-4
    worst = max(groups, key=lambda group: group.variance)
    assert worst.variance > 5 * worst.error  # there is something to see


def test_a_disturbed_net_is_found_and_is_not_taken_for_pairs():
    flow = spin_waves(8)
    before = variance_by_group(flow, [1.0], draws=200)[1]
    with torch.no_grad():
        flow.conditioners[-1].net[4].bias.add_(0.1)
    after = variance_by_group(flow, [1.0], draws=200)[1]
    changes = np.array([b.variance - a.variance for a, b in zip(before, after, strict=True)])
    assert changes.argmax() == len(changes) - 1
    assert abs(after[-1].pairs) < 5 * after[-1].pairs_error
    assert after[-1].variance > 8 * after[-1].error


def test_the_command_prints_a_row_for_each_group(capsys, tmp_path):
    flow = spin_waves(4)
    flow.save(tmp_path / "xy4.pt")
    assert main([str(tmp_path / "xy4.pt"), "--temperatures", "0.5,1", "--draws", "20"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(flow.conditioners)
