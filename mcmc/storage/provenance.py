"""Where draws come from: attributes that say how a file was made, and enough of it to make the file again."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mcmc

_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "h5py", "torch")


def origin(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Attributes that say when, by what command and with which versions a file is made."""
    return {
        "conventions": "angles in [-pi, pi); E = -J sum cos(t_i - t_j) - K sum cos(t_1 - t_2 + t_3 - t_4); k_B = 1",
        "command": shlex.join(sys.argv if command is None else command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {platform.processor() or 'processor unknown'}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the draws."""
    found = {"latticeflow": mcmc.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def start_warnings(report: Mapping[str, Any]) -> list[str]:
    """One line for each part of a run that did not start in equilibrium, or whose order has not moved, with the remedy.

    Args:
        report: of a run, or of several in ``parts``; see `mcmc.sampling.thermalisation.summary`.

    Example:
        >>> found = {"checked": True, "agree": False, "largest_disagreement": 17.3, "temperature": 0.1, "steps": 400}
        >>> print(start_warnings({"thermalisation": found | {"windings_left": 0}})[0])
        not in equilibrium after 400 steps: cold, hot and annealed starts differ by 17.3 standard errors at T = 0.1: \
thermalise longer, say 1600 steps, or use another sampler or tempering
    """
    lines, found = list[str](), report.get("thermalisation", {})
    if found.get("checked") and not found["agree"]:
        steps, left = found.get("steps", 0), found.get("windings_left", 0)
        at = f" at T = {found['temperature']:.6g}" if "temperature" in found else ""
        wound = f", and {left} chains are left with windings or vortices" if left else ""
        other = {"auto": "the sampler metropolis"}.get(report.get("sampler", ""), "another sampler")
        if report.get("sampler") in ("wolff", "swendsen_wang"):
            other = "the sampler auto, as clusters do not mix where it is cold,"
        lines.append(
            f"not in equilibrium after {steps} steps: cold, hot and annealed starts differ by "
            f"{found['largest_disagreement']:g} standard errors{at}{wound}: thermalise longer, say {4 * steps} steps, "
            f"or use {other} or tempering"
        )
    for name, frozen in found.get("frozen", {}).items():
        if not frozen["chains"]:
            continue
        what = {"chirality": "sign of the chirality", "stripes": "direction of the stripes"}.get(
            name, f"{name} of the order"
        )
        other = "the sampler auto, which applies symmetries of the energy, tempering,"
        if report.get("sampler") == "auto":
            other = "tempering"
        lines.append(
            f"the {what} never changed in {frozen['chains']} of {frozen['of']} chains, up to "
            f"T = {frozen['highest_temperature']:.6g}: averages that depend on it are one-sided: use {other} or "
            "many chains"
        )
    for part in report.get("parts", ()):
        lines += [line for line in start_warnings(part) if line not in lines]
    return lines
