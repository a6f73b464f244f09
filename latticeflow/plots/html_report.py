"""One self-contained page about ensembles, chains and flows: warnings first, then numbers, then figures.

Nothing is loaded from elsewhere: pictures are in the page, tables sort by a few lines of script, and the page reads
well without it.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticeflow.plots import figures, flow_figures
from mcmc import InputError
from mcmc.analysis.table import HEADERS, Table, legend
from mcmc.analysis.thermodynamics import observe
from mcmc.runtime.text import html_facts, printable
from mcmc.storage.ensemble import Ensemble

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_SPINS = 3
"""Temperatures of which a configuration is drawn: lowest, middle, highest."""
LARGEST_PICTURE = 64
"""Sites across of the largest configuration that is drawn."""

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --accent: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.wide, figure { overflow-x: auto; }
table { margin: 0.8rem 0; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
td, th { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { cursor: pointer; } .facts td, .facts th { text-align: left; white-space: normal; cursor: default; }
.warning { border-left: 4px solid #d55e00; padding: 0.3rem 0.8rem; margin: 0.4rem 0; background: #d55e0018; }
figure { margin: 1rem 0; } img { max-width: 100%; background: white; }
@media (max-width: 40rem) { img { max-width: none; width: 44rem; } }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const body = table.tBodies[0], falling = head.dataset.falling !== "1";
    head.dataset.falling = falling ? "1" : "0";
    const value = (row) => parseFloat(row.cells[column].dataset.value);
    [...body.rows].sort((a, b) => (value(a) - value(b)) * (falling ? -1 : 1)).forEach((row) => body.append(row));
  }));
}
"""


def report(files: Sequence[str | Path], *, title: str = "", draws: int = 500) -> str:
    """A page about files of ensembles, chains and flows.

    Args:
        files: ensembles, checkpoints and names of flows that come with the package; a flow is compared with the first
            ensemble of its model and lattice.
        title: of the page; empty names the files.
        draws: of each comparison, at each temperature.

    Returns:
        HTML of the whole page.

    Raises:
        InputError: no files, fewer than 2 draws, or a file that can be read neither as an ensemble nor as a flow.
    """
    if not files:
        raise InputError("nothing to report on: name at least one file")
    if draws < 2:
        raise InputError(f"draws = {draws} must be at least 2")
    paths = [Path(file) for file in files]
    flows = [path for path in paths if path.suffix == ".pt" or (not path.suffix and not path.exists())]
    sections, warnings, tables = [], [], {}
    for path in [path for path in paths if path not in flows]:
        with Ensemble.open(path) as ensemble:
            tables[printable(path)] = table = observe(ensemble)
            warnings += [f"{path}: {line}" for line in table.warnings()]
            sections.append(_ensemble_section(path, ensemble, table))
    for path in flows:
        section, found = _flow_section(path, [p for p in paths if p not in flows], draws)
        sections.append(section)
        warnings += [f"{path}: {line}" for line in found]
    title = title or ", ".join(printable(path.name) for path in paths)
    notes = "".join(f'<p class="warning">{html.escape(line)}</p>' for line in warnings)
    overlay = _overlay(tables) if len(tables) > 1 else ""
    body = f"<h1>{html.escape(title)}</h1>{notes or '<p>No warnings.</p>'}{''.join(sections)}{overlay}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{body}<script>{_SCRIPT}</script></body></html>\n"
    )


def _picture(figure: Figure, words: str) -> str:
    buffer = io.BytesIO()
    with figures.style():
        figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{data}"></figure>'


def _observables(table: Table) -> str:
    names = list(table.observables)
    head = "".join(f"<th>{html.escape(HEADERS.get(name, name))}</th>" for name in ["T", *names, "tau"])
    lines = []
    for row in table:
        tau = max(found.tau_int for found in row.values())
        cells = [(row.temperature, f"{row.temperature:.6g}"), *((row[name].value, str(row[name])) for name in names)]
        lines.append("".join(f'<td data-value="{value}">{text}</td>' for value, text in [*cells, (tau, f"{tau:.2g}")]))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"<p>{html.escape(legend(names))}</p>"
    )


def _ensemble_section(path: Path, ensemble: Ensemble, table: Table) -> str:
    attributes, T = ensemble.attributes, ensemble.temperatures
    facts = {
        "model": ensemble.model,
        "lattice": " x ".join(map(str, reversed(ensemble.lattice.shape))),
        "temperatures": f"{len(T)}, {T.min():g} to {T.max():g}",
        "draws": f"{ensemble.draws} of each of {ensemble.chains} chains at each temperature"
        f"{', without configurations' if ensemble.series_only else ''}",
        "sampler": attributes.get("sampler", "unknown"),
        "made by": attributes.get("command", ""),
        "on": attributes.get("created", ""),
        "versions": ", ".join(f"{name} {version}" for name, version in attributes.get("versions", {}).items()),
    }
    picked = sorted({0, len(T) // 2, len(T) - 1})[:SHOWN_SPINS]
    energies = {f"T = {T[t]:.4g}": ensemble.series("energy", temperatures=slice(t, t + 1))[0] for t in picked}
    parts = [html_facts(facts), _observables(table)]
    shown = [name for name in figures.OVERVIEW if name in table.observables]
    parts.append(_picture(figures.overview({printable(path.name): table}, shown), "observables against temperature"))
    with figures.style():
        figure, axes = figures.new_figure(1, 2, width=4.6, height=3)
        figures.histogram(axes[0], energies, "energy")
        if ensemble.draws >= 8:
            figures.autocorrelations(axes[1], {f"energy, {label}": series for label, series in energies.items()})
        parts.append(_picture(figure, "histograms and autocorrelations of the energy"))
        small = len(ensemble.lattice.shape) == 2 and max(ensemble.lattice.shape) <= LARGEST_PICTURE
        if small and not ensemble.series_only:
            figure, axes = figures.new_figure(1, len(picked), width=4.2, height=3.9)
            for panel, t in zip(np.atleast_1d(axes), picked, strict=True):
                theta = ensemble.theta(slice(ensemble.draws - 1, None), temperatures=slice(t, t + 1))[0, 0, 0]
                figures.configuration(panel, theta, model=ensemble.model)
                panel.set_title(f"T = {T[t]:.4g}, the last draw")
            parts.append(_picture(figure, "configurations with their vortices"))
    return f"<h2>{html.escape(printable(path))}</h2>{''.join(parts)}"


def _flow_section(path: Path, ensembles: Sequence[Path], draws: int) -> tuple[str, list[str]]:
    """The section of a flow, and what to be warned of."""
    from latticeflow.flows import checkpoint
    from latticeflow.quality.compare import compare

    flow, metadata, training = checkpoint.load(path)
    parts = [flow._repr_html_()]
    parts.append(html_facts({"made by": metadata.get("command", ""), "on": metadata.get("created", "")}))
    if (curve := flow_figures.training_curve(metadata)) is not None:
        parts.append(_picture(curve, "acceptance and loss along the training"))
    warnings = [] if training is None else ["its training is not finished"]
    for other in ensembles:
        with Ensemble.open(other) as ensemble:
            if (ensemble.model, ensemble.lattice) != (flow.model, flow.lattice):
                continue
            found = compare(flow, ensemble, draws=draws)
        warnings += found.warnings
        parts.append(f"<h3>Compared with {html.escape(printable(other))}</h3>")
        parts.append(f'<div class="wide">{found._repr_html_()}</div>')
        parts.append(_picture(flow_figures.comparison(found), "acceptance and effective sample size by temperature"))
        break
    return f"<h2>{html.escape(printable(path))}</h2>{''.join(parts)}", warnings


def _overlay(tables: Mapping[str, Table]) -> str:
    shown = [name for name in figures.OVERVIEW if all(name in table.observables for table in tables.values())]
    return "<h2>All files together</h2>" + _picture(figures.overview(tables, shown), "observables of all files")
