"""Which run goes on, and with which settings."""

import dataclasses
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from async_rl import checkpoint, recovery, run_directory
from async_rl.checking import differences
from async_rl.config import NOTHING_LEARNT, Config
from async_rl.config_file import from_toml
from async_rl.replay.samplers import Proportional
from async_rl.schedules import learning_rate, with_drawn_learning_rate
from async_rl.types import UserError

Fits = Callable[[Path], bool]

MAY_DIFFER = ("steps", *NOTHING_LEARNT)
"""Settings in which two runs of the same configuration may differ. Everything else changes what is learnt from the
first step on, ``workers`` included: on machines with different numbers of cores it has to be given."""


def has_only_begun(run_dir: Path) -> bool:
    """Whether a run was stopped before its first checkpoint: it has settings, and nothing else to go on from."""
    names = (checkpoint.LATEST, checkpoint.PREVIOUS, checkpoint.BEST)
    try:
        begun = (run_dir / run_directory.CONFIG).is_file()
        return begun and not any((run_dir / name).is_file() for name in names)
    except OSError:  # too long a name, another user's folder: who reads it next says so
        return False


def settings(run_or_checkpoint: str | Path) -> Config:
    """The settings with which a run goes on: those of its latest checkpoint, or of its ``config.toml`` if it has none.

    Raises:
        UserError: there is no run, or it cannot be read.
    """
    if has_only_begun(run_or_checkpoint := Path(run_or_checkpoint)):
        return from_toml(run_or_checkpoint / run_directory.CONFIG)
    return checkpoint.read(run_or_checkpoint).config


def changes(before: Config, now: Config, total_steps: int) -> list[str]:
    """What is learnt otherwise from T on, see `differences`; --steps where something goes by the share of them."""
    names = [field.name for field in dataclasses.fields(Config) if field.name not in MAY_DIFFER]
    said = differences(before, now, names)
    if before.steps != now.steps:
        new, old = (_by_share(dataclasses.replace(now, steps=each.steps), total_steps) for each in (now, before))
        moved = [f"{what} is {value} here, not {old[what]}" for what, value in new.items() if value != old[what]]
        said += [f"--steps: {now.steps:,}, not {before.steps:,}, so {' and '.join(moved)}"] * bool(moved)
    return said


def _by_share(config: Config, total_steps: int) -> dict[str, str]:
    """What goes by the share of --steps that is done, as it is at T."""
    found = {"the learning rate": learning_rate(config, total_steps)}
    if config.prioritized:
        found["the exponent of importance weights"] = Proportional(config.steps).beta(total_steps)
    return {what: f"{value:.3g}" for what, value in found.items()}


def on_one_machine(run_dir: Path) -> bool:
    """Whether a run is not one of `async_rl.cluster`."""
    return not os.path.exists(run_dir / run_directory.CLUSTER)


def began_with(run_dir: Path, init_from: Path | None) -> bool:
    """Whether a run began with the network of that run or file, or, with None, with one of its own."""
    donor = _donor(run_dir)
    return donor is None if init_from is None else donor is not None and donor.is_relative_to(init_from)


def require_not_lost(run_dir: Path) -> None:
    """Raise UserError if a run without a checkpoint had one when it began: that of another run's network."""
    if (donor := _donor(run_dir)) is not None:
        raise UserError(
            f"{run_dir} began with the network of {donor}, and its checkpoints are gone; start a new run with "
            f"--init-from {shlex.quote(str(donor))}."
        )


def _donor(run_dir: Path) -> Path | None:
    """The file with whose network a run began, as it is on record."""
    first = next(iter(run_directory.sessions(run_dir)), {}).get("init_from")
    return Path(str(first["path"])) if isinstance(first, dict) and "path" in first else None


def newest(config: Config, runs: Path, fits: Fits = on_one_machine) -> Path | None:
    """The run of the same configuration that was started or resumed last; None if there is none.

    Args:
        config: as for a new run.
        runs: the directory that holds the run directories.
        fits: whether a run directory is spread over machines as the new run would be.
    """
    wanted = _essence(with_drawn_learning_rate(config))
    files = sorted(runs.glob(f"*/{run_directory.CONFIG}"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return next((file.parent for file in files if _recorded(file) == wanted and fits(file.parent)), None)


def in_directory(config: Config, run_dir: Path, fits: Fits = on_one_machine) -> Path | None:
    """``run_dir`` if it holds a run of the same configuration, None if it holds no run.

    Raises:
        UserError: its run is another one, or damaged.
    """
    if not os.path.exists(run_dir / run_directory.CONFIG):
        return None
    if not (is_run_of(config, run_dir) and fits(run_dir)):
        raise UserError(
            f"{run_dir} holds a run of other settings or another --init-from, or a damaged one; go on with it by "
            f"--resume {shlex.quote(str(run_dir))} alone, or choose another --run-dir."
        )
    return run_dir


def continued(config: Config, run_dir: Path) -> Config:
    """The settings with which ``config`` goes on in a run that `newest` or `in_directory` has found.

    Raises:
        UserError: its checkpoint names another environment or network, code to import perhaps.
    """
    own = settings(run_dir)
    if (own.env, own.network) != (config.env, config.network):
        raise UserError(
            f"{run_dir} has a checkpoint of --env {own.env} --network {own.network}, its {run_directory.CONFIG} says "
            f"--env {config.env} --network {config.network}; if you know where it comes from, --resume {run_dir}."
        )
    return dataclasses.replace(own, **{name: getattr(config, name) for name in MAY_DIFFER})


def is_run_of(config: Config, run_dir: Path) -> bool:
    """Whether a run directory holds a run of ``config``; `MAY_DIFFER` does not count."""
    return _recorded(run_dir / run_directory.CONFIG) == _essence(with_drawn_learning_rate(config))


def _recorded(file: Path) -> Config | None:
    """The essence of a recorded configuration, with the learning rate that it had before any recovery."""
    try:
        config = from_toml(file)
        recoveries = [entry[recovery.KEY] for entry in run_directory.sessions(file.parent) if recovery.KEY in entry]
        return _essence(dataclasses.replace(config, lr=recoveries[0]["lr_before"] if recoveries else config.lr))
    except (UserError, KeyError, TypeError):  # damaged, or of another version
        return None


def _essence(config: Config) -> Config:
    defaults = Config()
    return dataclasses.replace(config, **{name: getattr(defaults, name) for name in MAY_DIFFER})
