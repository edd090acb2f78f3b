"""What islands cost and how far they scale: real runs with 1, 2 and 4 islands, and a model of up to a thousand.

``python -m benchmarks.cluster_scale``: runs of the toy on this machine give speed, duration of an exchange, bytes and
staleness; `benchmarks.cluster_model` has to give the same staleness. With the vector of the paper's network, what calls
cost here and the speed of a machine with 16 workers it then predicts clusters on 1, 10 and 100 Gbit/s.
"""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import command_line, table
from benchmarks.cluster_model import Costs, shards_needed, simulate
from benchmarks.cluster_runs import complete
from benchmarks.scaling_plot import COLOURS

ISLANDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
GIGABITS = (1.0, 10.0, 100.0)
PARAMETERS = 677_686
"""Of the paper's network with six actions, four bytes each."""

HEADER = ("kind", "gigabits", "islands", "shards", "steps_per_second", "exchange_seconds", "staleness_steps", "load",
          "bytes_per_step", "share")  # fmt: skip
Row = tuple[object, ...]


@dataclass(frozen=True)
class Options:
    """Measure clusters on this machine, and predict larger ones."""

    islands: tuple[int, ...] = (1, 2, 4)
    """Islands of the runs."""
    interval: int = 1_000
    """Steps of an island between two exchanges."""
    steps: int = 120_000
    """Length of a run."""
    machine_steps_per_second: float = 20_000.0
    """Prediction: speed of an island of 16 workers."""
    most_islands: int = 1_000
    """Prediction: up to how many."""
    output: Path | None = None
    """Results, with .csv and .png."""


def measured(options: Options, islands: int) -> Row:
    """A run of the toy with so many islands of one worker: means over its last two thirds."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        flags = ["--config", "configs/catch.toml", "--workers", "1", "--islands", str(islands)]
        more = ["--exchange-interval", str(options.interval), "--steps", str(options.steps), "--report-seconds", "0.5"]
        result = complete([*flags, *more, "--run-dir", str(run_dir)])
        if result.returncode:
            raise SystemExit(result.stderr)
        reports = [row for row in table.read(run_dir / "metrics.csv") if row["exchange_seconds"] != "nan"]
    late = [row for row in reports[:-1] if float(row["workers_alive"]) == islands]
    late = late[len(late) // 3 :] or reports

    def mean(column: str) -> float:
        """Of the reports in the steady state."""
        return float(np.mean([float(row[column]) for row in late]))

    figures = (mean("steps_per_second"), mean("exchange_seconds"), mean("staleness_steps"))
    return ("measured", "", islands, 1, *figures, "", mean("exchange_bytes_per_step"), mean("exchange_share"))


def predicted(kind: str, costs: Costs, islands: int, shards: int) -> Row:
    """What the model says."""
    outcome = simulate(costs, islands, shards)
    per_step = 2 * costs.vector_bytes * outcome.exchanges_per_second / outcome.steps_per_second
    share = outcome.exchange_seconds * outcome.exchanges_per_second / islands
    figures = (outcome.steps_per_second, outcome.exchange_seconds, outcome.staleness_steps, outcome.holder_load)
    return (kind, costs.gigabits, islands, shards, *figures, per_step, share)


def like(run: Row, interval: int) -> Costs:
    """Costs of a run of the toy, whose vector is small: its exchange is one call, a quarter of it for each side and
    for each way."""
    speed, seconds = float(str(run[4])) / int(str(run[2])), float(str(run[5]))
    size = float(str(run[8])) * interval / 2
    return Costs(speed, interval, size, seconds / 4, 0.0, seconds / 4, seconds / 4, 10.0)


def holder_costs() -> tuple[float, float]:
    """Seconds of a shard for each byte, and of an island for the rule, with the vector of the paper's network."""
    from async_rl.cluster.common import Common, Copy
    from async_rl.cluster.rules import RULES
    from async_rl.cluster.wire import pieces

    vector = np.ones(PARAMETERS, dtype=np.float32)
    common = Common(Copy(vector, np.zeros(1, dtype=np.int64), ((0, 0),)))
    own, view = vector.copy(), vector.copy()
    calls, rules = [], []
    for number in range(1, 21):
        start = time.process_time()
        common.push(0, (1, number), pieces(vector), slice(0, 1), np.array([number]), "float32")
        calls.append((time.process_time() - start) / (2 * vector.nbytes))
        start = time.process_time()
        view += RULES["downpour"].change(own.copy(), view, 2)
        own += vector - view
        rules.append(time.process_time() - start)
    return float(np.median(calls)), float(np.median(rules))


def measure_all(options: Options) -> None:
    """Measure, predict, print the table, and write CSV and PNG."""
    runs = [measured(options, islands) for islands in options.islands]
    checks = [predicted("model of the run", like(run, options.interval), int(str(run[2])), 1) for run in runs]
    per_byte, rule = holder_costs()
    call = float(str(runs[0][5])) / 4  # its side of it, as in `like`
    print(f"a shard needs {per_byte * 1e9:.2f} ns a byte and {call * 1e3:.1f} ms a call, the rule {rule * 1e3:.1f} ms")
    speed, size = options.machine_steps_per_second, 4.0 * PARAMETERS
    base = Costs(speed, options.interval, size, rule, per_byte, call, call, 10.0)
    rows = [*runs, *checks]
    for gigabits in GIGABITS:
        costs = dataclasses.replace(base, gigabits=gigabits)
        for islands in (n for n in ISLANDS if n <= options.most_islands):
            rows.append(predicted("one shard", costs, islands, 1))
            if (shards := shards_needed(costs, islands)) is not None:
                rows.append(predicted("shards as needed", costs, islands, shards))
    for row in rows:
        print("  ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    if options.output is not None:
        table.write(options.output, HEADER, rows)
        draw(rows, options.output.with_suffix(".png"))


def draw(rows: Sequence[Row], path: Path) -> None:
    """Four panels: the model beside runs, staleness, load of a single shard, shards that are needed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.5), layout="constrained")
    (check, staleness), (load, needed) = figure.subplots(2, 2)
    for kind, style in (("measured", "o"), ("model of the run", "--x")):
        of = [row for row in rows if row[0] == kind]
        check.plot([row[2] for row in of], [row[6] for row in of], style, label=kind)
    check.set_title("Toy on this machine: staleness", fontsize=12)
    for gigabits, colour in zip(GIGABITS, COLOURS, strict=False):
        label = f"{gigabits:g} Gbit/s"
        one = [row for row in rows if row[0] == "one shard" and row[1] == gigabits]
        more = [row for row in rows if row[0] == "shards as needed" and row[1] == gigabits]
        islands = [row[2] for row in one]
        staleness.plot(islands, [row[6] for row in one], "--", color=colour, linewidth=1)
        enough = [row[2] for row in more]
        staleness.plot(enough, [row[6] for row in more], "-o", color=colour, label=label, markersize=3)
        load.plot(islands, [row[7] for row in one], "-o", color=colour, label=label, markersize=3)
        needed.plot(enough, [row[3] for row in more], "-o", color=colour, label=label, markersize=3)
    staleness.set_title("PREDICTION: staleness with shards as\nneeded (dashed: a single one)", fontsize=12)
    load.set_title("PREDICTION: load of a single shard", fontsize=12)
    needed.set_title("PREDICTION: shards that are needed\n(none busier than 0.7)", fontsize=12)
    for axis in (staleness, load, needed):
        axis.set_xscale("log")
    staleness.set_yscale("log")
    needed.set_yscale("log", base=2)
    needed.yaxis.set_major_formatter("{x:g}")
    for axis, name in ((check, "steps of others"), (staleness, "steps of others"), (load, "busy"), (needed, "shards")):
        axis.set_xlabel("islands", fontsize=12)
        axis.set_ylabel(name, fontsize=12)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=10)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.cluster_scale", measure_all)


if __name__ == "__main__":
    main()
