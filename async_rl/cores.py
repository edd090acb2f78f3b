"""The processor cores that this program may use, and how workers are spread over them."""

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
NODES = Path("/sys/devices/system/node")

TURN_SECONDS = 0.05
"""How long a worker keeps a core to itself where workers take turns; the system allows at most 0.1."""

SET_SCHEDULING = {"x86_64": 314, "aarch64": 274}
"""Linux's number of the system call sched_setattr, for which Python has no function."""


def available_cores() -> int:
    """Number of cores that this process may use: those of its affinity mask, or fewer where a cgroup limits its time.

    A container that may use the time of 2.5 cores counts as one with 3.
    """
    limits = [-(-quota // period) for quota, period in _quotas(CGROUP)]
    return max(1, min([len(usable_cores()), *limits]))


def usable_cores() -> tuple[int, ...]:
    """Numbers of the cores of this process's affinity mask; of all cores, where the system has no such masks."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def processor_name() -> str:
    """What the processor calls itself ("AMD EPYC 9R14"), or of what kind it is ("x86_64") where it does not."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def cores_of_worker(index: int, cores: Sequence[int], nodes: Sequence[frozenset[int]], pin: str) -> frozenset[int]:
    """The cores that worker number ``index`` is to stay on.

    Args:
        index: of the worker.
        cores: those that may be used.
        nodes: the cores of each NUMA node.
        pin: "node": workers take turns on the nodes, as many on each as it has cores that may be used, and stay on all
            of these, so that their private memory is near; "core": each on one core, in the same turns; "none":
            anywhere.
    """
    if pin == "none":
        return frozenset(cores)
    usable = [sorted(node & set(cores)) for node in nodes if node & set(cores)] or [sorted(cores)]
    turns = sorted(
        ((place + 0.5) / len(node), number, core)
        for number, node in enumerate(usable)
        for place, core in enumerate(node)
    )
    _, number, core = turns[index % len(turns)]
    return frozenset(usable[number] if pin == "node" else [core])


def pin_worker(index: int, pin: str) -> None:
    """Keep this process, worker number ``index``, on its cores; nothing where the system cannot, or does not let it."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cores_of_worker(index, usable_cores(), numa_nodes(NODES), pin))


def take_long_turns() -> bool:
    """Let this process keep a core for `TURN_SECONDS` at a time where several want it; whether the system knows how.

    Every turn begins with caches that others have filled, and Linux's own turns are 1 to 3 ms: 16 workers with one
    emulator each on 2 cores make 1,125 steps/s with them, 1,182 with 5 ms, 1,239 with 20 and 1,297 with 60 (Xeon;
    medians of 2 rounds in turn). Each worker's share of time stays the same. It needs Linux 6.12; older ones accept
    the call and do nothing. Schedulers other than the usual one are left alone.
    """
    number = SET_SCHEDULING.get(platform.machine()) if hasattr(os, "sched_getscheduler") else None
    try:
        if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
            return False
    except OSError:  # not even to be asked for
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # size, policy, flags, nice, priority, and the time of a turn, deadline and period in nanoseconds
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, round(1e9 * TURN_SECONDS), 0, 0)
    return ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0


def numa_nodes(folder: Path) -> list[frozenset[int]]:
    """Cores of each NUMA node by Linux's description; none where there is no such thing."""
    paths = sorted(folder.glob("node[0-9]*/cpulist"), key=lambda path: int(path.parent.name.removeprefix("node")))
    return [frozenset(_numbers(read_text(path))) for path in paths]


def _numbers(text: str) -> Iterator[int]:
    """``"0-2,8"`` -> 0, 1, 2, 8."""
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """(microseconds of processor time, in a period of so many) of the cgroup of this process and of those above it."""
    for folder in cgroup_folders(root, "cpu"):
        words = read_text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdecimal():
            yield int(words[0]), int(words[1])
        quota, period = (read_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal():
            yield int(quota), int(period)


def cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the cgroup of this process and of those above it, innermost first, of both versions of cgroups.

    Args:
        root: where cgroups are mounted, ``/sys/fs/cgroup``.
        controller: "cpu" or "memory", by which version 1 has a tree for each; version 2 has one tree for all.
    """
    for line in read_text(OWN_CGROUPS).splitlines() or ["0::/", f"1:{controller}:/"]:
        number, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        tree = root if number == "0" else root / controller
        if number == "0" or controller in controllers.split(","):
            # In a container the path is often that of the host, and not below the tree that is mounted.
            folders = (tree / own.lstrip("/"), *(tree / own.lstrip("/")).parents)
            yield from (folder for folder in folders if folder.is_relative_to(tree))


def read_text(path: Path) -> str:
    """What the kernel says in a file; nothing where there is none, or where it is not understood."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
