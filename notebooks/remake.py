"""Make the notebooks from their sources, run them and keep their outputs: ``python notebooks/remake.py [NAME ...]``.

The sources are the numbered ``.py`` files beside this one (jupytext's percent format); edit those. ``--check`` runs
them and writes nothing, as the tests do. A notebook that raises, or takes more than a minute, fails.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
SECONDS = 60


def sources() -> list[Path]:
    """The notebooks' sources, in reading order."""
    return sorted(FOLDER.glob("[0-9]*.py"), key=lambda path: int(path.stem.partition("_")[0]))


def execute(source: Path, seconds: float = SECONDS) -> Any:
    """The notebook of a source, with the outputs of running it in the folder of the notebooks.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
        nbclient.exceptions.CellTimeoutError: a cell took longer than ``seconds``.
    """
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    # The kernel must find this source tree.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    NotebookClient(notebook, timeout=int(seconds), resources={"metadata": {"path": str(FOLDER)}}).execute()
    # Times and machine-made names would change at every remake, and progress bars are no reading.
    notebook.metadata.pop("language_info", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_tidy, _joined(cell.outputs)) if output.get("text") != ""]
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs with consecutive pieces of the same stream in one."""
    result: list[Any] = []
    for output in outputs:
        if result and output.output_type == "stream" == result[-1].output_type and output.name == result[-1].name:
            result[-1].text += output.text
        else:
            result.append(output)
    return result


def _tidy(output: Any) -> Any:
    """The output without its progress bars."""
    if output.output_type == "stream":
        lines = [line.split("\r")[-1] for line in output.text.replace("\r\n", "\n").split("\n")]
        output.text = "\n".join(line for line in lines if not re.search(r"\d+%\|", line)).lstrip("\n")
    return output


def remake(source: Path, *, check: bool, limit: float) -> float:
    """Run one notebook, write it unless this is a check, and return its seconds."""
    import nbformat

    start = time.monotonic()
    notebook = execute(source, limit)
    seconds = time.monotonic() - start
    if not check:
        nbformat.write(notebook, source.with_suffix(".ipynb"))
    return seconds


def main() -> int:
    """Remake all notebooks, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the names of notebooks; all unless given")
    parser.add_argument("--check", action="store_true", help="run only, write nothing")
    parser.add_argument("--workers", type=int, default=1, help="notebooks that run side by side (default 1)")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error(f"--workers {arguments.workers} must be at least 1")
    chosen = [
        source for source in sources() if not arguments.names or any(name in source.stem for name in arguments.names)
    ]
    if not chosen:
        parser.error(f"no notebook is called {' or '.join(arguments.names)}")
    slow, limit = False, SECONDS * arguments.workers
    if arguments.workers > 1:  # threads of several notebooks would wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // arguments.workers)))
    with ProcessPoolExecutor(arguments.workers) as pool:
        runs = pool.map(partial(remake, check=arguments.check, limit=limit), chosen)
        for source, seconds in zip(chosen, runs, strict=True):
            slow |= seconds > limit
            print(f"{source.stem}: {seconds:.0f} s", flush=True)
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
