"""An ensemble as other tools read it: xarray's `Dataset`, ArviZ's `InferenceData`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc.errors import InputError
from mcmc.runtime.text import require
from mcmc.storage import hdf5_layout as layout
from mcmc.storage.selection import Positions, position_of

if TYPE_CHECKING:
    from mcmc.storage.ensemble import Ensemble
    from mcmc.storage.memory_ensemble import MemoryEnsemble


def to_xarray(ensemble: Ensemble | MemoryEnsemble, draws: Positions) -> Any:
    """See `Ensemble.to_xarray`."""
    xarray = require("xarray", "to_xarray")
    numbers = ensemble.coordinate("draw")[draws]
    axes = [axis for axis in layout.axes(ensemble.lattice.shape) if axis != "draw" or numbers.ndim]
    coordinates = {axis: ensemble.coordinate(axis) for axis in axes if axis != "draw"} | {"draw": numbers}
    arrays = {} if ensemble.series_only else {"theta": ensemble.theta(draws)}
    arrays |= {name: ensemble.series(name, draws) for name in ensemble.series_names}
    attributes = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in ensemble.attributes.items()
    }
    variables = {
        name: (axes[: array.ndim], array, {"units": layout.UNITS.get(name, "1")}) for name, array in arrays.items()
    }
    return xarray.Dataset(variables, coordinates, attributes)


def to_arviz(ensemble: Ensemble | MemoryEnsemble, temperature: float | None) -> Any:
    """See `Ensemble.to_arviz`."""
    arviz = require("arviz", "to_arviz")
    if temperature is None and len(ensemble.temperatures) > 1:
        T = ensemble.temperatures
        raise InputError(
            f"to_arviz takes one temperature of {len(T)} from {T.min():g} to {T.max():g}: give temperature=..."
        )
    row = 0 if temperature is None else position_of(temperature, ensemble.temperatures)
    data = {name: np.asarray(ensemble.series(name, temperatures=row)) for name in ensemble.series_names}
    # ArviZ 1 builds its trees from one mapping of groups; before it, groups were named arguments.
    found = arviz.from_dict(posterior=data) if hasattr(arviz, "InferenceData") else arviz.from_dict({"posterior": data})
    origin = {"file": str(ensemble.path), "temperature": float(ensemble.temperatures[row])}
    found["posterior"].attrs.update(origin)
    return found
