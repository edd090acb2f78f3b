"""`train`: what the command does, as a function."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from async_rl import checkpoint, fork_server, reporting, run_directory
from async_rl.build import final_epsilons, has_bfloat16, make_table, stored_bytes
from async_rl.checkpoint import Checkpoint, Progress
from async_rl.config import Config
from async_rl.envs import describe
from async_rl.memory import free_bytes
from async_rl.networks import make_network
from async_rl.schedules import with_drawn_learning_rate
from async_rl.shared import SharedTable, layout
from async_rl.shared.bind import Layout
from async_rl.supervisor import Ending, Supervisor
from async_rl.types import EnvSpec, UserError


@dataclass(frozen=True)
class Result:
    """What came of a training run.

    Attributes:
        run_dir: where everything is.
        ending: finished, failed, or stopped by a signal.
        total_steps: T.
        mean_score: of the last 100 games; NaN where none ended.
        resumable: whether there is a checkpoint to go on from.
    """

    run_dir: Path
    ending: Ending
    total_steps: int
    mean_score: float
    resumable: bool


def train(
    config: Config,
    run_dir: Path | None = None,
    resume: Path | None = None,
    init_from: Path | None = None,
    quiet: bool = False,
) -> Result:
    """Train until ``config.steps``; the same as ``python -m launch.async``.

    Worker processes import the caller's main module, as with all of Python's multiprocessing, so a script calls this
    under ``if __name__ == "__main__":`` (the README has an example).

    Args:
        config: all settings.
        run_dir: a new directory for the run; default ``runs/<env>__<algorithm>__seed<seed>__<time>``.
        resume: a run directory, in which the run goes on from its latest whole checkpoint. ``config`` counts; start
            from ``checkpoint.read(resume).config`` to go on as before.
        init_from: a run or checkpoint from whose network a new run starts; what fits by name and shape is taken.
        quiet: no progress on the terminal.

    Raises:
        UserError: something about settings, directory or checkpoint that a person can mend; no worker was started.
    """
    fork_server.prepare(config)
    config = with_drawn_learning_rate(config)
    _require_precision(config)
    spec = describe(config)
    _require_memory(config, spec)
    network_layout = layout(make_network(config, spec))
    table = make_table(config, spec)
    saved = None if resume is None else _restore(resume, table, config, spec, network_layout)
    sentences = saved.passed_over if saved else ()
    if init_from is not None:
        sentences = _transfer(init_from, table, network_layout)
    run_dir = resume or run_directory.make_run_dir(run_dir or run_directory.default_run_dir(config, spec))
    run_directory.record(run_dir, config, spec, _seeds(config))
    terminal = reporting.Quiet() if quiet else reporting.terminal(config, run_dir)
    for sentence in sentences:
        terminal.say(sentence)
    return _supervise(config, spec, network_layout, table, saved, run_dir, terminal)


def _supervise(
    config: Config,
    spec: EnvSpec,
    network_layout: Layout,
    table: SharedTable,
    saved: Checkpoint | None,
    run_dir: Path,
    terminal: reporting.Terminal,
) -> Result:
    """Train on the table as it stands, in a directory that is there."""
    resumed_at, progress = (table.total_steps(), saved.progress) if saved else (None, Progress())
    logs = reporting.open_logs(run_dir, dataclasses.asdict(config), resumed_at, terminal.say)
    ending = Supervisor(config, spec, network_layout, table, progress, run_dir, logs, terminal).run()
    resumable = (run_dir / checkpoint.LATEST).is_file()
    return Result(run_dir, ending, table.total_steps(), logs.statistics.mean_score, resumable)


def _transfer(init_from: Path, table: SharedTable, network_layout: Layout) -> tuple[str, ...]:
    """Put what fits of another run's network into the table; what is to be said of it."""
    donor = checkpoint.read_network(init_from)
    not_taken = ", ".join(checkpoint.transfer(donor, table, network_layout)) or "nothing"
    return (*donor.passed_over, f"started from the network of {init_from}; new, because it did not fit: {not_taken}")


def _seeds(config: Config) -> dict[str, Any]:
    """What the seed made of the run, for its record."""
    epsilons = {f"worker {index}": final_epsilons(config, index).tolist() for index in range(config.workers)}
    return {"seed": config.seed, "final_epsilons": epsilons}


def _require_precision(config: Config) -> None:
    """Raise UserError if bfloat16 is asked for by name and this processor is known to have no instructions for it."""
    if config.precision == "bfloat16" and has_bfloat16() is False:
        raise UserError("--precision bfloat16 needs a processor with AVX512-BF16 or AMX instructions; use float32.")


def _require_memory(config: Config, spec: EnvSpec) -> None:
    """Better said now than found out by the system's out-of-memory killer after hours.

    Raises:
        UserError: replay memories or segments will not fit into the memory that is free now, in this container.
    """
    free_gib = free_bytes() / 2**30
    replay_gib = config.replay * stored_bytes(spec) / 2**30
    if replay_gib > free_gib:
        raise UserError(
            f"the replay memories need {replay_gib:.1f} GiB, {free_gib:.1f} GiB are free; "
            f"lower --replay, which is {config.replay:,} steps."
        )
    steps = config.workers * (config.steps_per_segment + (config.batch_size if config.replay else 0))
    segments_gib = 2 * steps * stored_bytes(spec) * spec.stack / 2**30  # what is seen before and after each step
    if replay_gib + segments_gib > free_gib:
        raise UserError(
            f"the steps between two updates need {segments_gib:.1f} GiB, {free_gib - replay_gib:.1f} GiB are free; "
            "lower --workers, --envs-per-worker, --t-max or --batch-size."
        )


def _restore(run_dir: Path, table: SharedTable, config: Config, spec: EnvSpec, network_layout: Layout) -> Checkpoint:
    """Put the latest checkpoint of a run into the table."""
    if run_dir.is_file():
        raise UserError(f"a run is resumed by its directory, {run_dir} is a file.")
    saved = checkpoint.read(run_dir)
    checkpoint.restore(saved, table, config, spec, network_layout)
    checkpoint.set_aside(saved, run_dir)
    return saved
