"""Real runs of the command in processes of their own, and commands called here."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import settings

from async_rl import Config, train
from async_rl.build import make_parts, make_table
from async_rl.envs import describe
from async_rl.shared import SharedTable
from async_rl.worker import Worker
from benchmarks.cluster_runs import environment
from benchmarks.table import read as rows

for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "PYTHONIOENCODING", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)  # what programs print is looked at
os.environ |= environment()  # before Ray is imported, which reads it then
torch.set_num_threads(1)  # as in workers; more wait for each other where cores are busy
settings.register_profile("no deadline", deadline=None)  # the machine may be busy
settings.load_profile("no deadline")

_BEFORE = torch.get_rng_state()

InProcess = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parent.parent
TIMEOUT_SECONDS = 120.0
"""For whatever a test waits for; no test asserts how long something took."""


def pytest_collection_finish() -> None:
    if not torch.equal(torch.get_rng_state(), _BEFORE):
        raise pytest.UsageError("a test module draws from torch's random numbers where it is imported: it must not")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same, alone or among others."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def survives_sigterm() -> Iterator[None]:
    """For a test that ends a training in this process by SIGTERM, should the training have ended before."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


def gone(family: list[psutil.Process]) -> bool:
    return not any(map(running, family))


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``, asked again and again."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """Calls a command's ``main`` here, with arguments; exit code, standard output and standard error."""

    def call(main: Callable[[], None], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "launch.async", *arguments]


def python_m(
    module: str, *arguments: object, cwd: Path = ROOT, timeout: float = TIMEOUT_SECONDS, env: Any = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` to its end."""
    line = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, timeout=timeout, env=env, capture_output=True, text=True)


def make_worker(config: Config) -> tuple[Worker, SharedTable]:
    """The first worker of a new run, in this process."""
    table = make_table(config, describe(config))
    return Worker(config, 0, table, make_parts(config, 0, 0, table)), table


class Run:
    """A ``launch.async`` process that is under way in ``run_dir``."""

    def __init__(self, run_dir: Path, *arguments: str):
        self.run_dir = run_dir
        self.output = run_dir.with_suffix(".out")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command(*arguments), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.launcher = psutil.Process(self.process.pid)

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def workers(self) -> list[psutil.Process]:
        """The processes that the fork server has started: the workers."""
        try:
            return [worker for child in self.launcher.children() for worker in child.children()]
        except psutil.NoSuchProcess:
            return []

    def family(self) -> list[psutil.Process]:
        """Every process that came from the launcher."""
        return self.launcher.children(recursive=True)

    def steps(self) -> int:
        """T of the last report."""
        reports = rows(self.run_dir / "metrics.csv")
        return int(reports[-1]["total_steps"]) if reports else 0

    def wait_for_steps(self, steps: int) -> None:
        def arrived() -> bool:
            assert self.process.poll() is None, self.text()
            return self.steps() >= steps

        wait_for(arrived, f"step {steps}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(TIMEOUT_SECONDS)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the toy, to look at; who changes it takes a copy."""
    return train(
        Config(env="catch", workers=1, steps=3000, lr=0.5), tmp_path_factory.mktemp("toy") / "run", quiet=True
    ).run_dir


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start runs of the toy by their arguments; whatever is left of them in the end is killed."""
    runs: list[Run] = []

    def start_run(*arguments: str, name: str = "run") -> Run:
        run_dir = tmp_path / name
        where = [] if "--resume" in arguments else ["--run-dir", str(run_dir)]
        run = Run(run_dir, "--report-seconds", "0.1", *where, *arguments)
        runs.append(run)
        return run

    yield start_run
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)  # others may have outlived the launcher
        run.process.wait()


def mounted(directory: Path, size: str, *command: str) -> list[str]:
    """How to run a command with a small file system in ``directory`` that only it sees."""
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    own_users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *own_users, "--mount", "sh", "-c", script, str(directory), *command]


@pytest.fixture
def may_mount(tmp_path: Path) -> None:
    """Skip the test where `mounted` does not work."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(mounted(tmp_path, "1m", "true"), capture_output=True).returncode
    ):
        pytest.skip("this user may not mount a file system of its own")
