"""Steps that each method needs to learn the toy.

``python -m benchmarks.toy``: every method trains on Catch with several seeds; it has learnt when nine of ten balls are
caught, exploration included: when the mean score of 200 games in a row reaches 0.8. Settings are those of the study of
parallel streams (`benchmarks.reproduce_studies.TOY`), in which epsilon is annealed soon and does not set the pace.
"""

import dataclasses
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from async_rl import Config, UserError, train
from async_rl.supervisor import Ending, MakeWorkers, on_this_machine
from benchmarks import command_line, table
from benchmarks.reproduce_studies import TOY, learnt

METHODS: dict[str, dict[str, Any]] = {
    "one-step Q": {},
    "double": {"double": True},
    "dueling": {"dueling": True},
    "one-step Sarsa": {"algorithm": "one-step-sarsa"},
    "n-step Q": {"algorithm": "n-step-q", "t_max": 5},
    "lambda, layer norm, no target": {
        "algorithm": "n-step-q",
        "lambda_": 0.65,
        "norm": "layer",
        "target": "none",
        "t_max": 5,
    },
    "A3C": {"algorithm": "a3c", "t_max": 5, "lr": 1e-2, "rms_epsilon": 0.1},
    "replay": {"replay": 20_000, "learning_starts": 2_000, "t_max": 1},
    "prioritised replay": {"replay": 20_000, "learning_starts": 2_000, "t_max": 1, "prioritized": True},
}
"""What each method changes of the common settings."""


@dataclass(frozen=True)
class Options:
    """Measure the steps that each method needs to learn Catch."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Names of methods."""
    seeds: int = 5
    """Runs of each."""
    steps: int = 100_000
    """Length of a run."""
    output: Path | None = None
    """CSV file for the results."""


def steps_to_learn(config: Config, make_workers: MakeWorkers = on_this_machine) -> float:
    """T at which the score was reached first; infinite where it never was.

    Raises:
        SystemExit: the run failed, or was stopped by a signal, with the exit code of `launch.async`.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run", quiet=True, make_workers=make_workers)
        if result.ending is not Ending.FINISHED:
            raise SystemExit(result.ending.value)
        return learnt(result.run_dir, TOY).steps


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file."""
    if unknown := [name for name in options.methods if name not in METHODS]:
        raise UserError(f"--methods must be some of {', '.join(METHODS)}, got {unknown[0]}.")
    header = ("method", "median", "least", "most", "seeds")
    print(f"{header[0]:>30}" + "".join(f"{title:>10}" for title in header[1:]))
    rows = []
    for name in options.methods:
        config = dataclasses.replace(TOY.base, workers=2, steps=options.steps, **METHODS[name])
        needed = [steps_to_learn(dataclasses.replace(config, seed=seed)) for seed in range(options.seeds)]
        rows.append((name, statistics.median(needed), min(needed), max(needed), options.seeds))
        print(f"{name:>30}" + "".join(f"{value:>10,.0f}" for value in rows[-1][1:]), flush=True)
    table.write(options.output, header, rows)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.toy", measure_all)


if __name__ == "__main__":
    main()
