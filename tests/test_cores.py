"""Which cores there are, and which worker stays on which."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import Run, wait_for

from async_rl import cores

TWO_NODES = [frozenset({0, 1, 2, 3}), frozenset({4, 5, 6, 7})]


def spread(workers: int, usable: range | list[int], nodes: list[frozenset[int]], pin: str) -> list[set[int]]:
    return [set(cores.cores_of_worker(index, list(usable), nodes, pin)) for index in range(workers)]


def test_workers_take_turns_on_nodes_and_cores() -> None:
    assert spread(3, range(8), TWO_NODES, "node") == [{0, 1, 2, 3}, {4, 5, 6, 7}, {0, 1, 2, 3}]
    assert spread(9, range(8), TWO_NODES, "core") == [{0}, {4}, {1}, {5}, {2}, {6}, {3}, {7}, {0}]
    assert spread(2, range(8), TWO_NODES, "none") == [set(range(8))] * 2


def test_only_cores_that_may_be_used_are_used() -> None:
    assert spread(3, [1, 2, 6], TWO_NODES, "core") == [{1}, {6}, {2}]
    assert spread(2, [1, 2], TWO_NODES, "node") == [{1, 2}] * 2  # the other node is not ours
    assert spread(3, [3, 5], [], "core") == [{3}, {5}, {3}]  # no such thing as nodes
    uneven = spread(4, [0, 4, 5, 6], TWO_NODES, "node")
    assert sorted(map(min, uneven)) == [0, 4, 4, 4] and uneven[0] == {4, 5, 6}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_a_system_that_lets_nobody_choose_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise PermissionError

    for name in ("sched_setaffinity", "sched_getscheduler"):
        monkeypatch.setattr(os, name, forbidden)
    cores.pin_worker(0, "core")
    assert not cores.take_long_turns()


def test_nodes_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    assert cores.numa_nodes(tmp_path) == []
    for node, text in ((0, "0-2,8\n"), (1, "\n"), (10, "9,11-12\n")):  # node 1 has memory only
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "cpulist").write_text(text)
    assert cores.numa_nodes(tmp_path) == [{0, 1, 2, 8}, set(), {9, 11, 12}]


def test_quotas_of_both_kinds_of_cgroups_are_read(tmp_path: Path) -> None:
    assert list(cores._quotas(tmp_path)) == []
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert list(cores._quotas(tmp_path)) == []
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert list(cores._quotas(tmp_path)) == [(250_000, 100_000)]
    (tmp_path / "cpu").mkdir()
    for name, text in (("quota", "150000"), ("period", "100000")):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(text + "\n")
    assert (150_000, 100_000) in list(cores._quotas(tmp_path))


def test_a_cgroup_whose_name_is_not_understood_sets_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup").write_text("0::/Dienste/Büro\n", encoding="utf-8")
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "cgroup")
    assert list(cores._quotas(tmp_path)) == [] and cores.available_cores() >= 1


@pytest.mark.skipif(
    not hasattr(os, "sched_getscheduler") or os.sched_getscheduler(0) != os.SCHED_OTHER,
    reason="this system, or whoever has started the tests, schedules otherwise",
)
def test_long_turns_leave_all_else_as_it_was() -> None:
    """In a process of its own; the time of a turn is read back by the same system's other call."""
    code = """
import ctypes, os, platform, struct
from async_rl.cores import SET_SCHEDULING, TURN_SECONDS, take_long_turns
os.nice(3)
nice = os.getpriority(os.PRIO_PROCESS, 0)
known = platform.machine() in SET_SCHEDULING
assert take_long_turns() == known and os.sched_getscheduler(0) == os.SCHED_OTHER
assert os.getpriority(os.PRIO_PROCESS, 0) == nice
if known:
    found = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(SET_SCHEDULING[platform.machine()] + 1, 0, found, 48, 0) == 0
    turn = struct.unpack("=IIQiIQQQ", found.raw)[5]
    assert turn in (0, round(1e9 * TURN_SECONDS)), turn  # 0: not known to systems before Linux 6.12
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    assert turn > 0 or release < (6, 12), turn
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
assert not take_long_turns() and os.sched_getscheduler(0) == os.SCHED_BATCH
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_quota_and_a_mask_limit_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr(cores, "usable_cores", lambda: tuple(range(16)))
    assert cores.available_cores() == 16
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert cores.available_cores() == 3
    (tmp_path / "cpu.max").write_text("1000 100000\n")
    assert cores.available_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_a_mask_counts() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from async_rl import Config; "
    answer = subprocess.run([sys.executable, "-c", code + "print(Config().workers)"], capture_output=True, text=True)
    assert answer.stdout.strip() == "1", answer.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_workers_stay_on_their_cores(start) -> None:  # type: ignore[no-untyped-def]
    run: Run = start("--env", "catch", "--workers", "2", "--pin", "core", "--steps", "100_000_000")
    run.wait_for_steps(1)
    own = sorted(cores.usable_cores())

    def pinned() -> bool:
        try:
            return sorted(worker.cpu_affinity() for worker in run.workers()) == sorted([[own[0]], [own[1 % len(own)]]])
        except psutil.NoSuchProcess:
            return False

    wait_for(pinned, "each worker on its core")
