"""Machines of a Ray cluster in network namespaces of their own, so that a network can be cut between them."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import psutil

from benchmarks.cluster_runs import OBJECT_STORE_BYTES, environment, titled
from benchmarks.endurance_run import PATIENCE_SECONDS

_NETWORK = "10.213.77"
_PORT = 6399  # outside the range that Ray takes for its workers

TOLERANT = {"RAY_health_check_failure_threshold": "20"}
"""As the guide says. Ray gives a machine up after five checks without an answer, about a minute; what TCP holds back
during half a minute's cut comes only when it tries again, after nearly as long."""


def why_not() -> str | None:
    """Why no namespaces can be had here; None: they can."""
    if shutil.which("ip") is None:
        return "there is no command ip"
    name = f"rl{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"ip netns add: {made.stderr.strip() or 'not permitted'}"
    try:
        pair = ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"]
        made = subprocess.run(pair, capture_output=True, text=True)
        return f"ip link add: {made.stderr.strip()}" if made.returncode else None
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Partitioned:
    """A head here, and machines with one CPU each behind a bridge, that can be cut off for a while."""

    def __init__(self, machines: int):
        self._mark = f"rl{uuid.uuid4().hex[:6]}"
        self._names = [f"{self._mark}{number}" for number in range(machines)]
        self._processes: list[subprocess.Popen[bytes]] = []
        os.environ |= environment() | TOLERANT
        try:
            self._make_network()
            self._start("", ["--head", f"--port={_PORT}", "--num-cpus=0", "--include-dashboard=false"], 1)
            for number, name in enumerate(self._names):
                self._start(name, [f"--address={self.address}", "--num-cpus=1"], number + 2)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Of its head."""
        return f"{_NETWORK}.1:{_PORT}"

    @contextlib.contextmanager
    def cut_off(self, number: int) -> Iterator[None]:
        """No packet reaches a machine or leaves it."""
        _ip("link", "set", f"{self._names[number]}h", "down")
        try:
            yield
        finally:
            _ip("link", "set", f"{self._names[number]}h", "up")

    def actors(self, name: str) -> list[psutil.Process]:
        """Processes of the actors of class ``name``, on all machines."""
        family = [child for process in self._processes for child in psutil.Process(process.pid).children(True)]
        return [process for process in family if titled(process, f"ray::{name}")]

    def close(self) -> None:
        """End all of it."""
        for process in self._processes:
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.kill()
            process.wait()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            subprocess.run(["ip", "link", "del", f"{name}h"], capture_output=True)
        subprocess.run(["ip", "link", "del", self._mark], capture_output=True)

    def _joined(self) -> int:
        """Machines whose raylet has started its agents, which it does once the head knows it."""
        return len(self.actors("RuntimeEnvAgent"))

    def _make_network(self) -> None:
        _ip("link", "add", self._mark, "type", "bridge")
        _ip("addr", "add", f"{_NETWORK}.1/24", "dev", self._mark)
        _ip("link", "set", self._mark, "up")
        for number, name in enumerate(self._names):
            _ip("netns", "add", name)
            _ip("link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}m", "netns", name)
            _ip("link", "set", f"{name}h", "master", self._mark)
            _ip("link", "set", f"{name}h", "up")
            for words in (
                ("addr", "add", f"{_NETWORK}.{number + 2}/24", "dev", f"{name}m"),
                ("link", "set", f"{name}m", "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", name, *words)

    def _start(self, name: str, arguments: list[str], number: int) -> None:
        inside = ["ip", "netns", "exec", name] if name else []
        own = [f"--node-ip-address={_NETWORK}.{number}", f"--object-store-memory={OBJECT_STORE_BYTES}", "--block"]
        command = [*inside, sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *own]
        quiet = subprocess.DEVNULL
        self._processes.append(subprocess.Popen(command, stdout=quiet, stderr=quiet))
        wait_for(
            lambda: _head_listens() and self._joined() == number, f"machine {number}"
        )  # two at once take the same sockets

    def __enter__(self) -> "Partitioned":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what} of a cluster")
        time.sleep(0.2)


def _head_listens() -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((f"{_NETWORK}.1", _PORT), timeout=1).close()
        return True
    return False


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
