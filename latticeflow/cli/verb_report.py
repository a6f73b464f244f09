"""``latticeflow report``: one page about ensembles, chains and flows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latticeflow.cli import options
from mcmc.runtime.whole_file import require_replaceable, whole_file


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(
        verbs,
        "report",
        execute,
        "write one self-contained HTML page about ensembles, chains and flows: warnings, tables, figures",
        "latticeflow report xy16.h5 --out report.html",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ensembles (.h5) and flows (.pt)")
    parser.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="the page; an old one is replaced")
    parser.add_argument("--title", default="", help="title of the page (default: the names of the files)")
    parser.add_argument(
        "--draws", type=options.count, default=500, help="draws of each flow at each temperature (default 500)"
    )


def execute(arguments: argparse.Namespace) -> None:
    """Write the page."""
    require_replaceable(arguments.out)
    if any(path.suffix == ".pt" for path in arguments.files):
        options.require_torch()
    from latticeflow.plots.html_report import report

    page = report(arguments.files, title=arguments.title, draws=arguments.draws)
    with whole_file(arguments.out) as draft:
        draft.write_text(page, encoding="utf-8", errors="backslashreplace")
    options.wrote(arguments.out, f"a page about {len(arguments.files)} files", next_command=f"open {arguments.out}")
