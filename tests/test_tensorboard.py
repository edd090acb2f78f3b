"""TensorBoard as a person sees it: a real run, a real server, a real browser without a screen."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, command, rows, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--window-size=1500,1100", "--virtual-time-budget=20000"),
)
LOADS = 3
"""A page may be dumped before its last answer has come; it is then loaded again."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the toy, alone in its parent directory."""
    directory = tmp_path_factory.mktemp("runs") / "toy"
    settings = ("--env", "catch", "--workers", "1", "--steps", "20000", "--report-seconds", "0.2", "--lr", "0.00125")
    line = command(*settings, "--run-dir", str(directory))
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True, timeout=200)
    return directory


@pytest.fixture(scope="module")
def address(run_dir: Path) -> Iterator[str]:
    """Where TensorBoard serves the run; it listens on this machine only, on a free port, and is ended."""
    output = run_dir.parent.with_suffix(".out")
    line = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run_dir.parent), "--host", "127.0.0.1"]
    with output.open("wb") as file:
        server = subprocess.Popen([*line, "--port", "0", "--load_fast=false"], stdout=file, stderr=file)
    try:
        found = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+/", output.read_text("utf-8")), "TensorBoard")
        yield found.group()
    finally:
        server.kill()
        server.wait()


def page(url: str, profile: Path, *wanted: str) -> str:
    """The page as it is after its scripts have run: HTML that holds every text of ``wanted``."""
    html = ""
    for load in range(LOADS):
        line = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile / str(load)}", "--dump-dom", url]
        html = subprocess.run(line, capture_output=True, text=True, timeout=100).stdout
        if all(text in html for text in wanted):
            return html
    missing = [text for text in wanted if text not in html]
    raise AssertionError(f"{url} does not show {missing}")


def test_the_curves_are_drawn(address: str, run_dir: Path, tmp_path: Path) -> None:
    last = f"{int(rows(run_dir / 'metrics.csv')[-1]['total_steps']):,}"
    html = page(address + "#timeseries", tmp_path, "charts/episodic_return", "charts/mean_score_100", "toy", last)
    assert html.count("<canvas") >= 4  # the page draws what is near the window
    ticks = re.findall(r"<text[^>]*>\s*([^<]*?)\s*</text>", html)
    steps = {int(tick.replace(",", "")) for tick in ticks if re.fullmatch(r"\d+,\d{3}", tick)}
    assert len(steps) >= 2 and max(steps) <= 21_000, ticks  # the axis of steps


def test_hyper_parameters_stand_beside_the_score(address: str) -> None:
    """Asked for as the page does: what it makes of the answer is in shadow roots, which no dump shows."""
    body = json.dumps({"experimentName": ""}).encode()
    request = urllib.request.Request(
        address + "data/plugin/hparams/experiment", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        experiment = json.load(answer)
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert names[:5] == ["algorithm", "env", "lr", "optimizer", "seed"] and "profile" not in names
    tags = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert tags == {"charts/mean_score_100"}
