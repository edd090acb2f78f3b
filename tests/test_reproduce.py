"""What the README shows can be made again: runs go on where they were cut off, and tables say what the files hold."""

import dataclasses
import itertools
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, InProcess, python_m, rows, wait_for

from async_rl import Config, UserError, train
from async_rl.schedules import with_drawn_learning_rate
from benchmarks import reproduce, reproduce_atari, reproduce_results, reproduce_studies, reproduce_tables
from benchmarks import study as studies
from benchmarks.reproduce_results import Row
from benchmarks.reproduce_studies import PONG, TOY, drawn_rates, even_rates
from benchmarks.study import Experiment, Study

HEADER = "total_steps,seconds,worker,stream,score,length,epsilon\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ("--runs", folder / "runs", "--output", folder / "results", "--readme", folder / "README.md")
    return python_m("benchmarks.reproduce", *arguments, *where, timeout=300)


def write_games(run_dir: Path, games: list[tuple[int, float, float]]) -> None:
    run_dir.mkdir(parents=True)
    lines = [f"{steps},{seconds},0,0,{score},10,0.05\n" for steps, seconds, score in games]
    (run_dir / "episodes.csv").write_text(HEADER + "".join(lines), encoding="utf-8")


def test_small_versions_are_made_and_not_made_twice(tmp_path: Path) -> None:
    """Real runs of a part on Atari and one on the toy; a second command finds everything done."""
    marks = "".join(f"<!-- reproduce: {part} -->\nold\n<!-- end -->\n" for part in ("games", "robustness"))
    (tmp_path / "README.md").write_text(f"before\n{marks}after\n", encoding="utf-8")
    small = ("--games", "pong", "--steps", "600", "--workers", "1", "--toy-seeds", "1", "--toy-steps", "400")
    arguments = ("--parts", "games", "robustness", *small, "--episodes", "1")
    done = run(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "results" / "games.csv")
    assert row["game"] == "pong" and int(row["total_steps"]) >= 600 and float(row["evaluation_005"]) <= 0
    assert row["command"].endswith("--parts games --games pong --seeds 0 --workers 1 --steps 600")
    assert str(tmp_path) not in row["command"] and row["score_1_hour"] == ""
    assert json.loads((tmp_path / "results" / "games.json").read_text())[0]["method"] == "one-step Q"
    assert (tmp_path / "results" / "pong.safetensors").stat().st_size < 3_000_000
    scatter = rows(tmp_path / "results" / "robustness.csv")
    assert len(scatter) == 15 and len({point["lr"] for point in scatter}) == 5
    made = json.loads((tmp_path / "results" / "robustness.json").read_text())
    assert made["command"].endswith("--parts robustness --toy-seeds 1 --toy-steps 400") and made["seeds"] == [*range(5)]
    assert [float(row["lr"]) for row in made["rows"]] == [float(point["lr"]) for point in scatter]
    assert len(made["machine"]) == len(made["commit"]) == 1 and "cores" in made["machine"][0]
    assert (tmp_path / "results" / "robustness.png").read_bytes().startswith(b"\x89PNG")
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before") and readme.endswith("after\n") and "old" not in readme and "| Pong |" in readme
    again = run(tmp_path, *arguments)
    assert again.returncode == 0 and "runs are finished" not in again.stdout
    assert (tmp_path / "README.md").read_text() == readme


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--games", "pongg"), "pongg"),
        (("--games", "ALE/Pong-v5"), "--games takes the plain names of games, pong for ALE/Pong-v5"),
        (("--episodes", "0"), "--episodes must be between"),
        (("--seeds",), "--seeds needs at least one value"),
        (("--toy-seeds", "0"), "--toy-seeds must be at least 1"),
        (("--pong-steps", "0"), "--pong-steps must be at least 1"),
        (("--steps", "0"), "--steps must be"),
        (("--readme", "no/such/file"), "cannot read no/such/file"),
        (("--output", "README.md/it"), "cannot write README.md/it/streams.csv: Not a directory."),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(
    tmp_path: Path, in_process: InProcess, arguments: tuple[str, ...], told: str
) -> None:
    where = ("--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "results"))
    code, _, error = in_process(reproduce.main, *where, *arguments)
    assert code == 2 and told in error and error.count("\n") <= 2
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_cut_off_goes_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=400, target_interval=500, seed=3)
    study, experiment = Study(tmp_path), Experiment("part/run", config, "method")
    assert study.steps_done(experiment) == 0 and study.finished([experiment]) == []
    study.train_all([experiment])
    longer = Experiment("part/run", Config(env="catch", workers=1, steps=800, target_interval=500, seed=3), "method")
    assert study.finished([experiment]) == [experiment] and study.finished([longer]) == []
    with pytest.raises(UserError, match="holds a run of 400 steps, asked for are 800"):
        study.train_all([longer])
    settings = tmp_path / "part" / "run" / "config.toml"
    settings.write_text(settings.read_text().replace("steps = 400", "steps = 800"))  # as if it had been cut off
    study.train_all([longer])
    assert study.finished([longer]) == [longer]
    assert len(json.loads((tmp_path / "part" / "run" / "run.json").read_text())["sessions"]) == 2
    steps = [int(row["total_steps"]) for row in rows(tmp_path / "part" / "run" / "metrics.csv")]
    assert steps == sorted(steps) and 400 <= steps[0] < 800 <= steps[-1]
    other = Experiment("part/run", Config(env="catch", workers=1, steps=800, target_interval=501, seed=3), "method")
    with pytest.raises(UserError, match="other settings"):
        study.train_all([other])


@pytest.mark.parametrize("steps", [1000, 4_500_000, 10_000_000])
def test_no_run_of_a_part_is_another_one_again(steps: int) -> None:
    for part in (reproduce_atari.one_step, reproduce_atari.layer_norm, reproduce_atari.methods):
        configs = [each.config for each in part(reproduce_atari.GAMES, 2, steps, [0, 1])]
        assert all(a != b for a, b in itertools.combinations(configs, 2))
    (best,) = reproduce_atari.methods(["qbert"], 2, steps, [0])
    assert best.method == "lambda, 4 epochs" and best.config.epochs == 4 and best.config.env == "qbert"
    methods = [each.method for each in reproduce_atari.methods(["pong"], 2, steps, [0])]
    assert len(reproduce_atari.SPRINTS.keys() & methods) == (len(reproduce_atari.SPRINTS) if steps > 1000 else 0)


def test_scores_are_means_of_a_hundred_games(tmp_path: Path) -> None:
    games = [(10 * number, number / 2, float(number * number % 37)) for number in range(1, 251)]
    write_games(tmp_path / "run", games)
    scored = reproduce_results.scores(tmp_path / "run")
    assert len(scored) == 151
    for offset, each in enumerate(scored):
        assert each.total_steps == games[99 + offset][0]
        assert each.score == pytest.approx(statistics.fmean(score for *_, score in games[offset : offset + 100]))
    assert reproduce_results.after(scored, 60.2) == pytest.approx(scored[20].score)  # game 120 ended after 60 s
    assert reproduce_results.after(scored, 10_000) is None
    assert reproduce_results.scores(tmp_path / "nothing") == []


def test_without_runs_nothing_is_written(tmp_path: Path, in_process: InProcess) -> None:
    where = ("--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "results"))
    code, told, _ = in_process(reproduce.main, *where, "--only-results")
    assert code == 0 and told.count("no run is there yet") == 8 and not list((tmp_path / "results").iterdir())


def row_of(**values: object) -> Row:
    return Row(**dict.fromkeys((field.name for field in dataclasses.fields(Row)), None) | values)  # type: ignore[arg-type]


def test_a_run_without_a_record_or_a_hundred_games_has_a_row(tmp_path: Path) -> None:
    experiment = Experiment("games/run", Config(env="pong", workers=2), "method")
    assert reproduce_results.sources(tmp_path, experiment)["machine"] == "not known, not known cores"
    row = row_of(game="pong", method="m", seed=0, total_steps=1000, hours=0.01, evaluation_005=-20.0, error_005=0.1)
    assert " at " not in reproduce_tables.games_table([row])


def test_rows_of_other_commands_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "games"
    first, second = row_of(game="pong", method="m", seed=0), row_of(game="qbert", method="m", seed=0)
    assert reproduce_results.write_rows([first, second], path) == [first, second]
    again, third = replace(first, score=3.0), row_of(game="pong", method="m", seed=1)
    assert reproduce_results.write_rows([again, third], path) == [again, second, third]
    assert reproduce_results.read_rows(path) == [again, second, third] and len(rows(path.with_suffix(".csv"))) == 3
    assert reproduce_results.write_rows([], path) == [again, second, third]
    path.with_suffix(".json").write_text('[{"game": "pong"}]', encoding="utf-8")
    with pytest.raises(UserError, match=r"games.json holds no rows .*choose another --output"):
        reproduce_results.write_rows([first], path)
    assert path.with_suffix(".json").read_text(encoding="utf-8") == '[{"game": "pong"}]'


def test_results_of_longer_runs_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "games"
    (planned,) = reproduce_atari.one_step(["pong"], 2, 54_000, [0])
    reproduce_results.write_rows([row_of(game="pong", method=planned.method, seed=0, total_steps=54_016)], path)
    reproduce_results.require_no_longer(path, [planned])  # T ends a little beyond
    reproduce_results.write_rows([row_of(game="pong", method=planned.method, seed=0, total_steps=10**7)], path)
    with pytest.raises(UserError, match=r"10,000,000 steps of Pong, one-step Q; a run of 54,000 would replace them"):
        reproduce_results.require_no_longer(path, [planned])
    reproduce_results.require_no_longer(path, reproduce_atari.one_step(["pong"], 2, 54_000, [1]))


def test_studies_of_more_seeds_or_longer_runs_are_not_replaced(tmp_path: Path) -> None:
    path, study = tmp_path / "streams", studies.Study(tmp_path / "runs")

    def planned(seeds: int, steps: int) -> list[Experiment]:
        return reproduce_studies.streams(reproduce_studies.TOY, range(seeds), steps)

    reproduce_results.require_no_smaller(path, planned(1, 400))
    reproduce_results.write_study(study, planned(3, 20_000), "command", (), (), path)
    reproduce_results.require_no_smaller(path, planned(4, 20_000))
    for fewer in (planned(2, 20_000), planned(3, 19_999)):
        with pytest.raises(UserError, match=r"streams.json has runs of 20,000 steps, 3 seeds; .* choose another"):
            reproduce_results.require_no_smaller(path, fewer)
    path.with_suffix(".json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"streams.json holds no rows"):
        reproduce_results.require_no_smaller(path, planned(4, 20_000))


@pytest.mark.parametrize("part", ["streams", "robustness", "pong_streams", "pong_robustness"])
def test_a_smaller_study_does_not_replace_what_the_readme_shows(
    in_process: InProcess, tmp_path: Path, part: str
) -> None:
    shutil.copy(ROOT / reproduce.Options().output / f"{part}.json", tmp_path)
    less = ("--toy-seeds", "1", "--pong-steps", "4_000", "--output", str(tmp_path), "--runs", str(tmp_path / "runs"))
    code, _, error = in_process(reproduce.main, "--parts", part, *less)
    assert code == 2 and "would replace them: choose another --output." in error


def test_a_run_whose_last_network_has_not_been_saved_goes_on(tmp_path: Path) -> None:
    """It was killed after its last report."""
    study = Study(tmp_path)
    experiment = Experiment("part/run", Config(env="catch", workers=1, steps=2000, report_seconds=0.1), "method")
    study.train_all([experiment])
    run_dir = study.run_dir(experiment)
    older = train(replace(experiment.config, steps=1000), tmp_path / "older", quiet=True).run_dir
    shutil.copytree(older / "checkpoints", run_dir / "checkpoints", dirs_exist_ok=True)
    assert study.finished([experiment]) and not study.saved([experiment])
    study.train_all([experiment])
    assert study.saved([experiment]) == [experiment]


def test_curves_of_runs_of_different_lengths_are_drawn_together_and_other_seeds_apart(tmp_path: Path) -> None:
    study = Study(tmp_path / "runs")
    lengths = {0: 3000, 1: 2000}
    experiments = [
        Experiment(f"part/seed{seed}", Config(env="catch", workers=1, steps=steps, seed=seed), "method")
        for seed, steps in lengths.items()
    ]
    study.train_all(experiments)
    reproduce_results.draw_curves(study, experiments, tmp_path)
    assert {row["label"] for row in rows(tmp_path / "catch.csv")} == {"method"}
    assert "2" in {row["runs"] for row in rows(tmp_path / "catch.csv")}
    reproduce_results.draw_curves(study, experiments[1:], tmp_path, "_part")
    assert (tmp_path / "catch_seed1_part.png").is_file() and not (tmp_path / "catch_part.png").exists()
    reproduce_results.ship(study, experiments[1:], tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_run_that_was_over_within_an_hour_says_when() -> None:
    row = row_of(game="breakout", method="m", seed=0, total_steps=10**7, hours=0.8, score=50.0)

    def hour(**changed: object) -> str:
        return reproduce_tables.games_table([replace(row, **changed)]).splitlines()[-1].split(" | ")[3]  # type: ignore[arg-type]

    assert hour(evaluation_005=1.0, error_005=0.1) == "50.0 at 48 min"
    assert hour() == ""  # it goes on
    assert hour(evaluation_005=1.0, error_005=0.1, hours=1.2, score_1_hour=40.0) == "40.0"


def test_tables_name_the_seeds_that_are_not_the_first_ones() -> None:
    rows_of_both = [row_of(game="pong", method="m", seed=seed, total_steps=10**7, hours=0.8) for seed in (0, 1)]
    for tabulate in (reproduce_tables.games_table, reproduce_tables.methods_table):
        first, second = tabulate(rows_of_both).splitlines()[-2:]
        assert first.startswith("| Pong |") and second.startswith("| Pong, seed 1 |")


def test_memory_of_a_run_is_that_of_all_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "MEMORY_SECONDS", 0.05)
    experiment = Experiment("run", Config(env="pong"), "method")
    path = tmp_path / "run" / studies.MEMORY
    with studies.memory_recorded(path):
        time.sleep(0.2)  # the run has no directory yet
        write_games(tmp_path / "run", [(10, 1.0, -21.0)])
        (tmp_path / "run" / "metrics.csv").write_text("total_steps,seconds\n10,1\n", encoding="utf-8")
        wait_for(lambda: len(rows(path)) > 2, "three lines")
        before = float(rows(path)[-1]["mib"])  # the newest: processes of earlier tests may have ended since the first
        hungry = [sys.executable, "-c", "kept = bytearray(b'x') * 500_000_000; input()"]
        with subprocess.Popen(hungry, stdin=subprocess.PIPE) as child:
            wait_for(lambda: float(rows(path)[-1]["mib"]) > before + 400, "the memory of the child")
            child.communicate(b"\n")
    monkeypatch.setattr(
        reproduce_results, "sources", lambda *_: dict.fromkeys(("machine", "command", "commit", "started"))
    )
    row = reproduce_results.make_row(Study(tmp_path), experiment, episodes=1)
    assert row is not None and row.memory_mib == most(path)
    assert f"| {most(path) / 1024:.1f} GiB |" in reproduce_tables.methods_table([row])


def most(path: Path) -> float:
    return max(float(row["mib"]) for row in rows(path))


def test_when_the_toy_is_learnt(tmp_path: Path) -> None:
    """Two hundred games in a row with a mean of 0.8: 20 lost ones among them, not 21."""
    games = [(number, 1 + number / 4, -1.0 if number <= 100 else 1.0) for number in range(1, 400)]
    write_games(tmp_path / "run", games)
    study = Study(tmp_path)
    learnt = reproduce_studies.learnt(tmp_path / "run", TOY)
    assert learnt.steps == 280 and learnt.seconds == pytest.approx((280 - 1) / 4)
    write_games(tmp_path / "never", games[:150])
    assert reproduce_studies.learnt(tmp_path / "never", TOY).steps == math.inf
    assert reproduce_studies.final_score(study, Experiment("run", Config(env="catch"), "m"), TOY) == 1.0
    nothing = reproduce_studies.robustness(TOY, drawn_rates([0]), workers=1, steps=10)[:1]
    write_games(study.run_dir(nothing[0]), [])  # over before any game was
    (study.run_dir(nothing[0]) / "metrics.csv").write_text("total_steps\n10\n", encoding="utf-8")
    assert study.finished(nothing) == nothing and reproduce_studies.robustness_rows(study, nothing, TOY) == []


def test_streams_are_held_against_one_stream(tmp_path: Path) -> None:
    """Four streams learn in less than a third of the steps, and in less than half of the time."""
    study = Study(tmp_path)
    experiments = reproduce_studies.streams(PONG, seeds=[0], steps=1000)
    assert len(experiments) == 15 and {each.config.env for each in experiments} == {"pong"}
    assert {each.config.envs_per_worker for each in experiments} == {1}
    for each in experiments:
        if each.method == "one-step Q" and each.config.workers in (1, 4):
            pace = each.config.workers  # of learning; its games take 1 s with one stream and 1.5 s with four
            games = [(10 * n, n * (1 + (pace - 1) / 6), -21 if n < 240 / pace else -18) for n in range(1, 300)]
            write_games(study.run_dir(each), [(steps, second, float(score)) for steps, second, score in games])
            (study.run_dir(each) / "metrics.csv").write_text("total_steps\n1000\n", encoding="utf-8")
    one, four = reproduce_studies.stream_rows(study, experiments, PONG)
    assert one[:7] == ["one-step Q", 1, 1, 1, 2590, 2590, 2590] and four[:5] == ["one-step Q", 4, 1, 1, 790]
    assert one[8:] == [1.0, 1.0, 1.0]
    assert four[8:] == [pytest.approx(2590 / 790), pytest.approx(258 / (78 * 1.5)), 6.3]
    spread = reproduce_tables.streams_table([[*four[:3], 0, math.inf, 790, math.inf, *four[7:]]])
    assert "| never (790 to never) |" in spread
    never = reproduce_tables.streams_table([[*four[:3], 0, *[math.inf] * 4, 0.0, 0.0, 6.3]])
    assert never.endswith("| one-step Q | 4 | never |  |  |  | 1.57 | 6.3 |")
    text = reproduce_tables.streams_table([one, four])
    assert "| one-step Q | 4 | 790 |" in text and text.endswith("| 1.57 | 6.3 |")


def test_streams_of_one_worker_share_its_updates_or_keep_the_papers_n(tmp_path: Path) -> None:
    study = Study(tmp_path)
    experiments = reproduce_studies.streams_of_one_worker(PONG, seeds=[3], steps=1000)
    assert len(experiments) == len({each.name for each in experiments}) == 15
    assert {(each.config.workers, each.config.seed) for each in experiments} == {(1, 3)}
    one_step = [each.config for each in experiments if each.method != "n-step Q"]
    n_step = [each.config for each in experiments if each.method == "n-step Q"]
    assert {config.envs_per_worker * config.t_max for config in one_step} == {16}
    assert {(config.algorithm, config.t_max) for config in n_step} == {("n-step-q", 5)}
    assert [config.envs_per_worker for config in n_step] == [1, 2, 4, 8, 16]
    for each in experiments:
        write_games(study.run_dir(each), [(10, 1.0, -21.0)])
        (study.run_dir(each) / "metrics.csv").write_text("total_steps\n1000\n", encoding="utf-8")
    rows = reproduce_studies.stream_rows(study, experiments, PONG)
    assert [row[:4] for row in rows[:5]] == [["one-step Q", count, 1, 0] for count in (1, 2, 4, 8, 16)]
    assert [row[0] for row in rows[5:]] == ["one-step Sarsa"] * 5 + ["n-step Q"] * 5


def test_quartiles_are_values_that_are_there() -> None:
    assert reproduce_studies.quartiles([3, math.inf, 1, 2, math.inf]) == (2, 3, math.inf)
    assert reproduce_studies.quartiles([7]) == (7, 7, 7)


def test_every_optimiser_gets_the_same_learning_rates() -> None:
    experiments = reproduce_studies.robustness(TOY, drawn_rates(range(50)), workers=2, steps=100)
    rates = {
        name: [with_drawn_learning_rate(each.config).lr for each in experiments if each.method == name]
        for name in reproduce_studies.OPTIMIZERS
    }
    first, *others = rates.values()
    assert len(set(first)) == 50 and all(own == first for own in others)
    assert 1e-4 <= min(first) < 3e-4 and 3e-3 < max(first) <= 1e-2
    assert statistics.median(first) == pytest.approx(1e-3, rel=0.6)


def test_few_learning_rates_lie_at_even_distances() -> None:
    experiments = reproduce_studies.robustness(PONG, even_rates(4, [0, 1]), workers=2, steps=100)
    ours = [each.config for each in experiments if each.method == "momentum"]
    assert [config.seed for config in ours] == [0] * 4 + [1] * 4 and len({each.name for each in experiments}) == 24
    assert [config.lr for config in ours[:4]] == pytest.approx([10 ** (-4 + step / 4) for step in (1, 3, 5, 7)])
    assert ours[4:] == [replace(config, seed=1) for config in ours[:4]]


def test_a_file_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("<!-- reproduce: games -->\nno end\n", encoding="utf-8")
    with pytest.raises(UserError, match="no lines"):
        reproduce_tables.fill_in(tmp_path / "README.md", "games", "table")
    assert (tmp_path / "README.md").read_text() == "<!-- reproduce: games -->\nno end\n"


def test_a_row_has_the_scores_of_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A game in ten seconds, each with a point more than the one before, and the last three with none."""
    games = [(100 * number, 10.0 * number, float(number * (number < 398))) for number in range(1, 401)]
    write_games(tmp_path / "run", games)
    (tmp_path / "run" / "metrics.csv").write_text("total_steps,seconds\n40000,4000\n", encoding="utf-8")
    made = dict.fromkeys(("machine", "command", "commit", "started"))
    monkeypatch.setattr(reproduce_results, "sources", lambda *_: made)
    experiment = Experiment("run", Config(env="pong", steps=10**6), "method")
    row = reproduce_results.make_row(Study(tmp_path), experiment, episodes=1)
    assert row is not None and (row.total_steps, row.hours) == (40_000, 4000 / 3600)
    assert (row.score_20_minutes, row.score_1_hour) == (120 - 49.5, 360 - 49.5)
    assert (row.best, row.best_steps) == (397 - 49.5, 39_700)
    assert row.score == pytest.approx(sum(range(301, 398)) / 100)
    assert row.evaluation_005 is None and row.human_normalised is None
