"""What is installed is all of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, TIMEOUT_SECONDS


def test_what_is_built_holds_every_module(tmp_path: Path) -> None:
    """From a copy, so that nothing is left here; without the licence's lines, which older setuptools do not know."""
    sources = tmp_path / "sources"
    for folder in ("async_rl", "launch"):
        shutil.copytree(ROOT / folder, sources / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", sources)
    project = re.sub("^license.*\n", "", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (sources / "pyproject.toml").write_text(project, encoding="utf-8")
    build = ["-c", "import setuptools; setuptools.setup()", "build", "--build-lib", str(tmp_path / "lib")]
    done = subprocess.run(
        [sys.executable, *build], cwd=sources, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    made, there = ({path.relative_to(root) for path in root.rglob("*.py")} for root in (tmp_path / "lib", sources))
    assert made == there and (tmp_path / "lib" / "async_rl" / "py.typed").exists()
