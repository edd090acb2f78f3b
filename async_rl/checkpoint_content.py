"""What a checkpoint holds, and how much of what a file says is believed: only what is of the right kind and fits."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_rl import storage
from async_rl.build import shared_statistics
from async_rl.checking import shown
from async_rl.config import Config
from async_rl.config_file import from_values
from async_rl.seeding import STATE_SIZE
from async_rl.shared import SharedTable
from async_rl.shared.bind import Layout
from async_rl.types import EnvSpec, UserError
from async_rl.user_code import one_line

COUNTS = ("steps", "updates", "dropped")

_FORMAT = 2
_MOST_PIXELS = 2**24
"""Numbers of an observation; a file that says more would have a network made that no memory holds."""


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
    """A checkpoint as read from its file.

    Attributes:
        path: the file.
        config: of the run.
        spec: of its environment.
        layout: of its network.
        progress: of the run.
        arrays: rows of the shared table by name.
        passed_over: a sentence about each newer checkpoint of the run that was damaged, so that this one was read.
    """

    path: Path
    config: Config
    spec: EnvSpec
    layout: Layout
    progress: Progress
    arrays: dict[str, Any]
    passed_over: tuple[str, ...] = ()


def encode(table: SharedTable, config: Config, spec: EnvSpec, layout: Layout, progress: Progress) -> bytes:
    """The content of a checkpoint file, whose T is that of its counts: workers may have gone on since ``progress``."""
    arrays = {name: table[name].copy() for name in saved_rows(config)}
    progress = dataclasses.replace(progress, total_steps=int(arrays["steps"].sum()))
    return storage.seal(_description(config, spec, layout, progress), arrays)


def saved_rows(config: Config) -> tuple[str, ...]:
    """Names of the rows of the shared table that a checkpoint holds."""
    scale = ("largest_reward",) if config.rewards == "scaled" else ()
    return ("parameters", "target", *shared_statistics(config), *COUNTS, *scale, "random_states")


def _description(config: Config, spec: EnvSpec, layout: Layout, progress: Progress) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "config": dataclasses.asdict(config),
        "spec": dataclasses.asdict(spec),
        "layout": layout,
        "progress": dataclasses.asdict(progress),
    }


def encode_network(
    config: Config, spec: EnvSpec, layout: Layout, progress: Progress, parameters: np.ndarray, notes: dict[str, str]
) -> bytes:
    """The content of a file with the network alone, and ``notes`` for people in its metadata."""
    return storage.seal(_description(config, spec, layout, progress), {"parameters": parameters}, notes)


def decode(path: Path, content: bytes) -> Checkpoint:
    """The checkpoint in the ``content`` of the file at ``path``; nothing in it is executed.

    Raises:
        UserError: it is damaged, or was written by something else.
    """
    return _decode(path, content, saved_rows)


def decode_network(path: Path, content: bytes) -> Checkpoint:
    """The same of a checkpoint or of a file with the network alone; ``parameters`` is all of ``arrays``."""
    found = _decode(path, content, lambda config: ("parameters",))
    if not np.isfinite(found.arrays["parameters"]).all():
        raise UserError(f"{path} holds parameters that are no finite numbers: that network cannot play.")
    return found


def _decode(path: Path, content: bytes, names: Callable[[Config], tuple[str, ...]]) -> Checkpoint:
    if content.startswith(b"PK"):  # a zip archive
        raise UserError(f"{path} is an export for programs without async_rl; here a .safetensors is needed.")
    try:
        description, arrays = storage.unseal(content)
        if description["format"] != _FORMAT:
            raise UserError(f"{path} has format {shown(description['format'])}, this version reads format {_FORMAT}.")
        config = from_values(description["config"])
        wanted = names(config)
        if set(arrays) == {"parameters"} < set(wanted):
            raise UserError(
                f"{path} holds only the network, to play with or to start a new run from (--init-from), not what "
                "training goes on from."
            )
        layout = {str(name): _sizes(shape) for name, shape in description["layout"].items()}
        arrays = {name: arrays[name].copy() for name in wanted}  # they are views of ``content``, read only
        _check_arrays(arrays, layout)
        spec, progress = _spec(description["spec"]), _progress(description["progress"])
        return Checkpoint(path, config, spec, layout, progress, arrays)
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from None
    except Exception as error:  # the file may be anybody's, and hold anything
        raise UserError(f"{path} is not a whole checkpoint of async_rl ({one_line(error)[:200]}).") from None


def _spec(values: dict[str, Any]) -> EnvSpec:
    names = tuple(values["action_names"])
    _require(bool(names) and all(isinstance(name, str) for name in names), "action_names")
    _require(isinstance(values["name"], str), "name")
    _require(values["observation_dtype"] in ("uint8", "float32"), "observation_dtype")
    frames_per_step, stack = _sizes([values["frames_per_step"], values["stack"]])
    shape = _sizes(values["observation_shape"])
    _require(math.prod(shape) <= _MOST_PIXELS, "observation_shape")
    return EnvSpec(values["name"], shape, values["observation_dtype"], names, frames_per_step, stack)


def _progress(values: dict[str, Any]) -> Progress:
    best = values["best_score"]
    total_steps, restarted = _counts([values["total_steps"], values["restarted"]])
    _require(best is None or _is_finite(best), "best_score")
    _require(_is_finite(values["seconds"]) and values["seconds"] >= 0, "seconds")
    return Progress(total_steps, float(values["seconds"]), restarted, _counts(values["incarnations"]), best)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _whole(values: Any, least: int) -> tuple[int, ...]:
    _require(
        isinstance(values, list) and all(type(value) is int and least <= value < 2**62 for value in values),
        f"list of integers from {least}",
    )
    return tuple(values)


def _counts(values: Any) -> tuple[int, ...]:
    return _whole(values, least=0)


def _sizes(values: Any) -> tuple[int, ...]:
    return _whole(values, least=1)


def _require(valid: bool, what: str) -> None:
    if not valid:
        raise ValueError(f"no valid {what}")


def _check_arrays(arrays: dict[str, np.ndarray], layout: Layout) -> None:
    """Raise ValueError unless every array has the dtype and shape that the rest of the file calls for."""
    size = sum(math.prod(shape) for shape in layout.values())
    states = arrays.get("random_states", np.empty((0, 0)))
    workers, streams = states.shape[:2]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"random_states": ("uint64", (workers, streams, 2, STATE_SIZE))}
    expected |= {name: ("int64", (workers,)) for name in COUNTS} | {"largest_reward": ("float64", (workers,))}
    for name, array in arrays.items():
        dtype, shape = expected.get(name, ("float32", (size,)))
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")
    if "random_states" not in arrays:
        return  # the network alone
    *_, has_uint32, uinteger = np.moveaxis(arrays["random_states"], -1, 0)
    _require(bool(((has_uint32 > 1) | (uinteger < 2**32)).all()), "random_states")
    _require(all(bool(((arrays[name] >= 0) & (arrays[name] < 2**52)).all()) for name in COUNTS), "count")
