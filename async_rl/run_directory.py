"""The directory of a run: its name, and the record of what was run, where and with what."""

import importlib.metadata
import json
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from async_rl import storage
from async_rl.checking import reason, shown_path
from async_rl.config import Config
from async_rl.config_file import to_toml
from async_rl.cores import available_cores, processor_name
from async_rl.types import EnvSpec, UserError

CONFIG, RECORD, CLUSTER = storage.CONFIG, storage.RECORD, storage.CLUSTER

_PACKAGES = ("async_rl", "torch", "numpy", "gymnasium", "ale-py", "opencv-python-headless")


def default_run_dir(config: Config, spec: EnvSpec) -> Path:
    """``runs/<env>__<algorithm>__seed<seed>__<time>``, a name that is still free."""
    env = re.sub(r"[^\w.-]+", "-", spec.name)[:100]  # one part of a path, whatever the name is
    name = f"{env}__{config.algorithm}__seed{config.seed}__{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = [Path("runs") / name, *(Path("runs") / f"{name}-{number}" for number in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


def make_run_dir(run_dir: Path) -> Path:
    """Make the directory of a new run, and return it.

    Raises:
        UserError: it cannot be made or written, or there is a run in it, if only its checkpoints.
    """
    try:
        taken = (run_dir / CONFIG).exists() or any((run_dir / storage.CHECKPOINTS).glob("*"))
        run_dir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"cannot make the run directory {shown_path(run_dir)}: {reason(error)}.") from None
    if taken:
        resume = f"--resume {shlex.quote(str(run_dir))}"
        raise UserError(f"{run_dir} already holds a run; go on with {resume} or choose another --run-dir.")
    return run_dir


def record(
    run_dir: Path,
    config: Config,
    spec: EnvSpec,
    seeds: dict[str, Any],
    init_from: dict[str, str] | None = None,
    **notes: Any,
) -> None:
    """Write ``config.toml``, and add this session to ``run.json``: command, versions, machine, seeds and ``notes``.

    ``init_from`` says with whose network the run begins, if not with its own: the file's ``path``, and its ``env``.

    Raises:
        UserError: the directory cannot be written.
    """
    path = run_dir / RECORD
    entries = sessions(run_dir)
    entries.append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": shlex.join(_command(sys.argv)),
            "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
            "commit": _commit(),
            "machine": machine(),
            "env": spec.name,
            "frames_per_step": spec.frames_per_step,
            "actions": spec.action_names,
            "seeds": seeds,
            "init_from": init_from,
            **notes,
        }
    )
    try:
        files = {run_dir / CONFIG: to_toml(config), path: json.dumps({"sessions": entries}, indent=2) + "\n"}
        for file in reversed(files) if notes else files:  # notes say how the settings came about
            storage.write(file, files[file].encode())
    except OSError as error:
        raise UserError(f"cannot write into the run directory {run_dir}: {reason(error)}.") from None


def sessions(run_dir: Path) -> list[dict[str, Any]]:
    """What `record` has written so far, one entry for each session; what cannot be read is left out."""
    try:
        entries = json.loads((run_dir / RECORD).read_text(encoding="utf-8"))["sessions"]
        return [entry for entry in entries if isinstance(entry, dict)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # the record is for people; a damaged one does not stop the training


def machine() -> dict[str, Any]:
    """What this machine is: system, processor and the cores this process may use.

    Where a processor is fast in bfloat16, ``--precision auto`` takes that, which changes speed and results; of two with
    the same name one may be and the other not.
    """
    from async_rl.precision import fast_in_bfloat16  # torch takes seconds to import

    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": f"{processor_name()}{' with bfloat16' if fast_in_bfloat16() else ''}",
        "cores": available_cores(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """The commit of this code where it is a checkout of git, with a + where files differ from it; None elsewhere."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():  # installed; what git finds further up is another project's
        return None
    command = ("git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _command(arguments: Sequence[str]) -> list[str]:
    """``python -m launch.async ...`` where it was started so, else the script as it was."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return ["python", *(["-m", spec.name] if spec else arguments[:1]), *arguments[1:]]
