"""``python -m launch.card``: a model card of a run."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from async_rl.types import UserError
from launch import command


@dataclass(frozen=True)
class Options:
    """Write a model card of a run as Markdown: scores and their protocol, the learning curve, and how it was made.

    Scores are those of launch.evaluate, which is to be run before. The curve is a picture beside the card where
    matplotlib is installed (the extra "plot"), else a table.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    output: command.PathOrNone = None
    """Markdown file to write; default: MODEL_CARD.md in the run directory. The picture gets the same name with .png."""


def main() -> None:
    """Run the command; exits with 0 (done) or 2 (bad input)."""
    command.run(lambda: _run(command.read_arguments(Options, "launch.card")))


def _run(options: Options) -> None:
    output = options.output or options.run / "MODEL_CARD.md"
    if output.suffix != ".md":
        raise UserError(f"--output must end in .md, got {output}.")
    command.check_run(options.run)
    if not options.run.is_dir():
        raise UserError(f"a model card is made of a run directory, {options.run} is a file.")
    from async_rl import storage  # torch takes seconds to import
    from async_rl.card import model_card, read_curve, read_evaluations
    from async_rl.plotting.picture import draw

    saved = command.read_network(options.run, trust_code=True)  # nothing of it is made, so nothing is imported
    curve, evaluations = read_curve(options.run), read_evaluations(options.run)
    picture = output.with_suffix(".png")
    drawn = curve is not None and importlib.util.find_spec("matplotlib") is not None
    if curve is not None and drawn:
        draw([curve], [saved.spec.name], ("steps", "time"), picture)
    name = picture.name if drawn else None
    storage.write_result(output, model_card(options.run, saved, curve, name, evaluations).encode(errors="replace"))
    print(f"written: {output}" + (f" and {picture}" if drawn else ""))


if __name__ == "__main__":
    main()
