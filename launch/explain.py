"""``python -m launch.explain``: what a network has learnt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from async_rl.types import UserError
from launch import command


@dataclass(frozen=True, kw_only=True)
class Options(command.OfNetwork):
    """What the network has learnt, in two pictures, from states of real play.

    OUTPUT: for each convolution its filters, the patches of play that excite each filter most, and these projected back
    into pixels by guided backpropagation (Springenberg et al. 2015, arXiv 1412.6806); without convolutions the weights
    of the first layer. OUTPUT_map: the last hidden layer on a plane, coloured by value (Mnih et al. 2015, figure 4).
    Needs the extra 'explain': pip install '.[explain]'.
    """

    output: Path = Path("features.png")
    """File to write, .png; the map is written beside it: features_map.png."""
    states: int = 2000
    """States to look at; they are picked at random from 8 times as many steps of play."""
    method: Literal["tsne", "pca"] = "tsne"
    """Layout of the map: tsne keeps neighbours together; pca shows the two directions in which states differ most."""
    seed: int = 0
    """The same seed gives the same pictures."""


def main() -> None:
    """Run the command; exits with 0 (done), 2 (bad input), 130 (Ctrl-C) or 143 (SIGTERM)."""
    command.run(lambda: _explain(command.read_arguments(Options, "launch.explain")))


def _explain(options: Options) -> None:
    if options.states < 10:
        raise UserError(f"--states must be at least 10, got {options.states}.")
    if options.seed < 0:
        raise UserError(f"--seed must be at least 0, got {options.seed}.")
    command.check_run(options.run)
    # torch takes seconds to import; bad input and --help should not wait
    from async_rl.viewing.explaining import check_output, explain
    from launch.progress import Progress

    check_output(options.output)
    agent = options.agent()
    with Progress() as progress:
        written = explain(agent, options.output, options.states, options.method, options.seed, progress.tell)
    for path in written:
        print(path)


if __name__ == "__main__":
    main()
