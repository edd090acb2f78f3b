"""Real clusters on one machine, several raylets as machines, and real runs of ``launch.cluster`` on them."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from async_rl.parent import killed_with_parent
from benchmarks import table
from benchmarks.endurance_run import Run

OBJECT_STORE_BYTES = 100 << 20


_TOKEN = secrets.token_hex(32)


def environment() -> dict[str, str]:
    """Of clusters that are made here, and of runs on them: a token of their own, whatever this user has else."""
    return {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}


class Machines:
    """A Ray cluster of raylets on this machine: a head without CPUs, and machines that can be added and killed."""

    def __init__(self, cpus: Sequence[float]):
        os.environ |= environment()
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []
        for number in cpus:
            self.add(number)

    @property
    def address(self) -> str:
        """Of its head."""
        return str(self._cluster.address)

    def add(self, cpus: float) -> None:
        """Another machine, or one that comes back."""
        self.nodes.append(self._cluster.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES))

    def kill(self, number: int) -> None:
        """SIGKILL of everything that a machine runs for Ray, as when its power fails."""
        raylet = _raylet(self.nodes[number])
        for process in (*raylet.children(recursive=True), raylet):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def actors(self, name: str) -> list[psutil.Process]:
        """Processes of the actors of class ``name``, on all machines."""
        raylets = map(_raylet, (self._cluster.head_node, *self.nodes))
        family = (process for raylet in raylets for process in raylet.children(recursive=True))
        return [process for process in family if titled(process, f"ray::{name}")]

    def close(self) -> None:
        """End all of it."""
        self._cluster.shutdown()

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _raylet(node: Any) -> psutil.Process:
    """The process of a machine without which it is gone."""
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


class ClusterRun(Run):
    """A ``launch.cluster`` process."""

    module = "launch.cluster"

    def wait_for_both(self, games: int) -> None:
        """Wait until each of two islands, of one worker each, has finished so many more games."""

        def finished() -> Counter[int]:
            """Games of each island so far."""
            return Counter(int(game["worker"]) for game in table.read(self.run_dir / "episodes.csv"))

        before = finished()
        self.wait_for(lambda: min((finished() - before)[island] for island in (0, 1)) >= games, "games of both islands")


def toy(run_dir: Path, *more: str) -> list[str]:
    """Arguments for a run of the toy that goes on until it is stopped."""
    flags = "--config configs/catch.toml --steps 1000000000 --lr-schedule constant --report-seconds 0.5"
    return [*flags.split(), "--checkpoint-seconds", "1", "--run-dir", str(run_dir), *more]


def complete(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``launch.cluster`` to its end."""
    command = [sys.executable, "-m", "launch.cluster", *arguments]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=killed_with_parent)
    try:
        output, errors = run.communicate(timeout=300)
    finally:
        run.terminate()  # where it is still there; it ends its cluster before it ends
        run.communicate()
    return subprocess.CompletedProcess(command, run.returncode, output, errors)


def titled(process: psutil.Process, title: str) -> bool:
    """Whether a process bears the title that Ray has given it."""
    try:
        return "".join(process.cmdline()[:1]).startswith(title)  # none at all once it is dead
    except psutil.Error:
        return False
