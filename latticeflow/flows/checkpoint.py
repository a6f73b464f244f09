"""A trained flow in one file, and back; see `latticeflow.flows.flow_file` for what the file holds."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch

from latticeflow.flows import flow_file, realnvp
from latticeflow.flows.building import build_flow
from latticeflow.flows.device import choose_device
from latticeflow.flows.flow import Flow, working_in
from latticeflow.flows.flow_file import save
from mcmc import InputError, Lattice, Model, model_from_name
from mcmc.runtime.arguments import as_path

__all__ = ["Checkpoint", "fingerprint", "load", "load_flow", "open_flow", "save", "shipped"]


class Checkpoint(NamedTuple):
    """What a file holds."""

    flow: Flow
    metadata: dict[str, Any]
    """How the flow was made: training settings, ensemble, versions; JSON types. Also ``flow.history``."""
    training: dict[str, Any] | None
    """State of the trainer, to go on exactly; None in a file that only serves."""


def load(path: str | Path, device: torch.device | str = "cpu", *, cls: type[Flow] | str | None = None) -> Checkpoint:
    """Read a checkpoint and rebuild its flow.

    A file never makes code run: the class of a flow that is not registered must have been imported before, or be
    given.

    Args:
        path: the file, or a name of `shipped`.
        device: where the flow goes.
        cls: class of the flow, or its ``module:name``, where the file's flow is not registered.

    Raises:
        InputError: the file is missing, truncated, foreign, of a newer version, of a flow that is not known here, or
            asks for code.
    """
    path = _located(path)
    content = flow_file.read(path)
    try:
        description = json.loads(content["json"])
        recipe, metadata = description["recipe"], description["metadata"]
        name, (low, high) = str(recipe["flow"]), recipe["temperatures"]
    except (LookupError, ValueError, TypeError):
        raise flow_file.damaged(path) from None
    if cls is None and ":" in name:
        cls = _imported(name, path)
    try:
        if content["version"] < 3:
            model = model_from_name(recipe["model"], recipe["J"], recipe["K"])
            lattice = Lattice(recipe["Lx"], recipe["Ly"])
        else:
            model, lattice = Model.from_json(recipe["model"]), Lattice(*recipe["sides"])
        older = {"marginals": False} if content["version"] < 4 and name == "multiscale" else {}
        with working_in(float(recipe.get("unit", 1.0))):
            flow = build_flow(cls or name, model, lattice, (low, high), **{**older, **recipe["sizes"]})
        if name == "realnvp" and "weights.0" not in content["parameters"]:
            content = realnvp.stacked(content)
        flow.load_state_dict(content["parameters"])
    except InputError as error:
        raise InputError(f"{path} was made by another revision, or is damaged ({error}): train it anew") from None
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError):
        raise flow_file.damaged(path) from None
    if not all(bool(torch.isfinite(value).all()) for value in flow.state_dict().values()):
        raise InputError(f"{path} holds a flow whose parameters are not finite: train it at a lower rate")
    flow.history = metadata
    return Checkpoint(flow.to(device), metadata, content.get("training"))


def _imported(name: str, path: Path) -> type[Flow]:
    """The class ``module:name``, if this process has imported it already."""
    module, _, attribute = name.partition(":")
    cls = getattr(sys.modules.get(module), attribute, None)
    if not (isinstance(cls, type) and issubclass(cls, Flow)):
        remedy = f"import {module} first, or give cls={name!r}"
        raise InputError(f"{path} holds a flow {name!r}, which a file may not import by itself: {remedy}")
    return cls


def load_flow(path: str | Path, *, device: torch.device | str = "auto", cls: type[Flow] | str | None = None) -> Flow:
    """Load a trained flow.

    Args:
        path: file that `Flow.save` or a training wrote; or the name of a flow that comes with the package, ``"xy8"``.
        device: where it computes: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        cls: class of the flow, or its ``module:name``, where the file's flow is not registered.

    Raises:
        InputError: the file is missing, truncated, foreign, damaged, of a newer version, or of a flow that is not known
            here.

    Example:
        >>> import latticeflow as lf
        >>> print(lf.load("xy8", device="cpu").lattice)
        8x8
    """
    return load(path, choose_device(str(device)), cls=cls).flow


def open_flow(flow: Flow | str | Path, device: torch.device | str | None = None) -> Flow:
    """The flow itself, or that in a file.

    Args:
        flow: a flow, or what `load_flow` takes.
        device: where it should compute; None leaves a flow where it is, and loads a file as ``"auto"``.

    Raises:
        InputError: as `load_flow`; or something else was given.
    """
    if isinstance(flow, Flow):
        return flow if device is None else flow.to(choose_device(str(device)))
    if isinstance(flow, str | Path):
        return load_flow(flow, device="auto" if device is None else device)
    raise InputError(f"expected a flow or the path of one; got {type(flow).__name__}")


def shipped() -> dict[str, Path]:
    """Files of the trained flows that come with the package, by the name that `load_flow` takes."""
    folder = Path(str(resources.files("latticeflow"))) / "data" / "flows"
    return {path.stem: path for path in sorted(folder.glob("*.pt"))}


def _located(path: str | Path) -> Path:
    found = as_path(path)
    if len(found.parts) == 1 and not found.suffix and not found.exists():
        known = shipped()
        if found.name not in known:
            raise InputError(f"no flow at {path}: give the path of a file, or a name of {', '.join(known)}")
        return known[found.name]
    return found


def fingerprint(flow: Flow) -> str:
    """SHA-256 of the parameters, hexadecimal; equal for flows that draw the same."""
    digest = hashlib.sha256(flow.identity)
    for name, value in sorted(flow.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
