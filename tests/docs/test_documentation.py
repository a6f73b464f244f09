"""The documentation: its examples run, it names everything public, its pages link to what exists."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import latticeflow
import mcmc

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
LONGEST = 30
"""Lines of code that a user of the extension points should need."""


def blocks(page):
    """The Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("how-to/extend.md"))))
def test_examples_of_extensions_run_and_are_short(number, tmp_path):
    code = blocks("how-to/extend.md")[number]
    assert len([line for line in code.splitlines() if line.strip()]) <= LONGEST
    script = tmp_path / "example.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("package", [mcmc, latticeflow], ids=lambda package: package.__name__)
def test_the_reference_names_everything_public(package):
    text = (DOCS / "reference" / f"{package.__name__}.md").read_text()
    named = set(re.findall(r"[\w.]+", text))
    missing = [
        name
        for name in package.__all__
        if not name.startswith("__") and not named & {name, f"{package.__name__}.{name}"}
    ]
    assert not set(missing) - {"Model", "plot", "InputError"}


@pytest.fixture
def site(tmp_path):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    folder = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run([*command, DOCS, folder], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_built_site(site, tmp_path, subtests):
    """One test, so that one process builds the site, once."""
    with subtests.test("links and anchors lead somewhere"):
        links_and_anchors_lead_somewhere(site)
    with subtests.test("no sentence is taken for a type"):
        no_sentence_is_taken_for_a_type(site)
    with serve(site) as server:
        with subtests.test("search finds the helicity modulus in a browser"):
            search_finds_the_helicity_modulus(server, tmp_path)
        with subtests.test("pages show formulas and no script complains"):
            pages_show_formulas_and_no_script_complains(server, tmp_path)


def links_and_anchors_lead_somewhere(site):
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    anchors = {path: set(re.findall(r'id="([^"]+)"', text)) for path, text in pages.items()}
    broken = []
    for page, text in pages.items():
        for target in re.findall(r'href="([^"]+)"', text):
            name, _, anchor = target.partition("#")
            name = name.partition("?")[0]
            if re.match(r"\w+:", target) or page.name in ("genindex.html", "search.html"):
                continue
            where = (page.parent / name).resolve() if name else page
            if not where.exists() or (anchor and where in anchors and anchor not in anchors[where]):
                broken.append((page.name, target))
    assert not broken
    assert len(pages) > 20


def no_sentence_is_taken_for_a_type(site):
    """Of properties and attributes, what stands before a colon is shown as the type."""
    for package in ("mcmc", "latticeflow"):
        page = (site / "reference" / f"{package}.html").read_text()
        types = re.findall(r'<dt class="field-[a-z]+">Type<.*?<p>(.*?)</p>', page, re.DOTALL)
        words = [re.sub(r"<[^>]+>", "", each) for each in types]
        assert not [each for each in words if not re.fullmatch(r"[\w.]+(\[[\w., |\[\]]*\])?( \| None)?", each)]


@contextlib.contextmanager
def serve(site):
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda self, *words: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(site))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()


def browse(url, profile):
    """The page after its scripts have run, and what the browser logged."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += (
        " --disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=8000 --dump-dom"
    )
    done = subprocess.run(
        [browser, *options.split(), f"--user-data-dir={profile}", url], capture_output=True, text=True, timeout=120
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def search_finds_the_helicity_modulus(server, tmp_path):
    page, complaints = browse(f"{server}/search.html?q=helicity", tmp_path)
    assert complaints == []
    assert "conventions" in re.findall(r'class="search.*', page, re.DOTALL)[0]
    nothing, _ = browse(f"{server}/search.html?q=xyzzyq", tmp_path)
    assert "reference/conventions.html" not in nothing.partition("search-results")[2]


def pages_show_formulas_and_no_script_complains(server, tmp_path):
    page, complaints = browse(f"{server}/reference/conventions.html", tmp_path)
    assert complaints == []
    assert "<math" in page
