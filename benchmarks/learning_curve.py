"""The learning curve of a run, from the files in its run directory.

``python -m benchmarks.learning_curve RUN --output NAME`` writes ``NAME.csv`` (finished games in bins of T: mean score
of all streams and, apart, of each final epsilon) and ``NAME.png``.
"""

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import tyro

from benchmarks import table

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # after the choice of a backend that needs no screen

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which colour-blind people can tell apart."""


@dataclass(frozen=True)
class Options:
    """Draw the learning curve of a run."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    output: Path
    """Where the results go, without the endings .csv and .png."""
    bin_steps: int = 100_000
    """Steps of all workers in one point of the curve."""
    reference: tuple[float, ...] = ()
    """Scores to draw as horizontal lines, such as that of random play."""


def final_epsilons(run: Path) -> dict[tuple[int, int], float]:
    """(worker, stream) -> the final epsilon it drew, as recorded in ``run.json``."""
    session = json.loads((run / "run.json").read_text(encoding="utf-8"))["sessions"][0]
    drawn = session["seeds"]["final_epsilons"]
    return {(int(name.split()[1]), i): value for name, values in drawn.items() for i, value in enumerate(values)}


def binned(run: Path, bin_steps: int) -> tuple[list[dict[str, float]], list[float]]:
    """One row for each bin of T in which games ended, and the final epsilons that occur."""
    of_stream = final_epsilons(run)
    bins: dict[int, list[dict[str, str]]] = defaultdict(list)
    for game in table.read(run / "episodes.csv"):
        bins[int(game["total_steps"]) // bin_steps].append(game)
    epsilons = sorted(set(of_stream.values()))
    rows = []
    for number, games in sorted(bins.items()):
        row = {
            "total_steps": (number + 1) * bin_steps,
            "seconds": round(float(games[-1]["seconds"])),
            "games": len(games),
            "score": round(statistics.fmean(float(game["score"]) for game in games), 3),
        }
        for epsilon in epsilons:
            own = [float(g["score"]) for g in games if of_stream[int(g["worker"]), int(g["stream"])] == epsilon]
            row[f"score_epsilon_{epsilon:g}"] = round(statistics.fmean(own), 3) if own else float("nan")
        rows.append(row)
    return rows, epsilons


def draw(rows: list[dict[str, float]], epsilons: list[float], options: Options) -> None:
    """Draw the curves of all streams and of each final epsilon against steps and hours."""
    figure, (by_steps, by_hours) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for axis, key, scale in ((by_steps, "total_steps", 1e6), (by_hours, "seconds", 3600.0)):
        x = [row[key] / scale for row in rows]
        apart = epsilons if len(epsilons) > 1 else []
        for epsilon, colour in zip(apart, COLOURS[1:], strict=False):
            scores = [row[f"score_epsilon_{epsilon:g}"] for row in rows]
            axis.plot(x, scores, color=colour, linewidth=1.2, label=f"streams with final ε {epsilon:g}")
        axis.plot(x, [row["score"] for row in rows], color=COLOURS[0], linewidth=2.2, label="all training games")
        for value in options.reference:
            axis.axhline(value, color="grey", linestyle=":", linewidth=1)
        axis.grid(alpha=0.3)
    by_steps.set_xlabel("million steps (4 frames each)")
    by_hours.set_xlabel("hours")
    by_steps.set_ylabel(f"score, mean over {options.bin_steps:,} steps")
    by_steps.legend(loc="best")
    figure.suptitle(options.run.name)
    figure.tight_layout()
    figure.savefig(options.output.with_suffix(".png"), dpi=110)


def main() -> None:
    """Write the CSV file and the picture."""
    options = tyro.cli(Options, prog="python -m benchmarks.learning_curve")
    rows, epsilons = binned(options.run, options.bin_steps)
    if not rows:
        raise SystemExit(f"{options.run} has no finished games")
    table.write(options.output.with_suffix(".csv"), list(rows[0]), [list(row.values()) for row in rows])
    draw(rows, epsilons, options)
    print(f"{len(rows)} points; the last one: {rows[-1]}")


if __name__ == "__main__":
    main()
