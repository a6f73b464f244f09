"""The file of a flow: written at once or not at all, and reading it never executes code.

A file is a zip archive of tensors (``torch.save``) with one JSON string of everything else, read with
``weights_only=True``. Format versions up to `VERSION` stay readable in every later release.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from mcmc import InputError
from mcmc.runtime.whole_file import require_replaceable

if TYPE_CHECKING:
    from latticeflow.flows.flow import Flow

FORMAT = "latticeflow flow"
VERSION = 6
"""Version 6 has all couplings of `realnvp` in one. Version 5 may hold multiscale flows with finer groups, version 4
those with marginals. Version 3 stores the model's terms. Version 2 adds the unit of energy; flows of version 1 work in
the unit in which their couplings are given."""


_BITS = 9
"""Significant bits of the parameters in small files."""


def save(
    path: str | Path,
    flow: Flow,
    metadata: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    *,
    small: bool = False,
) -> None:
    """Write a flow; an existing file is replaced at once or not at all.

    Args:
        path: the file.
        flow: its parameters and what rebuilds it.
        metadata: how it was made, in JSON's types; None takes ``flow.history``.
        training: state of the trainer, tensors and plain containers, for a training that is to go on.
        small: round the parameters to 9 significant bits and compress the file, to 0.4 of its size. It holds the
            rounded flow: its densities are exact for its draws like any other's, and log w of the flows that are
            included varied by less than 1e-4 more.

    Raises:
        InputError: the flow is made of somebody's functions, which no file can hold.
        OSError: the directory cannot be written, or the disk is full; an earlier file is untouched.
    """
    path = Path(path)
    recipe = {
        "flow": flow.registered_name,
        "sizes": flow.sizes,
        "model": flow.model.as_json(),
        "sides": flow.lattice.sides,
        "temperatures": flow.temperatures,
        "unit": flow.unit,
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "json": json.dumps({"recipe": recipe, "metadata": flow.history if metadata is None else metadata}),
        "parameters": {name: _rounded(value) if small else value for name, value in flow.state_dict().items()},
        "training": training,
    }
    require_replaceable(path, checkpoint=True)
    draft = path.with_name(path.name + ".new")
    try:
        with open(draft, "wb") as file:
            _write(content, file, small)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except RuntimeError as error:  # how torch reports a full disk
        raise OSError(f"{path} could not be written: {str(error).splitlines()[0]}") from error
    finally:
        draft.unlink(missing_ok=True)


def _rounded(value: torch.Tensor) -> torch.Tensor:
    """In half precision, with zeros in the bits that compression is to save."""
    mantissa, exponent = torch.frexp(value.float())
    return torch.ldexp(torch.round(mantissa * 2**_BITS) / 2**_BITS, exponent).half()


def _write(content: dict[str, Any], file: IO[bytes], compressed: bool) -> None:
    """``torch.save``, whose archives are not compressed; ``torch.load`` reads them either way."""
    if not compressed:
        torch.save(content, file)
        return
    plain = io.BytesIO()
    torch.save(content, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in source.namelist():
            archive.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)


def read(path: Path) -> dict[str, Any]:
    """The content of a file that `save` wrote, not interpreted.

    Raises:
        InputError: the file is missing, truncated, foreign, of a newer version, or asks for code.
    """
    if not path.is_file():
        raise InputError(f"no flow at {path}: train one first, or check the path")
    data = path.read_bytes()
    if data.startswith(b"\x89HDF"):
        raise InputError(f"{path} is an HDF5 file, such as ensembles are: name a flow, the checkpoint of a training")
    # Whatever fails from here on is the content's fault, not the disk's.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on foreign files
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, OSError, TypeError, struct.error):
        raise InputError(
            f"{path} is not a latticeflow checkpoint, or is truncated: nothing in it was executed"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a latticeflow checkpoint: expected a file that a training or Flow.save wrote")
    if not isinstance(content.get("version"), int):
        raise damaged(path)
    if content["version"] > VERSION:
        raise InputError(
            f"{path} has checkpoint version {content['version']}, newer than {VERSION}: update latticeflow to read it"
        )
    return content


def damaged(path: Path) -> InputError:
    """What to raise where the parts of a file do not fit together."""
    return InputError(f"{path} is damaged: its parts do not fit together; take a copy, or train again")


def describe(history: Mapping[str, Any]) -> str:
    """How a flow was made, in one line; histories of earlier releases say less.

    Example:
        >>> describe({"steps": 2000, "seconds": 90.0, "training": {"objective": "log_variance", "seed": 0}})
        'trained 2000 steps in 1.5 minutes by log_variance, seed 0'
    """
    if not history:
        return "not trained"
    training, source = history.get("training") or {}, history.get("source") or {}
    words = ["trained"]
    if "steps" in history:
        words.append(f"{history['steps']} steps")
    if "seconds" in history:
        words.append(f"in {history['seconds'] / 60:.2g} minutes")
    if "objective" in training:
        words.append(f"by {training['objective']}")
    if "ensemble" in source:
        words.append(f"on {source['ensemble']}")
    text = " ".join(words)
    if "seed" in training:
        text += f", seed {training['seed']}"
    return text if history.get("complete", True) else f"{text}; stopped before its end"
