"""What a run survives, on the real command with real kills.

``python -m benchmarks.endurance chaos``: 200 faults of random workers in one run on the toy, some 5 minutes.
``python -m benchmarks.endurance launcher``: the launcher is killed 50 times and the run resumed, some 8 minutes.
``python -m benchmarks.endurance soak -- --config configs/pqn.toml``: an hour on Pong, one worker killed every minute;
settings of ``launch.async`` follow the two dashes.

Each checks what is promised and stops at the first broken promise with exit code 1; else it prints a table. Run them
from the folder of the project.
"""

import sys
from collections.abc import Sequence

import tyro

from async_rl.run_directory import CONFIG
from async_rl.types import UserError
from benchmarks import endurance_chaos, endurance_launcher, endurance_soak, table
from benchmarks.command_line import checked
from benchmarks.endurance_chaos import Chaos
from benchmarks.endurance_launcher import Launcher
from benchmarks.endurance_run import HEADER, print_row
from benchmarks.endurance_soak import SAMPLES, Soak
from launch import command


def main() -> None:
    """Run the command."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    trials = tyro.conf.OmitSubcommandPrefixes[Chaos | Launcher | Soak]
    options = tyro.cli(trials, args=arguments[:end], prog="python -m benchmarks.endurance", description=__doc__)
    command.run(lambda: endure(checked(options), arguments[end + 1 :]))


def endure(options: Chaos | Launcher | Soak, settings: Sequence[str]) -> None:
    """Run one of them, a soak with the ``settings`` of ``launch.async``, write the CSV file and print the table.

    Raises:
        UserError: there is a run in its directory.
    """
    if (options.run_dir / CONFIG).exists():
        raise UserError(f"{options.run_dir} already holds a run; remove it, or choose another --run-dir.")
    if isinstance(options, Soak):
        rows, samples = endurance_soak.run(options, settings)
        if (path := options.output) is not None:
            table.write(path.with_stem(f"{path.stem}_samples"), SAMPLES, [[f"{x:.6g}" for x in row] for row in samples])
    else:
        rows = endurance_launcher.run(options) if isinstance(options, Launcher) else endurance_chaos.run(options)
    table.write(options.output, HEADER, rows)
    for row in rows:
        print_row(row)


if __name__ == "__main__":
    main()
