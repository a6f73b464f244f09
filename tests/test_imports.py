"""Light imports: mcmc never loads torch, and no command line waits for what it does not need."""

import subprocess
import sys

import pytest

WALK = """
import importlib, pkgutil, sys
import mcmc
for module in pkgutil.walk_packages(mcmc.__path__, "mcmc."):
    importlib.import_module(module.name)
print(" ".join(sys.modules))
"""
HELP = """
import sys
from latticeflow.cli import build_parser
build_parser().format_help()
print(" ".join(sys.modules))
"""


def modules(code):
    """Top-level packages that a fresh interpreter has loaded after running the code."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.partition(".")[0] for name in found.split()}


def test_classical_half_loads_neither_torch_nor_latticeflow():
    assert not modules(WALK) & {"torch", "latticeflow"}


@pytest.mark.parametrize(
    "code", ["import mcmc, sys; print(*sys.modules)", "import latticeflow, sys; print(*sys.modules)", HELP]
)
def test_import_and_help_load_nothing_heavy(code):
    assert not modules(code) & {"torch", "numba", "scipy", "matplotlib", "h5py", "tqdm"}


def test_walk_would_see_torch():
    assert "torch" in modules("import sys, latticeflow.flows; print(*sys.modules)")
