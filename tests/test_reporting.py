"""Reports: CSV rows, TensorBoard events and the terminal, also where a log cannot be written."""

import csv
import dataclasses
import importlib
import io
import math
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.file_proxy import FileProxy

from async_rl import reporting
from async_rl.config import Config
from async_rl.reporting import EpisodeStatistics, Lines, Panel, Quiet, Report
from async_rl.reporting.csv_log import NEW_RUN, PENDING_ROWS, CsvLog
from async_rl.reporting.panel import PanelText, cells
from async_rl.reporting.tensorboard_log import scalars
from async_rl.reporting.text import History, Remaining, duration, sparkline
from async_rl.stopwatch import PHASES
from async_rl.types import Game

SAMPLE = Report(
    total_steps=1_234_560,
    total_frames=4_938_240,
    seconds=526.125,
    steps_per_second=2345.4,
    frames_per_second=9381.6,
    games=87,
    mean_score=-20.125,
    best_score=-17.0,
    mean_length_steps=812.0,
    td_loss=0.0123,
    q_value=0.451,
    gradient_norm=0.1234,
    lr=6.5e-4,
    epsilon_min=0.01,
    epsilon_max=0.93,
    updates=77_160,
    target_refreshes=123,
    workers_alive=16,
    workers_restarted=1,
    dropped_gradients=0,
    steps_goal=10_000_000,
    games_averaged=87,
    phases={phase: 1.5 + number for number, phase in enumerate(PHASES)},
)
COLUMNS = ("total_steps", "value")


def report(**changes: Any) -> Report:
    return dataclasses.replace(SAMPLE, **changes)


def game(total_steps: int, score: float = -20.0, length: int = 800) -> Game:
    return Game(total_steps, total_steps / 1000, 3, 1, score, length, 0.5)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(path: Path) -> list[int]:
    return [int(row["total_steps"]) for row in rows_of(path)]


def small_log(path: Path, said: list[str], last_step: int = NEW_RUN) -> CsvLog:
    return CsvLog(path, COLUMNS, last_step, said.append)


# --- CSV


def test_csv_holds_each_row_as_soon_as_it_is_written(tmp_path: Path) -> None:
    exchange = {
        "exchange_bytes_per_step": 5.5,
        "exchange_seconds": 0.25,
        "exchange_share": 0.125,
        "staleness_steps": 9.5,
    }
    sample = dataclasses.replace(SAMPLE, **exchange)
    logs = reporting.open_logs(tmp_path, {}, None, print)
    games = [Game(1000, 1.5, 3, 1, -20.0, 812, 0.25), Game(1000, 1.5, 0, 7, 12.5, 99, 0.01)]
    logs.games(games)
    logs.report(sample)
    logs.report(report(total_steps=2_000_000, td_loss=math.nan))
    # Not closed yet: a kill at this point loses nothing.
    episodes = rows_of(tmp_path / "episodes.csv")
    assert [tuple(map(float, row.values())) for row in episodes] == games
    assert tuple(episodes[0]) == Game._fields
    first, second = rows_of(tmp_path / "metrics.csv")
    elsewhere = ("steps_goal", "games_averaged", "evaluated_score", "evaluated_steps", "phases")
    expected = {name: value for name, value in vars(sample).items() if name not in elsewhere}
    expected |= {f"{phase}_microseconds": 1.5 + number for number, phase in enumerate(PHASES)}
    assert {name: float(value) for name, value in first.items()} == expected and list(first) == list(expected)
    assert second["total_steps"] == "2000000"
    assert second["td_loss"] == "nan"
    logs.close()


def test_resume_moves_rows_beyond_the_checkpoint_aside(tmp_path: Path) -> None:
    for resume_at, steps in ((None, (10, 20, 30, 40)), (20, (25, 35)), (25, (26,))):
        logs = reporting.open_logs(tmp_path, {}, resume_at, print)
        for step in steps:
            logs.games([game(step)])
            logs.report(report(total_steps=step))
        logs.close()
    for name in ("metrics", "episodes"):
        assert steps_of(tmp_path / f"{name}.csv") == [10, 20, 25, 26]
        assert steps_of(tmp_path / f"{name}.discarded.csv") == [30, 40, 35]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_a_run_begins_anew_hides_all_events_before(tmp_path: Path) -> None:
    """As the rows of CSV files: it was resumed before its first checkpoint, or has gone back to its begin."""
    for steps in ((100, 200, 300), (50, 150)):
        logs = reporting.open_logs(tmp_path, {}, None, print)
        for step in steps:
            logs.report(report(total_steps=step))
        logs.close()
        time.sleep(1.1)  # TensorBoard takes files in the order of their names, which begin with the second
    assert [step for step, _ in scalar(tmp_path, "losses/td_loss")] == [50, 150] == steps_of(tmp_path / "metrics.csv")


def test_a_new_run_in_a_used_directory_begins_with_empty_logs(tmp_path: Path) -> None:
    said: list[str] = []
    small_log(tmp_path / "a.csv", said).write([(0, 1.0), (5, 2.0)])
    small_log(tmp_path / "a.csv", said)
    assert (tmp_path / "a.csv").read_text() == "total_steps,value\n"
    assert steps_of(tmp_path / "a.discarded.csv") == [0, 5]
    assert said == []


@pytest.mark.parametrize("torn", ["5,0.", "5", "total", "6,7,8\n", "x,1\n", "\0\0\0\n", "é\n"])
def test_a_torn_line_is_dropped(tmp_path: Path, torn: str) -> None:
    path, said = tmp_path / "a.csv", list[str]()
    path.write_text("total_steps,value\n1,0.5\n2,0.5\n" + torn, encoding="latin-1")
    small_log(path, said, last_step=100).write([(3, 1.5)])
    assert path.read_text() == "total_steps,value\n1,0.5\n2,0.5\n3,1.5\n"
    assert not (tmp_path / "a.discarded.csv").exists()


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("total_st")
    small_log(path, [], last_step=100).write([(3, 1.5)])
    assert path.read_text() == "total_steps,value\n3,1.5\n"


def test_rows_with_other_columns_are_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("total_steps,other\n1,2\n")
    small_log(path, [], last_step=100)
    assert path.read_text() == "total_steps,value\n"
    assert "total_steps,other\n1,2\n" in (tmp_path / "a.discarded.csv").read_text()


def test_a_file_that_needs_no_cut_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    small_log(path, []).write([(1, 2.0)])
    inode = path.stat().st_ino
    small_log(path, [], last_step=1)
    assert path.stat().st_ino == inode


@pytest.mark.filterwarnings("error")  # a traceback from a thread of the event writer would show up as one
def test_a_removed_directory_is_said_once_and_no_row_is_lost(tmp_path: Path) -> None:
    directory, said = tmp_path / "run", list[str]()
    logs = reporting.open_logs(directory, {}, None, said.append)  # it is not made: it may be on a disk that comes back
    for step in (1, 2, 3):
        logs.games([game(step)])
        logs.report(report(total_steps=step))
    assert not directory.exists()
    assert len([m for m in said if "episodes.csv" in m]) == len([m for m in said if "metrics.csv" in m]) == 1
    assert len([m for m in said if "TensorBoard" in m]) == 1
    directory.mkdir()
    logs.games([game(4)])
    logs.report(report(total_steps=4))
    assert steps_of(directory / "metrics.csv") == steps_of(directory / "episodes.csv") == [1, 2, 3, 4]
    assert [step for step, _ in scalar(directory, "losses/td_loss")] == [1, 2, 3, 4]
    assert len(said) == 6  # three outages, three ends
    logs.close()


def test_a_full_disk_does_not_raise(tmp_path: Path) -> None:
    path, said = tmp_path / "a.csv", list[str]()
    log = small_log(path, said)
    path.unlink()
    path.symlink_to("/dev/full")
    log.write([(1, 0.5)])
    log.write([(2, 0.5)])
    assert len(said) == 1
    assert "No space left" in said[0]
    path.unlink()
    log.close()
    assert steps_of(path) == [1, 2]


@pytest.mark.parametrize("files_before", [0, 9])  # the tenth file of a process has a name before that of the ninth
def test_tensorboard_waits_for_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_before: int
) -> None:
    from tensorboard.summary.writer import event_file_writer

    said: list[str] = []
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(files_before))
    logs = reporting.open_logs(tmp_path, {}, None, said.append)
    with monkeypatch.context() as full:
        full.setattr("async_rl.reporting.tensorboard_log.LEAST_FREE_BYTES", 1 << 62)
        logs.report(report(total_steps=1))
        logs.report(report(total_steps=2))
    logs.report(report(total_steps=3))
    assert scalar(tmp_path, "losses/td_loss") == [(step, pytest.approx(0.0123)) for step in (1, 2, 3)]
    assert len(said) == 2
    logs.close()


def test_rows_wait_for_a_cut_that_could_not_be_made(tmp_path: Path) -> None:
    parent, said = tmp_path / "run", list[str]()
    parent.write_text("a file where the directory should be")
    log = small_log(parent / "a.csv", said, last_step=1)
    log.write([(2, 0.5)])
    assert len(said) == 1
    parent.unlink()
    parent.mkdir()
    (parent / "a.csv").write_text("total_steps,value\n1,0.25\n9,0.25\n")
    log.write([(3, 0.5)])
    assert steps_of(parent / "a.csv") == [1, 2, 3]
    assert steps_of(parent / "a.discarded.csv") == [9]


def test_pending_rows_are_bounded(tmp_path: Path) -> None:
    log = small_log(tmp_path / "gone" / "a.csv", [])
    log.write((step, 0.0) for step in range(PENDING_ROWS + 5))
    (tmp_path / "gone").mkdir()
    log.close()
    assert steps_of(tmp_path / "gone" / "a.csv") == list(range(5, PENDING_ROWS + 5))


def test_rows_that_come_at_once_are_all_written(tmp_path: Path) -> None:
    log = small_log(tmp_path / "a.csv", said := [])
    log.write((step, 0.0) for step in range(PENDING_ROWS + 5))
    assert steps_of(tmp_path / "a.csv") == list(range(PENDING_ROWS + 5)) and not said


# --- Statistics


def test_statistics_cover_the_last_100_games() -> None:
    generator = random.Random(0)
    games = [game(i, generator.uniform(-21, 21), generator.randrange(100, 3000)) for i in range(257)]
    statistics = EpisodeStatistics()
    assert math.isnan(statistics.mean_score)
    assert math.isnan(statistics.best_score)
    assert math.isnan(statistics.mean_length_steps)
    for chunk in (games[:30], [], games[30:200], games[200:]):
        statistics.add(chunk)
    assert statistics.games == 257
    assert statistics.best_score == max(g.score for g in games)
    assert statistics.mean_score == pytest.approx(sum(g.score for g in games[-100:]) / 100)
    assert statistics.mean_length_steps == pytest.approx(sum(g.length for g in games[-100:]) / 100)


def test_statistics_go_on_after_a_resume(tmp_path: Path) -> None:
    logs = reporting.open_logs(tmp_path, {}, None, print)
    games = [game(i, score=float(i % 37), length=i) for i in range(1, 301)]
    logs.games(games)
    logs.close()
    resumed = reporting.open_logs(tmp_path, {}, 250, print).statistics
    expected = EpisodeStatistics()
    expected.add(games[:250])
    assert vars(resumed) == vars(expected)
    assert EpisodeStatistics.from_csv(tmp_path / "absent.csv", 10).games == 0


# --- TensorBoard


def accumulated(directory: Path) -> Any:
    # tensorboard has no types, so it is imported by name; and here, for it takes a second.
    module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    accumulator = module.EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def scalar(directory: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulated(directory).Scalars(tag)]


def test_tensorboard_events_are_read_back(tmp_path: Path) -> None:
    logs = reporting.open_logs(tmp_path, {"env": "pong", "lr": 7e-4, "final_epsilons": (0.1, 0.5)}, None, print)
    logs.games([game(40, -20.0, 700), game(50, -18.0, 900)])
    logs.report(report(total_steps=100))
    logs.report(report(total_steps=200, td_loss=math.nan, lr=5e-4))
    # Not closed: TensorBoard shows a run that goes on.
    events = accumulated(tmp_path)
    assert set(events.Tags()["scalars"]) == {
        *("charts/episodic_return", "charts/episodic_length", "charts/mean_score_100", "charts/steps_per_second"),
        *(f"phases/{phase}_microseconds" for phase in PHASES),
        *("charts/frames_per_second", "charts/epsilon_min", "charts/epsilon_max", "charts/learning_rate"),
        *("charts/games", "charts/best_score", "losses/td_loss", "losses/q_values", "losses/gradient_norm"),
        *("losses/updates", "losses/target_refreshes", "losses/dropped_gradients"),
        *("workers/alive", "workers/restarted"),
    }
    assert scalar(tmp_path, "charts/episodic_return") == [(100, -19.0)]  # no game ended in the second interval
    assert scalar(tmp_path, "charts/episodic_length") == [(100, 800.0)]
    assert scalar(tmp_path, "losses/td_loss") == [(100, pytest.approx(0.0123))]  # NaN is not written
    assert scalar(tmp_path, "charts/learning_rate") == [(100, pytest.approx(6.5e-4)), (200, pytest.approx(5e-4))]
    assert scalar(tmp_path, "workers/alive") == [(100, 16.0), (200, 16.0)]
    assert "|final_epsilons|(0.1, 0.5)|" in str(events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0])
    hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"env" in hparams
    assert b"pong" in hparams
    logs.close()


def test_tensorboard_hides_what_lies_beyond_the_checkpoint(tmp_path: Path) -> None:
    for resume_at, steps in ((None, (100, 200, 300)), (200, (250, 350))):
        logs = reporting.open_logs(tmp_path, {}, resume_at, print)
        for step in steps:
            logs.report(report(total_steps=step, q_value=step + (resume_at or 0)))
        logs.close()
    assert scalar(tmp_path, "losses/q_values") == [(100, 100), (200, 200), (250, 450), (350, 550)]


# --- Terminal

NUMBERS = ("1,234,560", "12.3%", "2,345 steps/s", "9,382 frames/s", "-20.1", "87", "0.01-0.93", "16 (1 restarted)")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_hold_the_numbers_and_no_escape_codes() -> None:
    stream = io.StringIO()
    lines = Lines(10.0, stream)
    lines.show(SAMPLE)
    lines.show(report(mean_score=math.nan, td_loss=math.nan, q_value=math.nan, steps_per_second=math.nan))
    lines.show(report(total_steps=10_000_000, dropped_gradients=3))
    lines.say("worker 3 died (SIGKILL),\n\x1b[31mstarted again")
    lines.close()
    first, second, third, message = stream.getvalue().splitlines()
    for text in (*NUMBERS, "6.5e-04", "|g| 0.12", "left 1 h 02 min"):
        assert text in first
    assert "nan" not in second
    assert first.index("steps/s") == second.index("steps/s")
    assert "left 0 s" in third
    assert "(3 dropped)" in third
    assert message.startswith("worker 3 died (SIGKILL), ")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().isascii()


def test_lines_survive_a_closed_stream_and_a_poor_encoding() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    lines = Lines(10.0, stream)
    lines.say("run in modèles/")
    assert raw.getvalue() == b"run in mod?les/\n"
    stream.close()
    lines.show(SAMPLE)


def panel_on(columns: int, encoding: str = "utf-8") -> tuple[Panel, Console, io.BytesIO]:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    console = Console(file=stream, width=columns, height=50, force_terminal=True, _environ={"TERM": "xterm"})
    return Panel(Config(), Path("runs/größer/pong-" + "x" * 30), console), console, raw


def test_profile_is_shown_where_it_is_asked_for() -> None:
    for profile in (False, True):
        text, stream = PanelText("pong", "runs/pong", profile), io.StringIO()
        console = Console(width=100, file=stream)
        text.add(SAMPLE)
        console.print(text.render(SAMPLE, 100, "utf-8"))
        lines = Lines(1.0, stream, profile)
        lines.show(SAMPLE)
        for phase, value in SAMPLE.phases.items():
            shown = stream.getvalue()
            assert (f"{phase:<12}{value:.1f}" in shown) == profile, shown
            assert (f"{phase} {value:.0f}" in shown) == profile


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_panel_fits_its_terminal(columns: int) -> None:
    panel, _, _ = panel_on(columns)
    for score in range(-40, -19):
        panel._text.add(report(mean_score=score / 2))
    plain = Console(file=io.StringIO(), width=columns, record=True, _environ={})
    plain.print(panel._text.render(report(dropped_gradients=12), columns, "utf-8"))
    text = plain.export_text()
    for expected in (*NUMBERS, "pong", "one-step-q", "1 h 02 min left", "6.50e-04", "0.123 (12 dropped)", "▁", "█"):
        assert expected in text
    assert "-20.0 to -10.0" in text
    assert "Ctrl-C stops and saves" in text
    assert max(map(cell_len, text.splitlines())) <= columns
    assert len(text.splitlines()) <= (16 if columns > 40 else 24)


def test_panel_shows_the_last_evaluation() -> None:
    text, console = PanelText("pong", "runs/a"), Console(file=io.StringIO(), width=100)
    console.print(text.render(report(evaluated_score=18.35, evaluated_steps=1_250_000), 100, "utf-8"))
    console.print(text.render(SAMPLE, 100, "utf-8"))
    assert console.file.getvalue().count("evaluated 18.4 (T 1.25M)") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_panel_without_utf8_is_plain_ascii(encoding: str) -> None:
    panel, _, raw = panel_on(80, encoding)
    panel.show(SAMPLE)
    panel.say("größer → kleiner")
    panel.show(report(total_steps=1_300_000, mean_score=-19.0))
    panel.close()
    screen = raw.getvalue().decode(encoding)
    assert "1,300,000" in screen
    assert "? kleiner" in screen


def test_panel_draws_at_most_once_a_second_and_the_last_state_at_the_end() -> None:
    panel, console, raw = panel_on(80)
    panel.show(SAMPLE)
    panel._draw_after += 3600.0  # the machine may be busy
    drawn = len(raw.getvalue())
    for step in range(1_300_000, 1_300_020):
        panel.show(report(total_steps=step))
    assert len(raw.getvalue()) == drawn
    panel.close()
    panel.close()
    screen = raw.getvalue().decode()
    assert "1,300,019" in screen
    assert screen.endswith("\x1b[?25h")  # the cursor is shown again
    assert not console._live_stack


def test_panel_says_one_line_above_itself() -> None:
    panel, _, raw = panel_on(60)
    panel.show(SAMPLE)
    panel.say("worker 3 died [SIGKILL], started again")
    panel.close()
    assert "worker 3 died [SIGKILL], started again" in raw.getvalue().decode()


def test_panel_survives_a_terminal_that_has_gone() -> None:
    panel, console, _ = panel_on(80)
    console.file.close()
    panel.show(SAMPLE)
    panel.say("gone")
    panel.close()
    assert not isinstance(sys.stdout, FileProxy)


def test_panel_gives_up_a_terminal_that_fails_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    class HungUp(Tty):
        def write(self, text: str) -> int:
            attempts.append(text)
            raise OSError(5, "Input/output error")

    attempts: list[str] = []
    monkeypatch.setenv("TERM", "xterm")
    panel = reporting.terminal(Config(), Path("run"), HungUp())
    assert isinstance(panel, Panel)
    for _ in range(3):
        panel._draw_after = 0.0
        panel.show(SAMPLE)
    panel.say("gone")
    assert len(attempts) == 1  # what cannot be written is not collected for ever
    panel.close()
    assert not isinstance(sys.stdout, FileProxy)


def test_the_terminal_is_chosen_by_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    config = Config(report_seconds=7.0)
    assert isinstance(reporting.terminal(config, Path("run"), Tty()), Panel)
    monkeypatch.setattr(sys, "stdout", None)  # a service
    assert isinstance(reporting.terminal(config, Path("run")), Quiet)
    lines = reporting.terminal(config, Path("run"), io.StringIO())
    assert isinstance(lines, Lines)
    assert lines.interval_seconds == 7.0
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(reporting.terminal(config, Path("run"), Tty()), Lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (-3, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599, "59 min 59 s")),
        *((3600, "1 h 00 min"), (3720, "1 h 02 min"), (86_399, "1 d 00 h"), (183_600, "2 d 03 h")),
        *((math.nan, "-"), (math.inf, "-")),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_remaining_time_is_steady_and_follows_the_speed() -> None:
    remaining = Remaining(memory_seconds=60)
    assert math.isnan(remaining.update(report(seconds=0, steps_per_second=math.nan)))
    assert math.isnan(remaining.update(report(seconds=1, steps_per_second=0)))
    goal = {"total_steps": 0, "steps_goal": 100_000}
    assert remaining.update(report(seconds=2, steps_per_second=1000, **goal)) == pytest.approx(100)
    slower = remaining.update(report(seconds=3, steps_per_second=0, **goal))
    assert slower == pytest.approx(100 * (1 + math.exp(1 / 60)))
    for second in range(4, 900):
        left = remaining.update(report(seconds=second, steps_per_second=500, **goal))
    assert left == pytest.approx(200, rel=1e-3)


def test_history_keeps_the_whole_course_in_bounded_memory() -> None:
    history = History(capacity=16)
    for value in range(10_000):
        history.add(float(value))
    history.add(math.nan)
    gaps = {b - a for a, b in zip(history.values, history.values[1:], strict=False)}
    assert len(history.values) < 16
    assert history.values[0] == 0
    assert len(gaps) == 1
    assert history.values[-1] >= 10_000 - gaps.pop()


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([5, 5, 5], 3) == "▁▁▁"
    assert sparkline([], 10) == sparkline([1.0], 0) == sparkline([1.0], -4) == ""


def test_reporting_is_quiet_where_all_is_well(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        logs = reporting.open_logs(tmp_path, dataclasses.asdict(Config()), None, (said := []).append)
        logs.report(SAMPLE)
        logs.close()
    assert not said


def test_large_scores_are_written_in_full(tmp_path: Path) -> None:
    """Some games have millions of points."""
    small_log(tmp_path / "a.csv", []).write([(10, 12_345_678.0), (20, 123_456_789.0)])
    assert (tmp_path / "a.csv").read_text() == "total_steps,value\n10,12345678\n20,123456789\n"


TAGS = {
    "charts/mean_score_100": "mean_score",
    "charts/best_score": "best_score",
    "charts/games": "games",
    "charts/steps_per_second": "steps_per_second",
    "charts/frames_per_second": "frames_per_second",
    "charts/epsilon_min": "epsilon_min",
    "charts/epsilon_max": "epsilon_max",
    "charts/learning_rate": "lr",
    "losses/td_loss": "td_loss",
    "losses/q_values": "q_value",
    "losses/gradient_norm": "gradient_norm",
    "losses/updates": "updates",
    "losses/target_refreshes": "target_refreshes",
    "losses/dropped_gradients": "dropped_gradients",
    "workers/alive": "workers_alive",
    "workers/restarted": "workers_restarted",
    "exchange/bytes_per_step": "exchange_bytes_per_step",
    "exchange/seconds": "exchange_seconds",
    "exchange/share": "exchange_share",
    "exchange/staleness_steps": "staleness_steps",
}


def test_every_curve_of_tensorboard_is_of_the_number_that_it_is_named_by() -> None:
    report = dataclasses.replace(SAMPLE, **{name: float(n) for n, name in enumerate(TAGS.values())})
    expected = {tag: getattr(report, name) for tag, name in TAGS.items()}
    expected |= {f"phases/{phase}_microseconds": SAMPLE.phases[phase] for phase in PHASES}
    assert scalars(report, []) == expected


def test_panel_and_lines_show_each_number_by_its_name() -> None:
    report = dataclasses.replace(
        SAMPLE, mean_score=1.0, games_averaged=2, best_score=3.0, games=4, mean_length_steps=5.0, steps_per_second=6.0,
        frames_per_second=7.0, updates=8, target_refreshes=9, workers_alive=10, workers_restarted=0, td_loss=11.0,
        q_value=12.0, gradient_norm=13.0, lr=14.0, epsilon_min=0.15, epsilon_max=0.16,
    )  # fmt: skip
    shown = {cell.label: cell.value for cell in cells(report) if cell.label}
    assert math.isnan(report.evaluated_score) and math.isnan(report.exchange_seconds)
    assert shown == {
        "score": "1.0 (last 2)", "best": "3.0", "games": "4", "length": "5 steps", "speed": "6 steps/s", "updates": "8",
        "targets": "9", "workers": "10", "TD loss": "11", "mean Q": "12", "gradient": "13", "lr": "1.40e+01",
        "epsilon": "0.15-0.16", "time": "8 min 46 s",
    }  # fmt: skip
    stream = io.StringIO()
    Lines(1.0, stream).show(report)
    words = " ".join(stream.getvalue().split())
    for expected in ("6 steps/s", "7 frames/s", "score 1.0 (last 2)", "games 4", "eps 0.15-0.16", "lr 1.4e+01",
                     "loss 11", "Q 12.00", "|g| 13", "workers 10"):  # fmt: skip
        assert expected in words
