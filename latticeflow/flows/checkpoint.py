"""A trained flow in one file: atomic to write, and reading it never executes code.

A checkpoint is a zip archive of tensors (``torch.save``) with one JSON string of everything else, read with
``weights_only=True``. Format versions up to `VERSION` stay readable in every later release.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch

from latticeflow.flows import Flow, build_flow
from mcmc import InputError, Lattice, model_from_name

FORMAT = "latticeflow flow"
VERSION = 1


class Checkpoint(NamedTuple):
    """What a file holds."""

    flow: Flow
    metadata: dict[str, Any]
    """How the flow was made: training settings, ensemble, versions; JSON types."""
    training: dict[str, Any] | None
    """State of the trainer, to go on exactly; None in a file that only serves."""


def save(path: str | Path, flow: Flow, metadata: dict[str, Any], training: dict[str, Any] | None = None) -> None:
    """Write a checkpoint; an existing file is replaced at once or not at all.

    Args:
        path: the file.
        flow: its parameters and what rebuilds it.
        metadata: JSON types.
        training: state of the trainer, tensors and plain containers.

    Raises:
        OSError: the directory cannot be written, or the disk is full; an earlier file is untouched.
    """
    path = Path(path)
    recipe = {
        "flow": flow.name,
        "sizes": flow.sizes,
        "model": flow.model.name,
        **flow.model.couplings,
        "Lx": flow.lattice.Lx,
        "Ly": flow.lattice.Ly,
        "temperatures": flow.temperatures,
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "json": json.dumps({"recipe": recipe, "metadata": metadata}),
        "parameters": flow.state_dict(),
        "training": training,
    }
    draft = path.with_name(path.name + ".new")
    try:
        with open(draft, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except RuntimeError as error:  # how torch reports a full disk
        raise OSError(f"{path} could not be written: {str(error).splitlines()[0]}") from error
    finally:
        draft.unlink(missing_ok=True)


def load(path: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint and rebuild its flow.

    Args:
        path: the file.
        device: where the flow goes.

    Raises:
        InputError: the file is missing, truncated, no checkpoint, of a newer version, or asks for code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no flow at {path}: train one with `latticeflow train`")
    data = path.read_bytes()  # whatever fails from here on is the content's fault, not the disk's
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on foreign files
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, OSError):
        raise InputError(f"{path} is no latticeflow checkpoint, or is truncated: nothing in it was executed") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is no latticeflow checkpoint: expected a file made by `latticeflow train`")
    damaged = f"{path} is damaged: its parts do not fit together; take a copy, or train again"
    if not isinstance(content.get("version"), int):
        raise InputError(damaged)
    if content["version"] > VERSION:
        raise InputError(
            f"{path} has checkpoint version {content['version']}, newer than {VERSION}: update latticeflow to read it"
        )
    try:
        description = json.loads(content["json"])
        recipe, metadata = description["recipe"], description["metadata"]
        model = model_from_name(recipe["model"], recipe["J"], recipe["K"])
        low, high = recipe["temperatures"]
        flow = build_flow(recipe["flow"], model, Lattice(recipe["Lx"], recipe["Ly"]), (low, high), **recipe["sizes"])
        flow.load_state_dict(content["parameters"])
    except InputError as error:
        raise InputError(f"{path} was made by another revision, or is damaged ({error}): train it anew") from None
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError):
        raise InputError(damaged) from None
    if not all(bool(torch.isfinite(value).all()) for value in flow.state_dict().values()):
        raise InputError(f"{path} holds a flow whose parameters are not finite: train it at a lower rate")
    return Checkpoint(flow.to(device), metadata, content.get("training"))


def fingerprint(flow: Flow) -> str:
    """SHA-256 of the parameters, hexadecimal; equal for flows that draw the same."""
    digest = hashlib.sha256()
    for name, value in sorted(flow.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
