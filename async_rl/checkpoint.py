"""Checkpoints: one safetensors file, written beside the old one and renamed over it; reading one executes no code."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import torch

from async_rl.build import shared_statistics
from async_rl.config import Config
from async_rl.config_file import from_values
from async_rl.seeding import STATE_SIZE
from async_rl.shared import SharedTable
from async_rl.shared.bind import Layout
from async_rl.types import EnvSpec, UserError

SUFFIX = ".safetensors"
LATEST = Path("checkpoints") / f"latest{SUFFIX}"
BEST = Path("checkpoints") / f"best{SUFFIX}"

_FORMAT = 1
_COUNTS = ("steps", "updates", "dropped")
_SAVED_ROWS = ("parameters", "target", *_COUNTS, "random_states")
"""And the statistics of the optimiser, where they are shared."""


@dataclass(frozen=True)
class Progress:
    """What a run has done beyond what its shared table holds.

    Attributes:
        total_steps: T.
        seconds: wall-clock seconds of training over all sessions.
        restarted: workers started again so far.
        incarnations: how often each worker has been started, minus one.
        best_score: highest mean score of 100 games at a checkpoint so far; None before there were 100.
    """

    total_steps: int = 0
    seconds: float = 0.0
    restarted: int = 0
    incarnations: tuple[int, ...] = ()
    best_score: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read from its file."""

    path: Path
    config: Config
    spec: EnvSpec
    layout: Layout
    progress: Progress
    arrays: dict[str, Any]

    @property
    def parameters(self) -> torch.Tensor:
        """theta as one vector ``[P]``, in the order of ``layout``."""
        return torch.from_numpy(self.arrays["parameters"])


def save(path: Path, table: SharedTable, config: Config, spec: EnvSpec, layout: Layout, progress: Progress) -> None:
    """Write a checkpoint; until it is whole on the disk, the file that was there before stays.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    description = {
        "format": _FORMAT,
        "config": dataclasses.asdict(config),
        "spec": dataclasses.asdict(spec),
        "layout": layout,
        "progress": dataclasses.asdict(progress),
    }
    arrays = {name: table[name].copy() for name in (*_SAVED_ROWS, *shared_statistics(config))}
    content = safetensors.numpy.save(arrays, metadata={"async_rl": json.dumps(description)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as beside, beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def copy(source: Path, to: Path) -> None:
    """Copy a checkpoint as safely as `save` writes one."""
    with _beside(to) as beside:
        shutil.copyfile(source, beside)


@contextlib.contextmanager
def _beside(path: Path) -> Any:
    """A temporary path that replaces ``path`` if the block succeeds, and is gone if it does not."""
    beside = path.with_name(path.name + ".tmp")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def find(run_or_checkpoint: Path) -> Path:
    """The checkpoint file that is meant: the file itself, or the latest one of a run directory.

    Raises:
        UserError: there is none.
    """
    if run_or_checkpoint.is_file():
        return run_or_checkpoint
    if not run_or_checkpoint.exists():
        raise UserError(f"there is no run or checkpoint at {run_or_checkpoint}.")
    latest = run_or_checkpoint / LATEST
    if not latest.is_file():
        raise UserError(f"{run_or_checkpoint} is not a run that can be resumed: it has no {LATEST}.")
    return latest


def read(run_or_checkpoint: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        UserError: there is none, it is damaged, or it was written by something else.
    """
    path = find(run_or_checkpoint)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            description = json.loads((file.metadata() or {})["async_rl"])
            config = from_values(description["config"])
            arrays = {name: file.get_tensor(name) for name in (*_SAVED_ROWS, *shared_statistics(config))}
        if description["format"] != _FORMAT:
            raise UserError(f"{path} has format {description['format']}, this version reads format {_FORMAT}.")
        layout = {name: tuple(shape) for name, shape in description["layout"].items()}
        _check_shapes(arrays, layout)
        progress = description["progress"]
        return Checkpoint(
            path=path,
            config=config,
            spec=_spec(description["spec"]),
            layout=layout,
            progress=Progress(**progress | {"incarnations": tuple(progress["incarnations"])}),
            arrays=arrays,
        )
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror or error}.") from None
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a whole checkpoint of async_rl ({type(error).__name__}: {error}).") from None


def _spec(values: dict[str, Any]) -> EnvSpec:
    return EnvSpec(
        name=values["name"],
        observation_shape=tuple(values["observation_shape"]),
        observation_dtype=values["observation_dtype"],
        action_names=tuple(values["action_names"]),
        frames_per_step=values["frames_per_step"],
        stack=values["stack"],
    )


def _check_shapes(arrays: dict[str, Any], layout: Layout) -> None:
    """Raise ValueError unless every array has the dtype and shape that the rest of the file calls for."""
    size = sum(math.prod(shape) for shape in layout.values())
    workers, streams = arrays["random_states"].shape[:2]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"random_states": ("uint64", (workers, streams, 2, STATE_SIZE))}
    expected |= {name: ("int64", (workers,)) for name in _COUNTS}
    for name, array in arrays.items():
        dtype, shape = expected.get(name, ("float32", (size,)))
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")


def transfer(checkpoint: Checkpoint, table: SharedTable, layout: Layout) -> list[str]:
    """Start a new run from another's network: what fits by name and shape is taken into theta and theta^-.

    Returns:
        The names of ``layout`` that were not found in the checkpoint, or have another shape there.
    """
    flat, starts = checkpoint.arrays["parameters"], _starts(checkpoint.layout)
    missing = []
    for name, start in _starts(layout).items():
        size = math.prod(layout[name])
        if checkpoint.layout.get(name) != layout[name]:
            missing.append(name)
            continue
        for row in ("parameters", "target"):
            table[row][start : start + size] = flat[starts[name] : starts[name] + size]
    return missing


def _starts(layout: Layout) -> dict[str, int]:
    """Where each parameter begins in the flat vector."""
    ends = itertools.accumulate(math.prod(shape) for shape in layout.values())
    return {name: end - math.prod(layout[name]) for name, end in zip(layout, ends, strict=True)}


def restore(checkpoint: Checkpoint, table: SharedTable, config: Config, spec: EnvSpec, layout: Layout) -> None:
    """Put a checkpoint into the shared table of a run, whose number of workers and streams may be another.

    Raises:
        UserError: the checkpoint is of another game or network.
    """
    if (checkpoint.spec.name, checkpoint.spec.action_names) != (spec.name, spec.action_names):
        raise UserError(
            f"{checkpoint.path} was trained on {checkpoint.spec.name} with {len(checkpoint.spec.action_names)} "
            f"actions, not on {spec.name} with {len(spec.action_names)}; resume it with --env {checkpoint.config.env}."
        )
    if checkpoint.layout != layout:
        raise UserError(
            f"{checkpoint.path} holds another network than these settings make; resume it with its own --network "
            f"{checkpoint.config.network}, --algorithm {checkpoint.config.algorithm}, --dueling and --norm."
        )
    statistics = shared_statistics(config)
    if shared_statistics(checkpoint.config) != statistics:
        raise UserError(
            f"{checkpoint.path} holds the statistics of another optimizer; resume it with --optimizer "
            f"{checkpoint.config.optimizer} --statistics {checkpoint.config.statistics}."
        )
    for name in ("parameters", "target", *statistics):
        table[name][:] = checkpoint.arrays[name]
    for name in _COUNTS:  # only their sums matter
        table[name][0] = checkpoint.arrays[name].sum()
    table["target_refreshes"][0] = table.total_steps() // config.target_interval
    saved = checkpoint.arrays["random_states"]
    workers, streams = (min(a, b) for a, b in zip(saved.shape[:2], table["random_states"].shape[:2], strict=True))
    table["random_states"][:workers, :streams] = saved[:workers, :streams]
