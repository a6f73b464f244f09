"""Where draws come from: attributes that say how a file was made, and enough of it to make the file again."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mcmc
from mcmc.errors import InputError
from mcmc.models.lattice import Lattice
from mcmc.models.presets import model_from_name
from mcmc.sampling import samplers
from mcmc.sampling.simulation import Settings

_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "h5py", "torch")


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """Settings in JSON's types; `settings_from_dict` is the inverse."""
    plain = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
        "model": {"name": settings.model.name, **settings.model.couplings},
        "lattice": {"Lx": settings.lattice.Lx, "Ly": settings.lattice.Ly},
    }


def settings_from_dict(stored: Mapping[str, Any]) -> Settings:
    """The settings that `settings_to_dict` described.

    Raises:
        InputError: a setting that this version does not know.
    """
    known = {field.name for field in fields(Settings)}
    unknown = sorted(set(stored) - known)
    if unknown:
        raise InputError(f"the file's settings name {', '.join(unknown)}, unknown here: upgrade latticeflow")
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    plain["model"], plain["lattice"] = model_from_name(**stored["model"]), Lattice(**stored["lattice"])
    return Settings(**plain)


def adopt(requested: Settings, stored: Settings, path: Path) -> Settings:
    """Settings to go on with: those of the file, whose choices stand for what was left open.

    Raises:
        InputError: the file was made otherwise than requested.
    """
    open_choices = {
        field.name: getattr(stored, field.name)
        for field in fields(requested)
        if getattr(requested, field.name) in (None, "auto")
    }
    requested = replace(requested, **open_choices).resolved()
    for field in fields(requested):
        ours, theirs = getattr(requested, field.name), getattr(stored, field.name)
        if ours != theirs:
            text = f"{path} was made with {field.name} = {theirs!r}, not {ours!r}"
            raise InputError(f"{text}: repeat its command, or name another file")
    return stored


def provenance(settings: Settings, command: Sequence[str] | None = None) -> dict[str, Any]:
    """Attributes for the file of a run.

    Args:
        settings: resolved.
        command: the command line; None takes this process's.
    """
    return {
        "sampler": settings.sampler,
        "seed": str(settings.seed),
        "random_streams": "numpy SeedSequence(seed, spawn_key=(temperature index, chain number)); see mcmc.rng",
        "settings": settings_to_dict(settings),
        "mix": samplers.mix(settings.model, settings.sampler)._asdict(),
        **origin(command),
    }


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
