"""Join the files of one run's parts, or of independent runs, into one ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcmc.errors import InputError
from mcmc.models.temperatures import as_temperatures
from mcmc.runtime.progress import Progress
from mcmc.sampling.settings import Settings, run_attributes, settings_from_dict
from mcmc.sampling.streams import chain_keys
from mcmc.storage import provenance
from mcmc.storage.block import Block
from mcmc.storage.ensemble import Ensemble


class Place(NamedTuple):
    """Where the chains of one file stand in the whole."""

    rows: list[int]
    columns: list[int]

    def cells(self) -> tuple[np.ndarray, ...]:
        """Index of the file's temperatures and chains in an array (T, C, ...)."""
        return np.ix_(self.rows, self.columns)


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

    Parts of one run (equal settings and seed), and runs of one seed at other temperatures, become the file that one run
    would have written, and can be resumed. Independent runs (other seeds) stand side by side as further chains,
    renumbered; the attribute ``origins`` keeps each one's seed and number. Temperatures may come in any order.

    Args:
        sources: ensemble files.
        path: must not exist.
        command: kept in the file; None takes this process's command line.
        max_bytes: memory for draws.

    Raises:
        InputError: files that do not belong together, with the first difference, or that share random numbers, so that
            errors worked out from the whole would be wrong.
    """
    if isinstance(sources, str | Path):
        raise InputError(f"expected a list of files to merge; got {str(sources)!r} alone")
    if len(sources) < 2:
        raise InputError(f"merging takes at least two files, not {len(sources)}")
    with ExitStack() as stack:
        files = [stack.enter_context(Ensemble.open(source)) for source in sources]
        _refuse_strangers(files)
        temperatures, chains, places = _arrange(files)
        settings = _settings(files, temperatures, chains, places)
        _refuse_shared_streams(files)
        attributes: dict[str, Any] = {"merged_from": [str(file.path) for file in files], **provenance.origin(command)}
        if settings is not None:
            run = {name: value for name, value in run_attributes(settings, command).items() if name != "moves"}
            attributes = {**attributes, **run, **_moves(files[0])}
            numbers = [chain.chain for chain in chains]
        else:
            # Without common settings the run cannot be repeated as a whole, but every part says how it was made.
            attributes["sampler"] = _shared(file.attributes.get("sampler", "unknown") for file in files)
            attributes["seed"] = ", ".join(dict.fromkeys(chain.seed for chain in chains))
            attributes["common_settings"] = _common(files[0])
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
                series_only=first.series_only,
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
                parts = [file.block(picked) for file in files]
                series = {name: _joined(places, [p.series[name] for p in parts]) for name in first.series_names}
                block = Block(_joined(places, [part.theta for part in parts]), series)
                last = picked.stop == first.draws
                merged.append(
                    block,
                    state=_state(files, places) if last and settings is not None else None,
                    report={"parts": [{"file": str(file.path), **file.report()} for file in files]},
                )
                progress.advance(picked.stop - picked.start)


def _refuse_strangers(files: Sequence[Ensemble]) -> None:
    first = files[0]
    for file in files[1:]:
        for what, ours, theirs in (
            ("lattice", first.lattice, file.lattice),
            ("model", first.model, file.model),
            ("series_only", first.series_only, file.series_only),
            ("series", first.series_names, file.series_names),
            ("draws of each chain", first.draws, file.draws),
            *((name, moves, _moves(file)[name]) for name, moves in _moves(first).items() if name in _moves(file)),
            *(
                (name, _common(first).get(name), _common(file).get(name))
                for name in sorted({*_common(first), *_common(file)})
                if _common(first) and _common(file)
            ),
        ):
            if ours != theirs:
                text = f"{file.path} does not belong to {first.path}: {what} is {theirs!r}, not {ours!r}"
                raise InputError(f"{text}; finish or leave out one of them")


def _common(file: Ensemble) -> dict[str, Any]:
    """The settings in which files that are merged must agree."""
    own = {"temperatures", "chains", "seed", "first_temperature", "first_chain", "streams", "strips"}
    settings = file.attributes.get("settings", file.attributes.get("common_settings", {}))
    return {name: value for name, value in settings.items() if name not in own}


def _moves(file: Ensemble) -> dict[str, Any]:
    """What the file says of its moves, under the name of its version."""
    return {name: file.attributes[name] for name in ("moves", "mix") if name in file.attributes}


def _shared(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _refuse_shared_streams(files: Sequence[Ensemble]) -> None:
    """Refuse chains at different temperatures that used the same random numbers.

    Raises:
        InputError: naming two such files.
    """
    seen: dict[object, tuple[Path, float]] = {}
    for file in files:
        for stream, T in _streams_used(file):
            other, there = seen.setdefault(stream, (file.path, T))
            if there != T:
                text = f"{other} at T = {there:g} and {file.path} at T = {T:g} used the same random numbers"
                raise InputError(
                    f"{text} (the same seed, an earlier version): their errors are not independent; "
                    "make one of them again"
                )


def _streams_used(file: Ensemble) -> Iterator[tuple[object, float]]:
    """Every random stream behind a file, and the temperature that used it."""
    for settings in _runs(file.attributes):
        keys = chain_keys(settings).reshape(*settings.shape, -1)
        yield from ((k.tobytes(), T) for T, row in zip(settings.temperatures, keys, strict=True) for k in row)
    if {"seed", "unit"} <= {*file.attributes} and "random_streams" not in file.attributes:
        # Neural chains of earlier versions: by seed and index of the temperature.
        yield from (((file.attributes["seed"], t), T) for t, T in enumerate(file.temperatures.tolist()))


def _runs(attributes: Mapping[str, Any]) -> Iterator[Settings]:
    """The settings of all runs from which a file is joined, as far as they are known."""
    if "settings" in attributes:
        yield settings_from_dict(attributes["settings"])
    for source in attributes.get("sources", ()):
        yield from _runs(source)


def _arrange(files: Sequence[Ensemble]) -> tuple[np.ndarray, list[Origin], list[Place]]:
    """Temperatures and chains of the whole, and which of them each file holds.

    Raises:
        InputError: files overlap, or leave a gap.
    """
    temperatures: list[float] = []
    chains: list[Origin] = []
    for file in sorted(files, key=_position):
        temperatures += [T for T in file.temperatures.tolist() if T not in temperatures]
        chains += [origin for origin in origins(file) if origin not in chains]
    if not _in_order_of_version_1(files, temperatures):
        temperatures = list(as_temperatures(temperatures))
    filled = np.full((len(temperatures), len(chains)), -1)
    places = []
    for k, file in enumerate(files):
        rows = [temperatures.index(T) for T in file.temperatures.tolist()]
        place = Place(rows, [chains.index(origin) for origin in origins(file)])
        share = filled[place.cells()]
        if (share >= 0).any():
            other = files[int(share.max())].path
            raise InputError(f"{file.path} and {other} hold the same chains at the same temperatures: leave one out")
        filled[place.cells()] = k
        places.append(place)
    if (filled < 0).any():
        t, c = np.argwhere(filled < 0)[0]
        text = f"no file holds chain {chains[c].chain} of seed {chains[c].seed} at T = {temperatures[t]:g}"
        raise InputError(f"{text}: name all files of the run")
    return np.array(temperatures), chains, places


def _position(file: Ensemble) -> tuple[int, float, int, Origin]:
    """Sorts files by temperature, then seed as a number, then chain."""
    origin = origins(file)[0]
    index = _first(file, "temperature") if _streams(file) == 1 else 0
    return index, float(file.temperatures[0]), len(origin.seed), origin


def _first(file: Ensemble, axis: str) -> int:
    return int(file.attributes.get("settings", {}).get(f"first_{axis}", 0))


def _streams(file: Ensemble) -> int:
    """Version of the file's random streams; 0 for data that no run of ours made."""
    return int(file.attributes["settings"].get("streams", 1)) if "settings" in file.attributes else 0


def _in_order_of_version_1(files: Sequence[Ensemble], temperatures: Sequence[float]) -> bool:
    """Whether all files are parts of a run of stream version 1 whose temperatures stand in this order."""
    if any(_streams(file) != 1 for file in files):
        return False
    first = min(_first(file, "temperature") for file in files)
    return all(
        temperatures.index(T) == _first(file, "temperature") - first + row
        for file in files
        for row, T in enumerate(file.temperatures.tolist())
    )


def _settings(
    files: Sequence[Ensemble], temperatures: np.ndarray, chains: Sequence[Origin], places: Sequence[Place]
) -> Settings | None:
    """The settings of the whole run, if one run would have drawn what the files hold."""
    numbers = [chain.chain for chain in chains]
    consecutive = numbers == [*range(numbers[0], numbers[0] + len(numbers))]
    if not consecutive or len({chain.seed for chain in chains}) > 1:
        return None
    versions = {_streams(file) for file in files}
    if len(versions) > 1 or versions == {0}:
        return None
    if versions == {1} and not _in_order_of_version_1(files, temperatures.tolist()):
        return None
    layouts = [settings_from_dict(file.attributes["settings"]).strips for file in files]
    if len({*layouts}) > 1:
        return None
    settings = settings_from_dict(files[0].attributes["settings"])
    if settings.tempering and any(len(place.rows) < len(temperatures) for place in places):
        return None  # replicas were exchanged within each file only
    return replace(
        settings,
        temperatures=tuple(temperatures.tolist()),
        chains=len(chains),
        first_temperature=min(_first(file, "temperature") for file in files),
        first_chain=numbers[0],
    )


def _joined(places: Sequence[Place], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The array (T, C, ...) of which ``arrays`` are the files' shares."""
    T = 1 + max(max(place.rows) for place in places)
    C = 1 + max(max(place.columns) for place in places)
    whole = np.empty((T, C, *arrays[0].shape[2:]), arrays[0].dtype)
    for place, array in zip(places, arrays, strict=True):
        whole[place.cells()] = array
    return whole


def _state(files: Sequence[Ensemble], places: Sequence[Place]) -> dict[str, np.ndarray] | None:
    states = [state for file in files if (state := file.state()) is not None]
    if len(states) < len(files):
        return None
    first = states[0]
    return {
        name: _joined(places, [state[name] for state in states]) if first[name].ndim else first[name] for name in first
    }
