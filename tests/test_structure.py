"""The folders' order: each imports only from those above it, and no two modules share a name."""

import ast
import functools
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    "mcmc.errors",
    "mcmc.runtime",
    "mcmc.models",
    "mcmc.kernels",
    "mcmc.storage",
    "mcmc.sampling",
    "mcmc.analysis",
    "mcmc.bench",
    "latticeflow.flows",
    "latticeflow.training",
    "latticeflow.chains",
    "latticeflow.quality",
    "latticeflow.experiments",
    "latticeflow.laboratory",
    "latticeflow.plots",
    "latticeflow.cli",
)
DOORS = ("mcmc", "latticeflow", "latticeflow.__main__")
"""What stands in front of the folders and loads from any of them when it is first asked."""


def modules():
    """Every module's name and file."""
    found = {}
    for package in ("mcmc", "latticeflow"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


parse = functools.cache(ast.parse)


def imported(tree, known):
    """Modules of the project that a syntax tree imports when it runs; what only type checkers read does not count."""
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names if id(node) not in unread else []:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name


def rank(module):
    """Place of a module's folder in the order."""
    return next(k for k, folder in enumerate(ORDER) if f"{module}.".startswith(f"{folder}."))


def violations(sources):
    """Imports that go against the order, as (importing module, imported module)."""
    return [
        (module, other)
        for module, text in sources.items()
        if module not in DOORS
        for other in imported(parse(text), sources)
        if other not in DOORS and rank(other) > rank(module)
    ]


def cycles(sources):
    """Modules that import themselves through others."""
    edges = {module: set(imported(parse(text), sources)) - {module} for module, text in sources.items()}
    edges = {module: {other for other in others if other not in DOORS} for module, others in edges.items()}
    while free := [module for module, others in edges.items() if not others]:
        edges = {module: others - set(free) for module, others in edges.items() if module not in free}
    # Whatever only leads into a cycle is not part of one.
    while heads := set(edges) - {other for others in edges.values() for other in others}:
        edges = {module: others for module, others in edges.items() if module not in heads}
    return sorted(edges)


@pytest.fixture(scope="module")
def sources():
    return {module: path.read_text() for module, path in modules().items()}


def test_folders_import_only_from_those_above(sources):
    assert violations(sources) == []


def test_no_module_imports_itself_through_others(sources):
    assert cycles(sources) == []


def test_an_import_against_the_order_is_seen(sources):
    broken = sources | {"mcmc.kernels.steps": "from mcmc.sampling.replicas import Replicas\n"}
    assert violations(broken) == [("mcmc.kernels.steps", "mcmc.sampling.replicas")]
    assert "mcmc.kernels.steps" in cycles(broken)


def test_modules_have_names_of_their_own():
    names = Counter(path.name for path in modules().values() if not path.name.startswith("__"))
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_common_names_are_not_used_for_functions_and_classes_of_modules(sources):
    vague = {"run", "table", "Row", "Cell"}
    found = Counter(
        node.name
        for text in sources.values()
        for node in parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in vague
    )
    assert {name: count for name, count in found.items() if count > 1} == {}
