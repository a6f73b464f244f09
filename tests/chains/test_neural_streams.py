"""Neural chains of one seed share random numbers only where flow and temperature are the same."""

import itertools

import h5py
import numpy as np
import pytest
import torch

import latticeflow as lf
from latticeflow.chains.neural_mcmc import NeuralChains
from latticeflow.chains.neural_streams import NeuralStreams
from mcmc import XY, InputError, Lattice, merge
from mcmc.sampling.rng import key
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble
from tests.helpers import make

GRID = (0.6, 0.7, 0.8, 0.9)


def largest_correlation(flow, moves) -> float:
    """Of runs at single temperatures, in standard errors: of the weights of proposals, and of energies far apart."""
    runs = [NeuralChains(flow, [T], chains=8, seed=3, **moves).block(100).series for T in GRID]
    found = []
    for a, b in itertools.combinations(runs, 2):
        for name, step in (("proposal_log_weight", 1), ("energy", 10)):
            one, other = (run[name][0, :, 1::step].ravel() for run in (a, b))
            found.append(abs(np.corrcoef(one, other)[0, 1]) * np.sqrt(len(one)))
    return max(found)


@pytest.mark.parametrize("moves", [{}, {"redraws": 1}, {"local_sweeps": 3}], ids=str)
def test_runs_of_one_seed_at_other_temperatures_share_no_noise(moves):
    assert largest_correlation(make("multiscale", XY(), 4, 4), moves) < 5


def test_streams_by_index_share_their_noise(monkeypatch):
    """The negative control: what earlier releases did."""
    monkeypatch.setattr(NeuralStreams, "proposals", lambda streams, T, number: key(streams.seed, 0, number))
    assert largest_correlation(make("multiscale", XY(), 4, 4), {}) > 15


def test_every_purpose_has_streams_of_its_own():
    flows = [make("multiscale", XY(), 4, 4), make("multiscale", XY(), 4, 4, disturb=0.3), make("realnvp", XY(), 4, 4)]
    kinds = {
        "proposals": lambda streams: [streams.proposals(T, n) for T in GRID for n in range(4)],
        "sweeps": lambda streams: [streams.sweeps(T, c) for T in GRID for c in range(4)],
        "redraws": lambda streams: [streams.redraws(grid, n) for grid in (GRID, GRID[:2], GRID[2:]) for n in range(4)],
    }
    keys = [
        k.tobytes()
        for flow in flows
        for s in (0, 1)
        for kind in kinds.values()
        for k in kind(NeuralStreams.of(flow, s))
    ]
    assert len({*keys}) == len(keys) == 3 * 2 * (16 + 16 + 12)
    with torch.no_grad():
        same = make("multiscale", XY(), 4, 4)
    assert NeuralStreams.of(same, 0) == NeuralStreams.of(flows[0], 0)


def test_a_temperature_draws_the_same_beside_any_others():
    flow = make("multiscale", XY(), 4, 4)
    for moves in ({}, {"local_sweeps": 1}):
        whole = NeuralChains(flow, GRID, chains=2, seed=9, **moves).block(30)
        for t, T in enumerate(GRID):
            alone = NeuralChains(flow, [T], chains=2, seed=9, **moves).block(30)
            np.testing.assert_array_equal(alone.theta[0], whole.theta[t])


def test_chains_at_single_temperatures_merge_and_have_independent_errors(tmp_path):
    flow = make("multiscale", XY(), 4, 4)
    for T in GRID[:2]:
        lf.sample(flow, temperatures=T, draws=20, chains=2, seed=9, out=tmp_path / f"{T}.h5")
    merge([tmp_path / f"{T}.h5" for T in GRID[:2]], tmp_path / "both.h5")
    lf.sample(flow, temperatures=GRID[:2], draws=20, chains=2, seed=9, out=tmp_path / "whole.h5")
    with Ensemble.open(tmp_path / "both.h5") as both, Ensemble.open(tmp_path / "whole.h5") as whole:
        np.testing.assert_array_equal(both.theta(), whole.theta())


def chain_file(path, T, **attributes):
    """What an earlier release wrote of its chains."""
    provenance = {"sampler": "neural MCMC", "seed": 9, "unit": 512, **attributes}
    with Ensemble.create(
        path, model=XY(), lattice=Lattice(4, 4), temperatures=[T], series=["energy"], provenance=provenance
    ) as ensemble:
        ensemble.append(Block(np.zeros((1, 1, 5, 4, 4), np.float32), {"energy": np.full((1, 1, 5), -2.0)}))
    return path


def test_files_of_earlier_releases_are_neither_merged_nor_gone_on_with(tmp_path):
    old = [chain_file(tmp_path / f"{T}.h5", T) for T in (0.5, 1.0)]
    with pytest.raises(InputError, match=r"at T = 0.5 and .* at T = 1 used the same random numbers"):
        merge(old, tmp_path / "all.h5")
    new = [chain_file(tmp_path / f"new{T}.h5", T, random_streams="by the temperature") for T in (0.5, 1.0)]
    merge(new, tmp_path / "all.h5")
    flow, path = make("multiscale", XY(), 4, 4), tmp_path / "chain.h5"
    lf.sample(flow, temperatures=1.0, draws=5, out=path)
    lf.sample(flow, temperatures=1.0, draws=6, out=path, resume=True)
    with h5py.File(path, "r+") as file:
        del file.attrs["random_streams"]
    with pytest.raises(InputError, match="or by an earlier version: name another file"):
        lf.sample(flow, temperatures=1.0, draws=7, out=path, resume=True)
