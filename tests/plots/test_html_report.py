"""The page about files: it holds what it should, warns first, and loads nothing from elsewhere."""

import re

import pytest

from latticeflow.cli import main
from latticeflow.plots.html_report import report
from mcmc import InputError, generate


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for seed in (0, 1):
        path = folder / f"{seed}.h5"
        generate("xy", size=8, temperatures=[0.5, 1.0], draws=30, thermalise=50, seed=seed, out=path).close()
    return [folder / "0.h5", folder / "1.h5"]


def test_a_page_of_two_ensembles(files):
    page = report(files, title="Two & more")
    assert "<h1>Two &amp; more</h1>" in page
    assert page.count("<h2>") == 3  # one for each, and both together
    assert page.count("data:image/png;base64") == 2 * 3 + 1
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert 'data-value="0.5"' in page


def test_warnings_come_first(tmp_path):
    generate("xy", size=4, temperatures=[0.9], draws=6, chains=1, thermalise=50, out=tmp_path / "short.h5").close()
    page = report([tmp_path / "short.h5"])
    assert "too few" in page
    assert page.index("too few") < page.index("<h2>")


def test_a_flow_beside_an_ensemble(files):
    page = report(["xy8", files[0]], draws=50)
    assert "Multiscale flow" in page
    assert "Compared with" in page


def test_the_verb(files, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(files[0]), "--out", str(out)]) == 0
    assert out.read_text().startswith("<!doctype html>")
    assert f"wrote {out}" in capsys.readouterr().err
    assert main(["report", str(files[0]), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert main(["report", str(tmp_path / "missing.h5"), "--out", str(out)]) == 2


def test_nothing_to_report_on():
    with pytest.raises(InputError, match="name at least one file"):
        report([])
