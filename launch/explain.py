"""``python -m launch.explain``: what a network has learnt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from async_rl.types import UserError
from launch import command


@dataclass(frozen=True)
class Options:
    """What the network has learnt, in two pictures, from states of real play.

    OUTPUT: for each convolution its filters, the patches of play that excite each filter most, and these projected back
    into pixels by guided backpropagation (Springenberg et al. 2015, arXiv 1412.6806); without convolutions the weights
    of the first layer. OUTPUT_map: the last hidden layer on a plane, coloured by value (Mnih et al. 2015, figure 4).
    Needs the extra 'explain': pip install '.[explain]'.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, checkpoint or exported network (.safetensors)."""
    output: Path = Path("features.png")
    """File to write, .png; the map is written beside it: features_map.png."""
    states: int = 2000
    """States to look at; they are picked at random from 8 times as many steps of play."""
    method: Literal["tsne", "pca"] = "tsne"
    """Layout of the map: tsne keeps neighbours together; pca shows the two directions in which states differ most."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Which checkpoint of a run directory."""
    trust_code: bool = False
    """Let the file name code of your own to import (package.module:function), as its environment or network."""
    seed: int = 0
    """The same seed gives the same pictures."""


def main() -> None:
    """Run the command; exits with 0 (done), 2 (bad input) or 130 (Ctrl-C)."""
    command.run(lambda: _explain(command.read_arguments(Options, "launch.explain")))


def _explain(options: Options) -> None:
    if options.states < 10:
        raise UserError(f"--states must be at least 10, got {options.states}.")
    if options.seed < 0:
        raise UserError(f"--seed must be at least 0, got {options.seed}.")
    command.check_run(options.run)
    import torch  # takes seconds; bad input and --help should not wait

    from async_rl.agent import Agent
    from async_rl.viewing.explaining import check_output, explain
    from launch.progress import Progress

    check_output(options.output)
    torch.set_num_threads(1)  # a single screen gains nothing by more, and loses much where the cores are busy
    agent = Agent(command.read_network(options.run, options.checkpoint, options.trust_code))
    with Progress() as progress:
        written = explain(agent, options.output, options.states, options.method, options.seed, progress.tell)
    for path in written:
        print(path)


if __name__ == "__main__":
    main()
