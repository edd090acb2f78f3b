"""What can be shown from a fresh clone: the run of Pong that the project ships, and the pages about the library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from async_rl import load
from async_rl.card import read_curve, read_evaluations

RUN = ROOT / "benchmarks" / "results" / "pong"
BREAKOUT = ROOT / "benchmarks" / "results" / "reproduce" / "breakout_pqn_epochs.safetensors"


@pytest.mark.parametrize(("network", "least"), [(RUN, 10), (BREAKOUT, 150)], ids=["pong", "breakout"])
def test_the_shipped_networks_still_win(network: Path, least: float) -> None:
    """Screens, network and actions are those that it was trained on: with any of them changed it would lose."""
    assert load(network).evaluate(episodes=2, epsilon=0.01, seed=5, workers=2).mean > least


def test_what_is_on_record_of_it_belongs_to_it() -> None:
    agent, curve, evaluations = load(RUN), read_curve(RUN), read_evaluations(RUN)
    assert curve is not None and curve.score[-1] > 19 and curve.total_steps[-1] < agent.total_steps
    assert evaluations and all(one.total_steps == agent.total_steps for one in evaluations)
    card = (RUN / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(f"| {one.mean:,.2f} |" in card for one in evaluations)
    assert sum(path.stat().st_size for path in RUN.rglob("*") if path.is_file()) < 6e6


def test_pages_about_the_library_are_made_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="the pages need pdoc, which is in the extra 'dev'")
    line = [sys.executable, "-W", "error::UserWarning", "-m", "launch.docs", "--output", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Play whole games" in (tmp_path / "async_rl.html").read_text(encoding="utf-8")
    modules = [file.with_suffix("") for file in Path("async_rl").rglob("*.py") if file.name != "__init__.py"]
    found, unread = set[Path](), [tmp_path / "async_rl.html"]
    while unread:  # from link to link, as a reader
        page = unread.pop()
        found.add(page.resolve())
        links = re.findall(r'href="([^"#:]+\.html)', page.read_text(encoding="utf-8"))
        unread += {path for path in ((page.parent / link).resolve() for link in links) if path not in found}
    assert {(tmp_path / module).with_suffix(".html") for module in modules} <= found
