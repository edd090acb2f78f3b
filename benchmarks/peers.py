"""Training speed beside that of other programs: pfrl's A3C, and A2C and DQN of Stable-Baselines3.

``make peers && python -m benchmarks.peers``: all contestants play the same game by the same protocol (four frames a
step, the maximum of the last two, grey 84x84, stacks of four, up to 30 no-ops, no sticky actions, clipped rewards) and
train the same network (``nips`` of Mnih et al. 2016); ours standardises screens, its default, where the peers divide by
255, and layers compute in bfloat16 where the processor has it, the peers' in float32. Each runs once in a round, round
after round, so that a machine whose speed drifts is unfair to none; the table gives medians over rounds, and ratios to
the reference of the same round. Start-up is left out. Where a contestant can be run in several ways, all are measured,
and the one with the highest median counts. The peers live in an environment of their own and keep their own wrappers.
"""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.envs.atari import find_game
from async_rl.run_directory import machine
from async_rl.types import UserError
from benchmarks import command_line, table
from benchmarks.runs import measure

ROOT = Path(__file__).parent.parent
REFERENCE = "pfrl A3C 2 processes"
OURS = "async_rl"
"""How the names of our own contestants begin."""
START_SECONDS = 120.0
"""Most seconds that a peer may take to start, warm up and end."""


@dataclass(frozen=True)
class Options:
    """Compare training speed with other programs."""

    env: str = "pong"
    """Atari game."""
    seconds: float = 15.0
    """Seconds that each run is measured for."""
    rounds: int = 3
    """Repetitions of all contestants in turn."""
    only: tuple[str, ...] = ()
    """Run only contestants whose names contain one of these."""
    python: Path = ROOT / ".venv-peers" / "bin" / "python"
    """Python of the environment in which the peers are installed."""
    output: Path | None = None
    """Where the results go, without the endings .csv and .png."""


@dataclass(frozen=True)
class Variant:
    """One way to run a contestant."""

    description: str
    processes: int
    run: Callable[[], float]
    """Trains for a while and returns steps per second."""


@dataclass(frozen=True)
class Contestant:
    """A program with one algorithm and number of emulators."""

    name: str
    algorithm: str
    emulators: int
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Result:
    """What was measured of a contestant."""

    contestant: str
    processes: int
    emulators: int
    algorithm: str
    variant: str
    speeds: tuple[float, ...]
    """Steps per second in each round."""


def train_peer(options: Options, module: str, flags: dict[str, object]) -> float:
    """Steps per second of a peer, which trains in its own environment and prints steps and seconds as JSON."""
    values = {**flags, "game": find_game(options.env), "seconds": options.seconds}
    arguments = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    run = subprocess.Popen(
        [str(options.python), "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # pfrl's answer to an error is to kill its whole process group
    )
    try:
        output, errors = run.communicate(timeout=START_SECONDS + options.seconds)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(run.pid, signal.SIGKILL)  # processes that a failed learner may have left behind
    measured = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if not measured:
        raise SystemExit(f"{module} {' '.join(arguments)} measured nothing:\n{errors[-2000:]}")
    return measured[0]["steps"] / measured[0]["seconds"]


def counted(number: int, noun: str) -> str:
    """``number`` with its noun: "1 thread", "2 threads"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def pfrl_a3c(options: Options, processes: int) -> Contestant:
    """A3C of pfrl, one emulator in each process."""
    run = Variant("1 thread in each", processes, lambda: train_peer(options, "peers_pfrl", {"processes": processes}))
    return Contestant(f"pfrl A3C {processes} processes", "A3C", processes, (run,))


def sb3(options: Options, algorithm: str, emulators: int, places: Sequence[str]) -> Contestant:
    """Stable-Baselines3 with one thread or as many as there are cores, and the emulators in any of ``places``."""

    def variant(threads: int, place: str) -> Variant:
        """One way to run it."""
        flags = {"algorithm": algorithm, "emulators": emulators, "emulators-in": place, "threads": threads}
        kind, processes = ("DummyVecEnv", 1) if place == "one-process" else ("SubprocVecEnv", 1 + emulators)
        description = f"{kind}, {counted(threads, 'thread')}"
        return Variant(description, processes, lambda: train_peer(options, "peers_sb3", flags))

    variants = tuple(variant(threads, place) for place in places for threads in sorted({1, available_cores()}))
    title = algorithm.upper()
    return Contestant(f"SB3 {title} {counted(emulators, 'emulator')}", title, emulators, variants)


def ours(options: Options, algorithm: str, workers: int, envs_per_worker: int, t_max: int | None) -> Contestant:
    """This program; ``t_max`` None is its default."""
    settings: dict[str, object] = {"env": options.env, "algorithm": algorithm, "workers": workers}
    settings |= {"envs-per-worker": envs_per_worker} | ({"t-max": t_max} if t_max else {})
    title = {"a3c": "A3C", "one-step-q": "one-step Q"}[algorithm]
    description = f"t_max {t_max}" if t_max else "default settings"
    run = Variant(description, workers, lambda: measure(settings, options.seconds))
    name = f"{OURS} {title} {counted(workers, 'worker')} x {counted(envs_per_worker, 'emulator')}"
    return Contestant(name, title, workers * envs_per_worker, (run,))


def contestants(options: Options) -> list[Contestant]:
    """All contestants, or those that ``--only`` names."""
    field = [
        pfrl_a3c(options, processes=2),
        pfrl_a3c(options, processes=16),
        sb3(options, "a2c", 8, ("one-process", "own-processes")),
        sb3(options, "dqn", 1, ("one-process",)),
        ours(options, "a3c", workers=2, envs_per_worker=1, t_max=5),
        ours(options, "a3c", workers=16, envs_per_worker=1, t_max=5),
        ours(options, "a3c", workers=2, envs_per_worker=16, t_max=5),
        ours(options, "one-step-q", workers=16, envs_per_worker=1, t_max=5),
        ours(options, "one-step-q", workers=available_cores(), envs_per_worker=Config().envs_per_worker, t_max=None),
    ]
    return [c for c in field if not options.only or any(part in c.name for part in options.only)]


def run_rounds(field: Sequence[Contestant], rounds: int) -> list[Result]:
    """Run all variants of all contestants in turn, round after round; of each contestant the fastest variant counts."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for contestant in field:
            for variant in contestant.variants:
                speed = variant.run()
                speeds.setdefault((contestant.name, variant.description), []).append(speed)
                what = f"{contestant.name} ({variant.description})"
                print(f"round {number + 1}: {what}: {speed:,.0f} steps/s", flush=True)
    results = []
    for c in field:
        best = max(c.variants, key=lambda v: statistics.median(speeds[c.name, v.description]))
        values = tuple(speeds[c.name, best.description])
        results.append(Result(c.name, best.processes, c.emulators, c.algorithm, best.description, values))
    return results


HEADER = ("contestant", "processes", "emulators", "algorithm", "steps_per_second", "ratio", "variant")


def tabulate(results: Sequence[Result]) -> list[tuple[str, int, int, str, int, str, str]]:
    """A row for each contestant: the median speed, and the median of its ratios to the reference ("" without one)."""
    reference = next((result.speeds for result in results if result.contestant == REFERENCE), None)
    rows = []
    for r in results:
        ratios = [value / first for value, first in zip(r.speeds, reference, strict=True)] if reference else []
        ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
        speed = round(statistics.median(r.speeds))
        rows.append((r.contestant, r.processes, r.emulators, r.algorithm, speed, ratio, r.variant))
    return rows


def draw(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw medians as horizontal bars, the fastest on top."""
    from matplotlib.figure import Figure  # not needed without --output

    ranked = sorted(results, key=lambda result: statistics.median(result.speeds))
    speeds = [statistics.median(result.speeds) for result in ranked]
    figure = Figure(figsize=(10, 0.8 + 0.5 * len(ranked)))
    axis = figure.subplots()
    own = [result.contestant.startswith(OURS) for result in ranked]
    colours = ["#0072b2" if is_own else "#e69f00" for is_own in own]  # blue and orange of Okabe and Ito's palette
    names = [result.contestant for result in ranked]
    bars = axis.barh(names, speeds, color=colours, hatch=["" if is_own else "//" for is_own in own], edgecolor="white")
    axis.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=4, fontsize=14)
    axis.tick_params(axis="y", labelsize=14, length=0)
    axis.set_xlim(0, 1.12 * max(speeds))
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.set_title(title, fontsize=14, loc="right")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def report(results: Sequence[Result], options: Options) -> None:
    """Print the table, and write the CSV file and the picture."""
    rows, processor, cores = tabulate(results), machine()["processor"], machine()["cores"]
    print(f"\n{processor}, {cores} cores, {options.env}, medians of {counted(options.rounds, 'round')}")
    for row in (HEADER, *rows):
        cells = [f"{value:,}" if isinstance(value, int) else value for value in row]
        print("{:<46}{:>10}{:>10}{:>12}{:>18}{:>7}  {}".format(*cells))
    if options.output is None:
        return
    named = [(options.env, *row, processor, cores) for row in rows]
    table.write(options.output, ("env", *HEADER, "processor", "cores"), named)
    title = f"Training steps per second, {options.env}, {processor}, {cores} cores"
    draw(results, title, options.output.with_suffix(".png"))


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file and the picture."""
    if find_game(options.env) is None:
        raise UserError(f"the peers play Atari games only, and {options.env} is none.")
    if not (field := contestants(options)):
        raise UserError(f"--only must be parts of names such as {REFERENCE!r}, got {' '.join(options.only)}.")
    if any(not each.name.startswith(OURS) for each in field) and shutil.which(options.python) is None:
        raise UserError(f"the peers are not installed: there is no {options.python}. Run `make peers` first.")
    report(run_rounds(field, options.rounds), options)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.peers", measure_all)


if __name__ == "__main__":
    main()
