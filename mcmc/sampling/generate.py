"""One run from settings to file: sample block by block, commit each, stop cleanly, go on exactly."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mcmc.errors import InputError
from mcmc.models.lattice import Size, as_lattice
from mcmc.models.moments import moment_names
from mcmc.models.presets import Model, build_model
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.arguments import as_path, whole_number
from mcmc.runtime.choices import strict
from mcmc.runtime.progress import Progress
from mcmc.runtime.stop import Stop
from mcmc.runtime.text import bytes_in_words
from mcmc.sampling.executors import Team, Workers, hire
from mcmc.sampling.samplers import find_sampler
from mcmc.sampling.settings import LEAST_CHAINS, Settings, adopt, run_attributes, settings_from_dict
from mcmc.sampling.simulation import Simulation
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble, require_absent
from mcmc.storage.memory_ensemble import MemoryEnsemble

logger = logging.getLogger(__name__)

_BLOCK_SECONDS, _BLOCK_BYTES = 4.0, 2**26
_LARGE = 10**6  # bytes of a file whose size is announced
_COMMIT_SHARE = 0.05  # of the time of a block, on a disk as slow as it may be


@strict
def generate(
    model: Model | str,
    *,
    size: Size,
    temperatures: float | Sequence[float] | np.ndarray,
    draws: int = 1000,
    out: str | Path | None = None,
    chains: int | Literal["auto"] | None = "auto",
    sampler: str = "auto",
    thermalise: int | None = None,
    thin: int | None = None,
    tempering: bool = False,
    seed: int = 0,
    series_only: bool = False,
    resume: bool = False,
    workers: int | None = None,
    max_minutes: float | None = None,
) -> Ensemble | MemoryEnsemble:
    """Draw an ensemble by Markov chains, into memory or into a file.

    The same arguments give the same draws, for any number of workers, processors and interruptions.

    Args:
        model: the spin model, or the name of a preset such as ``"xy"`` or ``"triangular"``, as in `build_model`.
        size: side of a square or cubic lattice, as the model asks; (Lx, Ly), (Lx, Ly, Lz), or a `Lattice`.
        temperatures: in units of J / k_B, one or many.
        draws: of each chain at each temperature; with ``resume`` those in the file count.
        out: the file to write, such as ``"xy16.h5"``; None keeps the draws in memory.
        chains: independent Markov chains at each temperature; ``"auto"`` or None takes 4, or on small lattices as many
            more as fill the processor's vectors at no cost.
        sampler: a name of `SAMPLERS`, or ``module:name``.
        thermalise: steps before the first draw; None chooses by sampler and size.
        thin: steps between draws; None chooses by sampler and size.
        tempering: whether the replicas of a chain exchange their temperatures.
        seed: root of the random streams.
        series_only: keep the series of all measured moments (`mcmc.models.moments.basic_moments`, from which `observe`
            makes the same tables) and no configurations.
        resume: go on with ``out`` if it exists.
        workers: processes on this machine; None uses threads of this one. Only for files.
        max_minutes: stop cleanly after so long; the file can be resumed. Only for files.

    Returns:
        The ensemble, open for reading; ``draws`` says how many there are.

    Raises:
        InputError: naming the value and the remedy.
        OSError: the disk is full or gone; what was committed is safe.

    Example:
        >>> ensemble = generate("xy", size=4, temperatures=[0.5, 1.0], draws=20, thermalise=50)
        >>> ensemble.theta().shape
        (2, 8, 20, 4, 4)
    """
    lattice = as_lattice(size, model.dimensions if isinstance(model, Model) else 2)
    settings = Settings(
        model=build_model(model, lattice) if isinstance(model, str) else model,
        lattice=lattice,
        temperatures=as_temperatures(temperatures),
        chains=None if isinstance(chains, str) and chains == "auto" else chains,
        sampler=sampler,
        thermalise=thermalise,
        thin=thin,
        seed=seed,
        tempering=tempering,
    )
    if out is None:
        if resume or workers is not None or max_minutes is not None:
            raise InputError("resume, workers and max_minutes are for files: name one by out")
        return _in_memory(settings.resolved(), draws, series_only)
    with Stop(max_minutes) as stop, ExitStack() as stack:
        team = None if workers is None else stack.enter_context(hire("processes", workers))
        generate_file(settings, out, draws=draws, series_only=series_only, resume=resume, workers=team, stop=stop)
    return Ensemble.open(out)


def _in_memory(settings: Settings, draws: int, series_only: bool) -> MemoryEnsemble:
    draws = whole_number("draws", draws, 1)
    ensemble = MemoryEnsemble(
        settings.model,
        settings.lattice,
        settings.temperatures,
        chains=settings.shape[1],
        series=_series(settings, series_only),
        series_only=series_only,
        attributes=run_attributes(settings),
    )
    total = draws * math.prod(settings.shape)
    with Progress("sampling", total, unit="draws") as progress:
        fill(ensemble, Simulation(settings, series_only=series_only), draws, Stop(), progress)
    return ensemble


def _series(settings: Settings, series_only: bool) -> tuple[str, ...]:
    """Names of the series that a run measures."""
    return moment_names(settings.model, settings.lattice) if series_only else ("energy", "magnetization")


def generate_file(
    settings: Settings,
    path: str | Path,
    *,
    draws: int,
    series_only: bool = False,
    resume: bool = False,
    workers: Workers | None = None,
    stop: Stop | None = None,
    command: Sequence[str] | None = None,
) -> bool:
    """Sample into a file until it holds ``draws`` draws of every chain.

    The content of the file does not depend on where it was interrupted.

    Args:
        settings: what to simulate.
        path: the ensemble file.
        draws: total of draws of each chain, earlier ones included.
        series_only: keep the measured series and no configurations, see `generate`.
        resume: go on with the file if it exists.
        workers: where to run; None is this process. The file does not depend on it.
        stop: asked between blocks.
        command: kept in the file; None takes this process's command line.

    Returns:
        Whether the file is complete.

    Raises:
        InputError: the file exists and ``resume`` is off, or was made with other settings.
        OSError: the disk is full or gone; what was committed is safe.
        Stopped: a signal came before there was anything to save.
    """
    draws, path = whole_number("draws", draws, 1), as_path(path)
    stop = stop or Stop()
    with _open(settings, path, draws, series_only, resume, command) as ensemble:
        asked, settings = settings, settings_from_dict(ensemble.attributes["settings"])
        total = draws * len(ensemble.temperatures) * ensemble.chains
        with Progress(f"sampling {path.name}", total, unit="draws") as progress:
            per_draw = len(ensemble.temperatures) * ensemble.chains
            progress.advance(min(ensemble.draws, draws) * per_draw)
            if ensemble.draws >= draws:
                return True
            with stop.at_once():
                if workers is None:
                    simulation: Simulation | Team = Simulation(settings, ensemble.state(), series_only=series_only)
                else:
                    simulation = Team(settings, ensemble.state(), workers, series_only=series_only)
                if ensemble.state() is None:
                    _announce_chains(asked)
                    _replay(simulation, ensemble)
            fill(ensemble, simulation, draws, stop, progress)
        if not ensemble.draws:  # stopped before there was anything to save
            ensemble.discard()
            return False
        return ensemble.draws >= draws


class Source(Protocol):
    """What yields blocks of draws: a `Simulation`, a `Team` of them, neural chains."""

    def block(self, draws: int) -> Block:
        """Advance every chain by ``draws`` draws."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly."""
        ...

    def report(self) -> dict[str, Any]:
        """What was counted, in JSON's types."""
        ...


def fill(ensemble: Ensemble | MemoryEnsemble, source: Source, draws: int, stop: Stop, progress: Progress) -> None:
    """Commit block after block until every chain has ``draws`` draws or it is time to stop.

    Args:
        ensemble: open for writing.
        source: continues where the ensemble ends.
        draws: total of draws of each chain.
        stop: asked between blocks.
        progress: told the draws of all chains and temperatures.

    Raises:
        OSError: the disk is full or gone; what was committed is safe.
    """
    pace = _Pace(ensemble)
    while ensemble.draws < draws and not stop.asked(pace.seconds):
        n = pace.next(ensemble.draws, draws)
        started = time.monotonic()
        block = source.block(n)
        sampled = time.monotonic()
        try:
            ensemble.append(block, state=source.state(), report=source.report())
        except FileNotFoundError:
            raise
        except OSError as error:
            kept = f"the {ensemble.draws} draws of each chain committed in {ensemble.path} are safe"
            raise OSError(f"{error.strerror or error}: {kept}, go on with --resume") from error
        pace.took(n, sampled - started, time.monotonic() - sampled)
        progress.advance(n * len(ensemble.temperatures) * ensemble.chains)


def _open(
    settings: Settings, path: Path, draws: int, series_only: bool, resume: bool, command: Sequence[str] | None
) -> Ensemble:
    if resume and path.exists():
        with Ensemble.open(path) as earlier:
            if "settings" not in earlier.attributes:
                raise InputError(f"{path} was not made by latticeflow generate: it cannot be resumed")
            stored = settings_from_dict(earlier.attributes["settings"])
            adopt(settings, stored, path)
            if earlier.series_only != series_only:
                text = f"{path} was made with series_only = {earlier.series_only}, not {series_only}"
                raise InputError(f"{text}: repeat its command, or name another file")
            sampler = find_sampler(stored.sampler, stored.model, stored.lattice)
            if earlier.attributes.get("moves") != sampler.describe():
                version = earlier.attributes["versions"]["latticeflow"]
                text = f"{path} was made by latticeflow {version}, whose sampler {stored.sampler!r} made other moves"
                raise InputError(f"{text}: go on with that version, or name another file")
        return Ensemble.append_to(path)
    require_absent(path)
    settings = settings.resolved()
    series = _series(settings, series_only)
    _announce(settings, path, draws, len(series), series_only)
    return Ensemble.create(
        path,
        model=settings.model,
        lattice=settings.lattice,
        temperatures=settings.temperatures,
        chains=range(settings.first_chain, settings.first_chain + settings.shape[1]),
        series=series,
        series_only=series_only,
        provenance=run_attributes(settings, command),
        draws=draws,
    )


def _announce_chains(settings: Settings) -> None:
    """Say how many chains were chosen and why, or that more than were asked for would cost nothing."""
    C = settings.shape[1]
    if settings == settings.resolved():
        return  # a share of a run, in which nothing was left open
    if settings.chains is None:
        more = f", as fast as {LEAST_CHAINS}: they fill the processor's vectors" if C > LEAST_CHAINS else ""
        logger.info("%d chains at each temperature%s", C, more)
    elif (most := settings.chains_at_no_cost(C)) > C:
        logger.info("%d chains at each temperature would take no longer than %d: vectors are not full", most, C)


def _announce(settings: Settings, path: Path, draws: int, series: int, series_only: bool) -> None:
    """Say how large the file will be, and refuse what the disk has no room for."""
    chains = math.prod(settings.shape)
    draw = 8 * series + (0 if series_only else 4 * settings.lattice.N)
    size = draws * (chains * draw + 8) + chains * 12 * settings.lattice.N
    folder = path.parent if path.parent.is_dir() else Path.cwd()
    disk = shutil.disk_usage(folder)
    words = f"{path} will take {bytes_in_words(size)}"
    if size > disk.free and disk.total:  # file systems such as /proc have no size
        raise InputError(f"{words}, but the disk has {bytes_in_words(disk.free)} left: draw fewer, or write elsewhere")
    if size >= _LARGE:
        logger.info("%s", words)


def _replay(simulation: Simulation | Team, ensemble: Ensemble) -> None:
    """Bring a simulation from its start to where the file ends, whose state was cut off.

    Raises:
        InputError: the simulation does not draw what the file holds.
    """
    n = ensemble.rows_per_chunk("theta")
    for start in range(0, ensemble.draws, n):
        stop = min(start + n, ensemble.draws)
        drawn, held = simulation.block(stop - start), ensemble.block(slice(start, stop))
        same = np.array_equal(drawn.theta, held.theta)
        if ensemble.series_only:
            same = all(np.array_equal(drawn.series[name], held.series[name]) for name in ensemble.series_names)
        if not same:
            text = f"{ensemble.path} cannot be continued: this version or machine draws other numbers"
            raise InputError(f"{text} than the file holds; merge it with a run of another seed instead")


class _Pace:
    """Chooses the sizes of blocks: some seconds, many times that of a commit, little memory, whole rows of chunks.

    Attributes:
        seconds: how long the next block will take.
    """

    def __init__(self, ensemble: Ensemble | MemoryEnsemble):
        self._most = max(1, _BLOCK_BYTES // ensemble.draw_bytes)
        self._row = ensemble.rows_per_chunk("theta")
        self._next = min(self._most, 8)
        self.seconds = 0.0

    def next(self, done: int, total: int) -> int:
        """Draws of the next block, when ``done`` of ``total`` are there."""
        n = self._next
        if n >= self._row:
            n -= (done + n) % self._row
        return max(1, min(n, total - done))

    def took(self, n: int, sampling: float, commit: float) -> None:
        """Learn from a block of ``n`` draws: seconds of sampling, seconds of its commit."""
        wanted = max(_BLOCK_SECONDS, min(commit / _COMMIT_SHARE, 10 * _BLOCK_SECONDS))
        self._next = max(1, min(self._most, int(n * wanted / max(sampling, 1e-6)), 8 * n))
        self.seconds = sampling * self._next / n + commit
