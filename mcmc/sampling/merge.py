"""Join the files of one run's parts, or of independent runs, into one ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcmc.errors import InputError
from mcmc.runtime.progress import Progress
from mcmc.sampling.executors import Part, join, join_states
from mcmc.sampling.settings import Settings, run_attributes, settings_from_dict
from mcmc.storage import provenance
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble


class Origin(NamedTuple):
    """What one chain is, in whatever file it lies: chains of equal origin and temperature hold the same draws."""

    seed: str
    chain: int


def origins(ensemble: Ensemble) -> list[Origin]:
    """The origin of every chain of a file; imported data count as runs of their own."""
    kept = ensemble.attributes.get("origins")
    if kept is not None:
        return [Origin(*origin) for origin in kept]
    seed = ensemble.attributes.get("seed", f"file {ensemble.attributes['file_id']}")
    return [Origin(str(seed), int(number)) for number in ensemble.chain_numbers]


def merge(
    sources: Sequence[str | Path], path: str | Path, *, command: Sequence[str] | None = None, max_bytes: int = 2**26
) -> None:
    """Write one file that holds the chains of several.

    Parts of one run (equal settings and seed) become the file that the run would have written in one piece, and can be
    resumed. Independent runs (other seeds) stand side by side as further chains, renumbered; the attribute ``origins``
    keeps each one's seed and number.

    Args:
        sources: ensemble files.
        path: must not exist.
        command: kept in the file; None takes this process's command line.
        max_bytes: memory for draws.

    Raises:
        InputError: files that do not belong together, with the first difference.
    """
    if len(sources) < 2:
        raise InputError(f"merging takes at least two files, not {len(sources)}")
    with ExitStack() as stack:
        files = [stack.enter_context(Ensemble.open(source)) for source in sources]
        _refuse_strangers(files)
        temperatures, chains, parts = _arrange(files)
        settings = _settings(files, temperatures, chains)
        attributes: dict[str, Any] = {"merged_from": [str(file.path) for file in files], **provenance.origin(command)}
        if settings is not None:
            attributes = {**attributes, **run_attributes(settings, command)}
            numbers = [chain.chain for chain in chains]
        else:
            # Without common settings the run cannot be repeated as a whole, but every part says how it was made.
            attributes["origins"] = [list(chain) for chain in chains]
            attributes["sources"] = [file.attributes for file in files]
            numbers = list(range(len(chains)))
        first = files[0]
        with (
            Ensemble.create(
                path,
                model=first.model,
                lattice=first.lattice,
                temperatures=temperatures,
                chains=numbers,
                series=first.series_names,
                provenance=attributes,
                draws=first.draws,
                whole=True,
            ) as merged,
            Progress(f"merging into {merged.path.name}", first.draws, unit="draws") as progress,
        ):
            rows = merged.rows_per_chunk("theta")
            n = max(1, max_bytes // (rows * merged.draw_bytes)) * rows
            for start in range(0, first.draws, n):
                picked = slice(start, min(start + n, first.draws))
                theta = join(parts, [file.theta(picked) for file in files])
                names = first.series_names
                block = Block(
                    theta, {name: join(parts, [file.series(name, picked) for file in files]) for name in names}
                )
                last = picked.stop == first.draws
                merged.append(block, state=_state(files, parts) if last and settings is not None else None)
                progress.advance(picked.stop - picked.start)


def _refuse_strangers(files: Sequence[Ensemble]) -> None:
    first = files[0]
    for file in files[1:]:
        for what, ours, theirs in (
            ("model", first.model, file.model),
            ("lattice", first.lattice, file.lattice),
            ("series", first.series_names, file.series_names),
            ("draws of each chain", first.draws, file.draws),
            *((name, ours, _common(file).get(name)) for name, ours in _common(first).items()),
        ):
            if ours != theirs:
                text = f"{file.path} does not belong to {first.path}: {what} is {theirs!r}, not {ours!r}"
                raise InputError(f"{text}; finish or leave out one of them")


def _common(file: Ensemble) -> dict[str, Any]:
    """The settings in which files that are merged must agree."""
    own = {"temperatures", "chains", "seed", "first_temperature", "first_chain"}
    return {name: value for name, value in file.attributes.get("settings", {}).items() if name not in own}


def _arrange(files: Sequence[Ensemble]) -> tuple[np.ndarray, list[Origin], list[Part]]:
    """Temperatures and chains of the whole, and the rectangle that each file fills.

    Raises:
        InputError: files overlap, or leave a gap.
    """
    temperatures: list[float] = []
    chains: list[Origin] = []
    for file in sorted(files, key=_place):
        temperatures += [T for T in file.temperatures.tolist() if T not in temperatures]
        chains += [origin for origin in origins(file) if origin not in chains]
    filled = np.full((len(temperatures), len(chains)), -1)
    parts = []
    for k, file in enumerate(files):
        rows = [temperatures.index(T) for T in file.temperatures.tolist()]
        columns = [chains.index(origin) for origin in origins(file)]
        part = Part(range(rows[0], rows[0] + len(rows)), range(columns[0], columns[0] + len(columns)))
        if rows != [*part.temperatures] or columns != [*part.chains]:
            raise InputError(f"{file.path} does not fit: its temperatures or chains are interleaved with other files'")
        share = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if (share >= 0).any():
            other = files[int(share.max())].path
            raise InputError(f"{file.path} and {other} hold the same chains at the same temperatures: leave one out")
        share[...] = k
        parts.append(part)
    if (filled < 0).any():
        t, c = np.argwhere(filled < 0)[0]
        text = f"no file holds chain {chains[c].chain} of seed {chains[c].seed} at T = {temperatures[t]:g}"
        raise InputError(f"{text}: name all files of the run")
    return np.array(temperatures), chains, parts


def _place(file: Ensemble) -> tuple[int, float, int, Origin]:
    """Sorts files by temperature, then seed as a number, then chain."""
    origin = origins(file)[0]
    return _first(file, "temperature"), float(file.temperatures[0]), len(origin.seed), origin


def _first(file: Ensemble, axis: str) -> int:
    return int(file.attributes.get("settings", {}).get(f"first_{axis}", 0))


def _settings(files: Sequence[Ensemble], temperatures: np.ndarray, chains: Sequence[Origin]) -> Settings | None:
    """The settings of the whole run, if the files are parts of one."""
    numbers = [chain.chain for chain in chains]
    consecutive = numbers == [*range(numbers[0], numbers[0] + len(numbers))]
    if not consecutive or len({chain.seed for chain in chains}) > 1:
        return None
    if any("settings" not in file.attributes for file in files):
        return None
    return replace(
        settings_from_dict(files[0].attributes["settings"]),
        temperatures=tuple(temperatures.tolist()),
        chains=len(chains),
        first_temperature=min(_first(file, "temperature") for file in files),
        first_chain=numbers[0],
    )


def _state(files: Sequence[Ensemble], parts: Sequence[Part]) -> dict[str, np.ndarray] | None:
    states = [file.state() for file in files]
    known = [state for state in states if state is not None]
    return join_states(parts, known) if len(known) == len(states) else None
