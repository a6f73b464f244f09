"""Swendsen and Wang's clusters are the connected components of the bonds that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mcmc.kernels import swendsen_wang as kernel
from mcmc.kernels.calls import entry
from mcmc.kernels.lanes import pointer


@entry
def draw_and_label(arrays, coupling, key, move, Lx, Ly):
    component, right, below, west, label, gone, coins = arrays
    component, coins, label, gone = pointer(component), pointer(coins), pointer(label), pointer(gone)
    right, below, west = pointer(right), pointer(below), pointer(west)
    kernel._draw_bonds(component, coupling, pointer(key), move, right, below, coins, Lx, Ly)
    count = kernel._follow(right, below, west, label, gone, Lx, Ly)
    kernel._join_rest(right, below, label, gone, count, Lx, Ly)


def clusters(Lx, Ly, coupling, seed):
    """Draw bonds in random components; returns them (Ly, Lx) with the sites' labels (Ly, Lx) and components."""
    rng = np.random.default_rng(seed)
    vectors = (Lx + 15) // 16
    component = np.zeros((Ly, 16 * vectors + 16), np.float32)
    component[:, :Lx] = rng.uniform(-1, 1, (Ly, Lx))
    component[:, Lx] = component[:, 0]
    right, below, west = (np.zeros(Ly * vectors, np.int64) for _ in range(3))
    coins, label = np.zeros(16 * Ly * vectors, np.uint32), np.zeros(16 * Ly * vectors, np.uint32)
    gone = np.zeros(16 * Ly * vectors + Lx + Ly + 16, np.uint32)
    key = rng.integers(0, 2**32, 4).astype(np.uint64)
    arrays = component.ravel(), right, below, west, label, gone, coins
    draw_and_label(arrays, np.float32(coupling), key, np.uint64(seed), Lx, Ly)

    def sites(bits):
        return (bits.reshape(Ly, vectors, 1) >> np.arange(16) & 1).reshape(Ly, -1)[:, :Lx].astype(bool)

    return sites(right), sites(below), label[label].reshape(Ly, -1)[:, :Lx], component[:, :Lx]


@pytest.mark.parametrize(("Lx", "Ly"), [(2, 2), (3, 5), (16, 16), (15, 4), (17, 9), (64, 32), (33, 40)])
def test_labels_are_connected_components(Lx, Ly):
    for seed, coupling in enumerate((0.3, 1.0, 2.0, 4.0, 50.0, -2.0)):
        right, below, label, _ = clusters(Lx, Ly, coupling, seed)
        site = np.arange(Lx * Ly).reshape(Ly, Lx)
        start = np.concatenate([site[right], site[below]])
        end = np.concatenate([np.roll(site, -1, 1)[right], np.roll(site, -1, 0)[below]])
        graph = coo_matrix((np.ones(len(start)), (start, end)), (site.size, site.size))
        count, expected = connected_components(graph, directed=False)
        found = np.unique(label)
        assert len(found) == len(set(zip(label.ravel(), expected, strict=True))) == count


def test_bonds_have_their_probabilities():
    right, below, _, component = clusters(1024, 512, 2.0, 7)
    residuals = []
    for bonds, axis in ((right, 1), (below, 0)):
        strength = np.float64(component) * np.roll(component, -1, axis)
        p, more = (np.clip(-np.expm1(-coupling * strength), 0, None) for coupling in (2.0, 2.06))
        error = np.sqrt((p * (1 - p)).sum())
        assert abs(bonds.sum() - p.sum()) < 5 * error
        # Control: a coupling greater by three per cent is seen.
        assert abs(bonds.sum() - more.sum()) > 5 * error
        assert not bonds[p == 0].any()
        residuals.append(bonds - p)
    # Bonds of one site, of neighbouring ones, and of those in vectors that share words are independent.
    east, south = residuals
    for other in (south, *(np.roll(kind, by, 1) for kind in residuals for by in (1, 8, 16))):
        assert abs((east * other).sum()) < 5 * np.sqrt(((east * other) ** 2).sum())
    assert abs((east * right).sum()) > 5 * np.sqrt((east**2).sum())
