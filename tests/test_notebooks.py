"""The notebooks are what their sources say, and run."""

import importlib.util
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_committed_notebook_belongs_to_its_source(source):
    jupytext, nbformat = pytest.importorskip("jupytext"), pytest.importorskip("nbformat")
    made = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [cell.source for cell in made.cells] == [cell.source for cell in jupytext.read(source).cells]
    outputs = [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert source.with_suffix(".ipynb").stat().st_size < 600_000


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/index.md"])
def test_every_notebook_is_linked(page):
    text = (FOLDER.parent / page).read_text()
    links = re.findall(r"\(notebooks/(\w+)\.ipynb\)", text)
    assert sorted(links) == [source.stem for source in SOURCES]


def test_toctree_holds_every_notebook_in_reading_order():
    text = (FOLDER.parent / "docs" / "tutorials" / "index.md").read_text()
    listed = re.findall(r"^notebooks/(\w+)$", text, re.MULTILINE)
    assert listed == sorted((source.stem for source in SOURCES), key=lambda stem: int(stem.partition("_")[0]))


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_runs(source, monkeypatch):
    pytest.importorskip("nbclient")
    spec = importlib.util.spec_from_file_location("remake", FOLDER / "remake.py")
    remake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(remake)
    monkeypatch.setenv("PYTHONPATH", "")
    remake.execute(source)
