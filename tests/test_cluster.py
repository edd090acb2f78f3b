"""Many machines: real Ray, raylets on this machine as machines of the cluster, and real runs on them."""

import importlib.metadata
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import ROOT, python_m, rows, wait_for
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import RayError, RayTaskError
from test_exchange import Unreliable

from async_rl import Config, UserError, checkpoint, resuming
from async_rl.build import GAMES_RING, make_table, unread_games
from async_rl.checkpoint import Progress
from async_rl.cluster import connection, versions
from async_rl.cluster.exchange import DivergedError, UnavailableError
from async_rl.cluster.games import dated_within, put_games
from async_rl.cluster.holder import RemoteStore
from async_rl.cluster.island import Collected, Island, Order, _fill, _texts
from async_rl.cluster.islands import Islands
from async_rl.cluster.settings import ClusterSettings, changes, is_spread_as, record, recorded
from async_rl.config_file import to_toml
from async_rl.envs import describe
from async_rl.processes import FRUITLESS_STARTS
from benchmarks.cluster_partition import Partitioned, why_not
from benchmarks.cluster_runs import ClusterRun, Machines, complete, toy
from launch.cluster import parse

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("cluster")]  # one cluster at a time

ISLANDS = ("--islands", "2", "--workers", "1", "--exchange-interval", "250")

Begin = Callable[..., ClusterRun]


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Two machines with a CPU each; every process of them is gone afterwards, whatever the tests do."""
    cluster = Machines([1, 1])
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start runs by their arguments; whatever is left of them in the end is killed."""
    runs: list[ClusterRun] = []

    def start(*arguments: str) -> ClusterRun:
        runs.append(ClusterRun(tmp_path / "run", arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.destroy()


def check_logs(run_dir: Path, text: str = "") -> None:
    """T is exact, every game is there once, but those that ``text`` says were overwritten, and no step is in two."""
    saved, reports, games = checkpoint.read(run_dir), rows(run_dir / "metrics.csv"), rows(run_dir / "episodes.csv")
    counts = [int(report["total_steps"]) for report in reports]
    assert saved.progress.total_steps == counts[-1] == saved.arrays["steps"].sum()
    assert all(a <= b for a, b in pairwise(counts))
    assert len(games) == int(reports[-1]["games"])
    steps = sum(int(game["length"]) for game in games)
    overwritten = sum(map(int, re.findall(r"(\d+) games were overwritten unread", text)))  # of Catch, as long as others
    assert 0.9 * counts[-1] <= steps + overwritten * steps / len(games) and steps <= counts[-1]
    assert all(np.isfinite(array).all() for array in saved.arrays.values())


def check_records_of_islands(run_dir: Path) -> None:
    """What a run of two islands and two sessions has on record: restarts, exchanges, games of both, all seeds."""
    reports = rows(run_dir / "metrics.csv")
    assert int(reports[-1]["workers_restarted"]) >= 2
    exchanging = [row for row in reports if row["exchange_seconds"] != "nan"]
    assert all(float(row["exchange_bytes_per_step"]) > 0 <= float(row["staleness_steps"]) for row in exchanging[1:])
    assert {int(game["worker"]) for game in rows(run_dir / "episodes.csv")} == {0, 1}
    sessions = json.loads((run_dir / "run.json").read_text())["sessions"]
    assert [len(session["seeds"]["final_epsilons"]) for session in sessions] == [2, 2]


def test_islands_learn_survive_and_go_on(machines: Machines, begin: Begin, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run = begin(*toy(run_dir, *ISLANDS, "--address", machines.address))
    run.wait_for_both(games=50)

    machines.actors("Island")[0].kill()
    run.wait_for(lambda: "is out of reach" in run.text() and "goes on\n" in run.text(), "the island's return")
    run.wait_for_both(games=50)

    machines.actors("Holder")[0].kill()
    run.wait_for(lambda: "is back, and filled from the last copy" in run.text(), "the holder's return")
    run.wait_for_both(games=50)

    seen = len(run.text())
    machines.kill(1)
    run.wait_for(lambda: "is out of reach" in run.text()[seen:], "the loss of an island")
    before = run.steps()
    run.wait_for(lambda: run.steps() > before + 500, "steps of the other island")
    machines.add(1)
    run.wait_for(lambda: "goes on\n" in run.text()[seen:], "the island's return")
    run.wait_for_both(games=50)

    run.process.send_signal(signal.SIGKILL)  # the driver: everything ends by itself
    run.process.wait()
    wait_for(lambda: not machines.actors("Island") + machines.actors("Holder"), "the end of all actors")
    again = begin("--resume", str(run_dir), "--address", machines.address)
    again.wait_for_both(games=50)

    assert again.end(signal.SIGINT) == 130, again.text()
    wait_for(lambda: not machines.actors("Island"), "the end of all islands")
    assert "Traceback" not in run.text() + again.text() and "raylet" not in run.text() + again.text()
    assert f"go on with: python -m launch.cluster --resume {run_dir}" in again.text()
    check_logs(run_dir)
    check_records_of_islands(run_dir)

    steps = checkpoint.read(run_dir).progress.total_steps  # a single machine goes on with it
    result = python_m("launch.async", "--resume", run_dir, "--steps", steps + 2000)
    assert result.returncode == 0, result.stderr
    check_logs(run_dir)


def test_more_islands_than_room_and_another_address(machines: Machines, tmp_path: Path) -> None:
    catch = ("--config", "configs/catch.toml", "--run-dir", str(tmp_path / "run"), "--address")
    for arguments, message in (
        (
            (*catch, machines.address, "--islands", "3", "--workers", "1"),
            "the cluster has room for 2 islands of 1 CPUs",
        ),
        ((*catch, "127.0.0.1:1"), "no Ray cluster answers at --address 127.0.0.1:1 (Connection refused)"),
        (("--islands", "5000"), "--islands must be between 1 and 4,096, got 5000"),
        (("--islands", "64", "--workers", "512"), "--islands times --workers must be at most 4096"),
        (("--islands", "2", "--workers", "1", "--rewards", "scaled"), "--rewards scaled needs a single island"),
    ):
        result = complete(arguments)
        assert result.returncode == 2 and message in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_cluster_of_its_own_leaves_nothing_behind(begin: Begin, tmp_path: Path) -> None:
    more = ("--steps", "6000", "--shards", "2", "--wire", "bfloat16")
    run = begin("--config", "configs/catch.toml", *ISLANDS, *more, "--run-dir", str(tmp_path / "run"))
    assert run.process.wait(120) == 0, run.text()
    assert "2 islands on 1 machine: some share one" in run.text()
    wait_for(lambda: not run.left(), "the end of all processes")
    check_logs(tmp_path / "run")
    assert recorded(tmp_path / "run") == ClusterSettings(islands=2, exchange_interval=250, shards=2, wire="bfloat16")


def test_a_network_that_is_cut_heals(begin: Begin, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with Partitioned(2) as machines:
        run = begin(*toy(tmp_path / "run", *ISLANDS, "--address", machines.address))
        run.wait_for_both(games=50)
        before = run.steps()
        with machines.cut_off(1):
            run.wait_for(lambda: run.steps() > before + 2000, "steps of the other island")
        run.wait_for_both(games=50)
        assert run.end(signal.SIGINT) == 130, run.text()
    check_logs(tmp_path / "run", run.text())


def test_ray_that_is_not_installed_is_said(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; sys.argv = ['x']; from launch.cluster import main; main()"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: launch.cluster needs Ray, which is not installed; install it with pip install '.[cluster]'.\n"
    )


def test_other_versions_on_a_machine_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    versions.compare("a", versions.own())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")  # of an index for this processor
    assert versions.own()["torch"] == "2.13.0"
    monkeypatch.undo()
    for name, version in (("Python", "3.1"), ("ray", "1.0"), ("torch", "2.5"), ("async_rl", "source 0")):
        with pytest.raises(UserError, match=f"the machine b has {name} {version}, this one has"):
            versions.compare("b", versions.own() | {name: version})


@given(st.lists(st.lists(st.integers(0, 10**6), max_size=5), max_size=4), st.integers(1, 10**6), st.integers(0, 10**5))
def test_games_are_dated_within_what_has_been_counted(dates: list[list[int]], first: int, room: int) -> None:
    before = [np.array(date, dtype=np.float64) for date in dates]
    after = dated_within(before, first, first + room)
    for old, new in zip(before, after, strict=True):
        assert ((first <= new) & (new <= first + room)).all()
        assert (np.diff(new[np.argsort(old)]) >= 0).all()
    every = np.concatenate([*before, np.empty(0)])
    if len(every) and every.min() >= first and every.max() <= first + room:
        assert all((old == new).all() for old, new in zip(before, after, strict=True))


def test_games_that_an_island_has_overwritten_are_counted_and_not_taken_twice() -> None:
    """A cut network: the island has finished more games meanwhile than its ring holds."""
    config = Config(env="catch", workers=2)
    there, here = (make_table(config, describe(config)) for _ in range(2))
    island = Island()
    island._table = there
    island._order = SimpleNamespace(workers=slice(1, 2), incarnation=0, worker_incarnations=(0,))  # type: ignore[assignment]
    read = 0
    for written in (100, 100 + GAMES_RING + 50):
        for number in range(int(there["games_written"][1]), written):
            there["games"][1, number % GAMES_RING] = number
        there["games_written"][1] = written
        told = island.collect([read], 0)
        assert told is not None and told.games_written == [written]
        (games,) = told.games
        put_games(here, 1, games, games[:, 0], written)
        taken, following = unread_games(here, 1, read)
        newest = np.arange(max(0, written - GAMES_RING + 1), written)  # but the one that may be written just now
        assert following == written and taken[:, 2].tolist() == newest.tolist()
        read = written
    shutil.rmtree(island._folder)


def test_an_island_that_has_diverged_says_so_and_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray starts it again; here nothing does."""
    codes: list[int] = []
    monkeypatch.setattr("async_rl.cluster.island._TOLD_SECONDS", 0.0)
    monkeypatch.setattr("async_rl.cluster.island.os._exit", codes.append)
    for asked_to_stop, expected in ((False, [1]), (True, [])):
        codes.clear()
        diverged = Island()
        monkeypatch.setattr(diverged, "_train", Mock(side_effect=DivergedError))
        if asked_to_stop:
            diverged.stop()
        diverged._run(SimpleNamespace(island=3), None)  # type: ignore[arg-type]
        assert codes == expected and diverged._said[0].startswith("island 3 has diverged")


def test_an_island_that_fails_leaves_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Island()
    failed._order = SimpleNamespace(incarnation=2, workers=slice(0, 0), worker_incarnations=())  # type: ignore[assignment]
    monkeypatch.setattr(failed, "_train", Mock(side_effect=OSError("no room")))
    failed._run(SimpleNamespace(island=3, incarnation=2), None)  # type: ignore[arg-type]
    told = failed.collect([], 0)
    assert told is not None and told.ended and told.said == ["island 3 failed (OSError: no room)"]
    assert list(told.errors) == ["island3.2.txt"] and "OSError: no room" in told.errors["island3.2.txt"]
    shutil.rmtree(failed._folder)  # its disk has gone
    failed._run(SimpleNamespace(island=3, incarnation=2), None)  # type: ignore[arg-type]
    told = failed.collect([], 1)
    assert told is not None and told.ended and told.said == ["island 3 failed (OSError: no room)"]
    failed.__ray_shutdown__()


def test_texts_that_are_removed_while_they_are_read_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "removed"):
        (tmp_path / f"{name}.txt").write_text("text", encoding="utf-8")
    read = Path.read_text

    def reading(path: Path, **how: Any) -> str:
        if path.stem == "removed":
            path.unlink()
        return read(path, **how)

    monkeypatch.setattr(Path, "read_text", reading)
    assert _texts(tmp_path) == {"kept.txt": "text"}


def test_an_exchange_that_fails_ends_the_island() -> None:
    failed: list[Exception] = []
    Island()._exchange(Mock(run=Mock(side_effect=ValueError("odd"))), failed)
    assert [str(error) for error in failed] == ["odd"]
    full = Mock()
    full.pull.remote.side_effect = RayError("the object store is full")
    with pytest.raises(UnavailableError):
        RemoteStore([full], 0, slice(0, 1), "float32").pull()


def test_an_address_that_is_no_name_is_said() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at --address 10\.0\.0\.\.1:6379"):
        connection._require_answer("10.0.0..1:6379")


def test_an_address_that_is_empty_is_refused() -> None:
    with pytest.raises(UserError, match="--address must be host:port or auto, got nothing"):
        parse(["--address", ""])


def test_a_sigterm_while_ray_starts_has_the_exit_code_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        """What Ray's own handler does."""
        sys.exit(signal.SIGTERM)

    monkeypatch.setattr(connection.ray, "init", init)
    with pytest.raises(SystemExit, match="143"):
        connection._connect(None, 1)


class Scripted:
    """The islands of a run that has one, whose answers are given by the test, as Ray would give them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run_dir: Path):
        config = Config(env="catch", workers=2, steps=1000)
        self.goal = config.steps
        self.table, self.said = make_table(config, describe(config)), list[str]()
        made = {"make_island": Mock(), "make_holders": lambda: [Mock()]}
        cluster: Any = SimpleNamespace(settings=ClusterSettings(islands=1), **made)
        self.make = lambda: Islands(cluster, config, self.table, run_dir, Progress(), self.said.append)
        self.islands = self.make()
        (self.member,) = self.islands._members
        self._answers: list[Any] = []
        monkeypatch.setattr("async_rl.cluster.islands.ray.get", self._get)

    def _get(self, call: object) -> Any:
        if isinstance(answer := self._answers.pop(0), Exception):
            raise answer
        return answer

    def told(self, *answers: Any) -> None:
        for answer in answers:
            self._answers.append(answer)
            member = self.member
            member.call = self.islands._ask(member) if member.begun else self.islands._begin(member)
            self.islands._take(member)

    def counts(self) -> tuple[int, tuple[int, ...], int]:
        return self.islands.restarted, self.islands.incarnations, self.islands.stepping


def test_a_run_with_nothing_left_to_train_stays_spread_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recorded = Scripted(monkeypatch, tmp_path), tmp_path / "cluster.toml"
    assert recorded.exists()
    recorded.unlink()
    run.table["steps"][0] = run.goal
    run.make()
    assert not recorded.exists()


def collected(
    incarnation: int, workers: tuple[int, ...], restarted: int, *lines: str, diverged: bool = False
) -> Collected:
    return Collected(incarnation, {}, [], [], workers, restarted, 2, list(lines), {}, False, diverged)


def test_an_island_that_was_out_of_reach_has_lost_nothing_and_is_counted_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """First it is cut off and trains on, then its process is another one."""
    run = Scripted(monkeypatch, tmp_path)
    actor = run.member.actor
    run.told(1, collected(1, (3, 0), 3, "worker 0 died", "worker 0 died again"))
    assert run.counts() == (3, (3, 0), 2)
    run.told(RayError(), RayError(), RayError(), 1)  # cut off; it answers that it has begun long ago
    assert run.counts() == (3, (3, 0), 0)
    run.told(collected(1, (3, 0), 3))
    assert actor.collect.remote.call_args.args[1] == 2  # lines that are known
    run.told(None)  # a new process
    assert run.member.incarnation == 1 and not run.member.begun
    run.told(RayError(), 3)
    assert actor.begin.remote.call_args.args[0].worker_incarnations == (4, 1)
    assert run.counts()[:2] == (5, (4, 1))
    run.told(collected(3, (5, 1), 1, "worker 0 died"))
    assert run.counts() == (6, (5, 1), 2)
    assert run.said.count("island 0 goes on") == 2 and sum("is out of reach" in line for line in run.said) == 2


def test_an_island_whose_first_begin_was_not_answered_may_have_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Scripted(monkeypatch, tmp_path)
    run.told(RayError(), 1)
    assert run.counts()[:2] == (0, (0, 0))
    run = Scripted(monkeypatch, tmp_path)
    run.told(RayError(), 2)
    assert run.counts()[:2] == (2, (1, 1))


def test_an_island_that_fails_says_why_and_is_given_up_if_it_goes_on_failing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Scripted(monkeypatch, tmp_path)
    missing = RayTaskError("begin", "", ModuleNotFoundError("No module named 'game'"))
    why = "fails (ModuleNotFoundError: No module named 'game')"
    few, many = [missing] * (FRUITLESS_STARTS - 1), [missing] * FRUITLESS_STARTS
    run.told(*few, RayError(), *few)  # it may have been out of reach because it was started again
    assert run.said == [f"island 0 {why}; it is asked again"] and run.islands.any_alive
    run.told(run.member.incarnation + 1, collected(run.member.incarnation + 1, (0, 0), 0))
    assert run.said[1:] == ["island 0 goes on"]
    run.told(*many)
    given_up = f"island 0 {why}; given up, {FRUITLESS_STARTS} tries in a row were in vain"
    assert run.said[2:] == [run.said[0], given_up] and not run.islands.any_alive


def test_what_an_island_leaves_is_written_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = Scripted(monkeypatch, tmp_path)
    path = tmp_path / "errors" / "worker0.0.txt"
    run.told(1, *[replace(collected(1, (1, 0), 1), errors={path.name: "Traceback"})] * 2)
    assert path.read_text(encoding="utf-8") == "Traceback"
    path.unlink()
    run.told(replace(collected(1, (1, 0), 1), errors={path.name: "Traceback"}))
    assert not path.exists()
    run.told(replace(collected(1, (1, 0), 1), errors={path.name: "another"}))
    assert path.read_text(encoding="utf-8") == "another"


def test_a_run_whose_islands_diverge_again_and_again_has_diverged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Scripted(monkeypatch, tmp_path)
    for incarnation, finite in ((1, True), (2, False)):
        answer = collected(incarnation, (0, 0), 0, diverged=True)
        run.told(incarnation, answer, answer)
        run.islands._take_parameters()
        assert np.isfinite(run.table["parameters"]).all() == finite
        run.told(RayError())


def test_an_island_that_ends_while_it_is_to_stop_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Scripted(monkeypatch, tmp_path)
    run.told(1, collected(1, (0, 0), 0))
    run.islands._stopping = True
    run.told(RayError())
    assert not run.islands.any_alive


def test_cluster_settings_come_back_from_a_run(tmp_path: Path) -> None:
    settings = ClusterSettings(islands=3, rule="elastic", wire="bfloat16", shards=2, cpus_per_island=0.5)
    record(tmp_path, settings)
    assert recorded(tmp_path) == settings and recorded(tmp_path / "other") == ClusterSettings()
    (tmp_path / "cluster.toml").write_text("islands = 'x'")
    with pytest.raises(UserError, match=r"cluster.toml"):
        recorded(tmp_path)


def test_an_island_begins_with_the_common_parameters_in_theta_and_target(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(env="catch", workers=2)
    first = make_table(config, describe(config))["parameters"] + 1
    store = Unreliable(first, 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    monkeypatch.setattr("async_rl.cluster.island.WorkerProcesses", Mock(side_effect=InterruptedError))  # no workers
    for vectors in ({}, {"target": first + 2, "mean_square": first * 0 + 3}):
        island = Island()
        order = Order(config, ClusterSettings(islands=2), 0, 1, slice(0, 1), (0,), {}, vectors, len(first), {})
        with pytest.raises(InterruptedError):
            island._train(order, store)
        assert island._table is not None
        np.testing.assert_array_equal(island._table["parameters"], first)
        np.testing.assert_array_equal(island._table["target"], vectors.get("target", first))
        assert (island._table["mean_square"] == (3 if vectors else 0)).all()
        island.__ray_shutdown__()


def test_a_machine_that_joins_later_with_another_version_gets_no_island() -> None:
    island, theirs = Island(), versions.own() | {"torch": "2.5"}
    order: Any = SimpleNamespace(versions=theirs)
    with pytest.raises(UserError, match=r"the machine that drives the run has torch 2\.5, this one has"):
        island.begin(order, [])
    assert island.collect([], 0) is None
    island.__ray_shutdown__()


def test_an_island_that_is_lost_for_good_is_not_waited_for_at_the_goal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The holder of the parameters has steps of it that it did not live to tell of."""
    run = Scripted(monkeypatch, tmp_path)
    run.told(1, replace(collected(1, (0, 0), 0), rows={"steps": np.array([400, 300])}), RayError())
    (shard,) = run.islands._keeper._shards
    for pushed, ended in (((500, 200), False), ((500, run.goal - 500), True)):
        shard.copy = replace(shard.copy, steps=np.array(pushed))
        run.islands._count_lost()
        assert run.table["steps"].tolist() == [500, max(300, pushed[1])]
        assert run.islands.any_alive is not ended
    assert run.said[-1] == "island 0 has not come back, and is not waited for: T has reached its goal"


def test_an_island_whose_process_dies_again_and_again_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Scripted(monkeypatch, tmp_path)
    incarnations = iter(range(1, 100))
    for steps in (0, 10):  # with steps in between it may go on for ever
        for _ in range(FRUITLESS_STARTS - 1):
            number = next(incarnations)
            run.told(number, replace(collected(number, (0, 0), 0), rows={"steps": np.array([steps, 0])}), RayError())
    assert run.islands.any_alive
    for _ in range(3):
        run.told(RayError())  # a machine that is only out of reach
    assert run.islands.any_alive
    for _ in range(2):
        run.told(run.member.incarnation + 1, RayError())
    assert not run.islands.any_alive
    assert (
        run.said[-1] == f"island 0 is out of reach (RayError); given up, {FRUITLESS_STARTS} tries in a row were in vain"
    )


def test_tracebacks_of_islands_stand_beside_those_of_former_sessions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / "worker1.0.txt").write_text("of before")
    run = Scripted(monkeypatch, tmp_path)
    for text in ("first", "first and more"):
        run.told(*(() if run.member.begun else (1,)), replace(collected(1, (0, 0), 1), errors={"worker1.0.txt": text}))
    found = {path.name: path.read_text() for path in (tmp_path / "errors").iterdir()}
    assert found == {"worker1.0.txt": "of before", "worker1.0.2.txt": "first and more"}
    island = Island()
    island._say(f"worker 1 failed; see {island._folder}/worker1.0.txt")
    assert island._said == ["worker 1 failed; see errors/worker1.0.txt"]
    island.__ray_shutdown__()


def test_a_run_goes_on_by_itself_only_where_it_is_spread_as_before(tmp_path: Path) -> None:
    config, settings = Config(env="catch", workers=2), ClusterSettings(islands=2, rule="elastic")
    run_dir = tmp_path / "runs" / "a"
    run_dir.mkdir(parents=True)
    (run_dir / "config.toml").write_text(to_toml(config))
    alone, spread = ClusterSettings(), partial(is_spread_as, settings)
    assert resuming.newest(config, tmp_path / "runs") == run_dir  # of a single machine
    assert resuming.newest(config, tmp_path / "runs", partial(is_spread_as, alone)) == run_dir
    assert resuming.newest(config, tmp_path / "runs", spread) is None
    record(run_dir, replace(settings, shards=2))
    assert resuming.newest(config, tmp_path / "runs") is None
    assert (
        resuming.newest(config, tmp_path / "runs", spread) == resuming.in_directory(config, run_dir, spread) == run_dir
    )
    for other in (replace(settings, rule="downpour"), replace(settings, exchange_interval=50), alone):
        with pytest.raises(UserError, match="holds a run of other settings"):
            resuming.in_directory(config, run_dir, partial(is_spread_as, other))
    assert changes(settings, replace(settings, rule="averaging", shards=3)) == ["--rule: averaging, not elastic"]


def test_islands_begin_with_their_share_of_the_updates_and_again_with_new_chance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Scripted(monkeypatch, tmp_path)
    monkeypatch.setattr(run.islands, "watch", lambda seconds: None)
    run.table["updates"][:] = (7, 0)  # as a checkpoint puts them there
    run.table["random_states"].fill(5)
    run.islands.start()
    assert run.table["updates"].tolist() == [4, 3]
    states = []
    for answers in ((1, collected(1, (0, 0), 0)), (RayError(), 2)):
        run.told(*answers)
        states.append(run.member.actor.begin.remote.call_args.args[0].rows["random_states"])
    assert (states[0] == 5).all() and (states[1] == 2**64 - 1).all() and (run.table["random_states"] == 5).all()
    run.told(replace(collected(1, (0, 0), 0, "late"), rows={"updates": np.array([90, 90])}))  # of the one before
    assert run.table["updates"].tolist() == [4, 3] and "late" not in run.said


def test_an_island_that_begins_late_makes_no_refreshes_of_the_target_that_others_have_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its theta^- would be replaced at its first step."""
    config = Config(env="catch", workers=2, target_interval=500)
    first = make_table(config, describe(config))["parameters"]
    store = Unreliable(first, 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    monkeypatch.setattr("async_rl.cluster.island.WorkerProcesses", Mock(side_effect=InterruptedError))  # no workers
    rows, vectors = {"steps": np.array([1700])}, {"target": first + 2}
    island = Island()
    order = Order(config, ClusterSettings(islands=2), 0, 1, slice(0, 1), (0,), rows, vectors, len(first), {})
    with pytest.raises(InterruptedError):
        island._train(order, store)
    assert island._table is not None and island._table["target_refreshes"].tolist() == [3]
    island.__ray_shutdown__()


def test_an_island_that_begins_counts_its_games_on_from_those_that_the_driver_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the first of a new incarnation would be taken for ones that have been read."""
    run = Scripted(monkeypatch, tmp_path)
    run.table["games_written"][:] = (5, 7)
    run.told(1)
    order = run.member.actor.begin.remote.call_args.args[0]
    assert order.rows["games_written"].tolist() == [5, 7]
    table = make_table(order.config, describe(order.config))
    _fill(table, order)
    assert table["games_written"].tolist() == [5, 7]
