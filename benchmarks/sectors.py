"""Where an agent of Beam Rider loses its lives: in a sector, or to what comes when the sector is cleared.

``python -m benchmarks.sectors``: whole games of a network. A sector is cleared with its 15th enemy; then a sentinel
crosses the screen for 150 steps, among ships that are to be dodged, and the next sector begins, whether it was survived
or not. The same games are played again by an agent that in those 150 steps does nothing but swing from side to side,
to tell how hard they are. Sectors are told by the score: of an agent that hits what has points of its own, as good ones
do, those that follow are not counted, and its lives count as lost in a sector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from async_rl import Agent, Config, UserError, load
from async_rl.envs.atari import Atari
from async_rl.evaluation import make_protocol
from benchmarks import table
from benchmarks.command_line import check_output
from launch import command

ENEMIES = 15
"""Of each sector; one is worth 44 points in the first sector, and 4 more in each that follows."""

SENTINEL_STEPS = 150

WRECK_STEPS = 80
"""At most, from the hit until the life is counted as lost."""

SWING_STEPS = 12
"""About as many as the ship takes from side to side."""

HEADER = ("player", "epsilon", "games", "score", "sectors_cleared", "lives_lost_to_sentinels", "lives_lost_in_sectors")


@dataclass(frozen=True)
class Options:
    """Count the lives that an agent of Beam Rider loses in sectors and between them."""

    network: Path = Path("benchmarks") / "results" / "reproduce" / "beam_rider.safetensors"
    """Network that plays, or a checkpoint."""
    epsilon: float = 0.05
    """Probability of a random action."""
    episodes: int = 30
    """Whole games of each player."""
    output: Path | None = None
    """CSV file for the results."""


@dataclass
class Tally:
    """What has happened in all games of a player."""

    score: float = 0.0
    sectors: int = 0
    to_sentinels: int = 0
    in_sectors: int = 0


def cleared(score: float) -> bool:
    """Whether a game that has this score stands between two sectors, before the first enemy of the next."""
    total = 0
    points = 44
    while total < score:
        total += ENEMIES * points
        points += 4
    return total == score > 0


def play(act: Callable[[np.ndarray, np.random.Generator], int], swings: bool, seed: int, tally: Tally) -> None:
    """Play a whole game and add to ``tally``; ``act`` chooses the action for an observation."""
    random = np.random.default_rng(seed)
    game = Atari("beam_rider", Config(env="beam_rider"), random)
    actions = game.spec.action_names
    swing = (actions.index("RIGHT"), actions.index("LEFT"))
    observation = np.zeros(game.spec.observation_shape, game.spec.observation_dtype)
    game.reset(observation)
    score, since, lives, over = 0.0, 0, game.lives, False  # since: steps after the last enemy
    while not over:
        after_sector = cleared(score)
        chosen = act(observation, random)
        if swings and after_sector and since < SENTINEL_STEPS:
            chosen = swing[since // SWING_STEPS % 2]
        outcome = game.step(chosen, observation)
        over, since = outcome.over, since + 1
        if game.lives < lives:
            to_sentinel = after_sector and since < SENTINEL_STEPS + WRECK_STEPS
            tally.to_sentinels += to_sentinel
            tally.in_sectors += not to_sentinel
        if outcome.reward:
            score, since = score + outcome.reward, 0
            tally.sectors += cleared(score)
        lives = game.lives
    tally.score += score


def rows(agent: Agent, options: Options) -> list[tuple[object, ...]]:
    """Play all games of both players; their rows, in the order of `HEADER`."""

    def act(observation: np.ndarray, random: np.random.Generator) -> int:
        """The agent's action."""
        return int(agent.act(observation, options.epsilon, random))

    made: list[tuple[object, ...]] = []
    for player, swings in (("the agent", False), ("the agent, swinging after sectors", True)):
        tally = Tally()
        for seed in range(options.episodes):
            play(act, swings, seed, tally)
        counts = (tally.sectors, tally.to_sentinels, tally.in_sectors)
        made.append((player, options.epsilon, options.episodes, round(tally.score / options.episodes), *counts))
    return made


def measure(options: Options) -> None:
    """Play, print the table and write the CSV file."""
    agent = load(options.network)
    if agent.spec.name != "beam_rider":
        raise UserError(f"{options.network} plays {agent.spec.name}; sectors are of beam_rider.")
    make_protocol(agent.config, options.epsilon, episodes=options.episodes)  # for its checks
    check_output(options.output)
    torch.set_num_threads(1)
    made = rows(agent, options)
    for cells in (HEADER, *made):
        print("  ".join(f"{cell!s:>23}" for cell in cells))
    table.write(options.output, HEADER, made)


def main() -> None:
    """Run the command."""
    options = command.read_arguments(Options, "benchmarks.sectors")
    command.run(lambda: measure(options))


if __name__ == "__main__":
    main()
