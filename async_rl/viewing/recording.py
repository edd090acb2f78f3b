"""A video of an agent at play.

The games are played twice with the same seed: first blindly, for the ranges of all that is shown, so that no scale has
to change while the video runs and no picture has to be kept; then with pictures. Environments that draw their own
random numbers play another game then.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from async_rl.agent import Agent
from async_rl.naming import game_title, method_of
from async_rl.viewing.panels import Scales
from async_rl.viewing.play import Moment, Play, Tell
from async_rl.viewing.saliency import saliency
from async_rl.viewing.scene import Scene
from async_rl.viewing.stage import Stage, Titles, overlay
from async_rl.viewing.video import every, video

_RARE = 0.2
"""Rewards are marked one by one where at most this part of the steps has one."""

_END_SECONDS = 1.0
"""How long the last picture stands, with the final score."""

_COMMON = 80.0
"""Percentile of the largest advantages of all steps that fills the bar; in a few decisive moments they are far larger,
and with a bar that had room for those nothing could be seen of the others."""

_DARK, _BRIGHT = 60.0, 99.8
"""Percentiles of the saliency of a screen, of which the means over the recording get no colour and the full one."""


@dataclass(frozen=True)
class Wish:
    """What is to be recorded.

    Attributes:
        output: the file, .mp4 or .gif.
        games: whole games.
        max_seconds: of the game; what is beyond is left out.
        epsilon: probability of a random action.
        seed: the same seed gives the same games.
        saliency: whether to show where the network looks.
    """

    output: Path
    games: int = 1
    max_seconds: float = 120.0
    epsilon: float = 0.01
    seed: int = 0
    saliency: bool = False


@dataclass(frozen=True)
class Recorded:
    """What has been recorded: ``scores`` of the games, whole or not, steps, frames and remarks."""

    scores: tuple[float, ...]
    steps: int
    frames: int
    note: str


def record(agent: Agent, wish: Wish, tell: Tell) -> Recorded:
    """Play, and write the video.

    Raises:
        UserError: the file cannot be written.
    """
    play = Play(agent, wish.epsilon, wish.seed, see="frames")
    assert play.scene is not None
    try:
        camera = Camera(agent, wish, play.scene)
        scales, steps = _survey(agent, wish, camera.limit, tell)
        return _film(wish, play, camera, scales, steps, tell)
    finally:
        play.close()


def _survey(agent: Agent, wish: Wish, limit: int, tell: Tell) -> tuple[Scales, int]:
    """The ranges of the games, and their length in steps."""
    play = Play(agent, wish.epsilon, wish.seed)
    preferences, values, heats, rewarded = [], [], [], 0
    for moment in _some(play, wish, limit):
        preferences.append(moment.preferences)
        values.append(moment.value)
        rewarded += moment.reward != 0
        heat = _heat(agent, wish, moment)
        if heat is not None:
            heats.append(np.percentile(heat, (_DARK, _BRIGHT)))
        tell("looking ahead", len(values), limit)
    play.close()
    table, heats = np.array(preferences), np.mean(heats or [(0.0, 0.0)], axis=0)
    policy = agent.has_policy
    return Scales(
        preferences=(0.0, 1.0) if policy else _range(table, 0.0),
        advantage=float(np.percentile(np.abs(table - table.mean(axis=1, keepdims=True)).max(axis=1), _COMMON)),
        value=_range(np.array(values)),
        heat=(float(heats[0]), float(heats[1])),
        rare_rewards=rewarded <= _RARE * len(values),
    ), len(values)


def _range(values: np.ndarray, *more: float) -> tuple[float, float]:
    low, high = min(float(values.min()), *more, np.inf), max(float(values.max()), *more, -np.inf)
    return (low, high) if low < high else (low - 1.0, high + 1.0)


def _some(play: Play, wish: Wish, limit: int) -> Iterator[Moment]:
    return itertools.islice(play.moments(wish.games), limit)


def _heat(agent: Agent, wish: Wish, moment: Moment) -> np.ndarray | None:
    if not wish.saliency:
        return None
    return saliency(agent.network, moment.observation, moment.action, agent.has_policy)


class Camera:
    """Makes the pictures of a video.

    Args:
        agent: who plays.
        wish: what is to be recorded.
        scene: what it plays.

    Attributes:
        limit: steps that may be recorded.
        frames_per_second: of the video.
        frames: pictures made so far.
    """

    def __init__(self, agent: Agent, wish: Wish, scene: Scene) -> None:
        self._agent, self._wish, self._scene = agent, wish, scene
        self._steps_per_second = scene.frames_per_second / scene.pictures_per_step
        self._every = every(wish.output, scene.frames_per_second)
        self.limit = max(1, round(wish.max_seconds * self._steps_per_second))
        self.frames_per_second = scene.frames_per_second / self._every
        self.frames = self._seen = 0

    def set_up(self, scales: Scales) -> Stage:
        """Lay out the pictures, when the first step has been made."""
        agent, policy = self._agent, self._agent.has_policy
        self._scales = scales
        heat = "bright: what moves the value of the chosen action most" if any(scales.heat) else ""
        title = Titles(
            game_title(agent.spec.name),
            f"{method_of(agent.config)}; trained for {agent.total_steps:,} steps",
            self._scene.note or heat,
        )
        self._stage = Stage(title, agent.spec, scales, self._scene.pictures[0], self._steps_per_second, policy)
        self._recent: deque[Moment] = deque(maxlen=self._stage.steps_shown)
        return self._stage

    def take(self, moment: Moment) -> Iterator[np.ndarray]:
        """The pictures of a step; each is the same array and must be used before the next."""
        self._recent.append(moment)
        self._canvas = self._stage.decision(list(self._recent))
        heat = _heat(self._agent, self._wish, moment)
        for picture in self._scene.pictures:
            self._shown = picture if heat is None else overlay(picture, heat, self._scales.heat)
            self._seen += 1
            if self._seen % self._every == 0:
                self._stage.place(self._canvas, self._shown)
                self.frames += 1
                yield self._canvas

    def end(self) -> Iterator[np.ndarray]:
        """The last picture for a second, with the final score."""
        last = self._recent[-1]
        self._stage.place(self._canvas, self._shown)  # which may have been left out: not all are taken
        self._stage.numbers(self._canvas, replace(last, score=last.score + last.reward, step=last.step + 1))
        for _ in range(round(_END_SECONDS * self.frames_per_second)):
            self.frames += 1
            yield self._canvas


def _film(wish: Wish, play: Play, camera: Camera, scales: Scales, steps: int, tell: Tell) -> Recorded:
    assert play.scene is not None
    scores: dict[int, float] = {}
    moments = _some(play, wish, camera.limit)
    first = next(moments)
    stage = camera.set_up(scales)
    with video(wish.output, stage.size, camera.frames_per_second) as add:
        for number, moment in enumerate(itertools.chain([first], moments), 1):
            scores[moment.game] = moment.score + moment.reward
            for picture in camera.take(moment):
                add(picture)
            tell("recording", number, steps)
        for picture in camera.end():
            add(picture)
    others = "the games were others than those looked at before, so the scales may not fit them" * (number != steps)
    blind = "what this network's first layer sees is no screen, so where it looks is not shown"
    note = "; ".join(filter(None, (play.scene.note, others, blind * (wish.saliency and not any(scales.heat)))))
    return Recorded(tuple(scores.values()), number, camera.frames, note)
