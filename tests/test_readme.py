"""README's lines in the order in which they stand, each timed: ``pytest -m slow -s tests/test_readme.py``."""

import os
import re
import subprocess
import sys
import time

import pytest

from tests.processes import LATTICEFLOW, ROOT

README = (ROOT / "README.md").read_text()
MINUTES = "0.2"
"""Of trainings, for which README has 10."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_every_line_runs_and_prints_what_stands_there(tmp_path):
    pytest.importorskip("torch")
    commands = [line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    commands = [words[1:] for words in commands if words[:1] == ["latticeflow"]]
    assert [words[0] for words in commands] == ["generate", "observe", "sample", "free-energy", "compare", "train"]
    said = {}
    for words in commands:
        words = [MINUTES if before == "--minutes" else word for before, word in zip(["", *words], words, strict=False)]
        said[words[0]] = timed(" ".join(words), [*LATTICEFLOW, *words], tmp_path)
    (table,) = blocks("text")
    for line in table.splitlines():
        assert line in said["observe"]
    (code,) = blocks("python")
    said = timed(
        "the Python lines", [sys.executable, "-c", f'{code}print(table.at(0.9)["helicity_modulus"])'], tmp_path
    )
    assert said.splitlines()[-1] == re.findall(r"# (\S+): a value, its error", code)[0]


def timed(name, command, folder):
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    print(f"{time.monotonic() - start:6.1f} s  {name}")
    assert done.returncode == 0, done.stderr
    return done.stdout
