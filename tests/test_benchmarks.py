"""The benchmarks run, and what they write is right; what they measure is theirs."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, rows

from async_rl import Config, train
from benchmarks import peers


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


def test_peers_say_what_to_do_without_their_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--python", str(tmp_path / "python")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "make peers" in result.stderr


def test_peers_tabulate_and_draw_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def variant(description: str, *speeds: float) -> peers.Variant:
        return peers.Variant(description, 1, iter(speeds).__next__)

    reference = peers.Contestant(peers.REFERENCE, "A3C", 2, (variant("plain", 100.0, 200.0, 400.0),))
    other = peers.Contestant(
        "other", "A2C", 8, (variant("slow", 320.0, 10.0, 20.0), variant("fast", 50.0, 300.0, 310.0))
    )
    results = peers.run_rounds([reference, other], rounds=3)
    peers.report(results, peers.Options(rounds=3, output=tmp_path / "new" / "peers"))
    first, second = rows(tmp_path / "new" / "peers.csv")
    assert (first["contestant"], first["steps_per_second"], first["ratio"]) == (peers.REFERENCE, "200", "1.00")
    assert (second["variant"], second["steps_per_second"], second["emulators"]) == ("fast", "300", "8")
    assert float(second["ratio"]) == pytest.approx(statistics.median([0.5, 1.5, 0.775]), abs=0.01)
    assert (tmp_path / "new" / "peers.png").read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert "medians of 3 rounds" in table and "fast" in table.splitlines()[-1]


def test_peers_read_what_a_peer_prints(tmp_path: Path) -> None:
    python = tmp_path / "python"  # stands in for the peers' own
    options = peers.Options(python=python)
    python.write_text('#!/bin/sh\necho welcome\necho \'{"steps": 30, "seconds": 2.0}\'\n', encoding="utf-8")
    python.chmod(0o755)
    assert peers.train_peer(options, "peers_sb3", {"threads": 1}) == 15
    python.write_text("#!/bin/sh\necho $* >&2\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"measured nothing:\n.*--threads 1 --game pong"):
        peers.train_peer(options, "peers_sb3", {"threads": 1})
