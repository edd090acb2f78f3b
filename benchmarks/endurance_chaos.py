"""Random faults of random workers at random moments, in one run of the toy."""

import random
import re
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from async_rl import run_directory
from benchmarks.endurance_run import Options, Run, require, require_exact
from benchmarks.failing_environment import FAULT

FAULTS = {
    "SIGKILL": (signal.SIGKILL, r"died \(SIGKILL[^)]*\)"),
    "SIGSEGV": (signal.SIGSEGV, r"died \(SIGSEGV; see .*\)"),
    "SIGSTOP, longer than the heartbeat": (signal.SIGSTOP, r"was silent for .*"),
    "exception in the environment": (FAULT, r"failed \(.*InjectedError: a fault on demand.*; see .*\)"),
}
"""Name -> signal that causes it, and what has to be reported."""

CONFIG = Path("configs") / "catch.toml"
GAME_STEPS = 9


class Fault(NamedTuple):
    """One fault: of which worker, its name, and the run's own seconds at the report before it."""

    worker: int
    name: str
    seconds: float


@dataclass(frozen=True)
class Chaos(Options):
    """Hurt random workers of one run on the toy."""

    faults: int = 200
    """How many."""
    workers: int = 4
    """Worker processes of the run."""
    interval_seconds: float = 1.2
    """Mean seconds between two faults."""
    heartbeat_seconds: float = 10.0
    """Silence after which a stopped worker is replaced; longer than any start-up on a busy machine."""
    learn_steps: int = 150_000
    """Least T of the run, for the toy to be learnt."""
    run_dir: Path = Path("runs") / "endurance_chaos"
    """Where the run is kept; must be new."""


def run(options: Chaos) -> list[tuple[str, int, int, str]]:
    """Make the faults, check everything that is promised, and return a row for each kind."""
    if options.workers < 2:
        raise SystemExit("--workers must be at least 2: one is hurt while another goes on")
    flags = (
        f"--config {CONFIG} --env benchmarks.failing_environment:make --workers {options.workers} "
        f"--steps 1000000000 --lr-schedule constant --seed {options.seed} --report-seconds 0.5 "
        f"--checkpoint-seconds 5 --heartbeat-seconds {options.heartbeat_seconds} "
        "--final-epsilons 0.01 0.05 0.1 --final-epsilon-probabilities 0.4 0.3 0.3"
    )
    running = Run(options.run_dir, [*flags.split(), "--run-dir", str(options.run_dir)])
    try:
        running.wait_for(lambda: running.steps() > 0, "the first steps")
        made = make_faults(running, options)
        running.wait_for(lambda: len(reported(running.text())) >= len(made), "the report of the last death")
        goal = max(options.learn_steps, running.steps() + 2000)
        running.wait_for(lambda: running.steps() >= goal, f"T = {goal}")
        require(running.end(signal.SIGINT) == 130, "the exit code after Ctrl-C is 130")
        running.require_shared_memory_gone()
        return check(running, options, made)
    finally:
        running.destroy()


def make_faults(running: Run, options: Chaos) -> list[Fault]:
    """Faults at random moments, each kind as often. A worker that is being hurt already is left alone, and so is the
    last one that is not: else all could stand still at once, and nobody could see whether others wait."""
    chance = random.Random(options.seed)
    kinds = [kind for _ in range(0, options.faults, len(FAULTS)) for kind in chance.sample(list(FAULTS), len(FAULTS))]
    made: list[Fault] = []
    hurt: dict[int, psutil.Process] = {}
    while len(made) < options.faults:
        time.sleep(chance.uniform(0, 2 * options.interval_seconds))
        require(running.process.poll() is None, f"the run goes on:\n{running.text()}")
        ready = {i: p for i, p in running.workers().items() if hurt.get(i) != p and catches_faults(p)}
        if len(ready) < 2:
            continue
        worker, name = chance.choice(sorted(ready)), kinds[len(made)]
        fault = Fault(worker, name, float(running.reports()[-1]["seconds"]))
        try:
            ready[worker].send_signal(FAULTS[name][0])
        except psutil.NoSuchProcess:
            continue
        hurt[worker] = ready[worker]
        made.append(fault)
        if len(made) % 20 == 0:
            print(f"{len(made)} faults, T = {running.steps():,}", flush=True)
    return made


def catches_faults(process: psutil.Process) -> bool:
    """Whether the environment listens to its signal already (Linux)."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (FAULT - 1) & 1)


def reported(text: str) -> list[tuple[int, str]]:
    """Deaths that the run has reported, as (worker, cause)."""
    return [(int(worker), cause) for worker, cause in re.findall(r"^worker (\d+) (.*); started again$", text, re.M)]


def check(running: Run, options: Chaos, made: Sequence[Fault]) -> list[tuple[str, int, int, str]]:
    """Require what is promised; rows of results."""
    told = reported(running.text())
    survived = Counter[str]()
    for name, (_, pattern) in FAULTS.items():
        expected = Counter(fault.worker for fault in made if fault.name == name)
        seen = Counter(worker for worker, cause in told if re.fullmatch(pattern, cause))
        require(expected == seen, f"{name}: made for each worker {dict(expected)}, reported {dict(seen)}")
        survived[name] = seen.total()
    require(len(told) == len(made), f"{len(made)} deaths are reported, not {len(told)}")
    _, reports, games = require_exact(running.run_dir)
    require(reports[-1]["dropped_gradients"] == "0", "no gradient is dropped")
    require_epsilons(running, games)
    lost = int(reports[-1]["total_steps"]) - sum(int(game["length"]) for game in games)
    streams = len({game["stream"] for game in games})
    most = (len(made) + options.workers) * streams * (GAME_STEPS - 1)
    require(lost <= most, f"steps in no game of episodes.csv: {lost}, of running games {most} at most")
    score = statistics.fmean(float(game["score"]) for game in games[-200:])
    require(score >= 0.8, f"the toy is learnt: mean score of the last 200 games {score:.2f}")
    print_facts(made, reports, games, lost, score)
    tries = Counter(fault.name for fault in made)
    return [(name, tries[name], survived[name], "the worker's running games") for name in FAULTS]


def require_epsilons(running: Run, games: Sequence[dict[str, str]]) -> None:
    """Require that each stream's epsilon falls to its own final one, and stays there, through all incarnations.

    A game is dated by the T that counts its last step, and others have made steps meanwhile.
    """
    final = run_directory.sessions(running.run_dir)[0]["seeds"]["final_epsilons"]
    epsilons = defaultdict[tuple[str, str], list[tuple[int, float]]](list)
    for game in games:
        epsilons[game["worker"], game["stream"]].append((int(game["total_steps"]), float(game["epsilon"])))
    for (worker, stream), dated in epsilons.items():
        own, who = final[f"worker {worker}"][int(stream)], f"epsilon of worker {worker}, stream {stream}"
        values = [epsilon for _, epsilon in dated]
        late = [epsilon for total_steps, epsilon in dated if total_steps > 30_000]
        require(values == sorted(values, reverse=True), f"the {who} never rises")
        require(values[-1] > own - 1e-6, f"the {who} is never below its own, {own}")
        require(max(late, default=own) < own + 1e-6, f"the {who} stays at its own, {own}: {late}")


def print_facts(
    made: Sequence[Fault], reports: Sequence[dict[str, str]], games: Sequence[dict[str, str]], lost: int, score: float
) -> None:
    """What is measured, not promised: nobody waits for a dead worker."""
    standing = longest = 0.0
    for before, after in pairwise(reports):
        took = float(after["seconds"]) - float(before["seconds"])
        standing = standing + took if before["total_steps"] == after["total_steps"] else 0.0
        longest = max(longest, standing)
    waited = max(pauses_without_fault(made, games), default=0.0)
    seconds, steps = float(reports[-1]["seconds"]), int(reports[-1]["total_steps"])
    print(f"{len(made)} faults in {seconds:.0f} s, T = {steps:,}; mean score of the last 200 games {score:.2f}")
    print(f"longest time without a step of any worker {longest:.1f} s; {lost:,} steps of lost games")
    print(f"longest pause between two games of a worker that was not hurt {waited:.2f} s", flush=True)


def pauses_without_fault(made: Sequence[Fault], games: Sequence[dict[str, str]]) -> Iterator[float]:
    """Seconds between two games of a worker in which it was not hurt. Faults are dated to a report, 0.5 s apart or a
    little more, hence two seconds of tolerance; a worker that starts up has been hurt in the same pause."""
    ends, faults = defaultdict[int, list[float]](list), defaultdict[int, list[float]](list)
    for game in games:
        ends[int(game["worker"])].append(float(game["seconds"]))
    for fault in made:
        faults[fault.worker].append(fault.seconds)
    for worker, times in ends.items():
        for start, end in pairwise(times):
            if not any(start - 2 <= at <= end for at in faults[worker]):
                yield end - start
