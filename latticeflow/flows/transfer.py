"""Lattice doubling: a flow of twice the side starts from what a smaller one has learnt."""

from __future__ import annotations

from typing import cast

import torch

from latticeflow.flows.flow import Flow, working_in
from latticeflow.flows.multiscale import Conditioner, Multiscale
from latticeflow.flows.schedule import coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import InputError, Lattice


def double(flow: Multiscale) -> Multiscale:
    """A multiscale flow of twice both sides.

    A group of spacing a > 2 takes the net of the small flow's group of spacing a / 2 in the same place, its
    surroundings stretched by two: the geometry is the same, the physics nearly so. Groups of the finest spacing, and
    those whose stretched counterpart the small flow drew exactly, take the net of their own spacing, where maps belong
    to offsets that the small lattice has too. Spin-wave weights are those of the large lattice, plus what training had
    added to them. What has no source starts as a spin wave.

    Args:
        flow: trained on the small lattice; not changed.

    Returns:
        A new flow on the CPU.
    """
    small = flow.lattice
    large = Lattice(2 * small.Lx, 2 * small.Ly)
    with working_in(flow.unit):
        doubled = Multiscale(flow.model, large, flow.temperatures, **flow.sizes)
    seen = flow.sizes["seen"]
    old_groups = coarse_to_fine(small, flow.model, seen=seen).groups
    sources = {(group.spacing, group.place(small)): g for g, group in enumerate(old_groups)}
    waves = SpinWaves(flow.reduced_model, small)
    column = 2 * flow.sizes["invariants"]
    for g, group in enumerate(coarse_to_fine(large, flow.model, seen=seen).groups):
        x, y = group.place(large)
        stretched = sources.get((group.spacing // 2, (x // 2, y // 2))) if group.spacing > 2 else None
        source = sources.get((group.spacing, (x, y))) if stretched is None else stretched
        if source is None:
            continue
        old = old_groups[source]
        factor = 1 if stretched is None else 2
        known = {(factor * dx, factor * dy): j for j, (dx, dy) in enumerate(old.offsets(small).tolist())}
        conditioner = cast(Conditioner, doubled.conditioners[g])
        trained = cast(Conditioner, flow.conditioners[source])
        conditioner.net.load_state_dict(trained.net.state_dict())
        weights, precision = waves.regression(old.sites[0], old.table[0])
        learnt = trained.maps.detach().cpu().clone()
        learnt[:, column] -= torch.tensor(weights * precision, dtype=learnt.dtype)
        with torch.no_grad():
            spin_wave = conditioner.maps[:, column].clone()
            conditioner.maps.zero_()
            conditioner.maps[:, column] = spin_wave
            for j, (dx, dy) in enumerate(group.offsets(large).tolist()):
                if (dx, dy) in known:
                    conditioner.maps[j] += learnt[known[dx, dy]]
    return doubled


def enlarge(flow: Flow, lattice: Lattice) -> Flow:
    """The flow for a lattice of its own size, or of that size doubled as often as it takes.

    Raises:
        InputError: no doubling leads there, or the flow cannot be doubled.
    """
    start = flow.lattice
    while flow.lattice != lattice:
        if not isinstance(flow, Multiscale) or flow.lattice.Lx >= lattice.Lx:
            raise InputError(
                f"a {flow.name} flow for {start.Lx}x{start.Ly} cannot become one for {lattice.Lx}x{lattice.Ly}: "
                "start from a multiscale flow of this size, or of half, a quarter, ..."
            )
        flow = double(flow)
    return flow
