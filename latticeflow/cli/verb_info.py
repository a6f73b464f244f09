"""``latticeflow info``: what is in an ensemble file, on one screen."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticeflow.cli import options
from mcmc.runtime.text import bytes_in_words, wrapped

if TYPE_CHECKING:
    from mcmc.storage.ensemble import Ensemble


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "info",
        execute,
        "say what is in an ensemble file or a flow's checkpoint, and how it was made",
        "latticeflow info xy16.h5 xy16.pt",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ensembles (.h5) and flows (.pt)")
    parser.add_argument("--json", action="store_true", help="print a JSON list of one object for each file")


def execute(arguments: argparse.Namespace) -> None:
    """Print."""
    from mcmc.storage.ensemble import Ensemble

    found = []
    for path in arguments.files:
        if _is_checkpoint(path):
            found.append(_flow(path, arguments.json))
            continue
        with Ensemble.open(path) as ensemble:
            found.append(describe(ensemble) if arguments.json else "\n".join(screen(ensemble)))
    print(json.dumps(found, indent=1) if arguments.json else "\n\n".join(found))


def _is_checkpoint(path: Path) -> bool:
    """Whether a file is a zip archive, as torch writes them."""
    if path.is_dir():
        return False
    if not path.exists():
        return path.suffix in ("", ".pt")  # a flow that comes with the package, or a checkpoint that is missing
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _flow(path: Path, as_json: bool) -> Any:
    options.require_torch()
    from latticeflow.flows import checkpoint
    from mcmc.models.presets import model_attributes

    flow, metadata, training = checkpoint.load(path)
    path = checkpoint.shipped().get(str(path), path)
    size = bytes_in_words(path.stat().st_size)
    if as_json:
        return {
            "file": str(path),
            "bytes": path.stat().st_size,
            "flow": flow.name,
            **model_attributes(flow.model),
            "size": [*flow.lattice.sides],
            "temperatures": list(flow.temperatures),
            "parameters": flow.parameter_count,
            "finished": training is None,
            "metadata": metadata,
        }
    state = "ready to use" if training is None else "training is not finished: go on with train --resume"
    made = [f"{word} {metadata[name]}" for name, word in (("created", "on"), ("command", "by")) if metadata.get(name)]
    line = f"\n  made {' '.join(made)}" if made else ""
    return f"{path}: latticeflow flow, {size}, {state}\n{flow!r}{line}"


def describe(ensemble: Ensemble) -> dict[str, Any]:
    """Everything but the draws, in JSON's types."""
    from mcmc.models.presets import model_attributes

    return {
        "file": str(ensemble.path),
        "bytes": ensemble.path.stat().st_size,
        **model_attributes(ensemble.model),
        "size": [*ensemble.lattice.sides],
        "temperatures": ensemble.temperatures.tolist(),
        "chains": ensemble.chain_numbers.tolist(),
        "draws": ensemble.draws,
        "series": list(ensemble.series_names),
        "series_only": ensemble.series_only,
        "resumable": ensemble.state() is not None,
        "report": ensemble.report(),
        "warnings": ensemble.warnings(),
        "attributes": ensemble.attributes,
    }


def screen(ensemble: Ensemble) -> list[str]:
    """The lines for people."""
    attributes, T = ensemble.attributes, ensemble.temperatures
    settings = attributes.get("settings", attributes.get("common_settings", {}))
    numbers = ensemble.chain_numbers
    count = len(T) * ensemble.chains * ensemble.draws
    rows = {
        "model": str(ensemble.model),
        "lattice": f"{' x '.join(str(side) for side in ensemble.lattice.sides)}, periodic",
        "temperatures": f"{len(T)} from {T[0]:g} to {T[-1]:g}" if len(T) > 1 else f"{T[0]:g}",
        "chains": f"{ensemble.chains} at each temperature (number {numbers[0]} to {numbers[-1]})",
        "draws": f"{ensemble.draws} of each chain, {count} in all",
        "series": ", ".join(ensemble.series_names) + (" (no configurations)" if ensemble.series_only else ""),
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
        "thermalised": _thermalisation(ensemble.report().get("thermalisation", {})),
        "warning": "; ".join(ensemble.warnings()),
        "resume": "goes on from the stored state" if ensemble.state() is not None else "no state is stored",
    }
    head = f"{ensemble.path}: {attributes['format']}, version {attributes['format_version']}, "
    size = ensemble.path.stat().st_size
    lines = {name: f"  {name:<13} {text}" for name, text in rows.items() if text}
    # Names of files and commands stay as they are.
    lines |= {
        name: wrapped(lines[name], indent=16) for name in ("settings", "versions", "thermalised") if name in lines
    }
    return [head + f"{bytes_in_words(size)}", *lines.values()]


def _thermalisation(report: dict[str, Any]) -> str:
    """What the comparison of starts found, in words."""
    if not report:
        return ""
    if not report.get("checked"):
        return f"{report.get('steps', 0)} steps, not checked"
    agreement = "agree" if report["agree"] else "DISAGREE"
    return (
        f"{report['steps']} steps; cold, hot and annealed starts {agreement} (largest difference "
        f"{report['largest_disagreement']:g} standard errors)"
    )
