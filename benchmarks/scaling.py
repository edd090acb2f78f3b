"""How steps per second grow with cores, what is lost to what, and what a larger machine would do.

``python -m benchmarks.scaling``, in the same interleaved rounds:

    scaling           n workers of one run on n cores; efficiency = speed(n) / (n * speed(1)).
    independent       n runs of one worker, each on a core of its own: they share nothing but caches and memory.
    oversubscription  more workers than cores.

Differences of these are the causes of lost time: caches and memory (independent runs against one alone; what a clock
loses that falls when more cores are busy is in it), shared writes (n workers of one run against n independent runs:
cache lines that other cores have written), oversubscription (against as many workers as cores). Then, in rounds of
their own, speed against emulators in a worker and against the network. Last, what `benchmarks.scaling_model` predicts
for up to 128 cores: no measurement, an optimistic and a pessimistic one.

A run has a launcher, which takes some 1 % of a core: of the independent runs each has one, so shared writes seem up to
1 % cheaper than they are. A core is what the system calls one; on machines with two threads to a core choose
``--workers`` and the cores of this process (taskset) to suit. Where cores cannot be pinned (macOS) all runs use any.

Columns of the CSV file: ``microseconds`` and the phases are wall-clock microseconds of a worker per step, for lost time
those of a core; ``ratio`` is the efficiency (scaling, independent, prediction), the speed relative to as many workers
as cores (oversubscription) or to the defaults (emulators, network), the lost time relative to that without the loss.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from async_rl.config import Config
from async_rl.cores import available_cores, usable_cores
from async_rl.envs import make_environment
from async_rl.networks import make_network
from async_rl.run_directory import machine
from async_rl.shared import parameter_count
from async_rl.stopwatch import PHASES
from async_rl.types import UserError
from benchmarks import command_line, scaling_plot, table
from benchmarks.scaling_model import Model, copy_bandwidth
from benchmarks.scaling_results import Row, lost_rows, measured_rows, model_of, predicted_rows
from benchmarks.scaling_runs import Setting, in_rounds

COLUMNS = (
    *("section", "workers", "runs", "cores_used", "envs_per_worker", "network", "parameters"),
    *("steps_per_second", "ratio", "microseconds", *(f"{phase}_microseconds" for phase in PHASES)),
    *("gigabytes_per_second", "processor", "cores"),
)


def some_counts() -> tuple[int, ...]:
    """1, 2, 4, ... and the number of cores that this process may use."""
    most = available_cores()
    return (*(2**power for power in range(most.bit_length()) if 2**power < most), most)


@dataclass(frozen=True)
class Options:
    """Measure how training scales, and predict larger machines."""

    env: str = "pong"
    """Game."""
    workers: tuple[int, ...] = field(default_factory=some_counts)
    """Numbers of workers, each on a core of its own; default: 1, 2, 4, ... and all cores."""
    oversubscription: tuple[int, ...] = (2, 8)
    """Workers for each core, where there are more workers than cores."""
    emulators: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Emulators in each worker."""
    networks: tuple[str, ...] = ("nips", "nature")
    """Networks; all else is measured with the first."""
    seconds: float = 15.0
    """Seconds that each run is measured for."""
    rounds: int = 3
    """Repetitions of the runs on pinned cores; the table gives medians."""
    cost_seconds: float = 8.0
    """Seconds that each number of emulators and each network is measured for."""
    cost_rounds: int = 1
    """Repetitions of these."""
    output: Path | None = None
    """Where the results go, without the endings .csv and .png."""


def pinned_settings(options: Options) -> list[Setting]:
    """Those of the scaling, independent and oversubscription sections."""
    counts = sorted({1, *options.workers})
    network = options.networks[0]
    return [
        *(Setting("scaling", count, count, network) for count in counts),
        *(Setting("independent", count, count, network, runs=count) for count in counts[1:]),
        *(Setting("oversubscription", counts[-1] * factor, counts[-1], network) for factor in options.oversubscription),
    ]


def cost_settings(options: Options) -> list[Setting]:
    """Those of the emulators and network sections; the first has the defaults."""
    most = max(1, *options.workers)
    default = Setting("defaults", most, most, options.networks[0])
    emulators = [replace(default, section="emulators", envs_per_worker=n) for n in options.emulators]
    networks = [replace(default, section="network", network=name) for name in options.networks]
    return [default, *(s for s in [*emulators, *networks] if replace(s, section="defaults") != default)]


def bandwidths(count: int, seconds: float) -> dict[int, float]:
    """Number of cores -> bytes per second, of one core and of ``count``, each measured for so many seconds."""
    return {n: copy_bandwidth(usable_cores()[:n], seconds) for n in sorted({1, count})}


def sizes(options: Options) -> dict[str, int]:
    """Network -> number of parameters for this game."""
    spec = make_environment(Config(env=options.env), np.random.default_rng(0)).spec
    configs = {name: Config(env=options.env, network=name) for name in options.networks}
    return {name: parameter_count(make_network(config, spec)) for name, config in configs.items()}


def show(title: str, rows: Sequence[Row]) -> None:
    """Print rows, in the columns that they have."""
    shown = [name for name in COLUMNS if any(line.get(name, "") != "" for line in rows)]
    wide = {name: max(len(_short(name)), *(len(str(line.get(name, ""))) for line in rows)) for name in shown}
    print(f"\n{title}\n" + "  ".join(f"{_short(name):>{wide[name]}}" for name in shown))
    for line in rows:
        print("  ".join(f"{line.get(name, '')!s:>{wide[name]}}" for name in shown))


def _short(column: str) -> str:
    return {"envs_per_worker": "envs", "steps_per_second": "steps/s"}.get(column, column.removesuffix("_microseconds"))


def measure_all(options: Options) -> None:
    """Measure, predict, print the tables, write the CSV file and the picture."""
    most = max(options.workers)
    if most > available_cores():
        raise UserError(f"--workers needs {most} cores, this process may use {available_cores()}.")
    if not hasattr(os, "sched_setaffinity"):
        print("This system cannot pin processes to cores: every run may use all of them, so losses are not told apart.")
    parameters, bandwidth = sizes(options), bandwidths(most, min(2.0, options.seconds))
    pinned = in_rounds(pinned_settings(options), options.env, options.seconds, options.rounds)
    cost = in_rounds(cost_settings(options), options.env, options.cost_seconds, options.cost_rounds)
    model = model_of(pinned, parameters[options.networks[0]], bandwidth)
    default = next(iter(cost))
    groups = {
        "MEASURED, on pinned cores: steps/s; ratio; microseconds of a worker per step, in all and by phase": list(
            measured_rows(pinned, parameters)
        ),
        "LOST TIME, microseconds of a core per step: differences between runs of the same round": list(
            lost_rows(pinned, parameters)
        ),
        "COST, each from the defaults": list(measured_rows(cost, parameters)),
        "BANDWIDTH of copying large buffers, bytes read and written": [
            {"section": "bandwidth", "cores_used": count, "gigabytes_per_second": f"{value / 1e9:.2f}"}
            for count, value in bandwidth.items()
        ],
        model.explain(): list(predicted_rows(model, default, parameters[default.network])),
    }
    here = machine()
    print(f"\n{here['processor']}, {here['cores']} cores, {options.env}, medians of {options.rounds} rounds")
    for title, lines in groups.items():
        show(title, lines)
    write(options.output, [line for lines in groups.values() for line in lines], model)


def write(output: Path | None, rows: Sequence[Row], model: Model) -> None:
    """Write the CSV file, then the picture."""
    if output is None:
        return
    here = machine()
    every = [{**line, "processor": here["processor"], "cores": here["cores"]} for line in rows]
    table.write(output, COLUMNS, [[line.get(name, "") for name in COLUMNS] for line in every])
    scaling_plot.draw(rows, model, output.with_suffix(".png"))


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.scaling", measure_all)


if __name__ == "__main__":
    main()
