"""A Ray cluster for one run: joined, or started on this machine; what can go wrong there is told in one sentence."""

import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from async_rl.checking import reason
from async_rl.cluster import versions
from async_rl.cluster.holder import Holder
from async_rl.cluster.island import Island
from async_rl.cluster.settings import ClusterSettings
from async_rl.types import UserError

OBJECT_STORE_BYTES = 200 << 20
"""Of a cluster that is started here: parameters on their way; a /dev/shm of a container may be small."""

PLACEMENT_SECONDS = 60.0
"""Patience until all islands have a place that others may be leaving just now."""

_ANSWER_SECONDS = 10.0

_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # 15 by default: the launcher's evaluations would be served before the workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


class Cluster:
    """Where islands and holders of one run are placed; made by `connected`."""

    def __init__(self, settings: ClusterSettings, group: PlacementGroup):
        self.settings = settings
        self._group = group

    def make_island(self, index: int) -> Any:
        """The actor of island number ``index``, in its place; Ray starts it again wherever there is one, if it dies."""
        place = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
        cpus = self._group.bundle_specs[index].get("CPU", 0)
        options = {"num_cpus": cpus, "max_restarts": -1, "scheduling_strategy": place}
        return ray.remote(Island).options(**options).remote()

    def make_holders(self) -> list[Any]:
        """An actor for each shard: a single one on this machine, if that still can be; several spread out."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        strategy: Any = here if self.settings.shards == 1 else "SPREAD"
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": strategy}
        return [ray.remote(Holder).options(**options).remote() for _ in range(self.settings.shards)]


@contextlib.contextmanager
def connected(settings: ClusterSettings, workers: int, address: str | None) -> Iterator[tuple[Cluster, list[str]]]:
    """Join the cluster at ``address``, or start one here; see that all islands find a place. Left, it is as before.

    Args:
        settings: of the run.
        workers: of each island.
        address: of a running cluster, or "auto": the one of this machine; None: start one here, for this run.

    Returns:
        The cluster, and sentences about what is not as asked for.

    Raises:
        UserError: there is no cluster, its machines have other versions, or the islands do not fit.
    """
    cpus = float(workers) if settings.cpus_per_island is None else settings.cpus_per_island
    try:
        _connect(address, max(1, round(cpus * settings.islands + 0.5)))
        nodes = [node for node in ray.nodes() if node["Alive"]]
        versions.require_same(nodes)
        said = _require_room(settings.islands, cpus, nodes)
        group = placement_group([{"CPU": cpus} if cpus else {"memory": 1}] * settings.islands, strategy="SPREAD")
        if not group.wait(PLACEMENT_SECONDS):
            free = ray.available_resources().get("CPU", 0)
            raise UserError(
                f"{settings.islands} islands of {cpus:g} CPUs found no place within {PLACEMENT_SECONDS:.0f} s, as "
                f"others use the cluster: {free:g} CPUs are free; wait, or lower --islands or --cpus-per-island."
            )
        yield Cluster(settings, group), said
    except RayError as error:
        raise UserError(f"the Ray cluster failed: {versions.short(error)}") from None
    finally:
        ray.shutdown()


def _connect(address: str | None, cpus: int) -> None:
    """Raise UserError where there is nothing to join."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    if address is None and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray would leave a file with one behind
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        options |= {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    _require_answer(address)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address or "local", **options)
    except ConnectionError:
        raise UserError(
            f"no Ray cluster lets this machine in at --address {address}: none runs there, or it wants another token "
            "than this machine's; start one with ray start --head, or leave --address out to use this machine alone."
        ) from None
    except (RuntimeError, ValueError, OSError, AssertionError) as error:
        raise UserError(f"cannot use Ray{f' at {address}' if address else ''}: {versions.short(error)}") from None
    except SystemExit:  # Ray's answer to a SIGTERM meanwhile
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # What happens to machines and actors is told by the driver; Ray would print it into the panel, by no public switch.
    ray._private.worker.print_to_stdstream = lambda *arguments, **options: None


def _require_answer(address: str | None) -> None:
    """Raise UserError where nobody listens at host:port; Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdecimal() or "//" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:  # ValueError: a name that cannot be one
        raise UserError(
            f"no Ray cluster answers at --address {address} ({reason(error)}); start one "
            "with ray start --head, or leave --address out to use this machine alone."
        ) from None


def _require_room(islands: int, cpus: float, nodes: list[dict[str, Any]]) -> list[str]:
    """Raise UserError if the islands could not be placed even on an idle cluster; what to say if they have to share."""
    sizes = [node["Resources"].get("CPU", 0.0) for node in nodes]
    most = sum(int(size // cpus) for size in sizes) if cpus else islands
    if most < islands:
        raise UserError(
            f"the cluster has room for {most} islands of {cpus:g} CPUs ({len(nodes)} machines with "
            f"{', '.join(f'{size:g}' for size in sorted(sizes, reverse=True)[:8])} CPUs), not for {islands}; lower "
            "--islands, --workers or --cpus-per-island, or add machines."
        )
    machines = sum(size >= cpus for size in sizes)
    if machines < islands:
        return [f"{islands} islands on {machines} machine{'s' * (machines > 1)}: some share one"]
    return []
