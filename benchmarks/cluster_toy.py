"""Steps that islands need to learn the toy, beside those of one machine with as many workers.

``python -m benchmarks.cluster_toy``: Catch, several seeds, each rule and exchange interval, all on this machine; see
`benchmarks.toy` for when it has learnt.
"""

import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from async_rl import Config
from async_rl.cluster.connection import connected
from async_rl.cluster.islands import Islands
from async_rl.cluster.settings import ClusterSettings
from async_rl.config_file import from_toml
from async_rl.supervisor import MakeWorkers, on_this_machine
from benchmarks import command_line, table
from benchmarks.toy import steps_to_learn

HEADER = ("islands", "workers", "rule", "interval", "wire", "median", "least", "most", "seeds", "ratio")
CATCH = Path(__file__).parent.parent / "configs" / "catch.toml"


@dataclass(frozen=True)
class Options:
    """Measure the steps that islands need to learn Catch."""

    islands: int = 4
    """Islands with one worker each; beside one machine with as many workers."""
    rules: tuple[Literal["downpour", "elastic", "averaging"], ...] = ("downpour", "elastic", "averaging")
    """Rules of the exchange."""
    intervals: tuple[int, ...] = (250, 1_000)
    """Steps of an island between two exchanges."""
    wires: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Numbers as which parameters travel."""
    seeds: int = 5
    """Runs of each."""
    steps: int = 100_000
    """Length of a run."""
    output: Path | None = None
    """CSV file for the results."""


def needed(options: Options, config: Config, make_workers: MakeWorkers) -> list[float]:
    """Steps of each seed."""
    return [steps_to_learn(dataclasses.replace(config, seed=seed), make_workers) for seed in range(options.seeds)]


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file."""
    config = dataclasses.replace(from_toml(CATCH), steps=options.steps, workers=options.islands)
    rows: list[tuple[object, ...]] = []
    base = needed(options, config, on_this_machine)
    median = statistics.median(base)

    def add(*setting: object, steps: list[float]) -> None:
        """Append a row, and print it."""
        middle = statistics.median(steps)
        rows.append((*setting, middle, min(steps), max(steps), len(steps), round(middle / median, 3)))
        print("".join(f"{value!s:>11}" for value in rows[-1]), flush=True)
        table.write(options.output, HEADER, rows)

    print("".join(f"{title:>11}" for title in HEADER))
    add(1, options.islands, "", "", "", steps=base)
    settings = ClusterSettings(islands=options.islands)
    with connected(settings, 1, None) as (cluster, _):
        for rule in options.rules:
            for interval in options.intervals:
                for wire in options.wires:
                    cluster.settings = dataclasses.replace(settings, rule=rule, exchange_interval=interval, wire=wire)
                    steps = needed(options, config, lambda *parts: Islands(cluster, *parts))
                    add(options.islands, 1, rule, interval, wire, steps=steps)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.cluster_toy", measure_all)


if __name__ == "__main__":
    main()
