"""The command line of model cards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from async_rl.types import UserError
from launch import command

if TYPE_CHECKING:
    from async_rl.card import Curve
    from async_rl.evaluation import Evaluation


@dataclass(frozen=True)
class Options:
    """Write a model card of a run as Markdown: scores and their protocol, the learning curve, and how it was made.

    Scores are those of launch.evaluate, which is to be run before. The curve is a picture beside the card where
    matplotlib is installed (the extra "plot"), else a table.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    output: Path | None = None
    """Markdown file to write; default: MODEL_CARD.md in the run directory. The picture gets the same name with .png."""


def main() -> None:
    """Run the command; exits with 0 (done) or 2 (bad input)."""
    options = tyro.cli(Options, prog="python -m launch.card")
    command.run(lambda: _run(options))


def _run(options: Options) -> None:
    command.check_run(options.run)
    if not options.run.is_dir():
        raise UserError(f"a model card is made of a run directory, {options.run} is a file.")
    from async_rl import storage  # torch takes seconds to import
    from async_rl.card import model_card, read_curve, read_evaluations

    saved = command.read_network(options.run, trust_code=True)  # nothing of it is made, so nothing is imported
    curve, evaluations = read_curve(options.run), read_evaluations(options.run)
    output = options.output or options.run / "MODEL_CARD.md"
    picture = output.with_suffix(".png")
    content = _drawn(curve, evaluations, saved.spec.name) if curve is not None else None
    if content is not None:
        storage.write_result(picture, content)
    name = picture.name if content is not None else None
    storage.write_result(output, model_card(options.run, saved, curve, name, evaluations).encode())
    print(f"written: {output}" + (f" and {picture}" if content is not None else ""))


def _drawn(curve: "Curve", evaluations: "Sequence[Evaluation]", game: str) -> bytes | None:
    """The learning curve as PNG; None without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return None
    import io

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # after the choice of a backend that needs no screen

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    axes.plot(curve.steps / 1e6, curve.scores, color="#0072b2", label="training games")
    if evaluations:
        steps, means = [one.total_steps / 1e6 for one in evaluations], [one.mean for one in evaluations]
        errors = [0 if len(one.scores) == 1 else 2 * one.standard_error for one in evaluations]
        axes.errorbar(steps, means, errors, fmt="o", color="#d55e00", capsize=3, label="evaluations")
        axes.legend(frameon=False, loc="lower right")
    axes.set(xlabel="T, million steps", ylabel=f"{game}: mean score")
    axes.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, dpi=120)
    plt.close(figure)
    return content.getvalue()


if __name__ == "__main__":
    main()
