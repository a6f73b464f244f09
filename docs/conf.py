"""Settings of the documentation: ``make docs`` builds it; warnings are errors."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import mcmc  # noqa: E402
from latticeflow.cli import VERBS, verb_parser  # noqa: E402

project = "latticeflow"
author = "the latticeflow developers"
release = version = mcmc.__version__
copyright = "the latticeflow developers, MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathematics",
]
exclude_patterns = ["_build", "**/commands.txt"]
html_theme = "furo"
html_title = f"latticeflow {release}"
html_static_path = ["_static"]
html_css_files = ["latticeflow.css"]
html_show_sourcelink = False
html_math_renderer = "mathml"
templates_path: list[str] = []

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the outputs are those that notebooks/remake.py has kept
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Chosen": "Chosen", "Moments": "Moments"}
default_role = "code"  # names in docstrings stand in single backticks
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
suppress_warnings = ["mystnb.unknown_mime_type", "myst.xref_missing"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def write_pages(app: object) -> None:
    """Pages that follow from the code: help texts of every verb, the file format, the notebooks."""
    text = ["# Command line", "", "Every verb explains itself with `--help`; these are the same texts.", ""]
    for verb, summary in VERBS.items():
        text += [f"## {verb}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
        for parser in (verb_parser(verb), *(verb_parser(verb).verbs or {}).values()):
            text += ["```text", parser.format_help().rstrip(), "```", ""]
    _write(HERE / "reference" / "command-line.md", "\n".join(text))
    _write(HERE / "reference" / "file-format.md", (ROOT / "data" / "ensemble-format.md").read_text())
    folder = HERE / "tutorials" / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        content = json.loads(notebook.read_text())
        content["metadata"]["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # for shell lines
        _write(folder / notebook.name, json.dumps(content))
    pictures = HERE / "pictures"
    pictures.mkdir(exist_ok=True)
    for picture in (ROOT / "data" / "figures").glob("*.png"):
        shutil.copyfile(picture, pictures / picture.name)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: object) -> None:
    """Called by Sphinx."""
    write_pages(app)
