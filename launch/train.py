"""The command line of training: flags over a TOML file over the defaults."""

import argparse
import dataclasses
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from async_rl import fork_server
from async_rl.checking import flag
from async_rl.config import Config
from async_rl.config_file import from_toml
from async_rl.cores import available_cores
from async_rl.types import UserError
from async_rl.user_code import code_named
from launch.command import NUMBER_OR_AUTO, PathOrNone, read_arguments, run, tell

if TYPE_CHECKING:
    from async_rl.resuming import Fits
    from async_rl.supervisor import MakeWorkers

AUTO = Path("auto")


@dataclass(frozen=True)
class Command(Config):
    """Asynchronous actor-learners: many processes, one Q-network in shared memory, no lock.

    [1] is Mnih et al. 2016, arXiv 1602.01783; [2] Mnih et al. 2015, doi:10.1038/nature14236; [3] Gallici et al. 2024,
    arXiv 2407.04811; [4] Schaul et al. 2016, arXiv 1511.05952. A step is one decision in one emulator, four frames on
    Atari.
    """

    workers: Annotated[int, NUMBER_OR_AUTO] = dataclasses.field(default_factory=available_cores)
    lambda_: Annotated[float | None, tyro.conf.arg(name="lambda")] = None
    config: PathOrNone = None
    """TOML file with settings that differ from the defaults, such as those in configs/; flags win over it."""
    resume: PathOrNone = None
    """Directory of a run to go on with, from its latest checkpoint and with its settings; flags win over them. Or auto,
    for batch systems: the run in --run-dir, or the newest under runs/, with the same settings and --init-from, a new
    one if there is none; --steps, --pin, --profile, --evaluate-every, --evaluate-episodes and the intervals in seconds
    may differ then."""
    init_from: PathOrNone = None
    """Run, checkpoint or exported network that a new run starts from, of another game perhaps: what fits by name and
    shape is taken, what does not is listed."""
    trust_code: bool = False
    """Let the files of --config and --resume name code to import (package.module:function); else it has to stand on the
    command line, because somebody else's file could name anything."""
    run_dir: PathOrNone = None
    """Directory of a new run; default: runs/<env>__<algorithm>__seed<seed>__<time>."""


AnyCommand = TypeVar("AnyCommand", bound=Command)


def main() -> None:
    """Run the command; exits with 0 (done), 1 (failed), 2 (bad input), 129, 130 or 143 (SIGHUP, Ctrl-C, SIGTERM)."""
    run(lambda: train_by(parse(sys.argv[1:])))


def parse(arguments: list[str]) -> Command:
    """The command that the arguments mean.

    Raises:
        UserError: a value out of range, or a configuration or run that cannot be read.
        SystemExit: ``--help`` (0), or arguments that cannot be parsed (2); the message has been printed.
    """
    file, resume = files_named(arguments)
    defaults = Command(**settings(base(file, resume)))
    return read_over(defaults, "launch.async", arguments)


def files_named(arguments: list[str]) -> tuple[Path | None, Path | None]:
    """--config and --resume of a command line, None where there is none, or the run is still to be found."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config")
    first.add_argument("--resume")
    try:
        files = first.parse_known_args(arguments)[0]
    except argparse.ArgumentError:
        return None, None  # the second parser says what is wrong
    config, resume = (Path(word) if word else None for word in (files.config, files.resume))
    return config, None if resume == AUTO else resume


def require_trust(command: Command, arguments: list[str]) -> None:
    """Raise UserError where code would be imported that a file names, and neither a flag nor --trust-code."""
    for name in ("env", "network"):
        value = getattr(command, name)
        typed = any(argument == value or argument.endswith(f"={value}") for argument in arguments)
        if code_named(value) and not typed and not command.trust_code:
            raise UserError(
                f"{command.config or command.resume} names code to import, {value}; if you know where it comes from, "
                f"add --trust-code or {flag(name)} {value}."
            )


def read_over(defaults: AnyCommand, program: str, arguments: list[str]) -> AnyCommand:
    """The command that the arguments mean over ``defaults``; --lr goes in the place of a range that a file names.

    Raises:
        UserError: words that exclude each other, a value out of range, or `require_trust`.
        SystemExit: see `parse`.
    """
    command = read_arguments(type(defaults), program, arguments, defaults)
    require_trust(command, arguments)
    if command.resume not in (None, AUTO) and command.run_dir is not None:
        raise UserError("--resume and --run-dir exclude each other: a resumed run goes on in its own directory.")
    if command.resume not in (None, AUTO) and command.init_from is not None:
        raise UserError("--resume and --init-from exclude each other: a resumed run has its own network.")
    typed = {argument.partition("=")[0].replace("_", "-") for argument in arguments}
    if command.lr_range is None or "--lr" not in typed:
        return command
    if "--lr-range" in typed:
        raise UserError("--lr has no meaning with --lr-range, out of which the learning rate is drawn.")
    return dataclasses.replace(command, lr_range=None)


def base(config: Path | None, resume: Path | None) -> Config:
    """The settings that flags win over: of a file, of a run, or the defaults."""
    if config is not None and resume is not None:
        raise UserError("--config and --resume exclude each other: a resumed run has its own settings.")
    if resume is not None:
        from async_rl import resuming

        return resuming.settings(resume)
    return from_toml(config) if config is not None else Config()


def settings(config: Config) -> dict[str, Any]:
    """The fields of `Config`, of a command that has more of them."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}


def _found(
    config: Config, run_dir: Path | None, init_from: Path | None, fits: "Fits | None"
) -> tuple[Config, Path | None]:
    """Settings and directory of the run of --resume auto, in ``run_dir`` if given; no directory: there is none yet."""
    from async_rl import resuming

    def fits_all(run_dir: Path) -> bool:
        """Whether it is spread as this one would be, and began with the same network."""
        return (fits or resuming.on_one_machine)(run_dir) and resuming.began_with(run_dir, init_from)

    if run_dir is not None:
        found = resuming.in_directory(config, run_dir, fits_all)
    else:
        found = resuming.newest(config, Path("runs"), fits_all)
    tell(f"--resume auto: {'a new run' if found is None else f'going on with {found}'}")
    return (config, None) if found is None else (resuming.continued(config, found), found)


def train_by(
    command: Command,
    config: Config | None = None,
    make_workers: "MakeWorkers | None" = None,
    fits: "Fits | None" = None,
    module: str = "async",
) -> int:
    """Train as the command says, and tell how it ended; the exit code.

    Args:
        command: the command line.
        config: all settings, where they are not those of ``command``.
        make_workers: where the workers run; default: on this machine.
        fits: for --resume auto, see `async_rl.resuming.newest`; default: runs on a single machine.
        module: of ``launch``, with which the run goes on.
    """
    config, resume = config or Config(**settings(command)), command.resume
    run_dir, init_from = command.run_dir, command.init_from
    fork_server.prepare_ahead(config)
    from async_rl import resuming
    from async_rl.supervisor import on_this_machine
    from async_rl.training import train  # torch takes seconds to import; bad input and --help should not wait

    if resume == AUTO:
        config, resume = _found(config, run_dir, init_from, fits)
        run_dir, init_from = (run_dir, init_from) if resume is None else (None, None)
    elif resume is not None and make_workers is None and not resuming.on_one_machine(resume):
        tell("goes on on this machine alone, where it was spread over islands")
    place = make_workers or on_this_machine
    result = train(config, run_dir, resume, init_from, make_workers=place)
    score = "no game has a score yet" if math.isnan(result.mean_score) else f"mean score {result.mean_score:.2f}"
    tell(f"{result.ending.name.lower()} at T = {result.total_steps:,}, {score}")
    if result.resumable:
        more = f" --steps {2 * result.total_steps}" if result.total_steps >= config.steps else ""
        more += " --trust-code" if code_named(config.env, config.network) else ""
        tell(f"go on with: python -m launch.{module} --resume {shlex.quote(str(result.run_dir))}{more}")
    return int(result.ending.value)


if __name__ == "__main__":
    sys.exit("error: the command is python -m launch.async")
