"""Which moves a sampler makes, and how many between draws.

``auto`` is heat bath + 3 over-relaxations + turning lines; for XY ferromagnets `mcmc.sampling.mixes` adds clusters
where they make independent draws cheaper. Integrated autocorrelation times in steps of that mix, largest over
``linspace(0.05, 2.05, 32)``, beside those of heat bath + 3 over-relaxations without lines (J = 1):

    L              8            16           32
    XY  energy     2.0 (2.4)    2.9 (3.2)    3.9 (4.3)
    XY  m^2        2.0 (2.5)    3.4 (4.8)    9.1 (15)
    EXY energy     2.8 (3.4)    3.7 (4.8)    6.0 (5.7)      K = 1
    EXY m^2        2.6 (3.4)    5.1 (7.7)    12  (23)

Clusters beside it: processor time in microseconds for an independent energy / abs(m) of one XY chain at T = 0.9 (an
Intel Xeon with AVX-512 that others used too, 2026-11-26; short single runs, uncertain by some tens of per cent):

    L                                             16          64           128
    auto                                          80 / 77     217 / 557    1199 / 3196
    swendsen_wang                                 189 / 148   925 / 669    3906 / 2583
    heat bath, 3 over-relaxations, swendsen_wang  95 / 88     566 / 618    3220 / 3235

These figures are older than the vectors of `mcmc.kernels.swendsen_wang`, by which clusters take a third of the time.
Now ``auto_clusters_every_step``, heat bath, ten over-relaxations and an update of all clusters, keeps the best of both:
its autocorrelation times hardly grow with the lattice. `mcmc.sampling.mixes` has the table, also of ``auto_clusters``,
the local moves of ``auto`` with clusters in every fourth step.

In three dimensions clusters pay later: processor time in microseconds for an independent energy / m^2 / second-moment
length of one chain (`python -m mcmc.bench.cube_costs`, same machine; good to some 20 %), by heat bath and 3
over-relaxations alone, with a Wolff cluster in every fourth step, and in every one:

    T    L     alone                   every fourth            every one
    2.2  8     52 / 52 / 22            120 / 118 / 42          174 / 170 / 71
    2.2  16    775 / 869 / 361         1400 / 1579 / 557       2031 / 2156 / 886
    2.2  32    16928 / 25245 / 9020    14651 / 21727 / 7157    23694 / 29989 / 11868
    1.2  16    111 / 264 / 379         396 / 973 / 1368        875 / 1810 / 2789
    1.2  32    1035 / 4639 / 9840      2941 / 13192 / 25147

Models that are a table of bonds: processor nanoseconds a site for an independent energy / m^2, or chirality squared
where one is named (16 chains, a busy machine, 2026-11-27; compare within a row):

    over-relaxations after a heat bath          1             3             9            3, and Wolff
    triangular, T = 1.45, L = 32                              83 / 196      117 / 307    623 / 636
    fully frustrated, chirality, T = 0.455, 32  2103 / 3922   1299 / 2067   771 / 1144
    triangular J = -1, chirality, T = 0.52, 36  3407 / 5390   3307 / 5891   2955 / 4641
    3D XY, T = 2.2, L = 16                                    205 / 232     271 / 247
    3D XY, T = 2.2, L = 32                                    890 / 1252    906 / 984
    generalised XY, delta = 0.5, T = 0.7, L = 32, by two sweeps of Metropolis instead
                                                              483 / 1567                  2885 / 3674

So there are nine where the model is frustrated, and three elsewhere; clusters pay on large lattices only.

On larger lattices ``auto_over_relaxation`` is cheaper than ``auto``: ten over-relaxations move spin waves far, and
turned lines disturb them, so that these are left to every eighth step. EXY, K = 1, T = 1.13, tau of energy, m^2 and
the squared current at L = 64: 1.6, 9.7 and 12 steps by ``auto``; 1.8, 1.5 and 1.7 by ``auto_over_relaxation``, in
steps that take 1.2 times as long. At L = 32 both cost the same.

Lines matter most where ring exchange is strong or frustrates: at L = 16 they bring tau(m^2) from 27 to 7.2 at K = 3,
from 61 to 18 at K = 10, and tau(E) from more than 1000 to 24 at K = -2. Energies forget in a time that grows as the
root of the side; so draws are spaced, by some 2.5 tau(E): wider ones would cost more than they add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcmc.errors import InputError
from mcmc.kernels.conventions import Interaction
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model
from mcmc.runtime.registry import Registry
from mcmc.sampling.mixes import CLUSTERS_EVERY
from mcmc.sampling.moves import (
    HeatBath,
    KernelMove,
    Lines,
    Metropolis,
    Move,
    OverRelaxation,
    PlaquetteCluster,
    Program,
    SwendsenWang,
    Symmetry,
    Twist,
    Wolff,
    describe,
)

if TYPE_CHECKING:
    from mcmc.sampling.replicas import ReplicaBlock

LEAST_NUMBERS = 8
"""Random moves that every step owns at least."""
SYMMETRY_EVERY = 8
"""Steps of ``auto`` from one symmetry move to the next, which takes as long as four steps and leaves the energy."""
CLUSTERS_FROM = {2: 80**2, 3: 40**3}
"""Sites from which on ``auto`` grows clusters by a table of bonds, by dimensions."""
CLUSTERS_BESIDE_METROPOLIS_FROM = 48**2
"""Sites from which on it does so in models without a heat bath, whose single spins move by Metropolis."""


class Update(NamedTuple):
    """A move in a sampler's step."""

    move: Move
    times: int = 1
    """How often in a row."""
    every: int = 1
    """Only in every so many steps."""


class _Placed(NamedTuple):
    """An update with the first of the step's random moves that it uses."""

    move: Move
    times: int
    every: int
    number: int


class _Plan(NamedTuple):
    """How a sampler's step is made."""

    segments: list[Program | _Placed]
    """In turn: moves that one call of a kernel makes together, or one that is called by itself."""
    at_once: bool
    """Whether the segment, then the only one, makes many steps in one call."""


@dataclass(frozen=True)
class Sampler:
    """What one step of a run does: moves, in this order.

    Args:
        updates: `Update` objects, or bare moves.
        spacing: steps between draws, over the root of the longest side, unless a run sets its own.
        thermalisation: steps of thermalisation beyond 400, over the longest side, unless a run sets its own.

    Raises:
        InputError: there are no moves, or a number of repetitions is not positive.

    Example:
        Heat bath with two over-relaxations, and a cluster every fourth step:

        >>> sampler = Sampler((HeatBath(), Update(OverRelaxation(), times=2), Update(Wolff(), every=4)))
        >>> sampler.move_names
        ('heat_bath', 'over_relaxation', 'wolff')
    """

    updates: tuple[Update, ...]
    spacing: float = 10.0
    thermalisation: int = 50

    def __init__(self, updates: Sequence[Update | Move], spacing: float = 10.0, thermalisation: int = 50):
        whole = tuple(each if isinstance(each, Update) else Update(each) for each in updates)
        if not whole:
            raise InputError("a sampler needs at least one move")
        for each in whole:
            if not isinstance(each.move, Move):
                raise InputError(f"{each.move!r} is not a move: give instances of mcmc.sampling.moves.Move")
            if each.times < 1 or each.every < 1:
                raise InputError(f"{each.move.name}: times = {each.times} and every = {each.every} must be at least 1")
        object.__setattr__(self, "updates", whole)
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "thermalisation", thermalisation)

    @property
    def moves(self) -> tuple[Move, ...]:
        """Every move, once for each update."""
        return tuple(update.move for update in self.updates)

    @property
    def move_names(self) -> tuple[str, ...]:
        """Names of the moves, each once, in order."""
        return tuple(dict.fromkeys(move.name for move in self.moves))

    @property
    def strips(self) -> bool:
        """Whether every move can advance lattices that are cut into strips."""
        return all(move.strips for move in self.moves)

    @property
    def vectors(self) -> bool:
        """Whether every move advances the lanes of a vector together, so that empty ones cost as much as full ones."""
        return all(isinstance(move, KernelMove) for move in self.moves)

    @cached_property
    def _placed(self) -> list[_Placed]:
        return _place(self.updates)

    @cached_property
    def numbers(self) -> int:
        """Random moves that a step owns."""
        return max([LEAST_NUMBERS, *(each.number + each.times * each.move.numbers for each in self._placed)])

    @cached_property
    def _plans(self) -> dict[type, _Plan]:
        return {}

    def _plan(self, interaction: Interaction) -> _Plan:
        kind = type(interaction)
        if kind not in self._plans:
            self._plans[kind] = self._planned(interaction)
        return self._plans[kind]

    def _planned(self, interaction: Interaction) -> _Plan:
        def together(placed: _Placed) -> bool:
            # Alone, a move that is not only a kernel may do better by many steps of its own.
            return placed.move.kernel_for(interaction) is not None and (len(self.updates) > 1 or self.vectors)

        segments: list[Program | _Placed] = []
        for compiled, group in groupby(self._placed, together):
            lines = [*group]
            segments += [Program(lines, interaction)] if compiled else lines
        first = segments[0]
        at_once = len(segments) == 1 and (isinstance(first, Program) or first.times == first.every == 1)
        return _Plan(segments, at_once)

    def check(self, model: Model, lattice: Lattice) -> None:
        """Refuse a model that a move cannot sample.

        Raises:
            InputError: with the move's reason.
        """
        for move in self.moves:
            if reason := move.obstacle(model, lattice):
                raise InputError(f"{move.name} cannot sample {model}: {reason}")

    def proposals(self, lattice: Lattice) -> dict[str, float]:
        """Most that each move's counter can grow by in a step, on average; only of moves that count."""
        found: dict[str, float] = {}
        for move, times, every in self.updates:
            if most := move.proposals(lattice):
                found[move.name] = found.get(move.name, 0.0) + times * most / every
        return found

    def advance(self, block: ReplicaBlock, step: int, steps: int) -> None:
        """Make steps, in place.

        Args:
            block: the replicas.
            step: number of the first step since the start of the run.
            steps: how many.
        """
        (segments, at_once), numbers = self._plan(block.interaction), self.numbers
        n, end = step, step + steps
        while n < end:
            count = end - n if at_once else _steps_together(segments, n, end)
            last = n if at_once else n + count - 1  # the only one of them in which other moves act
            for segment in segments:
                if isinstance(segment, Program):
                    segment.advance(block, n, count, numbers)
                elif last % segment.every == 0:
                    for again in range(segment.times):
                        number = segment.number + again * segment.move.numbers
                        steps_each = count if at_once else 1
                        segment.move.advance(block, last, steps_each, numbers_per_step=numbers, number=number)
            n += count

    def run(
        self, block: ReplicaBlock, step: int, draws: int, thin: int, angles: bool
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Measure ``draws`` times, ``thin`` steps before each, by one call of a kernel; see `Program.measure`.

        Returns:
            None where a step is not one call of a kernel.
        """
        segments, at_once = self._plan(block.interaction)
        program = segments[0]
        if at_once and isinstance(program, Program):
            return program.measure(block, step, draws, thin, self.numbers, angles)
        return None

    def describe(self) -> list[dict[str, Any]]:
        """The moves in JSON's types, for files."""
        return [
            {**describe(update.move), **{name: n for name in ("times", "every") if (n := getattr(update, name)) > 1}}
            for update in self.updates
        ]

    def default_thin(self, lattice: Lattice) -> int:
        """Steps between draws; for the built-in samplers they leave a tau_int of the energy below 0.6 draws."""
        return math.ceil(self.spacing * math.sqrt(max(lattice.shape)))

    def default_thermalise(self, lattice: Lattice) -> int:
        """Steps before the first draw: some fifty autocorrelation times of m^2."""
        return 400 + self.thermalisation * max(lattice.shape)


def _steps_together(segments: Sequence[Program | _Placed], n: int, end: int) -> int:
    """How many steps from step n on the first segment can make in one call, before another one acts."""
    first, *rest = segments
    if not isinstance(first, Program) or any(isinstance(segment, Program) for segment in rest):
        return 1
    due = min(-n % segment.every for segment in rest if not isinstance(segment, Program))
    return min(due + 1, end - n)


def _place(updates: Sequence[Update]) -> list[_Placed]:
    """Give every update random moves of its own: those it prefers, or the next free ones."""
    taken: set[int] = set()
    placed = []
    for move, times, every in updates:
        number = move.number
        while taken & (wanted := {*range(number, number + times * move.numbers)}):
            number += 1
        taken |= wanted
        placed.append(_Placed(move, times, every, number))
    return placed


def _windings() -> tuple[Update, ...]:
    return tuple(Update(Twist(axis), every=8) for axis in (0, 1))


SAMPLERS = Registry[Sampler]("sampler")
"""Every sampler by name."""

_LOCAL = (
    HeatBath(),
    Update(OverRelaxation(), times=3),
    Lines(0),
    Update(Twist(0), every=8),
    Lines(1),
    Update(Twist(1), every=8),
)
SAMPLERS.register("auto", Sampler(_LOCAL, spacing=2.5, thermalisation=10))
SAMPLERS.register(
    "auto_over_relaxation",
    Sampler(
        (
            HeatBath(),
            Update(OverRelaxation(), times=10),
            *(Update(move, every=8) for move in (Lines(0), Twist(0), Lines(1), Twist(1))),
        ),
        spacing=2.5,
        thermalisation=10,
    ),
)
SAMPLERS.register(
    "auto_clusters",
    Sampler((*_LOCAL, Update(SwendsenWang(), every=CLUSTERS_EVERY)), spacing=2.5, thermalisation=10),
)
SAMPLERS.register(
    "auto_clusters_every_step",
    Sampler(
        (HeatBath(), Update(OverRelaxation(), times=10), *_windings(), SwendsenWang()), spacing=1.25, thermalisation=10
    ),
)
SAMPLERS.register("metropolis", Sampler((Metropolis(), *_windings()), spacing=30.0, thermalisation=200))
SAMPLERS.register("heat_bath", Sampler((HeatBath(), *_windings())))
SAMPLERS.register(
    "over_relaxation",
    Sampler((HeatBath(), Update(OverRelaxation(), times=3), *_windings()), spacing=6.0, thermalisation=15),
)
SAMPLERS.register("wolff", Sampler((Wolff(),), spacing=5.0, thermalisation=10))
SAMPLERS.register("swendsen_wang", Sampler((SwendsenWang(),), spacing=5.0, thermalisation=10))
SAMPLERS.register("plaquette_cluster", Sampler((HeatBath(), *_windings(), PlaquetteCluster())))


_WITH_WINDINGS = ("metropolis", "heat_bath", "over_relaxation")
"""Samplers that propose changes of winding beside their own move, where the model has such moves."""


def register_sampler(name: str, sampler: Sampler, *, replace: bool = False) -> None:
    """Let a sampler be known by name, for settings, files and the command line.

    Worker processes know it only if they import the module that registers it: name it ``module:name`` there.

    Args:
        name: one word.
        sampler: the moves of a step.
        replace: whether an existing sampler of that name gives way.

    Raises:
        InputError: the name is taken.

    Example:
        >>> register_sampler("gentle", Sampler((HeatBath(), Update(OverRelaxation(), times=10))))
    """
    if not isinstance(sampler, Sampler):
        raise InputError(f"expected an mcmc.Sampler; got {type(sampler).__name__}")
    SAMPLERS.register(name, sampler, replace=replace)


def _automatic(model: Model, lattice: Lattice) -> Sampler:
    """What ``auto`` stands for: the moves that the model allows, in the order of what they are worth."""
    if model.square and model.square.K >= 0:
        # A ferromagnet, or by turning every other spin an antiferromagnet: rotations join all ordered states.
        return SAMPLERS["auto"]
    moves: list[Update | Move] = []
    if model.square:
        moves += SAMPLERS["auto"].updates
    elif HeatBath().obstacle(model, lattice):
        moves.append(Update(Metropolis(), times=2))
    else:
        frustrated = model.rotation and not model.ferromagnetic
        moves += [HeatBath(), Update(OverRelaxation(), times=9 if frustrated else 3)]
    if model.ferromagnetic and not Wolff().obstacle(model, lattice):
        slow = bool(HeatBath().obstacle(model, lattice))
        if (CLUSTERS_BESIDE_METROPOLIS_FROM if slow else CLUSTERS_FROM[model.dimensions]) <= lattice.N:
            every = 1 if slow or model.dimensions == 2 else CLUSTERS_EVERY
            moves.append(Update(Wolff(), every=every))
    if not model.ferromagnetic and not Symmetry().obstacle(model, lattice):
        # What the energy leaves open must not depend on where a chain began.
        moves.append(Update(Symmetry(), every=SYMMETRY_EVERY))
    spacing, thermalisation = (5.0, 10) if not isinstance(moves[0], Update) or model.square else (30.0, 200)
    return Sampler(moves, spacing=spacing, thermalisation=thermalisation)


def find_sampler(name: str, model: Model, lattice: Lattice) -> Sampler:
    """The sampler of that name, or at ``module:name``.

    Raises:
        InputError: there is none, or one of its moves cannot sample the model.
    """
    sampler = _automatic(model, lattice) if name == "auto" else SAMPLERS.find(name)
    if not isinstance(sampler, Sampler):
        raise InputError(f"{name!r} is not a sampler: give an mcmc.Sampler")
    if name in _WITH_WINDINGS and not model.square:
        # Changes of winding are a help where there are some; the other moves are exact without them.
        rest = [update for update in sampler.updates if not isinstance(update.move, Twist)]
        sampler = Sampler(rest, sampler.spacing, sampler.thermalisation)
    sampler.check(model, lattice)
    return sampler
