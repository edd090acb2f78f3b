"""Memory as a container sees it: what may still be used, and whether the kernel has killed for want of it."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from async_rl.cores import CGROUP, cgroup_folders, read_text

_NO_LIMIT = 2**60
"""Version 1 of cgroups writes a number near 2^63 where there is no limit."""


def free_bytes() -> int:
    """Bytes that this process and its children may still take: what the machine has, or less where a cgroup says so."""
    machine = psutil.virtual_memory().available
    return max(0, min([machine, *(limit - used for limit, used in limits(CGROUP))]))


def limits(root: Path) -> Iterator[tuple[int, int]]:
    """(bytes allowed, bytes used) of the cgroup of this process and of those above it; none without a limit.

    File pages that the kernel can drop at once do not count as used.
    """
    for folder in cgroup_folders(root, "memory"):
        for limit, usage, inactive in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            allowed, used = (_number(folder / name) for name in (limit, usage))
            if allowed is not None and used is not None and allowed < _NO_LIMIT:
                yield allowed, max(0, used - (_entry(folder / "memory.stat", inactive) or 0))


class OutOfMemory:
    """Tells whether the kernel's out-of-memory killer has been at work among the processes of this container."""

    def __init__(self, root: Path = CGROUP, machine: Path = Path("/proc/vmstat")) -> None:
        self._root = root
        self._machine = machine
        self._kills = self._count()

    def has_killed(self) -> bool:
        """Whether it has killed since the last call, or since this was made; never, where no kernel counts."""
        before, self._kills = self._kills, self._count()
        return self._kills > before

    def _count(self) -> int:
        """Kills in the cgroup of this process; on the whole machine, where that has no count."""
        for folder in cgroup_folders(self._root, "memory"):
            for name in ("memory.events", "memory.oom_control"):
                kills = _entry(folder / name, "oom_kill")
                if kills is not None:
                    return kills
        return _entry(self._machine, "oom_kill") or 0


def private_bytes(pid: int) -> int | None:
    """Memory of a process that belongs to no file and no shared mapping; None where that is not known.

    Read in microseconds, where the unique set size would take a millisecond for each process; pages that a fork has not
    written yet count, too.
    """
    try:
        memory = psutil.Process(pid).memory_info()
    except (psutil.Error, OSError):
        return None
    return memory.rss - getattr(memory, "shared", 0)


def _number(path: Path) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.isdecimal() else None


def _entry(path: Path, name: str) -> int | None:
    """The number after ``name`` in a file of one name and number a line."""
    for line in read_text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdecimal():
            return int(value)
    return None
