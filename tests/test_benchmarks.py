"""The benchmarks run, and what they write is right; what they measure is theirs."""

import dataclasses
import importlib
import math
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, InProcess, gone, python_m, rows, wait_for

from async_rl import Config, Result
from async_rl.cores import available_cores
from async_rl.networks import make_network
from async_rl.stopwatch import PHASES
from async_rl.supervisor import Ending
from async_rl.types import EnvSpec, Outcome
from benchmarks import (
    cluster_cost,
    cluster_faults,
    cluster_pong,
    cluster_scale,
    conditioning,
    endurance,
    footprint,
    peers,
    phases,
    scaling,
    sectors,
    throughput,
    toy,
)
from benchmarks.floor import operations
from benchmarks.scaling_model import SCENARIOS, Model, Scenario, fit, refetched

RESULTS = ROOT / "benchmarks" / "results"


def benchmark(name: str, *arguments: str) -> str:
    result = python_m(f"benchmarks.{name}", *arguments, timeout=200)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_throughput_and_phases_measure_real_runs(tmp_path: Path) -> None:
    shape = ("--shapes", "1x2x2", "--rounds", "1", "--seconds")
    benchmark("throughput", "--envs", "pong", *shape, "1", "--output", str(tmp_path / "throughput"))
    (row,) = rows(tmp_path / "throughput.csv")
    assert (row["workers"], row["envs_per_worker"], row["t_max"]) == ("1", "2", "2")
    terms = [float(row[f"{term}_us"]) for term in ("emulation", "arithmetic", "memory")]
    assert all(term > 1 for term in terms) and float(row["floor_us"]) == pytest.approx(sum(terms), abs=0.3)
    assert float(row["core_us"]) == pytest.approx(1e6 / float(row["steps_per_second"]), rel=0.01)
    assert float(row["ratio"]) == pytest.approx(float(row["floor_us"]) / float(row["core_us"]), abs=0.01)
    benchmark("phases", *shape, "3", "--output", str(tmp_path / "phases"))  # a moment off its core is little then
    (row,) = rows(tmp_path / "phases.csv")
    took = {name: float(row[name]) for name in (*PHASES, "sum", "whole")}
    assert sum(took[phase] for phase in PHASES) == pytest.approx(took["sum"], abs=0.1)
    assert took["sum"] == pytest.approx(took["whole"], rel=0.05)
    assert min(took[name] for name in ("emulate", "preprocess", "act", "target", "gradient", "apply")) > 1
    for name in ("throughput", "phases"):
        assert (tmp_path / name).with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("benchmark", "arguments", "sentence"),
    [
        (throughput, ("--envs", "pong", "catch"), "the floor is measured on Atari games, and catch is none."),
        (throughput, ("--rounds", "0"), "--rounds must be at least 1, got 0."),
        (throughput, ("--seconds", "-1"), "--seconds must be above 0, got -1."),
        (throughput, ("--shapes",), "--shapes needs at least one value."),
        (throughput, ("--shapes", "2xfour"), "a shape is WORKERSxEMULATORSxT_MAX, such as 2x16x1; got '2xfour'."),
        (phases, ("--shapes", "2x0x1"), "a shape is WORKERSxEMULATORSxT_MAX, such as 2x16x1; got '2x0x1'."),
        (phases, ("--shapes", "9000x1x1"), f"9000 are too many, {available_cores()} can be had."),
        (scaling, ("--workers", "1", "9000"), f"--workers needs 9000 cores, this process may use {available_cores()}."),
        (footprint, ("--workers", "0"), "--workers must be at least 1, got 0."),
        (conditioning, ("--states", "0"), "--states must be at least 1, got 0."),
        (conditioning, ("--games", "no_such_game"), "unknown game 'no_such_game'"),
        (toy, ("--methods", "none of them"), "--methods must be some of one-step Q,"),
        (cluster_cost, ("--intervals", "0"), "--intervals must be at least 1, got 0."),
        (sectors, ("--episodes", "0"), "--episodes must be between 1 and 1,000,000, got 0."),
        (
            sectors,
            ("--network", "benchmarks/results/reproduce/pong.safetensors"),
            "plays pong; sectors are of beam_rider.",
        ),
        (sectors, ("--output", "README.md/of/it.csv"), "cannot write README.md/of/it.csv: Not a directory."),
        (throughput, ("--output", "README.md/it"), "cannot write README.md/it.csv: "),
        (
            throughput,
            ("--output", "."),
            "--output must be the name of a file, with the ending .csv, .png or none, got ..",
        ),
        (
            footprint,
            ("--output", "v1.5"),
            "--output must be the name of a file, with the ending .csv, .png or none, got v1.5.",
        ),
        (peers, ("--python", "nowhere/python"), "there is no nowhere/python. Run `make peers` first."),
        (peers, ("--python", "tests"), "there is no tests. Run `make peers` first."),
        (peers, ("--only", "no such"), "--only must be parts of names such as 'pfrl A3C 2 processes', got no such."),
        (conditioning, ("--states", "19"), "--states must be at least 20, got 19."),
        (cluster_scale, ("--islands",), "--islands needs at least one value."),
        (cluster_pong, ("--seeds", "-1"), "--seeds must be at least 0, got -1."),
        (cluster_pong, ("--only-results", "--runs", "nowhere"), "no run in nowhere has finished games."),
        (cluster_faults, ("--times", "0"), "--times must be at least 1, got 0."),
        (endurance, ("chaos", "--interval-seconds", "-1"), "--interval-seconds must be above 0, got -1."),
        (endurance, ("soak", "--run-dir", "benchmarks/results/pong"), "already holds a run; remove it, or choose"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    in_process: InProcess,
    monkeypatch: pytest.MonkeyPatch,
    benchmark: ModuleType,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(ROOT)
    code, _, error = in_process(benchmark.main, *arguments)
    assert code == 2
    assert len(error.splitlines()) == 1 and error.startswith("error: ") and sentence in error


@pytest.mark.parametrize("ending", [Ending.INTERRUPTED, Ending.FAILED])
def test_a_run_that_did_not_finish_is_no_result(monkeypatch: pytest.MonkeyPatch, ending: Ending) -> None:
    """Else it would count as one that never learns, and the next would begin."""
    monkeypatch.setattr(toy, "train", lambda _, run_dir, **more: Result(run_dir, ending, 0, math.nan))
    with pytest.raises(SystemExit) as ended:
        toy.steps_to_learn(toy.TOY.base)
    assert ended.value.code == ending.value


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends it")
def test_a_run_ends_with_the_benchmark_that_is_killed(tmp_path: Path) -> None:
    """Else it would go on for ten million steps, and whatever is measured next beside it."""
    script = (
        "import sys, time; from pathlib import Path; from benchmarks.runs import start; "
        "print(start({'env': 'catch', 'workers': 1}, Path(sys.argv[1]), None).pid, flush=True); time.sleep(1000)"
    )
    killed = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run")], stdout=subprocess.PIPE, cwd=ROOT)
    assert killed.stdout is not None
    run = psutil.Process(int(killed.stdout.readline()))
    wait_for((tmp_path / "run" / "metrics.csv").exists, "the run")
    family = [run, *run.children(recursive=True)]
    killed.kill()
    killed.wait()
    wait_for(lambda: gone(family), "the end of all its processes")


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_measured(
    in_process: InProcess, tmp_path: Path
) -> None:
    (tmp_path / "results.csv").mkdir()
    for benchmark in (conditioning, throughput):
        code, _, error = in_process(benchmark.main, "--output", str(tmp_path / "results"))
        assert (code, error) == (2, f"error: cannot write {tmp_path}/results.csv: Is a directory.\n")


def test_one_core_measures_no_shape_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "available_cores", lambda: 1)
    assert len(set(throughput.default_shapes())) == len(throughput.default_shapes()) == 6


@pytest.mark.parametrize("name", sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py")
    if "def main()" in path.read_text(encoding="utf-8") and not path.stem.startswith("peers_")
))  # fmt: skip
def test_every_benchmark_has_a_help(in_process: InProcess, name: str) -> None:
    if name.startswith("cluster_"):
        pytest.importorskip("ray", reason="islands need the extra 'cluster'")
    code, printed, _ = in_process(importlib.import_module(f"benchmarks.{name}").main, "--help")
    assert code == 0 and f"usage: python -m benchmarks.{name} " in printed


def test_the_floor_counts_the_arithmetic_of_the_papers_network() -> None:
    """Multiplications and additions by hand: convolutions, fully connected layers, and twice that backward."""
    spec = EnvSpec("screens", (84, 84, 4), "uint8", tuple("abcdef"), stack=4)
    network = make_network(Config(), spec)
    layers = [2 * 20 * 20 * 16 * 8 * 8 * 4, 2 * 9 * 9 * 32 * 4 * 4 * 16, 2 * 2592 * 256, 2 * 256 * 6]
    backward = 2 * sum(layers) - layers[0]  # nobody needs the gradient of the screens
    assert operations(network, torch.zeros(1, 84, 84, 4, dtype=torch.uint8)) == 3 * sum(layers) + backward


def test_footprint_measures_real_runs(tmp_path: Path) -> None:
    benchmark("footprint", "--env", "catch", "--workers", "2", "--seconds", "1", "--output", str(tmp_path / "f.csv"))
    (row,) = rows(tmp_path / "f.csv")
    assert (tmp_path / "f.png").exists() and float(row["start_seconds"]) > 0 and 1 < float(row["uss_mib"]) < 200


def test_toy_and_conditioning(tmp_path: Path) -> None:
    benchmark("toy", "--methods", "replay", "--seeds", "1", "--steps", "3000", "--output", str(tmp_path / "toy.csv"))
    (row,) = rows(tmp_path / "toy.csv")
    assert row["method"] == "replay" and row["median"] == "inf"  # nothing is learnt in so few steps
    small = ("--games", "pong", "--states", "25", "--seeds", "1")
    benchmark("conditioning", *small, "--output", str(tmp_path / "conditioning.csv"))
    standardized, unit = rows(tmp_path / "conditioning.csv")
    assert float(standardized["ratio_20"]) < float(unit["ratio_20"])


class _Scripted:
    """A game of Beam Rider whose rewards and lives are known."""

    spec = EnvSpec("beam_rider", (1,), "uint8", ("NOOP", "LEFT", "RIGHT"))

    def __init__(self, steps: dict[int, tuple[float, int]], end: int) -> None:
        self._steps, self._end = steps, end
        self.lives, self.actions = 3, list[int]()

    def reset(self, observation: np.ndarray) -> None:
        """Nothing is seen."""

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        self.actions.append(action)
        reward, self.lives = self._steps.get(len(self.actions), (0.0, self.lives))
        return Outcome(reward, 0.0, over=len(self.actions) == self._end)


@pytest.mark.parametrize("swings", [False, True])
def test_lives_of_beam_rider_are_lost_to_sentinels_or_in_sectors(swings: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {step: (44.0, 3) for step in range(1, 16)}
    game = _Scripted(
        first | {100: (0.0, 2), 300: (48.0, 2), 350: (0.0, 1), 800: (14 * 48.0, 1), 1100: (0.0, 0)}, end=1100
    )
    monkeypatch.setattr(sectors, "Atari", lambda *_: game)
    tally = sectors.Tally()
    sectors.play(lambda observation, random: 0, swings, 0, tally)
    assert tally == sectors.Tally(score=1380, sectors=2, to_sentinels=1, in_sectors=2)  # the last came too late
    assert [step for step, action in enumerate(game.actions) if action] == [
        step for step in range(1100) if swings and (15 <= step < 165 or 800 <= step < 950)
    ]
    assert not swings or (game.actions[15:40] == [2] * 12 + [1] * 12 + [2])


@pytest.mark.parametrize(
    ("score", "between"), [(0, False), (44, False), (660, True), (704, False), (1380, True), (2160, True)]
)
def test_a_sector_of_beam_rider_is_cleared_with_its_last_enemy(score: float, between: bool) -> None:
    assert sectors.cleared(score) is between


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


def test_scaling_measures_pinned_runs_and_predicts(tmp_path: Path) -> None:
    most = min(2, available_cores())
    short = ("--rounds", "1", "--seconds", "0.5", "--cost-seconds", "0.5", "--workers", str(most))
    small = ("--env", "catch", "--networks", "mlp", "--emulators", "1", "--oversubscription", "2")
    output = tmp_path / "results" / "scaling"
    printed = benchmark("scaling", *small, *short, "--output", str(output))
    assert "PREDICTION, not measured" in printed
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    written = rows(output.with_suffix(".csv"))
    of = {(row["section"], int(row["cores_used"])): row for row in written if row["section"] != "emulators"}
    alone, together = of["scaling", 1], of["scaling", most]
    assert float(alone["ratio"]) == 1 and float(of["defaults", most]["ratio"]) == 1
    perfect = most * int(alone["steps_per_second"])
    assert float(together["ratio"]) == pytest.approx(int(together["steps_per_second"]) / perfect, abs=0.01)
    for row in written:
        if row["steps_per_second"] and not row["section"].startswith("prediction"):
            per_second = 1e6 * int(row["workers"]) / float(row["microseconds"])
            assert int(row["steps_per_second"]) == pytest.approx(per_second, rel=0.01)
            assert sum(float(row[f"{phase}_microseconds"]) for phase in PHASES) > 0
    if most > 1:
        losses = [of[f"lost to {cause}", most]["microseconds"] for cause in ("caches and memory", "shared writes")]
        lost = float(together["microseconds"]) - float(alone["microseconds"])
        assert sum(map(float, losses)) == pytest.approx(lost, abs=0.3)
    for scenario in SCENARIOS:
        assert 0 < float(of[f"prediction, {scenario.name}", 128]["ratio"]) <= 1


FREE = Model(
    private=1000.0,
    cache=0.0,
    contention=0.0,
    passes=4,
    traffic=0.0,
    one_core_bandwidth=10e9,
    bandwidth=16e9,
    measured_cores=2,
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_model_is_linear_without_traffic_and_never_above(scenario: Scenario) -> None:
    costly = {"cache": 20.0, "contention": 30.0, "traffic": 1e6}
    for cores in (1, 2, 3, 8, 128):
        assert FREE.steps_per_second(cores, scenario) == pytest.approx(1000 * cores)
        for name, cost in costly.items():
            speeds = [
                dataclasses.replace(FREE, **{name: cost * factor}).steps_per_second(cores, scenario)
                for factor in (0, 0.1, 1, 10)
            ]
            assert speeds == sorted(speeds, reverse=True) and speeds[0] == pytest.approx(1000 * cores)
    loaded = dataclasses.replace(FREE, **costly)
    speeds = [loaded.steps_per_second(cores, scenario) for cores in range(1, 129)]
    assert all(speed <= 1000 * cores for cores, speed in enumerate(speeds, 1))
    optimistic, pessimistic = (loaded.steps_per_second(64, each) for each in SCENARIOS)
    assert pessimistic < optimistic


def test_the_model_saturates_at_the_bandwidth_and_at_whole_vectors() -> None:
    _, pessimistic = SCENARIOS
    narrow = dataclasses.replace(FREE, traffic=2e6)
    assert narrow.steps_per_second(8, pessimistic) == pytest.approx(8000)
    assert narrow.steps_per_second(64, pessimistic) == pytest.approx(16e9 / 2e6)
    assert [refetched(cores, passes=4) for cores in (1, 2, 3, 5, 6, 128)] == [0, 2, 3, 5, 5, 5]


def test_the_model_is_fitted_to_what_was_lost() -> None:
    bandwidth = {1: 10e9, 2: 16e9}
    model = fit(900.0, {2: 40.0}, {2: 60.0}, parameters=10**6, t_max=2, envs_per_worker=8, bandwidth=bandwidth)
    assert (model.private, model.cache, model.contention) == pytest.approx((900, 40, 30))
    assert model.microseconds(2, SCENARIOS[0]) == pytest.approx(1000)
    assert model.traffic == pytest.approx(11 * 4 * 10**6 / 16)
    noise = fit(900.0, {2: -5.0}, {2: -5.0}, parameters=10**9, t_max=2, envs_per_worker=8, bandwidth=bandwidth)
    assert noise.cache == noise.contention == 0
    assert noise.microseconds(1, SCENARIOS[0]) == noise.microseconds(2, SCENARIOS[1]) == pytest.approx(900)
    alone = fit(900.0, {}, {}, parameters=1, t_max=2, envs_per_worker=8, bandwidth={1: 10e9})
    assert alone.steps_per_second(2, SCENARIOS[0]) == pytest.approx(2e6 / 900)


def test_islands_on_pong_are_tabulated_as_their_games_were(tmp_path: Path) -> None:
    """What has hardly begun when a run ends is left out."""
    for name, made, games in (
        ("1x2__seed0", 400_010, [(150_000, -20), (200_000, -10), (200_001, 5), (400_001, 21)]),
        ("2x1__elastic__7__seed0", 200_000, [(3_000, -21)]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(f"total_steps\n{made}\n", encoding="utf-8")
        lines = [f"{steps},{score}\n" for steps, score in games]
        (tmp_path / name / "episodes.csv").write_text("total_steps,score\n" + "".join(lines))
    more = ("--seeds", "0", "--intervals", "7", "--runs", str(tmp_path), "--output", str(tmp_path / "pong"))
    benchmark("cluster_pong", "--only-results", *more)
    found = [tuple(row.values()) for row in rows(tmp_path / "pong.csv")]
    assert found == [
        ("1", "2", "", "", "0", "0", "200000", "2", "-15.0"),
        ("1", "2", "", "", "0", "200000", "400000", "1", "5.0"),
        ("2", "1", "elastic", "7", "0", "0", "200000", "1", "-21.0"),
    ]
    assert (tmp_path / "pong.png").read_bytes().startswith(b"\x89PNG")


def test_the_cost_of_the_exchange_is_what_it_adds_in_the_same_round(
    in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter((0.02, 0.05, 0.01, 0.03, 0.05, 0.06))  # never, then every 9 steps, in three rounds

    def measured(options: cluster_cost.Options, interval: int) -> cluster_cost.Sample:
        return cluster_cost.Sample(1000.0 if interval == 9 else 1100.0, next(shares), 0.004)

    monkeypatch.setattr(cluster_cost, "sample", measured)
    code, _, _ = in_process(cluster_cost.main, "--intervals", "9", "--output", str(tmp_path / "cost.csv"))
    assert code == 0
    never, often = rows(tmp_path / "cost.csv")
    figures = ("interval", "steps_per_second", "island_percent", "exchange_percent", "exchange_ms")
    assert [never[name] for name in figures] == ["never", "1100", "2.0", "0.0", "4.0"]
    assert [often[name] for name in figures] == ["9", "1000", "5.0", "2.0", "4.0"]
