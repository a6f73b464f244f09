"""The written contract of the file: data/ensemble-format.md, a stored file of version 1, and xarray's view of it."""

import json
import shutil
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from mcmc import ExtendedXY, Lattice
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.verify import verify

STORED = Path(__file__).parent.parent / "data" / "ensemble-v1.h5"
SCHEMA = (Path(__file__).parent.parent.parent / "data" / "ensemble-format.md").read_text()


def test_the_stored_file_of_version_1_opens_for_ever():
    with Ensemble.open(STORED) as ensemble:
        assert ensemble.attributes["format_version"] in (1, 2)
        assert (ensemble.model, ensemble.lattice) == (ExtendedXY(J=1, K=0.5), Lattice(4, 2))
        assert (ensemble.chains, ensemble.draws) == (2, 5)
        assert ensemble.temperatures.tolist() == [0.5, 1.25]
        assert zlib.crc32(ensemble.theta().tobytes()) == 1056455722
        assert zlib.crc32(ensemble.series("energy").tobytes()) == 4273260925
        assert ensemble.attributes["settings"]["seed"] == 11
        assert ensemble.attributes["command"].startswith("latticeflow generate --model exy --K 0.5 --size 4x2")
        assert ensemble.state() is not None
        assert ensemble.report()
    assert verify(STORED).problems == []


def test_the_stored_file_can_be_written_on(tmp_path):
    path = shutil.copy(STORED, tmp_path / "a.h5")
    with Ensemble.append_to(path) as ensemble:
        block = next(ensemble.blocks())
        ensemble.append(block)
    with Ensemble.open(path) as ensemble:
        assert ensemble.draws == 10
        np.testing.assert_array_equal(ensemble.theta(slice(5, 10)), block.theta)


def test_every_dataset_and_attribute_stands_in_the_schema():
    with h5py.File(STORED) as file:
        names = ["/" + name for name in file if name != "run"] + ["/run/report", "/run/state/NAME"]
        for name in [*names, *file.attrs]:
            assert f"`{name}`" in SCHEMA, name
        for name in ("theta", "energy", "draw", "temperature", "run/report", "run/state/x"):
            assert file[name].fletcher32, name
        axes = [dimension.keys()[0] for dimension in file["theta"].dims]
        assert axes == ["temperature", "chain", "draw", "y", "x"]
        assert file["theta"].attrs["units"] == "rad"
        assert json.loads(file["run/report"][...].tobytes())


def test_xarray_reads_it_by_name():
    xarray = pytest.importorskip("xarray", reason="the extra xarray is not installed")
    pytest.importorskip("h5netcdf", reason="the extra xarray is not installed")
    with xarray.open_dataset(STORED, engine="h5netcdf") as dataset, Ensemble.open(STORED) as ensemble:
        print(dataset)
        assert dict(dataset.sizes) == {"temperature": 2, "chain": 2, "draw": 5, "y": 2, "x": 4}
        assert dataset.theta.dims == ("temperature", "chain", "draw", "y", "x")
        assert dataset.energy.dims == ("temperature", "chain", "draw")
        assert dataset.theta.attrs["units"] == "rad"
        at = dataset.theta.sel(temperature=1.25, chain=1, draw=3)
        np.testing.assert_array_equal(at, ensemble.theta()[1, 1, 3])
