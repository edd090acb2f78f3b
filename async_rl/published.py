"""Published scores of Atari games to hold ours against, each with its source.

All are means over whole games in the game's own points, from no-op starts. A figure's protocol differs from ours in
some point wherever ours states its own (sticky actions, length of a game, exploration of the evaluated agent).
"""

from dataclasses import dataclass, field

NATURE = "Mnih et al. 2015"
"""Nature 518, doi:10.1038/nature14236, extended data table 2."""

DQN_ZOO = "google-deepmind/dqn_zoo"
"""On GitHub, dqn_zoo/atari_data.py: what DeepMind normalises scores by. Its human figures for Pong, Breakout, Beam
Rider and Space Invaders are others than those of Mnih et al. 2015, which are kept here."""

AGENTS = {
    "DQN": "Mnih et al. 2015, extended data table 2: after 200M frames",
    "Double DQN": "van Hasselt et al. 2015, arXiv 1509.06461: after 200M frames",
    "Duelling DQN": "Wang et al. 2016, arXiv 1511.06581: after 200M frames",
    "Prioritised duelling DQN": "Wang et al. 2016, arXiv 1511.06581: after 200M frames",
    "A3C": "pfrl's reproduction with feed-forward networks: after 80M steps, github.com/pfnet/pfrl",
    "PQN": "cleanrl's reproduction with 8 emulators: after 10M steps, docs.cleanrl.dev",
}
"""Sources of `Published.agents`."""


@dataclass(frozen=True)
class Point:
    """The score of asynchronous one-step Q-learning with 16 threads on the way: after so many steps, or hours.

    Read by eye off the figures of Mnih et al. 2016 by the authors of github.com/ray-project/rl-experiments: right
    within 30 %. After an hour they have the same four figures for A3C.
    """

    score: float
    steps: int | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Published:
    """What is published for one game.

    Attributes:
        random: mean score of an agent that plays at random.
        human: mean score of a professional tester of games.
        source: of both.
        agents: mean scores of trained agents; sources in `AGENTS`.
        points: of asynchronous one-step Q-learning on its way.
    """

    random: float
    human: float
    source: str = DQN_ZOO
    agents: dict[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()


def human_normalised(game: str, score: float) -> float | None:
    """``score`` on the scale of the game on which 0 is random play and 1 a human tester; None where that is unknown.

    Args:
        game: its plain name, as in ``EnvSpec.name``: ``space_invaders``.
        score: in the game's own points.
    """
    known = PUBLISHED.get(game)
    return (score - known.random) / (known.human - known.random) if known else None


def _nature(
    random: float, human: float, agents: tuple[float | None, ...], one_step_q: tuple[float, float] | None = None
) -> Published:
    """A game of Mnih et al. 2015: scores of `AGENTS`, and of one-step Q after an hour and after ten million steps."""
    known = {name: score for name, score in zip(AGENTS, agents, strict=True) if score is not None}
    points = (Point(one_step_q[0], hours=1.0), Point(one_step_q[1], steps=10_000_000)) if one_step_q else ()
    return Published(random, human, NATURE, known, points)


PUBLISHED: dict[str, Published] = {
    "beam_rider": _nature(363.9, 5774.7, (6846, 7654, 12164, 30276.5, 8882.6, 5753), (1000, 6000)),
    "breakout": _nature(1.7, 31.8, (401.2, 375, 345.3, 366, 581, 384.9), (10, 50)),
    "pong": _nature(-20.7, 9.3, (18.9, 21, 21, 20.9, 20.9, 20.49)),
    "qbert": _nature(163.9, 13455, (10596, 14875, 19220, 18760.3, 20721.9, None), (500, 1200)),
    "space_invaders": _nature(148, 1652.3, (1976, 3154.6, 6427, 15311.5, 1043.5, 1325), (300, 600)),
    "alien": Published(227.8, 7127.7),
    "amidar": Published(5.8, 1719.5),
    "assault": Published(222.4, 742),
    "asterix": Published(210, 8503.3),
    "asteroids": Published(719.1, 47388.7),
    "atlantis": Published(12850, 29028.1),
    "bank_heist": Published(14.2, 753.1),
    "battle_zone": Published(2360, 37187.5),
    "berzerk": Published(123.7, 2630.4),
    "bowling": Published(23.1, 160.7),
    "boxing": Published(0.1, 12.1),
    "centipede": Published(2090.9, 12017),
    "chopper_command": Published(811, 7387.8),
    "crazy_climber": Published(10780.5, 35829.4),
    "defender": Published(2874.5, 18688.9),
    "demon_attack": Published(152.1, 1971),
    "double_dunk": Published(-18.6, -16.4),
    "enduro": Published(0, 860.5),
    "fishing_derby": Published(-91.7, -38.7),
    "freeway": Published(0, 29.6),
    "frostbite": Published(65.2, 4334.7),
    "gopher": Published(257.6, 2412.5),
    "gravitar": Published(173, 3351.4),
    "hero": Published(1027, 30826.4),
    "ice_hockey": Published(-11.2, 0.9),
    "jamesbond": Published(29, 302.8),
    "kangaroo": Published(52, 3035),
    "krull": Published(1598, 2665.5),
    "kung_fu_master": Published(258.5, 22736.3),
    "montezuma_revenge": Published(0, 4753.3),
    "ms_pacman": Published(307.3, 6951.6),
    "name_this_game": Published(2292.3, 8049),
    "phoenix": Published(761.4, 7242.6),
    "pitfall": Published(-229.4, 6463.7),
    "private_eye": Published(24.9, 69571.3),
    "riverraid": Published(1338.5, 17118),
    "road_runner": Published(11.5, 7845),
    "robotank": Published(2.2, 11.9),
    "seaquest": Published(68.4, 42054.7),
    "skiing": Published(-17098.1, -4336.9),
    "solaris": Published(1236.3, 12326.7),
    "star_gunner": Published(664, 10250),
    "surround": Published(-10, 6.5),
    "tennis": Published(-23.8, -8.3),
    "time_pilot": Published(3568, 5229.2),
    "tutankham": Published(11.4, 167.6),
    "up_n_down": Published(533.4, 11693.2),
    "venture": Published(0, 1187.5),
    "video_pinball": Published(16256.9, 17667.9),
    "wizard_of_wor": Published(563.5, 4756.5),
    "yars_revenge": Published(3092.9, 54576.9),
    "zaxxon": Published(32.5, 9173.3),
}
"""Every game of which both figures are published, by its plain name."""
