"""Published scores of Atari games, to hold one's own against.

All are of games that start with up to 30 no-ops, of agents trained for 200 million frames (A3C: 80 million steps).
Mnih et al. 2015, doi:10.1038/nature14236; van Hasselt et al. 2015, arXiv 1509.06461; Wang et al. 2016, arXiv
1511.06581; pfrl, Fujita et al. 2021, arXiv 1912.03905, with figures from its repository.
"""

from dataclasses import dataclass

NATURE = "Mnih et al. 2015"
WANG = "Wang et al. 2016"


@dataclass(frozen=True)
class Scores:
    """Mean scores in one game, in its own points.

    Attributes:
        random: of random play.
        human: of a professional games tester.
        source: of these two.
        agents: of published methods, by name.
    """

    random: float
    human: float
    source: str
    agents: dict[str, float]


AGENTS = (
    "DQN (Mnih et al. 2015)",
    "Double DQN (van Hasselt et al. 2015)",
    "Dueling DQN (Wang et al. 2016)",
    "Prioritised dueling DQN (Wang et al. 2016)",
    "A3C (pfrl's reproduction, 80 million steps)",
)

_NATURE: dict[str, tuple[float, float, tuple[float, ...]]] = {
    "beam_rider": (363.9, 5774.7, (6846, 7654, 12164, 30276.5, 8882.6)),
    "breakout": (1.7, 31.8, (401.2, 375, 345.3, 366, 581.0)),
    "pong": (-20.7, 9.3, (18.9, 21, 21, 20.9, 20.9)),
    "qbert": (163.9, 13455, (10596, 14875, 19220, 18760.3, 20721.9)),
    "space_invaders": (148, 1652.3, (1976, 3154.6, 6427, 15311.5, 1043.5)),
}
"""Random and human by Mnih et al. 2015, and then the scores of `AGENTS`."""

_WANG: dict[str, tuple[float, float]] = {
    "alien": (227.8, 7127.7),
    "amidar": (5.8, 1719.5),
    "assault": (222.4, 742.0),
    "asterix": (210.0, 8503.3),
    "asteroids": (719.1, 47388.7),
    "atlantis": (12850.0, 29028.1),
    "bank_heist": (14.2, 753.1),
    "battle_zone": (2360.0, 37187.5),
    "berzerk": (123.7, 2630.4),
    "bowling": (23.1, 160.7),
    "boxing": (0.1, 12.1),
    "centipede": (2090.9, 12017.0),
    "chopper_command": (811.0, 7387.8),
    "crazy_climber": (10780.5, 35829.4),
    "defender": (2874.5, 18688.9),
    "demon_attack": (152.1, 1971.0),
    "double_dunk": (-18.6, -16.4),
    "enduro": (0.0, 860.5),
    "fishing_derby": (-91.7, -38.7),
    "freeway": (0.0, 29.6),
    "frostbite": (65.2, 4334.7),
    "gopher": (257.6, 2412.5),
    "gravitar": (173.0, 3351.4),
    "hero": (1027.0, 30826.4),
    "ice_hockey": (-11.2, 0.9),
    "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0),
    "krull": (1598.0, 2665.5),
    "kung_fu_master": (258.5, 22736.3),
    "montezuma_revenge": (0.0, 4753.3),
    "ms_pacman": (307.3, 6951.6),
    "name_this_game": (2292.3, 8049.0),
    "phoenix": (761.4, 7242.6),
    "pitfall": (-229.4, 6463.7),
    "private_eye": (24.9, 69571.3),
    "riverraid": (1338.5, 17118.0),
    "road_runner": (11.5, 7845.0),
    "robotank": (2.2, 11.9),
    "seaquest": (68.4, 42054.7),
    "skiing": (-17098.1, -4336.9),
    "solaris": (1236.3, 12326.7),
    "star_gunner": (664.0, 10250.0),
    "surround": (-10.0, 6.5),
    "tennis": (-23.8, -8.3),
    "time_pilot": (3568.0, 5229.2),
    "tutankham": (11.4, 167.6),
    "up_n_down": (533.4, 11693.2),
    "venture": (0.0, 1187.5),
    "video_pinball": (16256.9, 17667.9),
    "wizard_of_wor": (563.5, 4756.5),
    "yars_revenge": (3092.9, 54576.9),
    "zaxxon": (32.5, 9173.3),
}
"""Random and human by Wang et al. 2016, as DeepMind's dqn_zoo uses them."""

SCORES: dict[str, Scores] = {
    **{game: Scores(r, h, NATURE, dict(zip(AGENTS, a, strict=True))) for game, (r, h, a) in _NATURE.items()},
    **{game: Scores(r, h, WANG, {}) for game, (r, h) in _WANG.items()},
}
"""By the plain name of the game."""


def human_normalised(game: str, score: float) -> float | None:
    """``score`` of ``game`` (its plain name) on a scale on which random play has 0 and a human 1; None: not published.

    Source of the scale: Mnih et al. 2015, figure 3.
    """
    if game not in SCORES:
        return None
    published = SCORES[game]
    return (score - published.random) / (published.human - published.random)
