"""The benchmarks run, and what they write is right; what they measure is theirs."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, rows

from async_rl import Config, train


def benchmark(name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_learning_curve_is_made_of_all_games(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=5000)
    run_dir = train(config, tmp_path / "run", quiet=True).run_dir
    output = tmp_path / "results" / "curve"
    benchmark("learning_curve", str(run_dir), "--output", str(output), "--bin-steps", "1000")
    games, points = rows(run_dir / "episodes.csv"), rows(output.with_suffix(".csv"))
    assert sum(int(point["games"]) for point in points) == len(games)
    first = [float(game["score"]) for game in games if int(game["total_steps"]) < 1000]
    assert float(points[0]["score"]) == pytest.approx(statistics.fmean(first), abs=1e-3)
    assert {key for key in points[0] if key.startswith("score_")} <= {f"score_epsilon_{e}" for e in (0.01, 0.1, 0.5)}
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_throughput_and_footprint_measure_real_runs(tmp_path: Path) -> None:
    shapes = ("--env", "catch", "--shapes", "1x2", "--rounds", "1", "--seconds", "2")
    benchmark("throughput", *shapes, "--output", str(tmp_path / "throughput.csv"))
    (row,) = rows(tmp_path / "throughput.csv")
    assert (row["workers"], row["envs_per_worker"], row["ratio"]) == ("1", "2", "1.00")
    assert int(row["steps_per_second"]) > 0
    benchmark("footprint", "--env", "catch", "--workers", "2", "--seconds", "1", "--output", str(tmp_path / "f.csv"))
    (row,) = rows(tmp_path / "f.csv")
    assert float(row["start_seconds"]) > 0 and float(row["uss_mib"]) > 1


def test_toy_and_conditioning(tmp_path: Path) -> None:
    benchmark("toy", "--methods", "replay", "--seeds", "1", "--steps", "3000", "--output", str(tmp_path / "toy.csv"))
    assert rows(tmp_path / "toy.csv")[0]["method"] == "replay"
    small = ("--games", "pong", "--states", "25", "--seeds", "1")
    benchmark("conditioning", *small, "--output", str(tmp_path / "conditioning.csv"))
    standardized, unit = rows(tmp_path / "conditioning.csv")
    assert float(standardized["ratio_20"]) < float(unit["ratio_20"])
