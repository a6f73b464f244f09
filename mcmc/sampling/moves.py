"""The moves of which samplers are made: what each can sample, what it counts, what is tuned, and how it is called.

Every move leaves the Boltzmann distribution of the models that it supports invariant by itself; so does any fixed
sequence of moves. A move of your own is a subclass of `Move`; `mcmc.sampling.samplers.Sampler` makes a sampler of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mcmc.kernels import conventions
from mcmc.kernels.conventions import Interaction, Square
from mcmc.models.lattice import Lattice
from mcmc.models.order import periods
from mcmc.models.presets import Model
from mcmc.sampling.interactions import pairs_of

if TYPE_CHECKING:
    from mcmc.sampling.replicas import ReplicaBlock

_COUNT_LIMIT = 2**23  # float32 counts whole numbers exactly to 2^24


class Move(ABC):
    """One kind of update, of all replicas of a block at once.

    Attributes:
        name: under which its acceptance is reported and its tuned parameter stored.
        numbers: how many random moves it uses each time; see `mcmc.kernels`.
        initial: starting value of its tuned parameter, one for each replica; None where nothing is tuned.
        strips: whether it can advance lattices that are cut into strips, see `mcmc.kernels.strips`; if not, every
            replica of its sampler has one lane.
    """

    name: ClassVar[str]
    numbers: ClassVar[int] = 1
    initial: ClassVar[float | None] = None
    strips: ClassVar[bool] = False

    @property
    def number(self) -> int:
        """The first of the step's random moves that this one takes if that is free."""
        return 0

    def kernel_for(self, interaction: Interaction) -> int | None:
        """Its number in `mcmc.kernels.conventions` where `mcmc.kernels.steps` makes it together with others."""
        return None

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """Why this move cannot sample a model on a lattice, with the remedy; empty if it can."""
        return ""

    def proposals(self, lattice: Lattice) -> float:
        """Most that its counter can grow by each time: what acceptances are relative to; 0 if it counts nothing."""
        return float(lattice.N)

    def tune(self, parameter: np.ndarray, rate: np.ndarray, lattice: Lattice) -> np.ndarray:
        """A better tuned parameter; thermalisation asks for one now and then, and keeps the last.

        Args:
            parameter: float32 (R,), the present one.
            rate: float64 (R,), its counter since the last time, over `proposals`.
            lattice: the lattice.
        """
        return parameter

    def complaint(self, rate: np.ndarray, temperatures: np.ndarray) -> str:
        """What to warn of after thermalisation; empty if nothing.

        Args:
            rate: (T,), its counter over `proposals`, mean over the chains of each temperature.
            temperatures: (T,).
        """
        return ""

    @abstractmethod
    def advance(self, block: ReplicaBlock, step: int, steps: int, *, numbers_per_step: int, number: int) -> None:
        """Make ``steps`` steps of this move alone, in place.

        Args:
            block: the replicas; add what is counted to ``block.counts[self.name]``, float32 (W,), where the lanes
                of a replica are summed.
            step: number of the first step since the start of the run.
            steps: how many.
            numbers_per_step: random moves that a step owns: those of step n begin at ``n * numbers_per_step``.
            number: the first of these that this move may use.
        """


class KernelMove(Move):
    """A move that `mcmc.kernels.steps` makes together with others, in one call for many steps.

    Attributes:
        kernel: its number in `mcmc.kernels.conventions`.
        axis: of moves along an axis, 0 along x and 1 along y.
    """

    kernel: ClassVar[int]
    axis: int = 0
    strips: ClassVar[bool] = True

    def kernel_for(self, interaction: Interaction) -> int | None:
        """See `Move.kernel_for`."""
        return self.kernel

    def advance(self, block: ReplicaBlock, step: int, steps: int, *, numbers_per_step: int, number: int) -> None:
        """See `Move.advance`."""
        Program([(self, 1, 1, number)], block.interaction).advance(block, step, steps, numbers_per_step)


class Program:
    """Moves that one call of a kernel makes together.

    Args:
        lines: moves with how often in a step, every how many steps, and their first random move.
        interaction: of the blocks that they advance.
    """

    def __init__(self, lines: Sequence[tuple[Move, int, int, int]], interaction: Interaction):
        self.moves = [line[0] for line in lines]
        rows = [
            (move.kernel_for(interaction), times, every, number, getattr(move, "axis", 0))
            for move, times, every, number in lines
        ]
        self._lines = np.array(rows, np.int64)

    def advance(self, block: ReplicaBlock, step: int, steps: int, numbers_per_step: int) -> None:
        """Make steps, in place; see `Move.advance`."""
        self._run(block, step, 1, steps, numbers_per_step, False, False)

    def measure(
        self, block: ReplicaBlock, step: int, draws: int, thin: int, numbers_per_step: int, angles: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Measure ``draws`` times, ``thin`` steps before each; see `Move.advance`.

        Returns:
            What `mcmc.kernels.measure` finds in each lane, float64 (draws, 3, W), and the angles, float32
            (draws, n, W), or none of them.
        """
        return self._run(block, step, draws, thin, numbers_per_step, True, angles)

    def _run(
        self, block: ReplicaBlock, step: int, draws: int, thin: int, numbers_per_step: int, moments: bool, angles: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        accepted = np.zeros((len(self.moves), len(block.beta)), np.float32)
        width = block.tuned.get(Metropolis.name, block.beta)
        made = block.steps.run(self._lines, width, accepted, numbers_per_step, step, draws, thin, moments, angles)
        for move, row in zip(self.moves, accepted, strict=True):
            if move.numbers:
                block.counts[move.name] += row
        return made


@dataclass(frozen=True)
class HeatBath(KernelMove):
    """One sweep of heat bath: every spin drawn anew in its local field."""

    name: ClassVar[str] = "heat_bath"
    kernel: ClassVar[int] = conventions.HEAT_BATH

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """It draws from von Mises laws."""
        return _linear_obstacle(model, lattice)


@dataclass(frozen=True)
class Metropolis(KernelMove):
    """One sweep of Metropolis; the width of the proposals, in units of pi, is tuned to an acceptance of one half."""

    name: ClassVar[str] = "metropolis"
    kernel: ClassVar[int] = conventions.METROPOLIS
    initial: ClassVar[float | None] = 1.0

    def tune(self, parameter: np.ndarray, rate: np.ndarray, lattice: Lattice) -> np.ndarray:
        """Towards an acceptance of one half."""
        return np.clip(parameter * np.exp(2 * (rate - 0.5)), 1e-7, 1)


@dataclass(frozen=True)
class OverRelaxation(KernelMove):
    """One sweep of over-relaxation: every spin reflected about its local field, which keeps the energy."""

    name: ClassVar[str] = "over_relaxation"
    kernel: ClassVar[int] = conventions.OVER_RELAXATION
    numbers: ClassVar[int] = 0

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """It reflects about the mean of von Mises laws."""
        return _linear_obstacle(model, lattice)

    def proposals(self, lattice: Lattice) -> float:
        """Every reflection is accepted: nothing is counted."""
        return 0


@dataclass(frozen=True)
class Lines(KernelMove):
    """Turn every column (axis 0) or every row (axis 1) as a whole; see `mcmc.kernels.lines`."""

    axis: int = 0

    name: ClassVar[str] = "lines"
    kernel: ClassVar[int] = conventions.LINES

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """Its kernel knows bonds of nearest neighbours and plaquettes."""
        return _line_obstacle(model)

    @property
    def number(self) -> int:
        """1 along x, 2 along y."""
        return 1 + self.axis

    def proposals(self, lattice: Lattice) -> float:
        """As many as there are lines."""
        return float(lattice.shape[1 - self.axis])


@dataclass(frozen=True)
class Twist(KernelMove):
    """Propose to change the winding number along x (axis 0) or y (axis 1); see `mcmc.kernels.twist`."""

    axis: int = 0

    name: ClassVar[str] = "twist"
    kernel: ClassVar[int] = conventions.TWIST

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """Its kernel knows bonds of nearest neighbours and plaquettes."""
        return _line_obstacle(model)

    @property
    def number(self) -> int:
        """3 along x, 4 along y."""
        return 3 + self.axis

    def proposals(self, lattice: Lattice) -> float:
        """One."""
        return 1.0


def _reflection_obstacle(model: Model, lattice: Lattice) -> str:
    """Why reflecting clusters of spins about any line would not be exact; empty if it is."""
    if any(len(term.on(lattice.shape)[0]) > 2 for term in model.terms if term.scale):
        return "a reflection of part of the spins does not keep terms of more than two, such as ring exchange: use auto"
    if not model.rotation:
        return "reflections about any line need the symmetry of turning all spins: use auto, or metropolis"
    if not model.reflection:
        return "reflections need bonds without phases: use auto, heat_bath or metropolis"
    return ""


def _linear_obstacle(model: Model, lattice: Lattice) -> str:
    """Why the conditional of one spin is not a von Mises law; empty if it is."""
    if model.harmonics(lattice.shape) in ((), (1,)):
        return ""
    return "the energy of a spin depends on multiples of its angle: use auto, or metropolis"


def _line_obstacle(model: Model) -> str:
    return "" if model.square else "it turns lines of a model of nearest neighbours and plaquettes only: use auto"


@dataclass(frozen=True)
class Wolff(Move):
    """Wolff's single clusters; about as many in a step as flip every spin once."""

    name: ClassVar[str] = "wolff"
    strips: ClassVar[bool] = True
    initial: ClassVar[float | None] = 1.0

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """Reflections of clusters need pairs of spins alone, and no direction of its own."""
        return _reflection_obstacle(model, lattice)

    def tune(self, parameter: np.ndarray, rate: np.ndarray, lattice: Lattice) -> np.ndarray:
        """Towards one flip of every spin in a step."""
        return np.clip(np.rint(parameter / rate), 1, lattice.N)

    def advance(self, block: ReplicaBlock, step: int, steps: int, *, numbers_per_step: int, number: int) -> None:
        """See `Move.advance`."""
        from mcmc.kernels.pair_clusters import pair_wolff
        from mcmc.kernels.wolff import wolff

        x, y, keys = block.x.ravel(), block.y.ravel(), block.keys.ravel()
        span = step, steps, numbers_per_step, number
        tuned, counts = block.tuned[self.name], block.counts[self.name]
        if isinstance(block.interaction, Square):
            sides = block.lattice.Lx, block.lattice.Ly
            J = block.interaction.J
            wolff(x, y, block.beta, tuned, keys, J, *sides, block.size, block.strips, *span, counts)
            block.copy_rows()
        else:
            pair_wolff(x, y, block.beta, tuned, keys, *pairs_of(block.model, block.lattice), block.size, *span, counts)


@dataclass(frozen=True)
class SwendsenWang(Move):
    """Swendsen and Wang's clusters: all of them, each reflected or not."""

    name: ClassVar[str] = "swendsen_wang"
    strips: ClassVar[bool] = True
    numbers: ClassVar[int] = 3

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """Reflections of clusters need pairs of spins alone, and no direction of its own."""
        return _reflection_obstacle(model, lattice)

    def kernel_for(self, interaction: Interaction) -> int | None:
        """See `Move.kernel_for`."""
        return conventions.SWENDSEN_WANG if isinstance(interaction, Square) else None

    def advance(self, block: ReplicaBlock, step: int, steps: int, *, numbers_per_step: int, number: int) -> None:
        """See `Move.advance`."""
        from mcmc.kernels.pair_clusters import pair_swendsen_wang
        from mcmc.kernels.swendsen_wang import room_for, swendsen_wang

        x, y, keys = block.x.ravel(), block.y.ravel(), block.keys.ravel()
        span = step, steps, numbers_per_step, number
        counts = block.counts[self.name]
        if isinstance(block.interaction, Square):
            sides = block.lattice.Lx, block.lattice.Ly
            J = block.interaction.J
            room = np.empty(room_for(*sides), np.uint32)
            swendsen_wang(x, y, block.beta, keys, J, *sides, block.size, block.strips, *span, counts, room)
            block.copy_rows()
        else:
            pair_swendsen_wang(x, y, block.beta, keys, *pairs_of(block.model, block.lattice), block.size, *span, counts)


@dataclass(frozen=True)
class PlaquetteCluster(Move):
    """Clusters for ring exchange, which percolate where K / T is not small; see `mcmc.kernels.plaquette_cluster`."""

    percolation: float = field(default=0.8, repr=False)
    """Mean share of sites in the largest cluster above which the move is called useless."""

    name: ClassVar[str] = "plaquette_cluster"
    strips: ClassVar[bool] = True
    numbers: ClassVar[int] = 3

    @property
    def number(self) -> int:
        """Its number is 5, as moves 0 to 4 of a step belong to local ones."""
        return 5

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """Without ring exchange there is something better."""
        return "" if model.square and model.square.K else "it is for ring exchange: use auto, wolff or swendsen_wang"

    def complaint(self, rate: np.ndarray, temperatures: np.ndarray) -> str:
        """Where clusters percolate."""
        useless = temperatures[rate > self.percolation]
        if not useless.size:
            return ""
        return (
            f"plaquette clusters are useless at {useless.size} temperatures from T = {useless.min():.4g} to "
            f"{useless.max():.4g}: the largest fills {100 * self.percolation:.0f} % of the lattice or more; the "
            "sampler auto turns rows and columns instead"
        )

    def advance(self, block: ReplicaBlock, step: int, steps: int, *, numbers_per_step: int, number: int) -> None:
        """See `Move.advance`."""
        from mcmc.kernels.plaquette_cluster import plaquette_cluster

        x, y, keys = block.x.ravel(), block.y.ravel(), block.keys.ravel()
        span = block.size, block.strips, step, steps, numbers_per_step, number
        J, K = (np.float32(value) for value in block.model.square or (0.0, 0.0))
        plaquette_cluster(x, y, block.beta, keys, block.sites, J, K, *span, block.counts[self.name])
        block.copy_rows()


@dataclass(frozen=True)
class Symmetry(Move):
    """Apply a random exact symmetry to whole configurations: a shift, a reversal of all angles, a turn.

    It costs next to nothing, changes no energy, and is what keeps an order that breaks such a symmetry from freezing:
    the sign of the staggered chirality of ring exchange, that of a frustrated model, the direction of a clock.
    """

    name: ClassVar[str] = "symmetry"

    def obstacle(self, model: Model, lattice: Lattice) -> str:
        """There must be one."""
        trivial = periods(model, lattice.shape) == lattice.sides
        if trivial and not model.reflection and model.turns <= 1:
            return "the model has no symmetry but global rotations, which need no help: leave it out"
        return ""

    def proposals(self, lattice: Lattice) -> float:
        """One."""
        return 1.0

    def advance(self, block: ReplicaBlock, step: int, steps: int, *, numbers_per_step: int, number: int) -> None:
        """See `Move.advance`."""
        from mcmc.kernels.symmetry import symmetry

        x, y, keys, model = block.x.ravel(), block.y.ravel(), block.keys.ravel(), block.model
        sides, shifts = (
            np.array([*values, 1, 1][:3], np.int64)
            for values in (block.lattice.sides, periods(model, block.lattice.shape))
        )
        span = block.size, step, steps, numbers_per_step, number
        mirrored, turns = model.reflection, model.turns
        symmetry(x, y, len(block.beta), keys, sides, shifts, mirrored, turns, *span, block.counts[self.name])


def counted_steps(lattice: Lattice) -> int:
    """Steps whose counts float32 holds exactly."""
    return max(1, _COUNT_LIMIT // lattice.N)


def describe(move: Move) -> dict[str, object]:
    """A move in JSON's types, for files."""
    settings: Mapping[str, object] = getattr(move, "__dict__", {})
    return {"move": move.name, **settings}
