"""Evaluation during training, in real runs of the toy: what it leaves behind, and that nothing it does harms a run."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from conftest import ROOT, Run, gone, rows, wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from async_rl import Config, checkpoint, evaluation
from async_rl.checkpoint import BEST, LATEST, Progress
from async_rl.envs import describe
from async_rl.evaluation import Evaluation, Protocol, make_protocol
from async_rl.evaluations import COLUMNS, NICENESS, Evaluations, best_mean
from async_rl.export import read_network
from async_rl.seeding import evaluation_generators
from async_rl.supervisor import Supervisor, on_this_machine
from async_rl.training import _Run
from async_rl.types import Game

CATCH = ("--config", str(ROOT / "configs" / "catch.toml"), "--workers", "1")


def evaluator(run: Run) -> psutil.Process | None:
    """The process that plays, if there is one now and it has begun to: the only worker is older."""
    try:
        player = sorted(run.workers(), key=psutil.Process.create_time)[1]
        return player if player.cpu_times().user > 0.5 else None
    except (IndexError, psutil.NoSuchProcess):
        return None


def test_every_evaluation_is_on_record_and_picks_the_best_network(start) -> None:  # type: ignore[no-untyped-def]
    flags = ("--evaluate-every", "6000", "--evaluate-episodes", "40")
    run: Run = start(*CATCH, *flags, "--steps", "12000")
    assert run.wait() == 0, run.text()
    found = rows(run.run_dir / "evaluations.csv")
    assert [int(row["total_steps"]) // 6000 for row in found] == [1, 2]
    assert all((row["episodes"], row["epsilon"]) == ("40", "0.05") for row in found)
    best = max(found, key=lambda row: (float(row["mean"]), -int(row["total_steps"])))
    assert read_network(run.run_dir, "best").total_steps == int(best["total_steps"])
    assert best_mean(run.run_dir) == float(best["mean"])
    written = [evaluation.read(path) for path in (run.run_dir / "evaluations").glob("*.json")]
    assert {(one.total_steps, len(one.scores)) for one in written} == {(int(row["total_steps"]), 40) for row in found}
    assert run.text().count("evaluation at T = ") == 2 and "waiting for the evaluation" in run.text()
    assert {path.name for path in (run.run_dir / "checkpoints").iterdir()} == {"latest.safetensors", "best.safetensors"}
    events = EventAccumulator(str(run.run_dir)).Reload()
    points = [(event.step, round(event.value, 4)) for event in events.Scalars("evaluation/mean")]
    assert points == [(int(row["total_steps"]), round(float(row["mean"]), 4)) for row in found]

    more: Run = start("--resume", str(run.run_dir), "--steps", "24000", name="run")
    assert more.wait() == 0, more.text()
    found = rows(run.run_dir / "evaluations.csv")
    assert [int(row["total_steps"]) // 6000 for row in found] == [1, 2, 3, 4]
    best = max(found, key=lambda row: (float(row["mean"]), -int(row["total_steps"])))
    assert read_network(run.run_dir, "best").total_steps == int(best["total_steps"])


def test_an_evaluation_that_is_killed_or_hangs_harms_nothing(start) -> None:  # type: ignore[no-untyped-def]
    flags = ("--evaluate-every", "1000", "--evaluate-episodes", "1000000", "--heartbeat-seconds", "6")
    run: Run = start(*CATCH, *flags, "--steps", "1000000000")
    player = wait_for(lambda: evaluator(run), "an evaluation")
    assert player.nice() == min(run.launcher.nice() + NICENESS, 19)
    player.kill()
    wait_for(lambda: "died (SIGKILL); its games are played again" in run.text(), "the word of its death")
    wait_for(lambda: evaluator(run), "another process").suspend()
    wait_for(lambda: "no step was taken for 6 s" in run.text(), "the end of the one that hangs")
    steps = run.steps()
    run.wait_for_steps(steps + 1000)  # training went on
    wait_for(lambda: evaluator(run), "the next evaluation")
    family = run.family()
    run.signal(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    wait_for(lambda: gone(family), "the end of all processes")
    assert not rows(run.run_dir / "evaluations.csv") and (run.run_dir / BEST).is_file()
    assert not (run.run_dir / "checkpoints" / "evaluating.safetensors").exists()


def test_the_best_mean_is_remembered_beyond_what_a_resumed_run_discards(tmp_path: Path) -> None:
    header = "total_steps,seconds,mean,median,standard_error,episodes,epsilon\n"
    assert best_mean(tmp_path) == float("-inf")
    (tmp_path / "evaluations.csv").write_text(header + "10,1,2.5,2,0.1,30,0.05\n20,2,1.5,2,0.1,30,0.05\n30,2,9")
    assert best_mean(tmp_path) == 2.5  # the last row is torn
    (tmp_path / "evaluations.discarded.csv").write_text(header + "40,1,12,2,0.1,30,nan\n")
    assert best_mean(tmp_path) == 12
    with (tmp_path / "evaluations.csv").open("a") as file:
        file.write("\n" + "x" * 200_000 + "\n50,1,20,2,0.1,30,0.05\n")  # more than a field may have
    assert best_mean(tmp_path) == 20


def test_numbers_that_are_not_finite_are_never_evaluated(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=3000, evaluate_every=1000)
    (tmp_path / "run").mkdir()
    run, said = _Run(config, describe(config), None, True, on_this_machine), list[str]()
    supervisor = run.session(tmp_path / "run", None, Progress())
    supervisor._evaluations._say = said.append
    run.table["parameters"][5] = float("nan")
    supervisor._evaluations.look(1000)
    assert said == ["cannot evaluate: the numbers are no longer finite."]
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    supervisor._evaluations.close()
    run.logs.close()


@pytest.mark.parametrize(("done", "due"), [([], True), ([5016], True), ([5016, 10016], False), ([5016, 11000], True)])
def test_an_evaluation_that_was_not_made_before_a_run_was_stopped_is_made_when_it_goes_on(
    tmp_path: Path, done: list[int], due: bool
) -> None:
    """Every 5,000 steps, resumed at T = 10,016; what has been evaluated beyond that does not count."""
    lines = [f"{steps},1,2,2,0.1,30,0.05\n" for steps in done]
    (tmp_path / "evaluations.csv").write_text(",".join(COLUMNS) + "\n" + "".join(lines))
    saved: list[Path] = []

    def save(path: Path) -> None:
        saved.append(path)
        raise OSError

    config = Config(env="catch", evaluate_every=5000)
    evaluations = Evaluations(config, tmp_path, 10_016, save, lambda result: None, lambda line: None)
    evaluations.look(10_016)
    assert bool(saved) is due
    evaluations.look(14_999)
    evaluations.look(15_000)
    assert len(saved) == 1 + due
    evaluations.close()


def test_a_run_is_evaluated_by_its_own_protocol_in_training_and_afterwards(tmp_path: Path) -> None:
    config = Config(env="pong", evaluate_every=5000, sticky=0.25, no_ops=7, max_episode_frames=999, seed=3)
    evaluations = Evaluations(config, tmp_path, 0, lambda path: None, lambda result: None, lambda line: None)
    own = Protocol(episodes=30, epsilon=0.05, no_ops=7, sticky=0.25, max_episode_frames=999, seed=3)
    in_training = evaluations._protocol
    evaluations.close()
    assert replace(in_training, seed=3) == own
    assert make_protocol(config, no_ops=None, sticky=None, seed=3) == own
    assert make_protocol(config, sticky=0.0, no_ops=0, seed=3) == replace(own, sticky=0.0, no_ops=0)
    games = [evaluation_generators(seed, 0)[0].integers(2**63) for seed in (in_training.seed, 3, Protocol().seed)]
    assert len(set(games)) == 3, "the best of many would be confirmed by the games that it was picked by"


def test_the_best_checkpoint_in_training_is_that_of_the_highest_mean_of_100_games(tmp_path: Path) -> None:
    config, run_dir = Config(env="catch", workers=1), tmp_path / "run"
    run_dir.mkdir()

    def best_after(progress: Progress, *means: float | None) -> list[int]:
        """T of the best checkpoint after each of as many checkpoints; None: as many games as are not enough."""
        run = _Run(config, describe(config), None, True, on_this_machine)
        supervisor, found = run.session(run_dir, None, progress), []
        run.table["steps"][0] = progress.total_steps
        for mean in means:
            run.table["steps"][0] += 10
            run.logs.games([Game(1, 0.0, 0, 0, mean or 100.0, 9, 0.1)] * (99 if mean is None else 100))
            supervisor._save()
            found.append(checkpoint.read(run_dir / BEST).progress.total_steps)
        supervisor._evaluations.close()
        run.logs.close()
        return found

    # the first one there is, until there is one with 100 games
    assert best_after(Progress(), None, 2.0, 1.0, 2.0, 3.0) == [10, 20, 20, 20, 50]
    saved = checkpoint.read(run_dir / LATEST).progress
    assert saved.best_score == 3.0
    assert best_after(saved, 2.0, 4.0) == [50, 70]


@contextlib.contextmanager
def session(folder: Path, config: Config, before: Progress | None = None) -> Iterator[tuple[_Run, Supervisor]]:
    """One that has not begun, of a run whose directory is ``folder``/run."""
    (folder / "run").mkdir()
    run = _Run(config, describe(config), None, True, on_this_machine)
    run.table["steps"][0] = before.total_steps if before else 0
    supervisor = run.session(folder / "run", None, before or Progress())
    yield run, supervisor
    supervisor._evaluations.close()
    run.logs.close()


def a_hundred_games(mean: float) -> list[Game]:
    return [Game(1, 0.0, 0, 0, mean, 9, 0.1)] * 100


def test_scores_in_training_pick_no_network_where_evaluations_do(tmp_path: Path) -> None:
    with session(tmp_path, Config(env="catch", workers=1, evaluate_every=10**6)) as (run, supervisor):
        for mean in (1.0, 2.0):
            run.table["steps"][0] += 10
            run.logs.games(a_hundred_games(mean))
            supervisor._save()
    # The first one, until there is an evaluation.
    assert checkpoint.read(tmp_path / "run" / BEST).progress.total_steps == 10


def test_a_best_checkpoint_that_could_not_be_written_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, full = checkpoint.save, [False, True, False]

    def saving(path: Path, content: bytes, first: Path | None = None) -> None:
        if full.pop(0):
            raise OSError("no space left")
        save(path, content, first)

    with session(tmp_path, Config(env="catch", workers=1)) as (run, supervisor):
        monkeypatch.setattr(checkpoint, "save", saving)
        for mean in (1.0, 2.0, 2.0):  # the disk is full in the moment in which the score is the best
            run.table["steps"][0] += 10
            run.logs.games(a_hundred_games(mean))
            supervisor._save()
    best = checkpoint.read(tmp_path / "run" / BEST).progress
    assert (best.total_steps, best.best_score) == (30, 2.0)


def test_of_two_evaluations_with_the_same_mean_the_first_is_the_best(tmp_path: Path) -> None:
    (tmp_path / BEST).parent.mkdir()
    done, config = list[Evaluation](), Config(env="catch", evaluate_every=1000)
    evaluations = Evaluations(config, tmp_path, 0, lambda path: None, done.append, lambda line: None)
    for total_steps, mean in ((1000, 0.5), (2000, 0.5), (3000, 0.75)):
        (tmp_path / BEST).with_stem("evaluating").write_text(str(total_steps))
        result = Evaluation("catch", "x", total_steps, Protocol(episodes=1), False, (mean,), (9,), 1.0)
        evaluations._seconds = total_steps / 100  # of training, when it was saved
        evaluations._conclude(Mock(failure=None, evaluation=lambda result=result: result))
        assert (tmp_path / BEST).read_text() == ("1000" if mean == 0.5 else "3000")
    evaluations.close()
    assert [one.total_steps for one in done] == [1000, 2000, 3000]
    found = [(float(row["seconds"]), float(row["mean"])) for row in rows(tmp_path / "evaluations.csv")]
    assert found == [(10.0, 0.5), (20.0, 0.5), (30.0, 0.75)]


def test_games_are_on_record_in_the_order_in_which_they_ended(tmp_path: Path) -> None:
    """Of all workers: the last 100 games are the newest."""
    with session(tmp_path, Config(env="catch", workers=2)) as (run, supervisor):
        for worker, ends in enumerate(((20, 40), (10, 30))):
            run.table["games"][worker, :2] = [(end, 0, float(end), 9, 0.1) for end in ends]
            run.table["games_written"][worker] = 2
        supervisor._read_games()
    assert [int(row["total_steps"]) for row in rows(tmp_path / "run" / "episodes.csv")] == [10, 20, 30, 40]


def test_what_a_run_has_done_is_counted_over_all_sessions(tmp_path: Path) -> None:
    before = Progress(30, 100.0, 5, (2, 1), 4.0)
    with session(tmp_path, Config(env="catch", workers=2), before) as (_, supervisor):
        supervisor._save()
        for progress in (supervisor.progress, checkpoint.read(tmp_path / "run").progress):
            assert replace(progress, seconds=100.0) == before and 100.0 <= progress.seconds < 200.0
