"""Runs that keep the measured series and no configurations: the same tables, a fraction of the bytes."""

import logging
import re

import h5py
import numpy as np
import pytest

import mcmc
from latticeflow.cli import main
from mcmc import XY, ExtendedXY, InputError, Lattice
from mcmc.analysis.reweighting import Reweighting
from mcmc.models.moments import basic_moments
from mcmc.sampling.executors import Team, hire
from mcmc.sampling.generate import generate_file
from mcmc.sampling.simulation import Simulation
from mcmc.storage.ensemble import Ensemble
from mcmc.storage.loader import Loader
from mcmc.storage.verify import verify
from tests.helpers import content, settings
from tests.sampling.test_generate import StopAfter

MODELS = {
    "xy": (XY(), Lattice(6, 4)),
    "exy": (ExtendedXY(K=0.5), Lattice(4, 4)),
    "antiferromagnet": (XY(J=-1), Lattice(4, 4)),
    "three_axes": (XY(dimensions=3), Lattice(2, 3, 4)),
}
DRAWS = 60


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same run of 60 draws with configurations and without."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("with", "without"):
        generate_file(settings(), folder / f"{name}.h5", draws=DRAWS, series_only=name == "without")
    return folder / "with.h5", folder / "without.h5"


@pytest.mark.parametrize("name", MODELS)
def test_series_give_the_tables_of_the_configurations(tmp_path, name):
    model, lattice = MODELS[name]
    run = settings(model=model, lattice=lattice)
    generate_file(run, tmp_path / "a.h5", draws=DRAWS)
    generate_file(run, tmp_path / "b.h5", draws=DRAWS, series_only=True)
    generate_file(settings(model=model, lattice=lattice, seed=8), tmp_path / "other.h5", draws=DRAWS, series_only=True)
    whole, series, other = (mcmc.observe(tmp_path / f"{file}.h5") for file in ("a", "b", "other"))
    assert series.observables == whole.observables
    assert {"vortex_density", "winding_square", "helicity_modulus"} <= {*whole.observables}
    for observable in whole.observables:
        for part in ("values", "errors"):
            ours, theirs = (getattr(table[observable], part) for table in (series, whole))
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert (other["energy"].values != whole["energy"].values).all()
    np.testing.assert_array_equal(series.r_hat, whole.r_hat)


def test_reweighting_and_selections_read_the_series(files):
    with Ensemble.open(files[0]) as whole, Ensemble.open(files[1]) as series:
        curves = [Reweighting(e).curve("specific_heat", [0.8, 0.9]).value for e in (whole, series)]
        tables = [mcmc.observe(e, observables=["vortex_density"], temperatures=[0.9]) for e in (whole, series)]
    np.testing.assert_allclose(*curves, rtol=1e-12)
    np.testing.assert_allclose(*(table["vortex_density"].values for table in tables), rtol=1e-12)


def test_neither_interruptions_nor_workers_change_the_bytes(tmp_path, files):
    path = tmp_path / "pieces.h5"
    assert not generate_file(settings(), path, draws=DRAWS, series_only=True, stop=StopAfter(1))
    for total in (17, 18, DRAWS):
        assert generate_file(settings(), path, draws=total, series_only=True, resume=True)
    assert content(path) == content(files[1])
    whole = Simulation(settings(), series_only=True, threads=1).block(7)
    with hire("processes", 2) as workers:
        shared = Team(settings(), None, workers, series_only=True).block(7)
    for name, values in whole.series.items():
        np.testing.assert_array_equal(values, shared.series[name])
    assert whole.theta.shape == shared.theta.shape == (3, 2, 7, 0, 0)


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (16, 16), (20, 33), (5, 6, 7)])
def test_a_configuration_has_the_same_moments_in_any_company(shape):
    rng = np.random.default_rng(1)
    theta = rng.uniform(-np.pi, np.pi, (61, *shape)).astype(np.float32)
    model = XY(dimensions=len(shape))
    whole = basic_moments(theta, model)
    for _ in range(4):
        parts = np.split(theta, np.sort(rng.choice(np.arange(1, 61), 9, replace=False)))
        found = [basic_moments(part, model) for part in (*parts, theta[:1])]
        for name, values in whole.items():
            np.testing.assert_array_equal(np.concatenate([each[name] for each in found[:-1]]), values, name)
            np.testing.assert_array_equal(found[-1][name], values[:1], name)


def test_what_needs_configurations_is_refused_with_the_remedy(files, tmp_path, capsys):
    with Ensemble.open(files[1]) as ensemble:
        assert ensemble.series_only
        for read in (
            ensemble.theta,
            lambda: ensemble.theta(0, temperature=0.9),
            lambda: Loader(ensemble, np.random.default_rng(0)),
            lambda: mcmc.correlation_function(ensemble, 0.9),
            lambda: mcmc.observe(ensemble, observables={"own": lambda theta: theta[..., 0, 0]}),
        ):
            with pytest.raises(InputError, match=r"keeps the measured series only.*without series_only"):
                read()
        assert [block.theta.size for block in ensemble.blocks()] == [0]
        assert "series without configurations" in repr(ensemble)
    assert main(["train", str(files[1]), "--out", str(tmp_path / "f.pt"), "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert "without series_only" in told
    assert "Traceback" not in told
    assert not (tmp_path / "f.pt").exists()


def test_a_registered_function_of_configurations_is_left_out_with_a_note(files):
    mcmc.register_observable("corner", lambda theta: theta[..., 0, 0])
    try:
        table = mcmc.observe(files[1])
        assert "corner" not in table.observables
        assert "energy" in table.observables
        assert any("corner is left out" in line for line in table.warnings())
        with pytest.raises(InputError, match="corner cannot be told from the series"):
            mcmc.observe(files[1], observables=["corner"])
        assert "corner" in mcmc.observe(files[0]).observables
    finally:
        mcmc.analysis.observable_registry.OBSERVABLES.remove("corner")


def test_other_programs_read_numbers_that_are_none(files):
    """HDF5 knows the shape of what was not kept, and fills it with NaN rather than with angles of zero."""
    with h5py.File(files[1], "r") as file:
        assert file["theta"].shape == (3, 2, DRAWS, 4, 4)
        assert file["theta"].id.get_storage_size() == 0
        assert np.isnan(file["theta"][...]).all()


def test_the_announced_size_is_right(tmp_path, caplog):
    run = settings(lattice=Lattice(8, 8), temperatures=(0.9, 1.3))
    with caplog.at_level(logging.INFO):
        generate_file(run, tmp_path / "a.h5", draws=8000, series_only=True)
    [said] = re.findall(r"will take ([\d.]+) MB", caplog.text)
    size = (tmp_path / "a.h5").stat().st_size
    assert float(said) == pytest.approx(size / 1e6, rel=0.1)
    assert size < 0.5 * 2 * 2 * 8000 * 4 * 64  # half of what the configurations would take


def test_the_verbs_say_what_is_kept(files, tmp_path, capsys):
    path = str(files[1])
    assert main(["info", path]) == 0
    assert "(no configurations)" in capsys.readouterr().out
    assert main(["verify", path]) == 0
    assert f"sound, {DRAWS} draws of each chain, series only" in capsys.readouterr().out
    assert main(["report", path, "--out", str(tmp_path / "r.html")]) == 0
    assert "without configurations" in (tmp_path / "r.html").read_text()
    assert mcmc.open(path).to_xarray()["vortex_density"].shape == (3, 2, DRAWS)


def test_a_damaged_series_is_found_cut_off_and_made_again(files, tmp_path):
    path = tmp_path / "bad.h5"
    data = bytearray(files[1].read_bytes())
    with h5py.File(files[1], "r") as file:
        chunk = file["vortex_density"].id.get_chunk_info(0)
    data[chunk.byte_offset + 5] ^= 1
    path.write_bytes(data)
    found = verify(path)
    assert found.problems == [f"series vortex_density, draws 0 to {DRAWS - 1}: checksum does not match"]
    assert main(["verify", "--cut", str(path)]) == 0
    assert generate_file(settings(), path, draws=DRAWS, series_only=True, resume=True)
    assert content(path) == content(files[1])


def test_a_file_that_lost_its_state_is_gone_on_with_only_by_the_run_that_made_it(files, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(files[1].read_bytes())
    with Ensemble.append_to(path) as ensemble:
        ensemble.cut(40)
    assert generate_file(settings(), path, draws=DRAWS, series_only=True, resume=True)
    assert content(path) == content(files[1])
    with Ensemble.append_to(path) as ensemble:
        ensemble.cut(40)
        ensemble._file["vortex_density"][0, 0, 3] += 1e-9
        ensemble._commit()
    with pytest.raises(InputError, match="draws other numbers"):
        generate_file(settings(), path, draws=DRAWS, series_only=True, resume=True)


def test_kinds_of_files_are_not_mixed(files, tmp_path):
    with pytest.raises(InputError, match="made with series_only = True, not False"):
        generate_file(settings(), files[1], draws=DRAWS, resume=True)
    with pytest.raises(InputError, match="made with series_only = False, not True"):
        generate_file(settings(), files[0], draws=DRAWS, series_only=True, resume=True)
    generate_file(settings(seed=8), tmp_path / "b.h5", draws=DRAWS, series_only=True)
    with pytest.raises(InputError, match="series_only is True, not False"):
        mcmc.merge([files[0], tmp_path / "b.h5"], tmp_path / "m.h5")
    mcmc.merge([files[1], tmp_path / "b.h5"], tmp_path / "m.h5")
    with Ensemble.open(tmp_path / "m.h5") as merged, Ensemble.open(files[1]) as first:
        assert merged.series_only
        assert merged.chains == 4
        for name in first.series_names:
            np.testing.assert_array_equal(merged.series(name, chains=[0, 1]), first.series(name))


def test_parts_become_the_file_of_one_run(files, tmp_path):
    paths = []
    for task in range(3):
        paths.append(tmp_path / f"{task}.h5")
        generate_file(settings().part(range(task, task + 1), range(2)), paths[-1], draws=DRAWS, series_only=True)
    mcmc.merge(paths, tmp_path / "all.h5")
    assert content(tmp_path / "all.h5") == content(files[1])


def test_in_memory(files):
    run = {"size": 4, "temperatures": (0.5, 0.9, 1.3), "chains": 2, "seed": 7, "thermalise": 20, "thin": 2}
    ensemble = mcmc.generate("xy", draws=DRAWS, series_only=True, **run)
    with Ensemble.open(files[1]) as file:
        for name in file.series_names:
            np.testing.assert_array_equal(ensemble.series(name), file.series(name))
    with pytest.raises(InputError, match="the ensemble in memory keeps the measured series only"):
        ensemble.theta()
    assert "no configurations" in repr(ensemble)
    np.testing.assert_array_equal(mcmc.observe(ensemble)["energy"].values, mcmc.observe(files[1])["energy"].values)
