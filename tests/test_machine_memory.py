"""Small machines and containers: memory that may be used, and what the kernel did for want of it."""

import dataclasses
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import ROOT, command, mounted, rows

from async_rl import Config, UserError, machine_memory
from async_rl.build import make_table
from async_rl.envs import describe
from async_rl.machine_memory import OutOfMemory, free_bytes, limits, private_bytes
from async_rl.processes import WorkerProcesses
from async_rl.training import require_memory

pytestmark = pytest.mark.faults

GIB = 2**30


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


VERSION_2 = {"memory__max": 4 * GIB, "memory__current": 3 * GIB, "memory__stat": f"anon 5\ninactive_file {GIB}"}
VERSION_1 = {
    "memory__limit_in_bytes": 2 * GIB,
    "memory__usage_in_bytes": GIB,
    "memory__stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}",
}


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of cgroups of both versions, this process at the root of each: as a container sees its own.

    On a machine that has 64 GiB.
    """
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    monkeypatch.setattr("async_rl.cores.OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_memory, "CGROUP", tmp_path)
    (tmp_path / "cgroup").write_text("4:memory:/docker/host/path\n3:cpu,cpuacct:/\n0::/a/b\n")
    return tmp_path


def test_limits_of_both_versions_are_read_from_the_own_cgroup_and_those_above(cgroups: Path) -> None:
    assert list(limits(cgroups)) == []
    write(cgroups, memory__max="max", memory__current=5)
    write(cgroups / "memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=5)
    assert list(limits(cgroups)) == []
    write(cgroups / "a", **VERSION_2)
    assert list(limits(cgroups)) == [(4 * GIB, 2 * GIB)]
    write(cgroups / "memory", **VERSION_1)  # the path of the host does not exist in a container
    assert sorted(limits(cgroups)) == [(2 * GIB, GIB // 2), (4 * GIB, 2 * GIB)]


def test_what_is_free_is_the_least_of_machine_and_limits(cgroups: Path) -> None:
    assert free_bytes() == 64 * GIB
    write(cgroups / "memory", **VERSION_1)
    assert free_bytes() == 3 * GIB // 2
    write(cgroups / "a" / "b", memory__max=1000, memory__current=990, memory__stat="inactive_file 3")
    assert free_bytes() == 13
    write(cgroups / "a" / "b", memory__current=2000)
    assert free_bytes() == 0


def test_a_run_that_does_not_fit_into_the_container_is_refused(cgroups: Path) -> None:
    write(cgroups, **VERSION_2)
    spec = describe(Config(env="pong"))
    require_memory(Config(workers=1, replay=200_000), spec)
    with pytest.raises(UserError, match=r"replay memories need 2\.6 GiB, 2\.0 GiB are free; lower --replay"):
        require_memory(Config(workers=1, replay=400_000), spec)
    small = describe(Config(env="CartPole-v1"))  # 16 bytes a step, and more than that beside them
    with pytest.raises(UserError, match=r"replay memories need 3\.2 GiB"):
        require_memory(Config(env="CartPole-v1", workers=1, replay=50_000_000), small)


def test_what_the_network_keeps_of_a_segment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """210 kB a step of the paper's network were measured, 56 of them screens."""
    monkeypatch.setattr("async_rl.training.free_bytes", lambda: 8 * GIB)
    config = Config(env="pong", workers=1, t_max=5000)
    with pytest.raises(UserError, match=r"the steps between two updates need 15\.\d GiB, 8\.0 GiB are free"):
        require_memory(config, describe(config))
    require_memory(dataclasses.replace(config, t_max=2000), describe(config))


@pytest.mark.parametrize("name", ["memory.events", "memory/memory.oom_control", "vmstat"])
def test_kills_of_the_kernel_are_told_once(cgroups: Path, name: str) -> None:
    path = cgroups / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("oom 7\nunder_oom 0\noom_kill 3\n")
    watch = OutOfMemory(cgroups, cgroups / "vmstat")
    assert not watch.has_killed()
    path.write_text("oom 9\nunder_oom 0\noom_kill 4\n")
    assert watch.has_killed() and not watch.has_killed()
    path.unlink()
    assert not watch.has_killed()


def test_the_cause_of_a_death_names_want_of_memory(cgroups: Path, tmp_path: Path) -> None:
    write(cgroups / "a" / "b", memory__events="oom_kill 0")
    config = Config(env="catch", workers=1)
    workers = WorkerProcesses(config, make_table(config, describe(config)), tmp_path, (), 0, print)
    workers._out_of_memory = OutOfMemory(cgroups)
    (member,) = workers._members
    assert workers._cause(member, -signal.SIGKILL) == "died (SIGKILL)"
    write(cgroups / "a" / "b", memory__events="oom_kill 1")
    assert str(workers._cause(member, -signal.SIGSEGV)) == "died (SIGSEGV)"
    assert str(workers._cause(member, -signal.SIGKILL)).startswith("died (SIGKILL, out of memory: ")
    assert workers._cause(member, -signal.SIGKILL) == "died (SIGKILL)"


def test_private_memory_grows_with_what_is_written_and_ends_with_the_process() -> None:
    before = private_bytes(os.getpid())
    block = mmap.mmap(-1, 50 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # fresh pages, no freed ones of the heap
    np.frombuffer(block, np.uint8)[:] = 1
    after = private_bytes(os.getpid())
    assert before is not None and after is not None and after - before > 0.9 * len(block)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert private_bytes(child.pid) is None


def test_16_workers_at_the_defaults_run_in_64_mib_of_shared_memory(tmp_path: Path, may_mount: None) -> None:
    run_dir = tmp_path / "run"
    train = command("--env", "pong", "--workers", "16", "--steps", "1024", "--run-dir", str(run_dir))
    done = subprocess.run(mounted(Path("/dev/shm"), "64m", *train), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    last = rows(run_dir / "metrics.csv")[-1]
    assert int(last["total_steps"]) >= 1024 and last["workers_restarted"] == "0"
