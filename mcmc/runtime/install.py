"""What is to be installed where a package is missing: the one place that says how."""

from __future__ import annotations

from importlib.util import find_spec

from mcmc.errors import InputError

EXTRAS = {
    "torch": "flow",
    "zuko": "modes",
    "torchdiffeq": "modes",
    "sklearn": "modes",
    "distributed": "dask",
    "mpi4py": "mpi",
}
"""Extra of the distribution that brings a package, by the package's import name."""


def require(*packages: str) -> None:
    """Refuse to go on where packages are not installed.

    Raises:
        InputError: with the command that installs them.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        extras = sorted({EXTRAS[package] for package in missing})
        raise InputError(f"{', '.join(missing)} is not installed: {hint(*extras)}")


def hint(*extras: str) -> str:
    """How to install extras of this distribution, from a clone of it.

    Example:
        >>> hint("flow")
        "in a clone of latticeflow, run `pip install -e '.[flow]'`"
    """
    return f"in a clone of latticeflow, run `pip install -e '.[{','.join(extras)}]'`"
