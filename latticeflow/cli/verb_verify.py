"""``latticeflow verify``: re-read everything, name what is damaged, cut it off if asked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from latticeflow.cli import options


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "verify",
        execute,
        "re-read ensemble files, check every block and re-measure every configuration",
        "latticeflow verify xy16.h5",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.h5", help="ensemble files")
    parser.add_argument("--cut", action="store_true", help="cut damaged files back to the draws before the damage")
    parser.add_argument("--json", action="store_true", help="print a JSON list of one object for each file")


def execute(arguments: argparse.Namespace) -> int:
    """Verify; 0 if every file is sound, or cut to be so."""
    from mcmc.storage.ensemble import Ensemble
    from mcmc.storage.verify import verify

    status, results = 0, []
    for path in arguments.files:
        found = verify(path)
        cut = bool(arguments.cut and found.intact < found.draws)
        if cut:
            with Ensemble.append_to(path) as ensemble:
                ensemble.cut(found.intact)
        if found.problems and not cut:
            status = 1
        if arguments.json:
            result = {"file": str(path), "ok": not found.problems, "draws": found.draws, "intact_draws": found.intact}
            results.append({**result, "cut": cut, "problems": found.problems})
            continue
        for problem in found.problems:
            print(f"{path}: {problem}")
        if not found.problems:
            kind = ", series only" if found.series_only else ""
            print(f"{path}: sound, {found.draws} draws of each chain{kind}")
        elif cut:
            print(f"{path}: cut to {found.intact} of {found.draws} draws; generate --resume makes the others again")
        elif found.intact < found.draws:
            print(f"{path}: the first {found.intact} of {found.draws} draws are sound; --cut keeps only these")
    if arguments.json:
        print(json.dumps(results, indent=1))
    return status
