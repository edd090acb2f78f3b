"""After training has diverged: back to the last checkpoint, once in the life of a run, with half the learning rate."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from async_rl import checkpoint, run_directory
from async_rl.checkpoint import Checkpoint, Progress
from async_rl.config import Config
from async_rl.types import UserError

KEY = "recovery"
"""What a session's record in ``run.json`` says of it, if it began with one."""


def used(run_dir: Path) -> bool:
    """Whether the run has gone back before, in this session or an earlier one."""
    return any(KEY in session for session in run_directory.sessions(run_dir))


def last_finite(run_dir: Path) -> Checkpoint | None:
    """The newest checkpoint of a run that is whole and all of whose numbers are finite; None if there is none."""
    found = []
    for path in (run_dir / checkpoint.LATEST).parent.glob(f"*{checkpoint.SUFFIX}"):
        with contextlib.suppress(UserError):
            saved = checkpoint.read(path)
            if all(np.isfinite(array).all() for array in saved.arrays.values()):
                found.append(saved)
    return max(found, key=lambda saved: saved.progress.total_steps, default=None)


def progress_after(saved: Checkpoint | None, now: Progress) -> Progress:
    """T and the best score of the checkpoint; time goes on, and workers are new incarnations."""
    before = Progress() if saved is None else saved.progress
    return dataclasses.replace(
        now,
        total_steps=before.total_steps,
        best_score=before.best_score,
        incarnations=tuple(number + 1 for number in now.incarnations),
    )


def told(config: Config, saved: Checkpoint | None, diverged_at_steps: int) -> str:
    """One line about going back, for people; ``config`` has the new learning rate."""
    where = "the initial parameters" if saved is None else f"the checkpoint of T = {saved.progress.total_steps:,}"
    return (
        f"training has diverged at T = {diverged_at_steps:,}: parameters or gradients are not finite; "
        f"back to {where}, once, with half the learning rate, {config.lr:.3g}"
    )


def told_end(config: Config, again: bool, by_environment: bool) -> str:
    """One line about a divergence after which there is no going back.

    It is the second one, or the checkpoints are out of reach, or another learning rate would not mend it.
    """
    if by_environment:
        return (
            f"error: no gradient is finite any more, as rewards or observations of {config.env} are not: the "
            "environment has to be mended, nothing can be learnt from such numbers"
        )
    what = "again" if again else "while its directory is out of reach"
    return (
        f"error: training has diverged {what}, at the learning rate {config.lr:.3g}: parameters or gradients are not "
        "finite, and not saved; try a lower --lr"
    )


def note(before: Config, after: Config, diverged: Progress, back_to: Progress) -> dict[str, float]:
    """What is recorded of going back: T at which it was necessary and T gone back to, and both learning rates."""
    return {
        "diverged_at_steps": diverged.total_steps,
        "back_to_steps": back_to.total_steps,
        "lr_before": before.lr,
        "lr": after.lr,
    }
