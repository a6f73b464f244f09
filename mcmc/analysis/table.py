"""What was measured: observables with errors at every temperature, to print, plot, convert and calculate with."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from mcmc.analysis.statistics import Estimate, r_hat_limit
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import Model, model_attributes, stored_model
from mcmc.runtime.registry import nearest
from mcmc.runtime.text import columns, counted, html_table, require, wrapped
from mcmc.runtime.whole_file import whole_file

MIXING = ("energy", "magnetization")
"""Moments that are watched for chains that have not mixed."""

HEADERS = {
    "energy": "energy",
    "specific_heat": "spec. heat",
    "magnetization": "magnetiz.",
    "susceptibility": "suscept.",
    "structure_factor": "S(0)",
    "binder_cumulant": "Binder",
    "vortex_density": "vortices",
    "helicity_modulus": "helicity",
    "helicity_modulus_x": "helicity x",
    "helicity_modulus_y": "helicity y",
    "correlation_length": "corr. len.",
    "nematic_order": "nematic",
    "plaquette_term": "plaquette",
    "winding_square": "winding^2",
    "helicity_modulus_z": "helicity z",
    "clock_order": "clock",
    "sublattice_magnetization": "sublattice",
    "staggered_magnetization": "staggered",
    "staggered_binder": "stag. Binder",
    "chirality_square": "chirality^2",
    "chirality_binder": "chir. Binder",
    "stripe_magnetization": "stripes",
    "stripe_order": "stripe dir.",
    "stripe_binder": "stripe Binder",
    "overlap_square": "overlap^2",
    "overlap_binder": "over. Binder",
    "free_energy": "free en.",
    "entropy": "entropy",
}
"""Short titles of the columns; an observable that is not here has its name."""

MEANINGS = {
    "susceptibility": "suscept. = N (<m^2> - <m>^2) / T",
    "vortex_density": "vortices = sum |q| / N",
}
"""Formulas of the titles that say less."""
PER_SITE = ("energy", "specific_heat", "free_energy", "entropy")
NOTATION = (
    "-1.4803(25) means -1.4803 with a standard error of 0.0025; tau = longest autocorrelation time, in draws; "
    "a question mark: the chains are too short for this error"
)
"""How numbers are printed."""


def legend(names: Collection[str], width: int = 80) -> str:
    """What the titles of columns mean, and how numbers are printed.

    Args:
        names: observables that are shown.
        width: of the lines, in characters.

    Example:
        >>> print(legend(["energy", "susceptibility"]).splitlines()[0])
        per site: energy; suscept. = N (<m^2> - <m>^2) / T; -1.4803(25) means -1.4803
    """
    per_site = [HEADERS[name] for name in PER_SITE if name in names]
    parts = [f"per site: {', '.join(per_site)}"] if per_site else []
    return wrapped("; ".join([*parts, *(text for name, text in MEANINGS.items() if name in names), NOTATION]), width)


SUMMARY = ("energy", "specific_heat", "magnetization", "susceptibility", "helicity_modulus", "free_energy")
"""Observables that are printed first, as far as there is room."""

UNDEFINED = {
    "binder_cumulant": "the magnetisation vanishes in every draw",
    "correlation_length": "S(0) does not exceed S at the smallest wave vector, within the noise: draw more, or use a "
    "larger lattice if it is much longer than a spacing",
}
"""Why an observable has no value."""

WIDTH = 80


@dataclass(frozen=True)
class Column:
    """One observable at all temperatures; an array of its values wherever an array is wanted.

    Example:
        >>> column = Column("energy", (Estimate(-1.5, 0.1, 0.5, 0.0, 100), Estimate(-1.0, 0.2, 0.5, 0.0, 100)))
        >>> column.values, column.errors
        (array([-1.5, -1. ]), array([0.1, 0.2]))
        >>> float(np.mean(column))
        -1.25
    """

    name: str
    estimates: tuple[Estimate, ...]

    @property
    def values(self) -> np.ndarray:
        """Float64 (T,)."""
        return np.array([each.value for each in self.estimates])

    @property
    def errors(self) -> np.ndarray:
        """Standard deviations, float64 (T,)."""
        return np.array([each.error for each in self.estimates])

    @property
    def tau_int(self) -> np.ndarray:
        """Integrated autocorrelation times in draws, float64 (T,)."""
        return np.array([each.tau_int for each in self.estimates])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values."""
        return self.values.astype(dtype or np.float64)

    def __len__(self) -> int:
        """Number of temperatures."""
        return len(self.estimates)

    def __iter__(self) -> Iterator[Estimate]:
        """Estimates."""
        return iter(self.estimates)

    def __getitem__(self, t: int) -> Estimate:
        """The estimate at temperature number ``t``."""
        return self.estimates[t]

    def __repr__(self) -> str:
        """Name and numbers, the first and last of many."""
        texts = [str(each) for each in self.estimates]
        if len(texts) > 8:
            texts = [*texts[:4], "...", *texts[-3:]]
        return f"{self.name}: {'  '.join(texts)}"


class Row(Mapping[str, Estimate]):
    """All observables at one temperature, by name.

    Args:
        temperature: in units of J / k_B.
        estimates: by observable.
    """

    def __init__(self, temperature: float, estimates: Mapping[str, Estimate]):
        self.temperature, self._estimates = temperature, dict(estimates)

    def __getitem__(self, name: str) -> Estimate:
        """An observable.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self._estimates:
            raise InputError(f"unknown observable {name!r}: {nearest(name, self._estimates)}")
        return self._estimates[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is an observable of that name."""
        return name in self._estimates

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._estimates)

    def __len__(self) -> int:
        """Number of observables."""
        return len(self._estimates)

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        return dict(self) == (dict(other) if isinstance(other, Mapping) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """One observable a line."""
        width = max(map(len, self._estimates), default=0)
        lines = [f"  {name:<{width}}  {found}" for name, found in self._estimates.items()]
        return "\n".join([f"T = {self.temperature:.6g}", *lines])


@dataclass(frozen=True, repr=False)
class Table:
    """Observables of an ensemble at every temperature, from `mcmc.observe`.

    ``table["energy"]`` is a `Column`, ``table.at(0.9)`` a `Row`; ``for row in table`` goes through the temperatures.
    """

    model: Model
    lattice: Lattice
    temperatures: np.ndarray
    """In units of J / k_B, (T,)."""
    rows: list[Row]
    """Estimates by observable, one row a temperature."""
    r_hat: np.ndarray
    """Agreement of the chains and of their halves, for energy and magnetisation, (T, 2); NaN for under 5 draws."""
    chains: int
    """Independent chains at each temperature."""
    notes: tuple[str, ...] = field(default=())
    """Warnings that come with the data, such as those of its thermalisation."""

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.rows[0])

    def __getitem__(self, name: str) -> Column:
        """One observable at all temperatures.

        Raises:
            InputError: there is none of that name.
        """
        return Column(name, tuple(row[name] for row in self.rows))

    def __iter__(self) -> Iterator[Row]:
        """Rows, one a temperature."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Number of temperatures."""
        return len(self.rows)

    def at(self, temperature: float) -> Row:
        """All observables at one of the temperatures.

        Raises:
            InputError: the table has no such temperature.
        """
        if not isinstance(temperature, Real):
            raise InputError(f"expected a temperature; got {temperature!r}")
        t = int(np.argmin(np.abs(self.temperatures - temperature)))
        if not math.isclose(self.temperatures[t], temperature, rel_tol=1e-6):
            raise InputError(f"the table has no T = {temperature:g}: the nearest is {self.temperatures[t]:.6g}")
        return self.rows[t]

    def select(self, *, temperatures: Sequence[float] | None = None, observables: Sequence[str] | None = None) -> Table:
        """A part of the table.

        Raises:
            InputError: a temperature or an observable that it does not have.
        """
        rows = self.rows if temperatures is None else [self.at(T) for T in temperatures]
        if observables is not None:
            rows = [Row(row.temperature, {name: row[name] for name in observables}) for row in rows]
        picked = [int(np.argmin(np.abs(self.temperatures - row.temperature))) for row in rows]
        return Table(
            self.model, self.lattice, self.temperatures[picked], rows, self.r_hat[picked], self.chains, self.notes
        )

    def warnings(self) -> list[str]:
        """One line for each reason not to trust the numbers, with the remedy."""
        lines = [*self.notes]
        for T, row, ratios in zip(self.temperatures, self.rows, self.r_hat, strict=True):
            if not row:
                continue
            worst = max(row, key=lambda name: row[name].missing)
            if "energy" in row and row["energy"].error == 0 and any(term.scale for term in self.model.terms):
                lines.append(f"T = {T:.6g}: the chains never moved: no error is known, use another sampler")
            elif row[worst].missing:
                found = row[worst]
                lines.append(
                    f"T = {T:.6g}: {found.draws} draws are too few for an error of {worst} "
                    f"(tau_int at least {found.tau_int:.3g}): add about {found.missing} draws"
                )
            else:
                lines += [
                    f"T = {T:.6g}: chains disagree in {name}, with each other or over time (R-hat = {ratio:.3f}): "
                    "thermalise longer, or use tempering"
                    for name, ratio in zip(MIXING, ratios, strict=True)
                    if name in row and ratio > self._limit(row[name])
                ]
        for name in self.observables:
            missing = [row.temperature for row in self.rows if name in row and math.isnan(row[name].value)]
            if missing:
                which = (
                    f"T = {missing[0]:.6g}" if len(missing) == 1 else f"T = {min(missing):.6g} to {max(missing):.6g}"
                )
                reason = UNDEFINED.get(name, "it is not a number for these draws")
                lines.append(f"{which}: {name} is undefined: {reason}")
        return lines

    def _limit(self, found: Estimate) -> float:
        return r_hat_limit(self.chains, found.draws // self.chains, found.tau_int)

    # -- for people ---------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Model, size and number of draws in a few words."""
        draws = next(iter(self.rows[0].values())).draws if self.rows and self.rows[0] else 0
        size = "x".join(str(side) for side in reversed(self.lattice.shape))
        return f"{self.model} {size}, {counted(self.chains, 'chain')}, {counted(draws, 'draw')} per temperature"

    def _cells(self, names: Sequence[str]) -> list[list[str]]:
        return [
            [
                f"{T:.6g}",
                *(str(row[name]) for name in names),
                f"{max((t for each in row.values() if not math.isnan(t := each.tau_int)), default=math.nan):.2g}",
            ]
            for T, row in zip(self.temperatures, self.rows, strict=True)
        ]

    def text(self, observables: Sequence[str] | None = None, *, width: int | None = WIDTH) -> str:
        """The table in columns.

        Args:
            observables: names, in this order; None takes the most asked for that fit into ``width``.
            width: characters in a line; None takes every observable.

        Raises:
            InputError: an observable that the table does not have.
        """
        return self._lines(self.shown(observables, width=width))

    def _lines(self, names: Sequence[str]) -> str:
        return columns(["T", *(HEADERS.get(name, name) for name in names), "tau"], self._cells(names))

    def shown(self, observables: Sequence[str] | None = None, *, width: int | None = WIDTH) -> list[str]:
        """Names of the columns that `text` prints, given the same arguments."""
        if observables:
            return [*observables]
        names = [name for name in dict.fromkeys([*SUMMARY, *self.observables]) if name in self.rows[0]]
        while width is not None and len(names) > 1 and len(self._lines(names).partition("\n")[0]) > width:
            names.pop()
        return names

    def __str__(self) -> str:
        """Title and table, 80 columns wide."""
        return f"{self.title}\n{self.text()}"

    def __repr__(self) -> str:
        """Title, the first and last rows of many, and what else there is."""
        lines = self.text().splitlines()
        if len(lines) > 13:
            lines = [*lines[:7], f"{'...':>7}", *lines[-5:]]
        warned = len(self.warnings())
        end = [wrapped(f"{counted(len(self.observables), 'observable')}: {', '.join(self.observables)}", WIDTH)]
        end += [f"{counted(warned, 'warning')}: see .warnings()"] if warned else []
        return "\n".join([self.title, *lines, *end])

    def _repr_html_(self) -> str:
        """The whole table, for notebooks."""
        names = list(self.observables)
        head = ["T", *(HEADERS.get(name, name) for name in names), "tau"]
        return html_table(head, self._cells(names), caption=self.title, notes=self.warnings())

    # -- for other tools ----------------------------------------------------------------------------------------

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` by temperature: ``NAME``, ``NAME_error``, ``NAME_tau_int``, ... of every observable.

        Raises:
            InputError: pandas is not installed.
        """
        pandas = require("pandas", "to_pandas")
        records = [{name: value for _, name, value in self._records(row)} for row in self.rows]
        return pandas.DataFrame(records, index=pandas.Index(self.temperatures, name="temperature"))

    def to_xarray(self) -> Any:
        """An `xarray.Dataset` over ``temperature``, with ``NAME`` and ``NAME_error`` for each observable.

        Raises:
            InputError: xarray is not installed.
        """
        xarray = require("xarray", "to_xarray")
        data: dict[str, Any] = {}
        for name in self.observables:
            column = self[name]
            data |= {name: ("temperature", column.values), f"{name}_error": ("temperature", column.errors)}
        attributes = {"model": repr(self.model), "lattice": repr(self.lattice), "chains": self.chains}
        return xarray.Dataset(data, {"temperature": self.temperatures}, attributes)

    @staticmethod
    def _records(row: Row) -> Iterator[tuple[str, str, float]]:
        for name, found in row.items():
            yield name, name, found.value
            for part in ("error", "tau_int", "tau_int_error", "missing"):
                yield name, f"{name}_{part}", getattr(found, part)

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Table:
        """The table that `as_json`, and so ``latticeflow observe --json``, has written.

        Raises:
            InputError: something else.
        """
        try:
            T = np.array([row["temperature"] for row in table["rows"]], np.float64)
            rows = [
                Row(
                    row["temperature"],
                    {name: _estimate_from_json(fields) for name, fields in row.items() if name != "temperature"},
                )
                for row in table["rows"]
            ]
            model = stored_model(table)
            ratios = np.array(table["r_hat"], np.float64)  # None becomes NaN
            notes = tuple(table.get("notes", ()))
            return cls(model, Lattice(*table["size"]), T, rows, ratios, table["chains"], notes)
        except (KeyError, TypeError) as error:
            raise InputError(f"this is not a table that Table.as_json has written: {error!r}") from None

    def as_json(self) -> dict[str, Any]:
        """The table in JSON's types; numbers that do not exist (the error of three draws) are None."""

        def plain(value: float | int) -> float | int | None:
            return value if math.isfinite(value) else None

        rows: list[dict[str, Any]] = [
            {"temperature": float(T), **{n: {k: plain(v) for k, v in asdict(e).items()} for n, e in row.items()}}
            for T, row in zip(self.temperatures, self.rows, strict=True)
        ]
        return {
            **model_attributes(self.model),
            "size": [*self.lattice.sides],
            "rows": rows,
            "chains": self.chains,
            "r_hat": [[plain(value) for value in pair] for pair in self.r_hat.tolist()],
            "notes": [*self.notes],
            "warnings": self.warnings(),
        }


def _estimate_from_json(stored: Mapping[str, Any]) -> Estimate:
    values: list[Any] = [math.nan if stored[each.name] is None else stored[each.name] for each in fields(Estimate)]
    return Estimate(*values)


def write_csv(path: str | Path, tables: Mapping[str, Table]) -> None:
    """One line for each table and temperature, with every observable that any of the tables has.

    Args:
        path: the file.
        tables: by what the column ``file`` says.

    Raises:
        OSError: the file cannot be written.
    """
    names = list(dict.fromkeys(name for table in tables.values() for name in table.observables))
    parts = ("", "_error", "_tau_int", "_tau_int_error", "_missing")
    with whole_file(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        titles: Iterable[str] = (f"{name}{part}" for name in names for part in parts)
        named = dict.fromkeys(["J", "K", *(name for table in tables.values() for name in table.model.couplings)])
        couplings = [*named]
        writer.writerow(["file", "model", "Lx", "Ly", "Lz", *couplings, "temperature", "draws", *titles])
        for source, table in tables.items():
            sides = [*table.lattice.sides, ""][:3]
            values = [table.model.couplings.get(name, "") for name in couplings]
            for row in table:
                found = {name: value for _, name, value in table._records(row)}
                cells = [found.get(f"{name}{part}", "") for name in names for part in parts]
                head = [source, table.model.name, *sides, *values]
                writer.writerow([*head, row.temperature, next(iter(row.values())).draws, *cells])
