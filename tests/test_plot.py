"""Learning curves: the statistics against scalar restatements, the points against the files, the command for real."""

import dataclasses
import itertools
import json
import re
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import python_m, rows
from hypothesis import given
from hypothesis import strategies as st

from async_rl import Config, UserError, train
from async_rl.card import read_curve
from async_rl.plotting.groups import group_runs, make_labels
from async_rl.plotting.intervals import interquartile_mean, stratified_bootstrap
from async_rl.plotting.picture import _explanation, _reached, _x, draw
from async_rl.plotting.points import Curve, choose_bin_steps, make_curve
from async_rl.plotting.references import references, spread
from async_rl.plotting.runs import Run, read_run
from async_rl.plotting.table import write_csv
from async_rl.published import PUBLISHED, Point
from launch import plot

SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def scalar_interquartile_mean(scores: list[float]) -> float:
    ordered = sorted(scores)
    cut = int(0.25 * len(ordered))
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def run_of(
    seed: int, game: str = "pong", algorithm: str = "one-step-q", scores: list[float] | None = None, **more: Any
) -> Run:
    """A run whose games end at T = 10, 20, 30, ... and 0.5, 1, 1.5, ... seconds."""
    own = np.array([1.0, 2.0, 3.0, 4.0] if scores is None else scores)
    number = np.arange(1, len(own) + 1)
    settings = {"seed": seed, "env": game, "algorithm": algorithm, **more}
    epsilons = np.where(number % 2, 0.1, 0.5)
    return Run(settings, game, 4.0, 10.0 * number, 0.5 * number, own, epsilons)


# --- Statistics


@given(SCORES)
def test_the_interquartile_mean_is_the_mean_of_the_middle_half(scores: list[float]) -> None:
    found = interquartile_mean(np.array(scores))
    assert found == pytest.approx(scalar_interquartile_mean(scores), rel=1e-9, abs=1e-6)
    assert interquartile_mean(np.array([scores, scores]), axis=1).shape == (2,)


def test_the_bootstrap_is_a_loop_over_samples_and_strata() -> None:
    random = np.random.default_rng(1)
    strata = [random.normal(size=(5, 3)), random.normal(10, size=(4, 3))]
    found = stratified_bootstrap(strata, np.random.default_rng(2), samples=40)
    again = np.random.default_rng(2)
    draws = [again.integers(len(scores), size=(40, len(scores))) for scores in strata]
    for point in range(3):
        means = []
        for sample in range(40):
            pairs = zip(strata, draws, strict=True)
            drawn = [scores[number, point] for scores, drawn in pairs for number in drawn[sample]]
            means.append(scalar_interquartile_mean(drawn))
        expected = np.quantile(means, [0.025, 0.975])
        assert [found[0][point], found[1][point]] == pytest.approx(list(expected))


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    """300 experiments with 20 runs of a normal distribution each, as the points of one call: the mean is 5."""
    runs = np.random.default_rng(0).normal(5, 2, size=(20, 300))
    low, high = stratified_bootstrap([runs], np.random.default_rng(0))
    assert 0.88 < np.mean((low < 5) & (high > 5)) < 0.98
    wide = stratified_bootstrap([runs[:5]], np.random.default_rng(0))
    assert np.mean(wide[1] - wide[0]) > 1.5 * np.mean(high - low)


def test_differences_between_strata_do_not_widen_the_interval() -> None:
    constant = [np.zeros((4, 1)), np.full((4, 1), 10.0)]
    low, high = stratified_bootstrap(constant, np.random.default_rng(0))
    assert low == high == pytest.approx(5)


# --- Groups and points


def test_runs_that_differ_in_the_seed_only_are_one_group() -> None:
    groups = group_runs([run_of(1), run_of(2, algorithm="a3c"), run_of(3)])
    assert [(group.label, len(group.runs)) for group in groups] == [("one-step-q", 2), ("a3c", 1)]
    assert [group.label for group in group_runs([run_of(1), run_of(2, algorithm="a3c")], ["A", "B"])] == ["A", "B"]
    with pytest.raises(UserError, match="2 --labels"):
        group_runs([run_of(1), run_of(2, algorithm="a3c")], ["A"])
    with pytest.raises(UserError, match="same games"):
        group_runs([run_of(1), run_of(2, game="breakout", algorithm="a3c")])


def test_what_is_not_learnt_from_parts_no_seeds() -> None:
    runs = [run_of(1), run_of(2)]
    runs[0].settings.update(evaluate_every=1000, pin="core", report_seconds=1.0)
    runs[1].settings.update(evaluate_every=0, pin="node", report_seconds=10.0)
    assert len(group_runs(runs)) == 1


def test_a3c_has_no_target_network_to_differ_by() -> None:
    runs = [run_of(1, target=target) for target in ("none", "shared")]
    a3c = [run_of(seed, algorithm="a3c", target="shared", target_interval=seed) for seed in (1, 2)]
    labels = [group.label for group in group_runs([*runs, *a3c])]
    assert labels == ["one-step-q, no target", "one-step-q", "a3c"]


def test_labels_are_the_fewest_settings_that_tell_groups_apart() -> None:
    plain = {"algorithm": "one-step-q", "lr": 7e-4, "double": False, "steps": 10}
    assert make_labels([plain]) == ["one-step-q"]
    assert make_labels([plain | {"lambda": 0.65, "norm": "layer", "target": "none"}]) == [
        "one-step-q, lambda 0.65, layer norm, no target"
    ]
    assert make_labels([plain | {"epochs": 4}]) == ["one-step-q, epochs 4"]
    assert make_labels([plain | {"epochs": 1}]) == ["one-step-q"]
    assert make_labels([plain, plain | {"lr": 0.002, "steps": 20}]) == ["one-step-q, lr 7e-4", "one-step-q, lr 2e-3"]
    assert make_labels([plain, plain | {"double": True}]) == ["one-step-q", "one-step-q, double"]
    a3c = {"algorithm": "a3c", "lr": 0.5}
    assert make_labels([plain, a3c]) == ["one-step-q", "a3c"]
    decay = [plain | {"lambda": 0.65, "final_epsilons": [0.1, 0.5]}, plain | {"final_epsilons": [0.01]}]
    assert make_labels(decay) == ["one-step-q, lambda 0.65", "one-step-q"]


def test_the_points_of_one_run_are_means_and_quartiles_of_its_bins() -> None:
    (group,) = group_runs([run_of(1, scores=[1, 2, 9, 4, 6, 7])])  # T = 10 to 60
    curve = make_curve(group, 30, np.random.default_rng(0), by_epsilon=True)
    assert curve.total_steps.tolist() == [15, 45] and curve.total_frames.tolist() == [60, 180]
    assert curve.games.tolist() == [3, 3] and curve.seconds == pytest.approx([1, 2.5])
    assert curve.score == pytest.approx([4, 17 / 3])
    assert curve.low == pytest.approx([1.5, 5]) and curve.high == pytest.approx([5.5, 6.5])
    assert curve.by_epsilon[0.1] == pytest.approx([5, 6]) and curve.by_epsilon[0.5] == pytest.approx([2, 5.5])


def test_streams_without_a_game_in_the_picture_are_no_line_of_it() -> None:
    run = run_of(1, scores=[1, 2, 3, 4, 5])
    run.final_epsilons[:] = [0.1, 0.1, 0.1, 0.1, 0.5]
    (group,) = group_runs([run])
    curve = make_curve(group, 40, np.random.default_rng(0), by_epsilon=True)
    assert list(curve.by_epsilon) == [0.1]


def test_games_that_are_only_won_or_lost_have_no_quartiles() -> None:
    (group,) = group_runs([run_of(1, scores=[1, -1, 1, 1])])
    curve = make_curve(group, 20, np.random.default_rng(0))
    assert curve.score.tolist() == curve.low.tolist() == curve.high.tolist() == [0, 1]


def test_a_bin_without_a_game_is_interpolated_and_a_short_rest_left_out() -> None:
    (group,) = group_runs([run_of(1, scores=[0, 8, 4])])
    assert make_curve(group, 5, np.random.default_rng(0)).score == pytest.approx([0, 4, 8, 6, 4])
    assert make_curve(group, 27, np.random.default_rng(0)).score == pytest.approx([4])  # T = 30 is 3 of 27 steps


def test_the_points_of_several_runs_are_interquartile_means_over_runs() -> None:
    own = [[float(seed), 10.0 * seed] for seed in (1, 2, 3, 4, 5, 9)]
    (group,) = group_runs([run_of(seed, scores=scores) for seed, scores in enumerate(own)])
    curve = make_curve(group, 10, np.random.default_rng(0))
    assert curve.runs == 6 and curve.score == pytest.approx(
        [scalar_interquartile_mean([s[i] for s in own]) for i in (0, 1)]
    )
    assert np.all(curve.low < curve.score) and np.all(curve.score < curve.high) and curve.games.tolist() == [6, 6]


def test_several_games_are_human_normalised() -> None:
    pong, breakout = PUBLISHED["pong"], PUBLISHED["breakout"]
    runs = [run_of(1, "pong", scores=[pong.random, pong.human]), run_of(1, "breakout", scores=[breakout.random] * 2)]
    (group,) = group_runs(runs)
    assert make_curve(group, 10, np.random.default_rng(0)).score == pytest.approx([0, 0.5], abs=1e-9)
    (group,) = group_runs([run_of(1, "pong"), run_of(1, "catch")])
    with pytest.raises(UserError, match="catch has no published human score"):
        make_curve(group, 10, np.random.default_rng(0))


def test_more_points_than_a_picture_has_columns_are_refused() -> None:
    (group,) = group_runs([run_of(0, scores=[1.0] * 2002), run_of(1)])
    with pytest.raises(UserError, match=r"--bin-steps must be at least 11 for 20,020 steps, got 10\."):
        make_curve(group, 10, np.random.default_rng(0))


def test_bins_are_round_and_hold_some_games() -> None:
    groups = group_runs([run_of(1, scores=[0.0] * 10_000)])
    assert choose_bin_steps(groups) == 2000  # 50 points of 100,000 steps
    assert choose_bin_steps(group_runs([run_of(1, scores=[0.0] * 200)])) == 200  # 10 points of 20 games
    few = [choose_bin_steps(group_runs([run_of(1, scores=[0.0] * games)])) for games in (1, 3, 11, 60, 110)]
    assert few == [2, 5, 20, 100, 200]  # at least five points, though there are fewer games in each


def test_a_run_that_has_only_begun_is_not_drawn_where_it_has_never_been() -> None:
    long, short = run_of(1, algorithm="a3c", scores=[0.0] * 10_000), run_of(1, scores=[5.0] * 30)
    groups = group_runs([long, short])
    assert choose_bin_steps(groups) == 2000  # for the long one, as before
    assert make_curve(groups[1], 2000, np.random.default_rng(0)).total_steps.tolist() == [300]


def test_a_run_that_has_only_begun_does_not_hide_the_others_of_its_group() -> None:
    long, short = run_of(1, scores=[0.0] * 10_000), run_of(2, scores=[5.0] * 30)
    groups = group_runs([long, short])
    curve = make_curve(groups[0], choose_bin_steps(groups), np.random.default_rng(0))
    assert curve.runs == 1 and len(curve.score) == 50 and not curve.score.any()


# --- Published scores


def test_published_scores_that_are_drawn() -> None:
    near = references(["pong"], -20.0, 0.0)
    assert [name for name, _ in near.lines] == ["random play", "human"]
    assert [name for name, _ in near.beyond] == ["DQN", "A3C"]
    assert references(["catch"], 0, 1).lines == () and references(["pong", "qbert"], 0, 1).lines[1] == ("human", 1.0)


def test_a_single_point_can_be_seen_with_its_band(tmp_path: Path) -> None:
    """A line and a band need two."""
    (group,) = group_runs([run_of(0)])
    curve = make_curve(group, 100, np.random.default_rng(0))
    assert len(curve.score) == 1
    draw([curve], ["catch"], ("steps",), tmp_path / "one.png")
    picture = cv2.imread(str(tmp_path / "one.png"))
    upper = picture[: len(picture) * 3 // 4].reshape(-1, 3)  # not the legend
    blue, faint = np.array([0xB2, 0x72, 0]), np.round(0.2 * np.array([0xB2, 0x72, 0]) + 0.8 * 255)
    assert 20 < (upper == blue).all(axis=1).sum() < 400
    assert (np.abs(upper - faint) <= 1).all(axis=1).sum() > 100


def test_a_long_legend_leaves_the_curves_as_large(tmp_path: Path) -> None:
    def height(settings: Sequence[int]) -> float:
        """Of the panel, in points."""
        groups = group_runs([run_of(1, lr=0.001 * n, note=f"{n:060}") for n in settings])
        curves = [make_curve(group, 20, np.random.default_rng(0)) for group in groups]
        draw(curves, ["catch"], ("steps",), tmp_path / "legend.svg")
        panel = (tmp_path / "legend.svg").read_text(encoding="utf-8").split('<g id="axes_1">')[1]
        outline = re.findall(r"[\d.]+", re.findall(r'<path d="([^"]*)"', panel)[0])
        heights = [float(number) for number in outline[1::2]]
        return max(heights) - min(heights)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 200 < height(range(1, 4)) < height(range(1, 25)) / 0.95
    shown = (tmp_path / "legend.svg").read_text(encoding="utf-8")
    lines = re.findall(r'style="(fill: none; [^"]*stroke-width: 3[;"][^"]*)', shown)
    assert len(set(lines)) == 24


def test_a_band_is_told_of_only_where_there_is_one() -> None:
    (group,) = group_runs([run_of(0), run_of(1)])
    nothing = references(["catch"], 0, 1)
    for apart in (False, True):
        curve = make_curve(group, 10, np.random.default_rng(0), by_epsilon=apart)
        assert ("band" in _explanation([curve], nothing)) is not apart


@pytest.mark.parametrize(("games", "shown"), [(49, True), (40, False)])
def test_a_published_point_at_the_end_of_a_run_is_drawn(
    games: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Curves end in the middle of their last bin; this point is published for T = 500."""
    point = Point(score=2.0, steps=500)
    monkeypatch.setitem(PUBLISHED, "pong", dataclasses.replace(PUBLISHED["pong"], points=(point,)))
    curves = [
        make_curve(group, 20, np.random.default_rng(0)) for group in group_runs([run_of(0, scores=[1.0] * games)])
    ]
    found = _reached(references(["pong"], -10.0, 10.0), curves, ["steps", "time"])
    assert found.points == ((point,) if shown else ())


@given(st.lists(st.floats(-100, 100), max_size=6).map(sorted), st.floats(0.1, 30))
def test_labels_are_spread_as_little_as_needed(heights: list[float], least: float) -> None:
    placed = spread(heights, least)
    assert len(placed) == len(heights)
    assert all(above - below >= least - 1e-6 for below, above in itertools.pairwise(placed))
    if all(above - below >= least + 1e-6 for below, above in itertools.pairwise(heights)):
        assert placed == pytest.approx(heights)


# --- The command


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three short runs of the toy: two seeds of one configuration, and one of another."""
    base = tmp_path_factory.mktemp("toys")
    for number, (seed, lr) in enumerate(((0, 7e-4), (1, 7e-4), (0, 2e-3))):
        train(Config(env="catch", workers=1, steps=5000, seed=seed, lr=lr), base / str(number), quiet=True)
    return [base / "0", base / "1", base / "2"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return python_m("launch.plot", *arguments, timeout=200)


def test_the_command_draws_and_tabulates_all_games(toys: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "new" / "points.csv"
    done = command(*toys, "--output", tmp_path / "curves.svg", "--csv", table, "--bin-steps", 1000)
    assert done.returncode == 0, done.stderr
    picture = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert picture.startswith("<?xml") and "one-step-q, lr 7e-4 (2 runs)" in picture
    points = rows(table)
    assert {(row["label"], row["runs"]) for row in points} == {
        ("one-step-q, lr 7e-4", "2"),
        ("one-step-q, lr 2e-3", "1"),
    }
    alone = [row for row in points if row["runs"] == "1"]
    games = rows(toys[2] / "episodes.csv")
    first = [float(game["score"]) for game in games if int(game["total_steps"]) <= 1000]
    assert float(alone[0]["score"]) == pytest.approx(statistics.fmean(first), abs=1e-4)
    assert (alone[0]["total_steps"], alone[0]["total_frames"], alone[0]["games"]) == ("500", "500", str(len(first)))
    assert sum(int(row["games"]) for row in alone) == len(games)


def test_the_streams_of_each_final_epsilon(toys: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    done = command(toys[0], "--output", tmp_path / "curves.png", "--csv", table, "--by-epsilon", "--x", "frames")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    recorded = json.loads((toys[0] / "run.json").read_text(encoding="utf-8"))
    drawn = {e for own in recorded["sessions"][0]["seeds"]["final_epsilons"].values() for e in own}
    assert {key for key in rows(table)[0] if key.startswith("score_")} == {f"score_epsilon_{e:g}" for e in drawn}


def test_more_final_epsilons_than_can_be_told_apart_are_refused(toys: list[Path], tmp_path: Path) -> None:
    copy = copied(toys[0], tmp_path)
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    streams = {int(row["stream"]) for row in rows(copy / "episodes.csv")}
    for known, count in (({}, 0), ({"worker 0": np.linspace(0, 1, 20).tolist()}, len(streams))):
        record["sessions"][0]["seeds"]["final_epsilons"] = known
        (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
        done = command(copy, "--output", tmp_path / "c.png", "--by-epsilon")
        assert done.returncode == 2 and f"1 to 5 different final epsilons, on record are {count}" in done.stderr


def test_a_run_that_is_named_twice_is_one(toys: list[Path], tmp_path: Path) -> None:
    done = command(toys[0], toys[0] / ".." / toys[0].name, "--output", tmp_path / "curves.png")
    assert done.returncode == 0 and "one-step-q: 1 run," in done.stdout


def test_a_label_is_no_formula(toys: list[Path], tmp_path: Path) -> None:
    (group,) = group_runs([read_run(toys[0])], [r"costs $\foo$ 5"])
    draw([make_curve(group, 500, np.random.default_rng(0))], ["catch"], ("steps",), tmp_path / "formula.svg")
    assert r"costs $\foo$ 5" in (tmp_path / "formula.svg").read_text(encoding="utf-8")


def test_the_same_runs_give_the_same_picture(toys: list[Path], tmp_path: Path) -> None:
    groups = group_runs([read_run(run) for run in toys])
    for name in ("1.svg", "2.svg"):
        curves = [make_curve(group, 500, np.random.default_rng(0)) for group in groups]
        draw(curves, ["catch"], ("steps", "time"), tmp_path / name)
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()


def test_a_run_that_is_being_written_can_be_drawn(toys: list[Path], tmp_path: Path) -> None:
    copy = copied(toys[0], tmp_path)
    with (copy / "episodes.csv").open("a", encoding="utf-8") as file:
        file.write("5003,1.2,0,3,")
    assert len(read_run(copy).scores) == len(read_run(toys[0]).scores)
    (copy / "run.json").write_text("{", encoding="utf-8")
    (copy / "metrics.csv").unlink()
    assert (read_run(copy).game, read_run(copy).frames_per_step) == ("catch", 1)


def test_a_game_with_a_reward_that_is_no_number_is_left_out(toys: list[Path], tmp_path: Path) -> None:
    copy = copied(toys[0], tmp_path)
    last = (copy / "episodes.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")
    last[4] = "nan"
    with (copy / "episodes.csv").open("a", encoding="utf-8") as file:
        file.write(",".join(last) + "\n")
    np.testing.assert_array_equal(read_run(copy).scores, read_run(toys[0]).scores)
    assert read_curve(copy) is not None


def test_what_a_run_began_with_and_how_it_was_spread_part_it_from_others(toys: list[Path], tmp_path: Path) -> None:
    copies = [copied(toys[0], tmp_path / str(number)) for number in range(5)]
    for number in (0, 1):  # two seeds, each from a run of its own
        record = json.loads((copies[number] / "run.json").read_text(encoding="utf-8"))
        record["sessions"][0]["init_from"] = {"path": f"runs/pong{number}", "env": "pong"}
        (copies[number] / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (copies[2] / "cluster.toml").write_text('islands = 2\nrule = "averaging"\n', encoding="utf-8")
    (copies[3] / "cluster.toml").write_text('islands = 1\nrule = "averaging"\n', encoding="utf-8")  # a single machine
    groups = group_runs([read_run(run) for run in copies])
    assert [(group.label, len(group.runs)) for group in groups] == [
        ("one-step-q, init from pong", 2),
        ("one-step-q, islands 2", 1),
        ("one-step-q", 2),
    ]


def test_frames_are_known_before_the_first_report(toys: list[Path], tmp_path: Path) -> None:
    copy = copied(toys[0], tmp_path)
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    assert record["sessions"][0]["frames_per_step"] == 1
    record["sessions"][0]["frames_per_step"] = 4
    (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert read_run(copy).frames_per_step == 1
    (copy / "metrics.csv").unlink()
    assert read_run(copy).frames_per_step == 4


@pytest.mark.parametrize("score", [-21.0, 0.0, 0.1, 5_000_000.0])
def test_scores_that_are_all_the_same_stand_at_their_height(
    score: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    (group,) = group_runs([run_of(0, "catch", scores=[score] * 40)])
    draw([make_curve(group, 100, np.random.default_rng(0))], ["catch"], ("steps",), tmp_path / "c.png")
    axis = drawn[0].axes[0]
    low, high = axis.get_ylim()
    assert low <= score - 1 and high >= score + 1
    drawn[0].draw_without_rendering()
    assert not axis.yaxis.get_offset_text().get_text()
    assert score == 0.1 or any(
        float(tick.get_text().replace("\N{MINUS SIGN}", "-")) == score for tick in axis.get_yticklabels()
    )


def test_a_card_does_without_games_but_not_with_damaged_ones(toys: list[Path], tmp_path: Path) -> None:
    copy = copied(toys[0], tmp_path)
    with (copy / "episodes.csv").open("a", encoding="utf-8") as file:
        file.write("x\n")
    with pytest.raises(UserError, match=r"episodes.csv is damaged"):
        read_curve(copy)
    (copy / "episodes.csv").unlink()
    assert read_curve(copy) is None


def copied(run: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir(parents=True)
    for name in ("config.toml", "run.json", "episodes.csv", "metrics.csv"):
        (copy / name).write_bytes((run / name).read_bytes())
    return copy


def spoilt(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text(change((run / name).read_text("utf-8")), "utf-8") and None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoilt("config.toml", lambda text: text + "= 3"), "config.toml is damaged"),
        (spoilt("config.toml", lambda text: text + f"x = {'[' * 10_000}"), "config.toml is damaged"),
        (spoilt("config.toml", lambda text: text + f"x = {'9' * 5000}"), "config.toml is damaged"),
        (spoilt("episodes.csv", lambda text: "x" * 140_000 + text), "episodes.csv is damaged: field larger"),
        (lambda run: (run / "config.toml").unlink(), "is no run directory: cannot read config.toml"),
        (lambda run: (run / "episodes.csv").unlink(), "has no finished game with a score yet"),
        (spoilt("episodes.csv", lambda text: text.splitlines()[0] + "\n"), "has no finished game with a score yet"),
        (spoilt("episodes.csv", lambda text: text + "1,2\n"), "episodes.csv is damaged: .* changed from 7 to 2"),
        (spoilt("episodes.csv", lambda text: text.replace("\n", "\nx", 2)), "episodes.csv is damaged: .*'x"),
        (spoilt("episodes.csv", lambda text: text + "nan,1,1,1,1,1,1\n"), "damaged: a number in it is not finite"),
        (spoilt("episodes.csv", lambda text: text.replace("score", "points")), "it has no column score"),
        (spoilt("episodes.csv", lambda text: "\n".join(text.split("\n")[:1] + ["1,2"] * 3)), "2 numbers in a row of 7"),
    ],
)
def test_damaged_runs_are_refused_in_one_sentence(
    spoil: Callable[[Path], None], message: str, toys: list[Path], tmp_path: Path
) -> None:
    copy = copied(toys[0], tmp_path)
    spoil(copy)
    with pytest.raises(UserError, match=message) as raised:
        read_run(copy)
    assert "\n" not in str(raised.value)


def test_numbers_of_a_record_that_no_float_holds_are_not_known(toys: list[Path], tmp_path: Path) -> None:
    copy = copied(toys[0], tmp_path)
    (copy / "metrics.csv").unlink()
    record = json.loads((copy / "run.json").read_text("utf-8"))
    session = record["sessions"][0]
    session["frames_per_step"] = 10**400
    session["seeds"]["final_epsilons"] = {"worker 0": [10**400]}
    (copy / "run.json").write_text(json.dumps(record), "utf-8")
    run = read_run(copy)
    assert run.frames_per_step == 1 and np.isnan(run.final_epsilons).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing",), "there is no run or checkpoint at missing"),
        (("RUN", "--output", "curves.jpg"), "must end in .png or .svg, got curves.jpg"),
        (("RUN", "--output", "/proc/curves.png"), "cannot write /proc/curves.png"),
        (("RUN", "--csv", "/proc/curves.csv"), "cannot write /proc/curves.csv"),
        (("RUN", "--csv", "GAMES"), "episodes.csv is what the run in"),
        (("RUN", "--csv", "PICTURE"), "--csv and --output are the same file"),
        (("RUN", "--bin-steps", "0"), "--bin-steps must be at least 1"),
        (("RUN", "OTHER", "--labels", "a", "a"), "--labels must be different names"),
        (("RUN", "--labels", ""), "--labels must be printable, not empty"),
        (("RUN", "--labels", "_x"), "nor begin with _"),
        (("RUN", "--x", "time", "time"), "--x must name one to three different axes"),
        (("RUN", "OTHER", "--by-epsilon"), "--by-epsilon is for runs of one configuration, got 2"),
        ((), "name at least one run directory"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    arguments: tuple[str, ...],
    message: str,
    toys: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = {"RUN": str(toys[0]), "OTHER": str(toys[2])}
    known |= {"GAMES": str(toys[0] / "episodes.csv"), "PICTURE": str(tmp_path / "c.png")}
    line = ["--output", str(tmp_path / "c.png"), *(known.get(word, word) for word in arguments)]
    if "RUN" not in arguments:
        line = [*arguments, *line[:2]]
    monkeypatch.setattr(sys, "argv", ["plot", *line])
    with pytest.raises(SystemExit) as ended:
        plot.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and message in told and told.count("\n") == 1


def test_that_a_short_run_ends_the_line_of_all_is_said(toys: list[Path], tmp_path: Path) -> None:
    short = copied(toys[1], tmp_path)
    spoilt("episodes.csv", lambda text: "".join(text.splitlines(keepends=True)[:100]))(short)
    done = command(toys[0], short, "--bin-steps", 500, "--output", tmp_path / "curves.png")
    assert done.returncode == 0 and "one-step-q: 2 runs," in done.stdout
    (end,) = re.findall(r"at ([\d,]+) steps", done.stdout)
    why = "as far as all of its runs have come; one has"
    assert done.stderr.startswith(f"one-step-q is drawn up to {end} steps, {why}")
    whole = command(toys[0], toys[1], "--bin-steps", 500, "--output", tmp_path / "curves.png")
    assert whole.stderr == ""


def test_runs_without_games_are_left_out_and_named(toys: list[Path], tmp_path: Path) -> None:
    silent = copied(toys[0], tmp_path)
    (silent / "episodes.csv").unlink()
    done = command(toys[0], silent, "--output", tmp_path / "curves.png")
    assert done.returncode == 0 and "one-step-q: 1 run," in done.stdout
    why = "has no finished game with a score yet; let it train a while longer"
    assert done.stderr == f"left out: the run {silent} {why}.\n"


def test_bad_input_ends_with_code_2_and_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, "--output", tmp_path / "curves.png")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "is no run directory" in done.stderr


def test_games_are_the_strata_of_the_band_of_a_curve() -> None:
    """Each game's runs are alike, so nothing is uncertain, though the games differ."""
    pong, breakout = PUBLISHED["pong"], PUBLISHED["breakout"]
    runs = [run_of(seed, "pong", scores=[pong.random] * 2) for seed in (1, 2)]
    runs += [run_of(seed, "breakout", scores=[breakout.human] * 2) for seed in (1, 2)]
    (group,) = group_runs(runs)
    curve = make_curve(group, 10, np.random.default_rng(0))
    for ends in (curve.score, curve.low, curve.high):
        assert ends == pytest.approx([0.5, 0.5])


def test_time_and_frames_of_several_runs_are_means_over_them() -> None:
    slow = run_of(1)
    quick = dataclasses.replace(run_of(2), seconds=slow.seconds / 5, frames_per_step=2.0)
    (group,) = group_runs([slow, quick])
    curve = make_curve(group, 20, np.random.default_rng(0))
    assert curve.seconds == pytest.approx([0.75 * 0.6, 1.75 * 0.6])
    assert curve.total_frames == pytest.approx([10 * 3, 30 * 3])


def test_each_game_has_the_final_epsilon_of_its_stream(tmp_path: Path) -> None:
    drawn = {"worker 0": [0.1, 0.2], "worker 1": [0.3, 0.4]}
    sessions = [{"env": "catch", "seeds": {"final_epsilons": drawn}}]
    (tmp_path / "run.json").write_text(json.dumps({"sessions": sessions}), encoding="utf-8")
    (tmp_path / "config.toml").write_text('env = "catch"\n', encoding="utf-8")
    lines = [f"{10 * n},{n},{worker},{stream},1,9,0.5\n" for n, (worker, stream) in enumerate(
        ((0, 1), (1, 0), (1, 1), (0, 0), (2, 0)))]  # fmt: skip
    header = "total_steps,seconds,worker,stream,score,length,epsilon\n"
    (tmp_path / "episodes.csv").write_text(header + "".join(lines), encoding="utf-8")
    *known, unknown = read_run(tmp_path).final_epsilons.tolist()
    assert known == [0.2, 0.3, 0.4, 0.1] and np.isnan(unknown)


def test_each_column_of_a_table_of_points_is_what_its_name_says(tmp_path: Path) -> None:
    numbers = [np.array([float(n)]) for n in range(7)]
    write_csv([Curve("label", 3, *numbers, {0.5: np.array([7.0]), 0.1: np.array([8.0])})], tmp_path / "points.csv")
    (row,) = rows(tmp_path / "points.csv")
    columns = ("games", "total_steps", "total_frames", "seconds", "score", "low", "high", "score_epsilon_0.5",
               "score_epsilon_0.1")  # fmt: skip
    assert [float(row[column]) for column in columns] == [float(n) for n in range(9)]
    assert (row["label"], row["runs"], len(row)) == ("label", "3", 11)


@pytest.mark.parametrize(
    ("axis", "values"), [("steps", [10.0, 30.0]), ("frames", [40.0, 120.0]), ("time", [0.75, 1.75])]
)
def test_curves_are_drawn_against_what_the_axis_is_named_by(axis: str, values: list[float]) -> None:
    (group,) = group_runs([run_of(1)])
    assert _x(make_curve(group, 20, np.random.default_rng(0)), axis).tolist() == values  # type: ignore[arg-type]
