"""The examples of the README work as they are, from their own folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, rows

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples, into which runs may be written."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__")))


def python(folder: Path, *arguments: str) -> str:
    """What a Python program printed that was started in ``folder``, where this project is installed."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    line = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_your_own_environment_and_network_by_the_command(folder: Path) -> None:
    own = ("--env", "my_environment:make", "--network", "my_network:make")
    python(folder, "-m", "launch.async", *own, "--workers", "1", "--steps", "3000", "--run-dir", "run")
    games = rows(folder / "run" / "episodes.csv")
    assert games and all(int(game["length"]) <= 50 for game in games)
    assert all(-0.5 <= float(game["score"]) < 1 for game in games)


def test_train_and_play(folder: Path) -> None:
    printed = python(folder, "train_and_play.py")
    (score,) = re.findall(r"one game without exploration: (-?[\d.]+)", printed)
    assert float(score) > 0.9, printed  # straight to the exit, from the left end 9 steps: 1 - 8 * 0.01


def test_the_library_as_the_readme_shows_it(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    last = python(tmp_path, "program.py").splitlines()[-1]
    assert float(last) > 0.8, last  # nine balls of ten are caught
