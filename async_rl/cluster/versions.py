"""Whether all machines of a cluster run the same program: others would understand each other wrongly, or not at all."""

import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from async_rl.types import UserError

_ANSWER_SECONDS = 60.0
_PACKAGES = ("ray", "torch", "numpy", "numba", "gymnasium", "ale-py")


def own() -> dict[str, str]:
    """Of this machine: Python, what is played and computed with, and a digest of the source of this package."""
    folder = Path(__file__).parent.parent
    files = sorted(folder.rglob("*.py"))
    source = b"".join(str(file.relative_to(folder)).encode() + file.read_bytes() for file in files)
    digest = hashlib.sha256(source).hexdigest()[:12]
    packages = {name: _public(importlib.metadata.version(name)) for name in _PACKAGES}
    return {"Python": platform.python_version(), **packages, "async_rl": f"source {digest}"}


def _public(version: str) -> str:
    """Without what an index adds, as in ``2.13.0+cpu``: the same pin gives another one on other processors."""
    return version.partition("+")[0]


def require_same(nodes: list[dict[str, Any]]) -> None:
    """Ask every machine; raises UserError where one has another version, or none."""
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes if node["NodeID"] != here]
    calls = []
    for node in others:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        call = ray.remote(own).options(num_cpus=0, scheduling_strategy=place).remote()
        calls.append((node["NodeManagerHostname"], call))
    for machine, call in calls:
        try:
            compare(machine, ray.get(call, timeout=_ANSWER_SECONDS))
        except GetTimeoutError:
            raise UserError(f"the machine {machine} of the cluster does not answer; remove it or try again.") from None
        except RayError as error:
            raise UserError(
                f"async_rl cannot be run on the machine {machine}, install the same version there ({short(error)})."
            ) from None


def compare(machine: str, theirs: dict[str, str]) -> None:
    """Raise UserError where ``machine`` has other versions than this one."""
    for name, version in own().items():
        if theirs.get(name) != version:
            raise UserError(
                f"the machine {machine} has {name} {theirs.get(name, 'missing')}, this one has {version}; "
                "install the same version on all machines."
            )


def short(error: BaseException) -> str:
    """The last line of an error that Ray may have wrapped in a remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
