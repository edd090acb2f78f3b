"""Checkpoints: sealed files, each written beside the one before and renamed over it; reading one executes no code.

A run keeps three: the latest, the one before it, and that of its best score. Whoever reads the run takes the first of
them that is whole.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

from async_rl import storage
from async_rl.build import shared_statistics
from async_rl.checking import reason, shown_path
from async_rl.checkpoint_content import COUNTS, Checkpoint, Progress, decode, decode_network, encode
from async_rl.config import Config
from async_rl.shared import SharedTable
from async_rl.shared.bind import Layout, same_layout
from async_rl.types import EnvSpec, UserError

__all__ = ["BEST", "LATEST", "PREVIOUS", "SUFFIX", "Checkpoint", "Progress", "best_score", "encode", "read",
           "read_network", "restore", "save", "set_aside", "transfer"]  # fmt: skip

SUFFIX = ".safetensors"
LATEST, PREVIOUS, BEST = (Path(storage.CHECKPOINTS) / f"{name}{SUFFIX}" for name in ("latest", "previous", "best"))


def save(path: Path, content: bytes, first: Path | None = None) -> None:
    """Write what `encode` made; the file that was there before becomes the previous one, whole at any instant.

    The run's own directory is not made: where it has gone, so has the disk that it was on.

    Args:
        first: another file with the same content, written before; what ``path`` says of it is true at any instant.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    path.parent.mkdir(exist_ok=True)
    if first is not None:
        storage.write(first, content)
    storage.write(path, content, path.with_name(PREVIOUS.name))


def _candidates(run_or_checkpoint: Path, names: tuple[Path, ...]) -> list[Path]:
    """The file itself, or those of ``names`` that a run directory has."""
    try:
        if run_or_checkpoint.is_file():
            return [run_or_checkpoint]
        exists = run_or_checkpoint.exists()
        found = [path for name in names if (path := run_or_checkpoint / name).is_file()]
    except (OSError, ValueError) as error:  # too long a name, a folder of another user's
        raise UserError(f"cannot read {shown_path(run_or_checkpoint)}: {reason(error)}.") from None
    if not exists:
        raise UserError(f"there is no run or checkpoint at {run_or_checkpoint}.")
    if not found:
        raise UserError(f"{run_or_checkpoint} is not a run with a checkpoint: it has no {names[0]}.")
    return found


def read(run_or_checkpoint: Path) -> Checkpoint:
    """Read a checkpoint, of a run directory the newest one that is whole; nothing in it is executed.

    Returns:
        With ``passed_over`` for those that were newer, but damaged.

    Raises:
        UserError: there is none, it is damaged, or it was written by something else.
    """
    return _first_whole(_candidates(run_or_checkpoint, (LATEST, PREVIOUS, BEST)), decode)


def read_network(run_or_file: Path, best: bool = False) -> Checkpoint:
    """The same of a network to play with: no more is needed than what an exported file holds.

    Args:
        run_or_file: a run directory, a checkpoint or an exported file.
        best: whether the best checkpoint of a run is meant; there is no other in the place of that.
    """
    return _first_whole(_candidates(run_or_file, (BEST,) if best else (LATEST, PREVIOUS, BEST)), decode_network)


def _first_whole(candidates: list[Path], decode: Callable[[Path, bytes], Checkpoint]) -> Checkpoint:
    errors = list[str]()
    for path in candidates:
        try:
            saved = decode(path, _content(path))
        except UserError as error:
            errors.append(str(error))
            continue
        return dataclasses.replace(saved, passed_over=tuple(f"{error} Used instead: {path}." for error in errors))
    others = f" Nor is there a whole one in {', '.join(path.name for path in candidates[1:])}." if errors[1:] else ""
    raise UserError(errors[0] + others)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise UserError(f"cannot read the checkpoint {path}: {reason(error)}.") from None


def set_aside(saved: Checkpoint, run_dir: Path) -> None:
    """Rename a latest checkpoint that was passed over for ``saved``, lest the next one make it the previous one."""
    latest = run_dir / LATEST
    if saved.path != latest:
        with contextlib.suppress(OSError):
            latest.replace(latest.with_name(f"damaged{SUFFIX}"))


def best_score(run_dir: Path) -> float | None:
    """What the best checkpoint of a run says of itself, where it can be read.

    That may be more than the latest one knows: a kill came between the two, or the latest is the one before.
    """
    try:
        return read(run_dir / BEST).progress.best_score
    except UserError:
        return None


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
    if not same_layout(checkpoint.layout, layout):
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
    if config.uses_target and not checkpoint.config.uses_target:  # so theta^- is still what it was at the start
        table["target"][:] = checkpoint.arrays["parameters"]
    for name in COUNTS:  # only their sums matter
        table[name][0] = checkpoint.arrays[name].sum()
    if "largest_reward" in checkpoint.arrays:
        table["largest_reward"].fill(checkpoint.arrays["largest_reward"].max())
    if config.uses_target:
        table["target_refreshes"][0] = table.total_steps() // config.target_interval
    if checkpoint.config.seed == config.seed:  # else all streams begin with what the new one gives them
        saved = checkpoint.arrays["random_states"]
        workers, streams = (min(a, b) for a, b in zip(saved.shape[:2], table["random_states"].shape[:2], strict=True))
        table["random_states"][:workers, :streams] = saved[:workers, :streams]
