"""What a run survives, on the real command with real kills.

``python -m benchmarks.endurance chaos``: 200 faults of random workers in one run on the toy, some 5 minutes.
``python -m benchmarks.endurance launcher``: the launcher is killed 50 times and the run resumed, some 8 minutes.
``python -m benchmarks.endurance soak -- --config configs/pqn.toml``: an hour on Pong, one worker killed every minute;
settings of ``launch.async`` follow the two dashes.

Each checks what is promised and stops at the first broken promise with exit code 1; else it prints a table and writes
it. Run them from the folder of the project.
"""

import sys
from pathlib import Path

import tyro

from benchmarks import endurance_chaos, endurance_launcher, endurance_soak, table
from benchmarks.endurance_chaos import Chaos
from benchmarks.endurance_launcher import Launcher
from benchmarks.endurance_run import HEADER, print_row
from benchmarks.endurance_soak import SAMPLES, Soak


def main() -> None:
    """Run one of them, print the table and write the CSV file."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    command = tyro.conf.OmitSubcommandPrefixes[Chaos | Launcher | Soak]
    options = tyro.cli(command, args=arguments[:end], prog="python -m benchmarks.endurance", description=__doc__)
    name = type(options).__name__.lower()
    path = options.output or Path("benchmarks") / "results" / f"endurance_{name}.csv"
    if isinstance(options, Soak):
        rows, samples = endurance_soak.run(options, arguments[end + 1 :])
        table.write(path.with_stem(f"{path.stem}_samples"), SAMPLES, [[f"{x:.6g}" for x in row] for row in samples])
    else:
        rows = endurance_launcher.run(options) if isinstance(options, Launcher) else endurance_chaos.run(options)
    for row in rows:
        print_row(row)
    table.write(path, HEADER, rows)


if __name__ == "__main__":
    main()
