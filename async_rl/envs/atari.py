"""Atari 2600 games straight on the emulator, with the protocol of Mnih et al. 2015 (doi:10.1038/nature14236).

One step is four frames. Time runs to the right; each column is a frame, ``a`` the frames in which the chosen
action is held, ``S`` a screen that is read (the others are never turned to grey), ``max`` the pixel-wise maximum
of two screens (many games draw a sprite only in every other frame) and ``r`` a summed reward::

    frame     1  2  3  4    5  6  7  8    9 10 11 12   13 14 15 16
    action    a1 a1 a1 a1   a2 a2 a2 a2   a3 a3 a3 a3   a4 a4 a4 a4
    screens   .  .  S  S    .  .  S  S    .  .  S  S    .  .  S  S
                    [max]        [max]        [max]        [max]
    84x84            x1           x2           x3           x4
    reward           r1           r2           r3           r4
    observation after a4: (x1, x2, x3, x4), oldest first; after a5: (x2, x3, x4, x5)

A game begins with 1 to ``no_ops`` single frames of NOOP, then x0 is one screen, not a maximum, and the observation
is (x0, x0, x0, x0). Everything is bit-equal to Gymnasium's ``AtariPreprocessing`` under ``FrameStackObservation``,
except for the last observation of a game that ends within the four frames: here it shows the last frame played,
there it repeats older ones. Games that wait for FIRE are not started for the agent.
"""

import contextlib
import functools
import io
import re
from collections.abc import Callable

import ale_py
import numpy as np
from ale_py import roms

from async_rl.config import Config
from async_rl.envs.screens import SIZE, STACK, GreyScreen, ScreenStack
from async_rl.stopwatch import Stopwatch
from async_rl.types import EnvSpec, Outcome, UserError

FRAMES_PER_STEP = 4
FRAMES_PER_SECOND = 60

# ALE/Pong-v5, Pong-v4, PongNoFrameskip-v0, PongDeterministic-v4 and pong. Only versions that Atari ever had:
# Blackjack-v1 is a card game of Gymnasium.
_ID = re.compile(r"(?:ale/)?([a-z0-9_ -]+?)(?:noframeskip|deterministic)?(?:-v[045])?", re.IGNORECASE)


def _squeezed(name: str) -> str:
    return re.sub(r"[_ -]", "", name).lower()


@functools.cache
def _games() -> dict[str, str]:
    return {_squeezed(game): game for game in roms.get_all_rom_ids()}


def game_names() -> tuple[str, ...]:
    """Plain names of all games that come with the emulator, sorted ("adventure", ..., "zaxxon")."""
    return tuple(sorted(_games().values()))


def plain_name(name: str) -> str:
    """``name`` without the prefix and suffixes of Atari ids, in lower case: "ALE/Pong-v5" -> "pong"."""
    match = _ID.fullmatch(name)
    return (match[1] if match else name).lower()


def find_game(name: str) -> str | None:
    """Plain name of the game that ``name`` means ("BeamRiderNoFrameskip-v4" -> "beam_rider"), None if there is none."""
    return _games().get(_squeezed(plain_name(name)))


class Atari:
    """One Atari game as an environment; see the module for the protocol.

    Observations are [84, 84, 4] uint8, oldest screen first. Rewards are sums over the frames of a step, unclipped.
    A game that reaches ``max_episode_frames`` (start no-ops included) is cut: over, but its discount stays 1.

    Args:
        game: plain name, as in `game_names`.
        config: the Atari protocol's fields are read.
        random: draws the emulator's seed and the number of no-ops of each game.
        stopwatch: gets the time that the emulator itself takes.

    Attributes:
        on_frame: called after each frame that is played within a step, if it is set; for recordings, which need the
            frames between two observations.

    Raises:
        UserError: the ROM is missing or damaged, or has no game for a single player.
    """

    frames_per_second: float = FRAMES_PER_SECOND
    on_frame: Callable[[], None] | None = None

    def __init__(
        self, game: str, config: Config, random: np.random.Generator, stopwatch: Stopwatch | None = None
    ) -> None:
        self._lap = (stopwatch or Stopwatch()).lap
        self._random = random
        self._no_ops = config.no_ops
        self._life_loss_ends_return = config.life_loss_ends_return
        self._ale, self._is_reset = _emulator(game, config, int(random.integers(2**31 - 1)))
        self._actions = tuple(self._ale.getMinimalActionSet())
        self.spec = EnvSpec(
            name=game,
            observation_shape=(SIZE, SIZE, STACK),
            observation_dtype="uint8",
            action_names=tuple(action.name for action in self._actions),
            frames_per_step=FRAMES_PER_STEP,
            stack=STACK,
        )
        palette = np.full(256, -1, np.int16)
        self._screen, self._previous_screen = (GreyScreen(self._ale, palette) for _ in range(2))
        self._changed = np.zeros(len(self._screen.grey), np.bool_)  # rows of either, in this step
        self._stack = ScreenStack(len(self._changed))
        self._lives = 0

    @property
    def lives(self) -> int:
        """Lives left; 0 in games without lives."""
        return int(self._ale.lives())

    def screen_rgb(self) -> np.ndarray:
        """The whole screen now, [height, width, 3] uint8, a new array; for recordings."""
        return self._ale.getScreenRGB()

    def reset(self, observation: np.ndarray) -> None:
        """Start a new game with 1 to ``no_ops`` no-ops and write its first screen four times into ``observation``."""
        if not self._is_reset:
            self._ale.reset_game()
        self._is_reset = False
        no_ops = int(self._random.integers(1, self._no_ops + 1)) if self._no_ops else 0
        for _ in range(no_ops):
            self._ale.act(ale_py.Action.NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._lives = self.lives
        for screen in (self._screen, self._previous_screen):
            screen.read(self._changed)
        self._stack.restart(self._screen.grey)
        self._stack.write(observation)

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        """Hold action number ``action`` for four frames and write the last four steps' screens into ``observation``."""
        ale, code, lap = self._ale, self._actions[action], self._lap
        reward = 0.0
        previous = None
        self._changed.fill(False)
        lap("preprocess")  # of the stream before, with its bookkeeping
        for frame in range(1, FRAMES_PER_STEP + 1):
            reward += ale.act(code)
            if self.on_frame is not None:
                self.on_frame()
            if frame == FRAMES_PER_STEP - 1:
                lap("emulate")
                previous = self._previous_screen
                previous.read(self._changed)
                lap("preprocess")
            if ale.game_over():  # by its own end or by the limit of frames
                break
        lap("emulate")
        self._screen.read(self._changed)
        if previous is None:  # the game ended before it was read, so the second screen stands alone
            self._changed.fill(True)
        self._stack.push(self._screen.grey, (previous or self._screen).grey, self._changed)
        self._stack.write(observation)
        lap("preprocess")
        return self._outcome(reward)

    def _outcome(self, reward: float) -> Outcome:
        lives = self._ale.lives()
        lost = self._life_loss_ends_return and lives < self._lives
        self._lives = lives
        if self._ale.game_over(with_truncation=False):
            return Outcome(reward, discount=0.0, over=True)
        return Outcome(reward, discount=0.0 if lost else 1.0, over=self._ale.game_truncated())


_ready: dict[tuple[str, int], list[ale_py.ALEInterface]] = {}
"""Emulators that wait to be used, by game and limit of frames; see `make_ready_emulators`."""


def make_ready_emulators(game: str, config: Config, count: int) -> None:
    """Make ``count`` emulators ahead of time, and reset them, for the next ones that this process or its forks need.

    A reset plays up to 134 frames: without their own 16 workers with 16 emulators each all step 0.3 seconds sooner.
    Without sticky actions nothing in an emulator is random (its seed makes no difference), so one that was made
    before the fork is as good as one's own. With sticky actions none is made.
    """
    if config.sticky == 0:
        ready = _ready.setdefault((game, config.max_episode_frames), [])
        for _ in range(count):
            ready.append(_new_emulator(game, config, seed=0))
            ready[-1].reset_game()


def _emulator(game: str, config: Config, seed: int) -> tuple[ale_py.ALEInterface, bool]:
    """An emulator, and whether it is reset."""
    ready = _ready.get((game, config.max_episode_frames))
    return (ready.pop(), True) if ready and config.sticky == 0 else (_new_emulator(game, config, seed), False)


def _new_emulator(game: str, config: Config, seed: int) -> ale_py.ALEInterface:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setInt("frame_skip", 1)
    ale.setInt("max_num_frames_per_episode", config.max_episode_frames)
    ale.setFloat("repeat_action_probability", config.sticky)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # get_rom_path prints where ALE_ROMS_DIR is set
            path = roms.get_rom_path(game)
    except OSError as error:
        raise UserError(f"cannot read the ROM of the Atari game {game}: {error}.") from None
    # Asked first, because loadROM ends the whole process where it does not know the ROM.
    if path is None or not ale_py.ALEInterface.isSupportedROM(path):
        raise UserError(f"the emulator has no game {game} for a single player.")
    ale.loadROM(path)
    return ale
