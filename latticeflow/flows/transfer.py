"""Lattice doubling: a flow of twice the side starts from what a smaller one has learnt."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

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
    old_groups = _groups_of(flow)
    for group, conditioner in zip(_groups_of(doubled), doubled.conditioners, strict=True):
        found = _source(group, large, old_groups, small, marginals=bool(flow.sizes["marginals"]))
        if found is not None:
            source, factor = found
            trained = cast(Conditioner, flow.conditioners[source])
            offsets = factor * old_groups[source].offsets(small)
            _give(trained, offsets, cast(Conditioner, conditioner), group.offsets(large))
    return doubled


def refine(flow: Multiscale) -> Multiscale:
    """The flow with fewer sites drawn together (``finer`` of `Multiscale`): its acceptance can become higher.

    Every group takes the net of the group that its sites were part of. What its sites see beyond that has spin-wave
    weights only.

    Args:
        flow: not changed.

    Returns:
        A new flow on the CPU, or the given one where it draws that way already.

    Example:
        >>> from latticeflow.flows import build_flow
        >>> from mcmc import XY
        >>> refine(build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), width=16)).sizes["finer"]
        True
    """
    if flow.sizes["finer"]:
        return flow
    with working_in(flow.unit):
        refined = Multiscale(flow.model, flow.lattice, flow.temperatures, **{**flow.sizes, "finer": True})
    old_groups = _groups_of(flow)
    numbers = {int(site): number for number, old in enumerate(old_groups) for site in old.sites}
    for group, conditioner in zip(_groups_of(refined), refined.conditioners, strict=True):
        source = numbers[int(group.sites[0])]
        offsets = old_groups[source].offsets(flow.lattice)
        _give(
            cast(Conditioner, flow.conditioners[source]),
            offsets,
            cast(Conditioner, conditioner),
            group.offsets(flow.lattice),
        )
    return refined


def combine(flows: Sequence[Multiscale], theta: Tensor, temperatures: Tensor) -> Multiscale:
    """Of several flows for one lattice the best net of each group: those with which log w varies least.

    What is learnt on a small lattice about its fine groups, with little noise from the coarse ones, can be better than
    what a large one has learnt about them: combine a flow with `double` of a smaller one. Groups are chosen one after
    the other, the finest first, twice.

    Args:
        flows: of one model, lattice and sizes; the first gives what has no better.
        theta: draws of the ensemble, some hundred at each temperature, float32 (T, n, Ly, Lx).
        temperatures: (T,).

    Returns:
        A new flow. Its nets were chosen by these draws: evaluate it on others.

    Raises:
        InputError: the flows have other groups or nets than the first.

    Example:
        >>> from latticeflow.flows import build_flow
        >>> from mcmc import XY, generate
        >>> flows = [build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), width=16) for _ in range(2)]
        >>> ensemble = generate(XY(), size=4, temperatures=[0.5, 1.0], draws=100, seed=1)
        >>> theta = torch.as_tensor(ensemble.theta().reshape(2, -1, 4, 4))
        >>> combine(flows, theta, torch.tensor([0.5, 1.0])).lattice == flows[0].lattice
        True
    """
    first = flows[0]
    for flow in flows[1:]:
        if flow.lattice != first.lattice or flow.model != first.model or flow.sizes != first.sizes:
            raise InputError(f"{flow!r} has other nets than {first!r}: combine flows of one model, lattice and sizes")
    flat, T = theta.flatten(0, 1), temperatures.repeat_interleave(theta.shape[1])
    log_q = torch.stack([flow.log_prob_by_group(flat, T) for flow in flows])
    with torch.no_grad():  # of what all flows have in common, the exact last colour
        log_w = -first.model.energy(flat) / T - first.log_prob(flat, T) + log_q[0].sum(0)
    chosen = [0] * log_q.shape[1]

    def spread(of_group: Tensor, rest: Tensor) -> float:
        return float((rest - of_group).view(theta.shape[:2]).var(1).log().mean())

    rest = log_w - log_q[0].sum(0)
    for group in 2 * list(reversed(range(len(chosen)))):
        rest = rest + log_q[chosen[group], group]
        chosen[group] = min(range(len(flows)), key=lambda each: spread(log_q[each, group], rest))
        rest = rest - log_q[chosen[group], group]
    combined = copy.deepcopy(first)
    for group, which in enumerate(chosen):
        combined.conditioners[group].load_state_dict(flows[which].conditioners[group].state_dict())
    return combined


def _groups_of(flow: Multiscale) -> Sequence[Group]:
    return coarse_to_fine(flow.lattice, flow.model, seen=flow.sizes["seen"], finer=flow.sizes["finer"]).groups


@torch.no_grad()
def _give(trained: Conditioner, old_offsets: np.ndarray, conditioner: Conditioner, offsets: np.ndarray) -> None:
    """Give a net, and its maps to the offsets that both see; spin-wave weights stay those of the new one.

    Args:
        trained: gives.
        old_offsets: where it sees spins, (n, axes).
        conditioner: takes.
        offsets: where that one sees spins, (m, axes).
    """
    known = {tuple(offset): j for j, offset in enumerate(old_offsets.tolist())}
    conditioner.net.load_state_dict(trained.net.state_dict())
    learnt = trained.maps.detach().cpu().clone()
    learnt[:, 2 * trained.invariants] -= trained.get_buffer("linear").cpu()
    conditioner.maps.zero_()
    conditioner.maps[:, 2 * trained.invariants] = conditioner.get_buffer("linear")
    for j, offset in enumerate(offsets.tolist()):
        if tuple(offset) in known:
            conditioner.maps[j] += learnt[known[tuple(offset)]]
    if len(conditioner.maps) - len(offsets) == len(learnt) - len(known):
        conditioner.maps[len(offsets) :] += learnt[len(known) :]  # vectors of marginals


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


def widen(flow: Multiscale, **sizes: int) -> Multiscale:
    """The same density by larger conditioners, which training can make use of.

    Parameters that the flow has are kept, and what is new starts at random where nothing depends on it yet, and at zero
    where the law would change.

    Args:
        flow: to start from; not changed.
        sizes: larger ``invariants``, ``vectors``, ``products``, ``directions`` or ``width`` of `Multiscale`.

    Returns:
        A new flow on the CPU, or the given one where nothing is larger.

    Raises:
        InputError: a size that cannot be changed, or that would become smaller.

    Example:
        >>> from latticeflow.flows import build_flow
        >>> from mcmc import XY
        >>> flow = build_flow("multiscale", XY(), Lattice(4, 4), (0.5, 2.0), width=16)
        >>> theta, log_q = flow.sample(5, 1.0, seed=1)
        >>> bool(abs(widen(flow, width=32).log_prob(theta, 1.0) - log_q).max() < 1e-4)
        True
    """
    for name, size in sizes.items():
        if name not in _CAN_GROW:
            raise InputError(f"{name} of a trained flow stays as it is: only {', '.join(_CAN_GROW)} can become larger")
        if size < flow.sizes[name]:
            raise InputError(f"{name} = {size} is smaller than {flow.sizes[name]}, which the flow has: ask for more")
    if all(flow.sizes[name] == size for name, size in sizes.items()):
        return flow
    with working_in(flow.unit):
        wide = Multiscale(flow.model, flow.lattice, flow.temperatures, **{**flow.sizes, **sizes})
    for old, new in zip(flow.conditioners, wide.conditioners, strict=True):
        _widen(cast(Conditioner, old), cast(Conditioner, new))
    return wide


_CAN_GROW = ("invariants", "vectors", "products", "directions", "width")


@torch.no_grad()
def _widen(old: Conditioner, new: Conditioner) -> None:
    """Give one net's parameters to a larger one."""
    columns = torch.cat([torch.arange(n) + start for n, start in zip(old.splits, _starts(new.splits), strict=True)])
    new.maps[:, columns] = old.maps.cpu()
    inputs = torch.cat((torch.arange(old.invariants), new.invariants + torch.arange(4)))
    layers = [[cast(nn.Linear, each.net[layer]) for each in (old, new)] for layer in (0, 2, 4)]
    hidden = torch.arange(layers[0][0].out_features)
    # An output of the old net has the place (direction, vector) or (direction, harmonic) in a table.
    K = old.directions
    vectors = torch.cat((torch.arange(1 + old.vectors), 1 + new.vectors + torch.arange(old.products)))
    g, G, A = _starts(new.outputs)
    outputs = torch.cat(
        (
            g + vectors,
            (G + new.outputs[0] * torch.arange(K)[:, None] + vectors).flatten(),
            A + torch.arange(K * old.harmonics),
        )
    )
    last = layers[2][1]
    # New vectors act on nothing old, and new directions point anywhere but do not act.
    still = torch.ones(last.out_features, dtype=torch.bool)
    still[G + K * new.outputs[0] : A] = False
    last.weight[still], last.bias[still] = 0.0, 0.0
    places = ((hidden, inputs), (hidden, hidden), (outputs, hidden))
    for (source, target), (rows, columns) in zip(layers, places, strict=True):
        target.weight[rows] = 0.0
        target.weight[rows[:, None], columns] = source.weight.cpu()
        target.bias[rows] = source.bias.cpu()


def _starts(sizes: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(sizes)[:-1].tolist()]
