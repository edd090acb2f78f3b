"""``python -m launch.explain``: what a network has learnt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from async_rl.types import UserError
from launch.command import run


@dataclass(frozen=True)
class Command:
    """What the network has learnt, in two pictures, from states of real play.

    OUTPUT: for each convolution its filters, the patches of play that excite each filter most, and these projected back
    into pixels by guided backpropagation (Springenberg et al. 2015, arXiv 1412.6806); without convolutions the weights
    of the first layer. OUTPUT_map: the last hidden layer on a plane, coloured by value (Mnih et al. 2015, figure 4).
    Needs the extra 'explain': pip install 'async_rl[explain]'.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Directory of a run (its latest checkpoint), or a checkpoint file."""
    output: Path = Path("features.png")
    """File to write, .png; the map is written beside it: features_map.png."""
    states: int = 2000
    """States to look at; they are picked at random from 8 times as many steps of play."""
    method: Literal["tsne", "pca"] = "tsne"
    """Layout of the map: tsne keeps neighbours together; pca shows the two directions in which states differ most."""
    seed: int = 0
    """The same seed gives the same pictures."""


def main() -> None:
    """Run the command; exits with 0 or, for bad input, 2."""
    run(lambda: _explain(tyro.cli(Command, prog="python -m launch.explain")))


def _explain(command: Command) -> None:
    if command.states < 10:
        raise UserError(f"--states must be at least 10, got {command.states}.")
    if command.seed < 0:
        raise UserError(f"--seed must be at least 0, got {command.seed}.")
    import torch  # takes seconds; bad input and --help should not wait

    from async_rl.agent import load
    from async_rl.viewing.explaining import check_output, explain
    from async_rl.viewing.progress import Progress

    check_output(command.output)
    torch.set_num_threads(1)  # a single screen gains nothing by more, and loses much where the cores are busy
    agent = load(command.run)
    with Progress() as progress:
        written = explain(agent, command.output, command.states, command.method, command.seed, progress.tell)
    for path in written:
        print(path)


if __name__ == "__main__":
    main()
