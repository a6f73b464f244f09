"""``latticeflow info``: what is in an ensemble file, on one screen."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options

if TYPE_CHECKING:
    from mcmc.storage.ensemble import Ensemble


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs, "info", execute, "say what is in ensemble files and how it was made", "latticeflow info data/xy16.h5"
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.h5")
    parser.add_argument("--json", action="store_true", help="print one JSON object per file")


def execute(arguments: argparse.Namespace) -> None:
    """Print."""
    from mcmc.storage.ensemble import Ensemble

    for path in arguments.files:
        with Ensemble.open(path) as ensemble:
            print(json.dumps(describe(ensemble)) if arguments.json else "\n".join(screen(ensemble)))


def describe(ensemble: Ensemble) -> dict[str, Any]:
    """Everything but the draws, in JSON's types."""
    return {
        "file": str(ensemble.path),
        "bytes": ensemble.path.stat().st_size,
        "model": ensemble.model.name,
        **ensemble.model.couplings,
        "size": [ensemble.lattice.Lx, ensemble.lattice.Ly],
        "temperatures": ensemble.temperatures.tolist(),
        "chains": ensemble.chain_numbers.tolist(),
        "draws": ensemble.draws,
        "series": list(ensemble.series_names),
        "resumable": ensemble.state() is not None,
        "report": ensemble.report(),
        "attributes": ensemble.attributes,
    }


def screen(ensemble: Ensemble) -> list[str]:
    """The lines for people."""
    attributes, T = ensemble.attributes, ensemble.temperatures
    settings = attributes.get("settings", {})
    couplings = ", ".join(f"{name} = {value:g}" for name, value in ensemble.model.couplings.items())
    numbers = ensemble.chain_numbers
    count = len(T) * ensemble.chains * ensemble.draws
    rows = {
        "model": f"{ensemble.model.name}, {couplings}",
        "lattice": f"{ensemble.lattice.Lx} x {ensemble.lattice.Ly}, periodic",
        "temperatures": f"{len(T)} from {T[0]:g} to {T[-1]:g}" if len(T) > 1 else f"{T[0]:g}",
        "chains": f"{ensemble.chains} at each temperature (number {numbers[0]} to {numbers[-1]})",
        "draws": f"{ensemble.draws} of each chain, {count} in all",
        "series": ", ".join(ensemble.series_names),
        "sampler": attributes.get("sampler", "unknown"),
        "settings": ", ".join(
            f"{name} = {value}"
            for name, value in settings.items()
            if name not in ("model", "lattice", "temperatures", "chains", "sampler")
        ),
        "made": f"{attributes.get('created', '')} by {attributes.get('command', 'unknown command')}",
        "versions": ", ".join(f"{name} {version}" for name, version in attributes.get("versions", {}).items()),
        "note": attributes.get("note", ""),
        "merged from": ", ".join(attributes.get("merged_from", [])),
        "resume": "goes on from the stored state" if ensemble.state() is not None else "no state is stored",
    }
    head = f"{ensemble.path}: {attributes['format']}, version {attributes['format_version']}, "
    size = ensemble.path.stat().st_size
    return [head + f"{size / 1e6:.1f} MB", *(f"  {name:<13} {text}" for name, text in rows.items() if text)]
