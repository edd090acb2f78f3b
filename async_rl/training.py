"""`train`: what the command does, as a function."""

import contextlib
import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_rl import checkpoint, fork_server, open_files, recovery, reporting, resuming, run_directory, seeding, storage
from async_rl.advice import advice
from async_rl.ahead import compile_others
from async_rl.build import final_epsilons, initialise, make_table, stored_bytes
from async_rl.checking import checked
from async_rl.checkpoint import Checkpoint, Progress
from async_rl.config import Config
from async_rl.envs import describe
from async_rl.lock import locked
from async_rl.machine_memory import free_bytes
from async_rl.networks import make_network
from async_rl.precision import has_bfloat16
from async_rl.reporting import Logs, Terminal
from async_rl.schedules import with_drawn_learning_rate
from async_rl.shared import layout
from async_rl.supervisor import Ending, MakeWorkers, Supervisor, on_this_machine
from async_rl.types import EnvSpec, UserError


@dataclass(frozen=True)
class Result:
    """What came of a training run.

    Attributes:
        run_dir: where everything is.
        ending: finished, failed, or stopped by a signal, see `Ending`.
        total_steps: T.
        mean_score: of the last 100 games; NaN where none ended, or where a reward was not finite.
    """

    run_dir: Path
    ending: Ending
    total_steps: int
    mean_score: float

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from; not where the directory is out of reach."""
        return os.path.isfile(self.run_dir / checkpoint.LATEST)


def train(
    config: Config,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    init_from: str | Path | None = None,
    quiet: bool = False,
    make_workers: MakeWorkers = on_this_machine,
) -> Result:
    """Train until ``config.steps``; the same as ``python -m launch.async``.

    Workers import the main module, so a script calls this under ``if __name__ == "__main__":``, as in the README. A run
    that fails, or that Ctrl-C or another signal stops, raises nothing: see `Result`.

    Args:
        config: all settings.
        run_dir: a new directory for the run; default ``runs/<env>__<algorithm>__seed<seed>__<time>``.
        resume: a run directory, in which the run goes on from its latest whole checkpoint, or begins if it has none
            yet. ``config`` counts; start from ``resuming.settings(resume)`` to go on as before.
        init_from: a run or checkpoint from whose network a new run starts; what fits by name and shape is taken.
        quiet: no progress on the terminal; where the run fails, what was said last goes to standard error.
        make_workers: where the workers run; default: in processes of this machine.

    Raises:
        UserError: what a person can mend, or another launcher is at work in the directory; no worker was started.
    """
    fork_server.prepare_ahead(checked("config", config, Config))
    config = with_drawn_learning_rate(config)
    _require_run(resume, run_dir or init_from)
    _require_precision(config)
    spec = describe(config)
    _require_room(config, spec, here=make_workers is on_this_machine)
    donor = None if init_from is None else checkpoint.read_network(Path(init_from))
    run = _Run(config, spec, donor, quiet, make_workers)
    new = run_dir or run_directory.default_run_dir(config, spec)
    directory = run_directory.make_run_dir(Path(new)) if resume is None else Path(resume)
    with locked(directory):
        if resume is None:
            run_directory.make_run_dir(directory)  # once more: another launcher may have been a moment faster
        ending = run.train(directory, resumed=resume is not None)
    return Result(directory, ending, run.table.total_steps(), run.logs.statistics.mean_score)


class _Run:
    """What the sessions of one run share: the one that was asked for, and another if training diverges."""

    terminal: Terminal
    logs: Logs

    def __init__(self, config: Config, spec: EnvSpec, donor: Checkpoint | None, quiet: bool, make_workers: MakeWorkers):
        self.config, self._spec, self._donor, self._quiet = config, spec, donor, quiet
        self._make_workers = make_workers
        self._layout = layout(make_network(config, spec))
        self.table = make_table(config, spec)
        self._not_taken = self._take_from_donor()
        if make_workers is on_this_machine:
            compile_others(config, spec)

    def train(self, run_dir: Path, resumed: bool) -> Ending:
        """Train in a directory that is there, and once more from the last finite checkpoint if training diverges."""
        saved = self.restore_last(run_dir) if resumed else None
        if self._donor is not None and saved is None:  # lest a run killed before its first checkpoint forget it
            self._save(run_dir, Progress())
        supervisor = self.session(run_dir, saved, saved.progress if saved else Progress())
        if resumed and saved is None:
            self.terminal.say(f"{run_dir} has no checkpoint: it begins anew at T = 0")
        for sentence in self._said_of_going_on(saved) if saved else advice(self.config):
            self.terminal.say(sentence)
        ending = supervisor.run()
        again = recovery.used(run_dir)
        curable = supervisor.diverged and not supervisor.divergence.by_environment
        if curable and ending is Ending.FAILED and not again and os.path.isdir(run_dir):
            again = True
            supervisor = self.session_after(supervisor, run_dir)
            ending = supervisor.run()
        if supervisor.diverged and ending is Ending.FAILED:
            self.terminal.say(recovery.told_end(self.config, again, supervisor.divergence.by_environment))
        if ending is Ending.FAILED and isinstance(self.terminal, reporting.Quiet):
            self.terminal.explain()
        return ending

    def restore_last(self, run_dir: Path) -> Checkpoint | None:
        """Put the latest checkpoint of a run into the table; None if it was stopped before it had one."""
        if run_dir.is_file():
            raise UserError(f"a run is resumed by its directory, {run_dir} is a file.")
        if resuming.has_only_begun(run_dir):
            resuming.require_not_lost(run_dir)
            return None
        saved = checkpoint.read(run_dir)
        checkpoint.restore(saved, self.table, self.config, self._spec, self._layout)
        checkpoint.set_aside(saved, run_dir)
        if self._nothing_left and not (run_dir / checkpoint.LATEST).exists():  # the damaged one, and none will come
            with contextlib.suppress(OSError):
                storage.write(run_dir / checkpoint.LATEST, saved.path.read_bytes())
        known = [score for score in (saved.progress.best_score, checkpoint.best_score(run_dir)) if score is not None]
        progress = dataclasses.replace(saved.progress, best_score=max(known, default=None))
        return dataclasses.replace(saved, progress=progress)

    def session(self, run_dir: Path, saved: Checkpoint | None, progress: Progress, **notes: Any) -> Supervisor:
        """Record a session, if anything is left to train, open its logs and its terminal; all that for a supervisor."""
        if not self._nothing_left:
            self._record(run_dir, progress, notes)
        self.terminal = reporting.Quiet() if self._quiet else reporting.terminal(self.config, run_dir)
        for sentence in saved.passed_over if saved else self._said_of_donor():
            self.terminal.say(sentence)
        resumed_at = self.table.total_steps() if saved else None
        shown = dataclasses.asdict(saved.config if saved is not None and self._nothing_left else self.config)
        self.logs = reporting.open_logs(run_dir, shown, resumed_at, self.terminal.say)
        parts = (self.config, self._spec, self._layout, self.table, progress, run_dir, self.logs, self.terminal)
        return Supervisor(*parts, make_workers=self._make_workers)

    def session_after(self, diverged: Supervisor, run_dir: Path) -> Supervisor:
        """A session that goes on from the last finite checkpoint, or anew, with half the learning rate."""
        saved, now, before = recovery.last_finite(run_dir), diverged.progress, self.config
        self.config = dataclasses.replace(before, lr=before.lr / 2)
        self.terminal.say(recovery.told(self.config, saved, now.total_steps))
        initialise(self.table, self.config, self._spec)
        self._take_from_donor()
        if saved is not None:
            checkpoint.restore(saved, self.table, self.config, self._spec, self._layout)
        progress = recovery.progress_after(saved, now)
        self._save(run_dir, progress)  # so that a resumed run has the new learning rate, too
        note = recovery.note(before, self.config, now, progress)
        return self.session(run_dir, saved, progress, **{recovery.KEY: note})

    def _record(self, run_dir: Path, progress: Progress, notes: dict[str, Any]) -> None:
        """Record a session; where that fails, one with ``notes``, which follows another, says so and goes on."""
        try:
            seeds, donor = _seeds(self.config, progress), self._donor
            init_from = None if donor is None else {"path": str(donor.path), "env": donor.spec.name}
            run_directory.record(run_dir, self.config, self._spec, seeds, init_from, **notes)
        except UserError as error:
            if not notes:
                raise
            self.terminal.say(f"{error}")

    def _save(self, run_dir: Path, progress: Progress) -> None:
        """Write the latest checkpoint; where that fails, those to come will say why."""
        with contextlib.suppress(OSError):
            content = checkpoint.encode(self.table, self.config, self._spec, self._layout, progress)
            checkpoint.save(run_dir / checkpoint.LATEST, content)

    def _take_from_donor(self) -> list[str]:
        return [] if self._donor is None else checkpoint.transfer(self._donor, self.table, self._layout)

    @property
    def _nothing_left(self) -> bool:
        return self.table.total_steps() >= self.config.steps

    def _said_of_going_on(self, saved: Checkpoint) -> list[str]:
        total_steps = self.table.total_steps()
        if self._nothing_left:
            return [f"T = {total_steps:,} has reached --steps {self.config.steps:,}: nothing is left to train"]
        return [f"goes on with another {it}" for it in resuming.changes(saved.config, self.config, total_steps)]

    def _said_of_donor(self) -> tuple[str, ...]:
        if self._donor is None:
            return ()
        new = ", ".join(self._not_taken) or "nothing"
        said = [f"started from the network of {self._donor.path}; new, because it did not fit: {new}"]
        pixels = self._donor.config.pixels
        if pixels != self.config.pixels and len(self._spec.observation_shape) == 3:
            said.append(f"that network has learnt from screens as by --pixels {pixels}, which this run has otherwise")
        return (*self._donor.passed_over, *said)


def _seeds(config: Config, progress: Progress) -> dict[str, Any]:
    """What the seed makes of this session: enough to seed each generator of each stream again."""
    epsilons = {f"worker {index}": final_epsilons(config, index).tolist() for index in range(config.workers)}
    first = [*progress.incarnations, *[0] * config.workers][: config.workers]
    start = {"seed": config.seed, "first_step": progress.total_steps, "incarnations": first}
    return start | {"final_epsilons": epsilons} | seeding.SCHEME


def _require_run(resume: str | Path | None, other: str | Path | None) -> None:
    """Raise UserError for an ``other`` directory or network of a resumed run, and where there is none to resume."""
    if resume is None:
        return
    if other is not None:
        raise UserError("a resumed run goes on in its own directory and with its own network: leave out any other.")
    if not os.path.exists(Path(resume) / run_directory.CONFIG):
        checkpoint.read(Path(resume))  # says what is there instead


def _require_precision(config: Config) -> None:
    """Raise UserError if bfloat16 is asked for by name and this processor is known to have no instructions for it."""
    if config.precision == "bfloat16" and has_bfloat16() is False:
        raise UserError("--precision bfloat16 needs a processor with AVX512-BF16 or AMX instructions; use float32.")


def _require_room(config: Config, spec: EnvSpec, here: bool) -> None:
    """Raise UserError where the replay memory is too small, or this machine, if the workers are ``here``."""
    _require_stacks_fit(config, spec)
    if here:
        require_memory(config, spec)
        _require_files(config)


def _require_files(config: Config) -> None:
    """Raise UserError where this process may not have enough files open to watch the workers."""
    if (most := open_files.allow(config.workers)) < config.workers:
        raise UserError(
            f"{config.workers:,} workers need more open files than a process may have here (ulimit -n), enough for "
            f"{most:,} workers; lower --workers, or raise that limit."
        )


def _require_stacks_fit(config: Config, spec: EnvSpec) -> None:
    """Raise UserError if a stream's share of the replay memory cannot hold a whole stack and the step after it."""
    least = (spec.stack + 1) * config.streams
    if 0 < config.replay < least:
        raise UserError(
            f"--replay must be 0 or at least {least:,}, {spec.stack + 1} steps for each stream, as {spec.name} shows "
            f"{spec.stack} screens at once; got {config.replay:,}."
        )


def require_memory(config: Config, spec: EnvSpec, share: float = 1.0) -> None:
    """Better said now than found out by the system's out-of-memory killer after hours.

    ``share`` is the part of the workers that are on this machine.

    Raises:
        UserError: replay memories or segments will not fit into the memory that is free now, in this container.
    """
    free_gib = free_bytes() / 2**30
    replay_gib = share * config.replay * stored_bytes(spec) / 2**30
    if replay_gib > free_gib:
        raise UserError(
            f"the replay memories need {replay_gib:.1f} GiB, {free_gib:.1f} GiB are free; "
            f"lower --replay, which is {config.replay:,} steps."
        )
    drawn = config.batch_size if config.replay or config.epochs > 1 else 0
    steps = share * config.workers * (config.steps_per_segment + drawn)
    pixels, size = math.prod(spec.observation_shape), np.dtype(spec.observation_dtype).itemsize
    # What is seen before and after a step, and the former in float32 for the network; what its layers keep takes a
    # quarter of that (of the paper's network: 210 kB a step were measured in all).
    segments_gib = 1.25 * steps * pixels * (2 * size + 4) / 2**30
    if replay_gib + segments_gib > free_gib:
        raise UserError(
            f"the steps between two updates need {segments_gib:.1f} GiB, {free_gib - replay_gib:.1f} GiB are free; "
            "lower --workers, --envs-per-worker, --t-max or --batch-size."
        )
