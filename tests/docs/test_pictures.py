"""The pictures of measurements can be drawn from the tables that are kept."""

import importlib.util

import pytest

from tests.processes import ROOT


@pytest.mark.slow
def test_pictures_are_drawn_from_the_tables(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    pictures.main()
    assert {path.name for path in tmp_path.iterdir()} >= {"spins.png", "observables.png", "head-to-head.png"}
