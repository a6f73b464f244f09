"""The distribution as others get it: a wheel, installed outside of the repository, brings all that it runs."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of an environment of its own that holds the wheel; libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith("lattice_flow_mcmc-")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    home = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], **TEXT
    ).stdout.strip()
    # A plain path: what is installed here for editing is not seen there.
    (Path(home) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


TEXT = {"capture_output": True, "text": True, "check": True}


@pytest.mark.slow
def test_an_installed_wheel_generates_observes_samples_and_measures(installed):
    env, away = installed / "env" / "bin", installed / "away"
    away.mkdir()

    def run(*words):
        done = subprocess.run([str(env / "latticeflow"), *words], cwd=away, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import mcmc, latticeflow; print(mcmc.__file__, latticeflow.__file__)"
    for path in subprocess.run([env / "python", "-c", where], cwd=away, **TEXT).stdout.split():
        assert Path(path).is_relative_to(installed)
        assert (Path(path).parent / "py.typed").exists()
    run("generate", "--size", "4", "--temperatures", "0.8,1.2", "--draws", "50", "--out", "xy4.h5")
    assert len(json.loads(run("observe", "xy4.h5", "--json"))["rows"]) == 2
    run("sample", "xy8", "--temperatures", "0.9", "--draws", "100", "--out", "chain.h5", "--device", "cpu")
    assert "neural MCMC" in run("bench", "head-to-head", "--quick", "--device", "cpu")
