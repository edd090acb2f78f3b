"""Settings of a run on many machines, beyond those of `async_rl.config.Config`; ``cluster.toml`` in a run directory."""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tomli_w

from async_rl import storage
from async_rl.checking import differences, flag, reason, shown
from async_rl.cluster.rules import RULES
from async_rl.run_directory import CLUSTER
from async_rl.types import UserError


@dataclass(frozen=True)
class ClusterSettings:
    """How a run is spread over machines."""

    islands: int = 1
    """Islands: machines that train together, each with --workers worker processes of its own on a theta of its own."""
    exchange_interval: int = 1_000
    """Steps of an island between two exchanges of parameters with the others."""
    rule: Literal["downpour", "elastic", "averaging"] = "downpour"
    """What an exchange does: add the sum of all islands' changes (Dean et al. 2012), pull both together (elastic
    averaging, Zhang et al. 2015), or take the mean of the changes."""
    wire: Literal["float32", "bfloat16"] = "float32"
    """Numbers as which parameters travel; bfloat16 halves the traffic."""
    shards: int = 1
    """Parts that the common parameters are held in, each by a process of its own, on machines of their own if there are
    enough; more than one where the network of a single machine is too slow."""
    cpus_per_island: float | None = None
    """Ray CPUs that an island claims; default: one for each of its workers."""

    def __post_init__(self) -> None:
        for name, least, most in (("islands", 1, 4096), ("exchange_interval", 1, 10**12), ("shards", 1, 1024)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise UserError(f"{flag(name)} must be between {least} and {most:,}, got {shown(value)}.")
        if self.rule not in RULES or self.wire not in ("float32", "bfloat16"):
            raise UserError(f"--rule must be one of {', '.join(RULES)}, --wire float32 or bfloat16.")
        cpus = self.cpus_per_island
        if cpus is not None and not (isinstance(cpus, int | float) and 0 <= cpus <= 4096):
            raise UserError(f"--cpus-per-island must be between 0 and 4096, got {shown(cpus)}.")


def changes(before: ClusterSettings, now: ClusterSettings) -> list[str]:
    """What is learnt otherwise, see `differences`; the other settings change nothing of that."""
    return differences(before, now, ("islands", "exchange_interval", "rule", "wire"))


def is_spread_as(settings: ClusterSettings, run_dir: Path) -> bool:
    """Whether a run is spread over machines as ``settings`` say, as far as that changes what is learnt."""
    try:
        return not changes(recorded(run_dir), settings)
    except UserError:
        return False


def record(run_dir: Path, settings: ClusterSettings) -> None:
    """Write ``cluster.toml``.

    Raises:
        UserError: it cannot be written.
    """
    values = {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}
    try:
        storage.write(run_dir / CLUSTER, tomli_w.dumps(values).encode())
    except OSError as error:
        raise UserError(f"cannot write into the run directory {run_dir}: {reason(error)}.") from None


def recorded(run_dir: Path) -> ClusterSettings:
    """Those of a run; of one that was trained on a single machine the defaults, one island.

    Raises:
        UserError: the file cannot be read.
    """
    path = run_dir / CLUSTER
    try:
        return ClusterSettings(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return ClusterSettings()
    except (OSError, ValueError, TypeError, RecursionError, UserError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
