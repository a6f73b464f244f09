"""Lattice doubling: a flow of twice the side starts from what a smaller one has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from latticeflow.flows.flow import Flow, working_in
from latticeflow.flows.multiscale import Conditioner, Multiscale
from latticeflow.flows.schedule import Group, coarse_to_fine
from mcmc import InputError, Lattice


def double(flow: Multiscale) -> Multiscale:
    """A multiscale flow of twice all sides.

    A group takes the net of its own spacing in the same place where both lattices give it the same four nearest sites:
    geometry and physics are the same, but for the size of the lattice. The others, the coarsest, take the net of half
    their spacing, their surroundings stretched by two: the geometry is the same, the physics nearly so; or, where the
    small flow drew that group exactly, that of their own spacing after all. Maps go to the offsets that both groups
    have. Spin-wave weights are those of the large lattice, plus what training had added to them. What has no source
    starts as a spin wave. (Of XY from 16x16 to 32x32, stretching all but the finest spacing left log w a variance of
    1.3 where this leaves 0.56.)

    Args:
        flow: trained on the small lattice; not changed.

    Returns:
        A new flow on the CPU.
    """
    small = flow.lattice
    large = Lattice(*(2 * side for side in small.sides))
    with working_in(flow.unit):
        doubled = Multiscale(flow.model, large, flow.temperatures, **flow.sizes)
    seen = flow.sizes["seen"]
    old_groups = coarse_to_fine(small, flow.model, seen=seen).groups
    column = 2 * flow.sizes["invariants"]
    for g, group in enumerate(coarse_to_fine(large, flow.model, seen=seen).groups):
        found = _source(group, large, old_groups, small, marginals=bool(flow.sizes["marginals"]))
        if found is None:
            continue
        source, factor = found
        old = old_groups[source]
        known = {tuple(factor * d for d in offset): j for j, offset in enumerate(old.offsets(small).tolist())}
        conditioner = cast(Conditioner, doubled.conditioners[g])
        trained = cast(Conditioner, flow.conditioners[source])
        conditioner.net.load_state_dict(trained.net.state_dict())
        learnt = trained.maps.detach().cpu().clone()
        learnt[:, column] -= trained.get_buffer("linear").cpu()
        with torch.no_grad():
            conditioner.maps.zero_()
            conditioner.maps[:, column] = conditioner.get_buffer("linear")
            offsets = group.offsets(large).tolist()
            for j, offset in enumerate(offsets):
                if tuple(offset) in known:
                    conditioner.maps[j] += learnt[known[tuple(offset)]]
            if len(conditioner.maps) - len(offsets) == len(learnt) - len(known):
                conditioner.maps[len(offsets) :] += learnt[len(known) :]  # vectors of marginals
    return doubled


def _source(
    group: Group, large: Lattice, old_groups: Sequence[Group], small: Lattice, *, marginals: bool
) -> tuple[int, int] | None:
    """Number of the small lattice's group whose net a large one takes, and what stretches its surroundings, 1 or 2.

    Nets of the last halving that correct marginals are of no use where there are none.
    """
    places = {(old.spacing, old.place(small)): g for g, old in enumerate(old_groups)}
    place = group.place(large)
    same = places.get((group.spacing, place))
    if same is not None and np.array_equal(old_groups[same].offsets(small)[:4], group.offsets(large)[:4]):
        return same, 1
    stretched = None
    if group.spacing > (4 if marginals else 2):
        stretched = places.get((group.spacing // 2, tuple(x // 2 for x in place)))
    if stretched is not None:
        return stretched, 2
    return None if same is None else (same, 1)


def enlarge(flow: Flow, lattice: Lattice) -> Flow:
    """The flow for a lattice of its own size, or of that size doubled as often as it takes.

    Raises:
        InputError: no doubling leads there, or the flow cannot be doubled.
    """
    start = flow.lattice
    while flow.lattice != lattice:
        if not isinstance(flow, Multiscale) or flow.lattice.Lx >= lattice.Lx:
            raise InputError(
                f"a {flow.name} flow for {start} cannot become one for {lattice}: "
                "start from a multiscale flow of this size, or of half, a quarter, ..."
            )
        flow = double(flow)
    return flow
