"""How close training comes to what the processor can do.

``python -m benchmarks.throughput``: real runs of the command in several shapes, and beside each what a step cannot cost
less than (`benchmarks.floor`). In a round the floor is measured on an idle machine, then every shape runs once; round
after round, so that a machine whose speed drifts is unfair to none. The table gives medians over rounds, of the ratios
too: floor divided by measured time, per core. With more workers than cores the time is that of all cores, which have
to be whole ones: a container that may use two and a half counts as three.

Tried and dropped, with one worker on a core of a Zen 4 EPYC, microseconds per step: two or five updates out of one
segment of 32 or 40 streams, each from its share of the kept passes (8 steps per update: 756 instead of 1,009, 659 at 40
steps per update). But the later ones follow gradients of parameters that the first has already moved: on Pong with 2 x
32 streams and 16 steps per update the TD loss jumped to 0.097 at 0.33 million steps and was at 0.012 at 0.54 million;
with 2 x 16 streams, one update each, it was at 0.005. Large pages for malloc (glibc's hugetlb tunable): no difference.
RMSProp by plain tensor operations on chunks that fit a cache: see `async_rl.optimizers.RMSProp`. On a Xeon with AMX,
microseconds per update with 16 streams, of some 8,000: the last layer's gradient compiled, and the norm of the hidden
layer's taken from its two factors, 54 less together, for 90 more lines. The target's weights in oneDNN's own order: 95
less, but by operators that torch keeps to itself. The hidden layer's gradient as its two factors until RMSProp takes
it, piece by piece in the nearest cache: 60 less with 16 streams, 90 with 8, 105 with one emulator and five steps. The
same by rows, without those of units that were silent in the whole batch (two of three are; 40 to 60 % in trained
networks): 160 less with 8 streams, none with 16; with the decay of their statistics put off until they are next needed,
too, 230 and 70. The second convolution's gradients as two products of matrices: 164 instead of 254 by itself, but no
faster in training, where its memory comes out of a far cache. For the same reason neither rectifiers in place nor
RMSProp's next pages asked for ahead make a difference. The paper's convolutions for one screen as compiled loops would
gain about 50 of 1,250 a step with one emulator. Large pages for vectors: no difference.

On a Xeon without AMX, in float32, what is faster by itself is often not in training, where code and memory come out of
a far cache; microseconds per step with 16 streams, of 640. Convolutions as products of matrices (of the first, each
block of pixels times all four quarters of the filters; of the second, windows unfolded a few screens at a time): 22
instead of 36 for the second's gradients alone, 33 instead of 44 in training, but the first's then take 4 more; all of
both layers: 13 more, with one emulator 100 of 1,430 less. The second convolution in blocks: its gradients 7 less, but
the rectifier before it, which has to bring them there and back, 14 more. Its input's gradient as a forward convolution:
3 less. The gradient's norm from the hidden layer's two factors: 2 less. A pass of the first two layers, for half, a
quarter or an eighth of the screens at a time: 8, 22 and 55 more. oneDNN's older instruction sets: no difference, or
slower.

That was with oneDNN's convolutions. With those of `async_rl.kernels.convolving`, of 600: screens standardised in each
of the three passes, so that a few at a time stay in a near cache: 8 less in the target's, 8 and 11 more in the others
with 16 emulators (where there are more it pays, see `async_rl.convolutions.PixelInput`).
Standardised once, a few at a time, each convolved at once: no difference with 16 emulators, 4 less with 40. The lines
of the next rows of a screen asked for ahead: 3 less, all in the gradient of the weights. The hidden layer by the same
loops, microseconds with 16 rows and its weight out of a far cache: 197 as oneDNN's 198 (175 instead of 206 with 8 rows,
560 instead of 480 with 40); its input's gradient 162 instead of 204, which would be 2.6 a step. In training the forward
loops take 7 and 1.5 less a step, and what comes after them more: all together 4 less at most.

A shape is WORKERSxEMULATORSxT_MAX; emulators times t_max are the steps of an update.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.envs.atari import find_game
from async_rl.run_directory import machine
from async_rl.types import UserError
from benchmarks import command_line, table
from benchmarks.floor import Floor, measure_floor
from benchmarks.runs import measure

Shape = tuple[int, ...]
HEADER = (
    *("env", "workers", "envs_per_worker", "t_max"),
    *("emulation_us", "arithmetic_us", "memory_us", "floor_us", "core_us", "steps_per_second", "ratio"),
)


def default_shapes() -> tuple[str, ...]:
    """The paper's shape, the default, and 8, 40 and 160 steps per update; each for 1 worker and for all cores."""
    default = Config()
    own = f"{default.envs_per_worker}x{default.t_max}"
    one_core = [f"1x{shape}" for shape in ("1x5", own)]
    all_cores = [f"{available_cores()}x{shape}" for shape in ("1x5", own, "8x1", "8x5", "40x1", "40x4")]
    return tuple(dict.fromkeys(one_core + all_cores))


def read_shape(words: str) -> Shape:
    """The numbers of ``WORKERSxEMULATORSxT_MAX``.

    Raises:
        UserError: it is something else.
    """
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", words, re.ASCII):
        raise UserError(f"a shape is WORKERSxEMULATORSxT_MAX, such as 2x16x1; got {words!r}.")
    return tuple(int(number) for number in words.split("x"))


@dataclass(frozen=True)
class Options:
    """Measure steps per second of training runs, and hold them against what the processor can do."""

    envs: tuple[str, ...] = ("pong", "breakout")
    """Atari games."""
    shapes: tuple[str, ...] = default_shapes()
    """Workers x emulators in each x t_max."""
    seconds: float = 10.0
    """Seconds that each run is measured for."""
    rounds: int = 3
    """Repetitions of all shapes in turn."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the runs; the floor's arithmetic is in float32 in any case."""
    output: Path | None = None
    """Results, with .csv and .png."""


@dataclass(frozen=True)
class Sample:
    """One shape in one round."""

    floor: Floor
    speed: float
    """Steps per second of all workers."""
    core: float
    """Microseconds of a core for a step."""


def sample(options: Options, env: str, shape: Shape, floor: Floor) -> Sample:
    """Run one shape; ``floor`` is that of an update of one step."""
    workers, envs, t_max = shape
    names = ("workers", "envs-per-worker", "t-max")
    flags = dict(zip(names, shape, strict=True)) | {"env": env, "precision": options.precision}
    speed = measure(flags, options.seconds)
    cores = min(workers, available_cores())
    own_floor = Floor(floor.emulation, floor.arithmetic, floor.memory / (envs * t_max))
    return Sample(own_floor, speed, 1e6 * cores / speed)


def row(env: str, shape: Shape, samples: Sequence[Sample]) -> tuple[object, ...]:
    """Medians of a shape, in the order of `HEADER`."""
    terms = [(s.floor.emulation, s.floor.arithmetic, s.floor.memory, s.floor.total, s.core) for s in samples]
    medians = [round(statistics.median(values), 1) for values in zip(*terms, strict=True)]
    ratio = statistics.median(s.floor.total / s.core for s in samples)
    return (env, *shape, *medians, round(statistics.median(s.speed for s in samples)), f"{ratio:.2f}")


def draw(rows: Sequence[tuple[object, ...]], title: str, path: Path) -> None:
    """A bar of each shape: the measured time of a core for a step, and in it the terms of the floor."""
    from matplotlib.figure import Figure  # not needed without --output

    figure = Figure(figsize=(10, 1.2 + 0.4 * len(rows)))
    axis = figure.subplots()
    for number, values in enumerate(rows):
        named = dict(zip(HEADER, values, strict=True))
        left = 0.0
        axis.barh(number, float(str(named["core_us"])), color="#dddddd", label="measured" if number == 0 else None)
        for term, colour in (("emulation", "#0072b2"), ("arithmetic", "#e69f00"), ("memory", "#009e73")):
            width = float(str(named[f"{term}_us"]))
            axis.barh(number, width, left=left, height=0.5, color=colour, label=term if number == 0 else None)
            left += width
        text = f" {named['steps_per_second']:,} steps/s, ratio {named['ratio']}"
        axis.text(float(str(named["core_us"])), number, text, va="center", fontsize=12)
    axis.set_yticks(range(len(rows)), [f"{v[0]} {'x'.join(str(n) for n in v[1:4])}" for v in rows], fontsize=12)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.4 * max(float(str(v[HEADER.index("core_us")])) for v in rows))
    axis.set_xlabel("microseconds of a core for a step; workers x emulators x t_max", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=12, loc="lower right")
    axis.set_title(title, fontsize=12)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file and the picture."""
    shapes = [read_shape(shape) for shape in options.shapes]
    if others := [env for env in options.envs if find_game(env) is None]:
        raise UserError(f"the floor is measured on Atari games, and {others[0]} is none.")
    samples: dict[tuple[str, Shape], list[Sample]] = {(env, shape): [] for env in options.envs for shape in shapes}
    for number in range(options.rounds):
        for env in options.envs:
            floor = measure_floor(Config(env=env), seconds=min(3.0, options.seconds))
            for shape in shapes:
                samples[env, shape].append(sample(options, env, shape, floor))
                done = row(env, shape, samples[env, shape][-1:])
                print(f"round {number + 1}: " + " ".join(f"{value!s}" for value in done), flush=True)
    rows = [row(env, shape, values) for (env, shape), values in samples.items()]
    here = machine()
    how = f"precision {options.precision}, floor in float32, medians of {options.rounds} rounds"
    title = f"{here['processor']}, {here['cores']} cores, {how}"
    print("\n" + title)
    for cells in (HEADER, *rows):
        print(" ".join(f"{cell!s:>16}" for cell in cells))
    if options.output is not None:
        named = [(*cells, options.precision, here["processor"], here["cores"]) for cells in rows]
        table.write(options.output, (*HEADER, "precision", "processor", "cores"), named)
        draw(rows, title, options.output.with_suffix(".png"))


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.throughput", measure_all)


if __name__ == "__main__":
    main()
