"""The Atari protocol, held against Gymnasium's wrappers and against what the emulator itself says."""

import copy
import math
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ale_py
import cv2
import gymnasium
import numpy as np
import pytest
from ale_py import roms

from async_rl.config import Config
from async_rl.envs import atari, make_environment
from async_rl.envs.atari import Atari, find_game, game_names, make_ready_emulators
from async_rl.envs.screens import GreyScreen, ScreenStack
from async_rl.types import Outcome, UserError

assert ale_py.__version__  # importing it registers the games with Gymnasium


def started(game: str, seed: int = 0, **settings: Any) -> tuple[Atari, np.ndarray]:
    """A game just after its reset, and the array that its observations are written into."""
    environment = Atari(game, Config(**settings), np.random.default_rng(seed))
    observation = np.full((84, 84, 4), 77, np.uint8)
    environment.reset(observation)
    return environment, observation


def play(environment: Atari, actions: np.ndarray) -> list[Outcome]:
    """The outcomes of ``actions``, up to the end of the game."""
    observation = np.empty((84, 84, 4), np.uint8)
    outcomes = []
    for action in actions.tolist():
        outcomes.append(environment.step(action, observation))
        if outcomes[-1].over:
            break
    return outcomes


def assert_same_screens(screens: np.ndarray, opencv: np.ndarray) -> None:
    """On other processors than x86 OpenCV may fuse its sums, and round a mean halfway between two levels otherwise."""
    tolerance = 0 if platform.machine() in ("x86_64", "AMD64") else 1
    np.testing.assert_allclose(screens.astype(int), opencv.astype(int), rtol=0, atol=tolerance)


def shrunk(screen: np.ndarray) -> np.ndarray:
    return cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)


def gymnasium_twin(game: str, no_ops: int, random: np.random.Generator) -> gymnasium.Env[Any, Any]:
    """The same game through Gymnasium's wrappers, drawing its no-ops from a copy of ``random``."""
    name = game.title().replace("_", "")
    raw = gymnasium.make(f"ALE/{name}-v5", frameskip=1, repeat_action_probability=0.0, full_action_space=False)
    small = gymnasium.wrappers.AtariPreprocessing(raw, noop_max=no_ops, frame_skip=4, screen_size=84)
    raw.unwrapped.np_random = copy.deepcopy(random)
    return gymnasium.wrappers.FrameStackObservation(small, stack_size=4, padding_type="reset")


@pytest.mark.parametrize(("game", "steps"), [("pong", 1200), ("breakout", 700), ("beam_rider", 400)])
def test_frames_and_outcomes_equal_gymnasium(game: str, steps: int) -> None:
    random = np.random.default_rng(5)
    environment = Atari(game, Config(no_ops=30, life_loss_ends_return=False), random)
    twin = gymnasium_twin(game, no_ops=30, random=random)
    observation = np.empty((84, 84, 4), np.uint8)
    environment.reset(observation)
    expected, _ = twin.reset()
    assert_same_screens(observation, np.moveaxis(expected, 0, -1))
    games = 0
    actions = np.random.default_rng(1).integers(len(environment.spec.action_names), size=steps)
    for step, action in enumerate(actions.tolist()):
        observation.fill(step % 256)  # it may hold anything before
        outcome = environment.step(action, observation)
        expected, reward, terminated, truncated, _ = twin.step(action)
        assert outcome == (reward, 0.0 if terminated else 1.0, terminated or truncated)
        if outcome.over:  # Gymnasium repeats older screens here; see the module's docstring
            environment.reset(observation)
            expected, _ = twin.reset()
            games += 1
        assert_same_screens(observation, np.moveaxis(expected, 0, -1))
    assert games >= 1 or game == "beam_rider"


def test_first_observation_is_one_screen_four_times() -> None:
    _, observation = started("pong")
    for screen in range(1, 4):
        np.testing.assert_array_equal(observation[..., screen], observation[..., 0])


def test_observations_slide_by_one_screen_a_step() -> None:
    environment, before = started("breakout")
    for action in np.random.default_rng(0).integers(4, size=100).tolist():
        after = np.empty_like(before)
        assert not environment.step(action, after).over
        np.testing.assert_array_equal(after[..., :3], before[..., 1:])
        before = after


@pytest.mark.parametrize("height", [210, 250])  # whole rows map onto whole rows, and not
def test_shrinking_only_what_changed_is_bit_equal(height: int) -> None:
    random = np.random.default_rng(0)
    screen, other = random.integers(256, size=(2, height, 160), dtype=np.uint8)
    stack = ScreenStack(height)
    observation = np.empty((84, 84, 4), np.uint8)
    stack.restart(screen)
    last = [shrunk(screen)] * 4
    changed = np.ones(height, np.bool_)  # the other screen appears
    for _ in range(150):
        stack.push(screen, other, changed)
        last = [*last[1:], shrunk(np.maximum(screen, other))]
        stack.write(observation)
        assert_same_screens(observation, np.stack(last, axis=-1))
        changed = random.random(height) < random.choice([0, 0.01, 0.3])  # sometimes nothing
        either = (screen, other)[random.integers(2)]
        either[changed, random.integers(160)] = random.integers(256)


@pytest.mark.parametrize("game", ["pong", "seaquest", "kangaroo", "freeway"])
def test_grey_levels_are_those_of_the_emulator(game: str) -> None:
    """Read at random moments, as colours come and go; the rows that changed are among those that it says."""
    random = np.random.default_rng(0)
    ale = make_environment(Config(env=game), random)._ale  # type: ignore[attr-defined]
    palette = np.full(256, -1, np.int16)
    screens = [GreyScreen(ale, palette) for _ in range(2)]
    actions = ale.getMinimalActionSet()
    for _ in range(400):
        for _ in range(int(random.integers(1, 6))):
            ale.act(actions[random.integers(len(actions))])
        if ale.game_over():
            ale.reset_game()
        screen = screens[random.integers(2)]
        before = screen.grey.copy()
        changed = np.zeros(len(before), np.bool_)
        screen.read(changed)
        np.testing.assert_array_equal(screen.grey, ale.getScreenGrayscale())
        assert changed[(before != screen.grey).any(axis=1)].all()


def test_threads_do_not_read_each_others_screens() -> None:
    """Emulators of one thread share the memory that a screen is read into."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def play(game: str) -> bool:
        random = np.random.default_rng(0)
        ale = make_environment(Config(env=game), random)._ale  # type: ignore[attr-defined]
        screen, actions = GreyScreen(ale, np.full(256, -1, np.int16)), ale.getMinimalActionSet()
        for _ in range(1500):
            ale.act(actions[random.integers(len(actions))])
            screen.read(np.zeros(210, np.bool_))
            if ale.game_over():
                ale.reset_game()
        return np.array_equal(screen.grey, ale.getScreenGrayscale())

    try:
        with ThreadPoolExecutor() as threads:
            assert all(threads.map(play, ["pong", "seaquest", "breakout"]))
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("limit", [41, 42, 43, 44])  # wherever in a step the limit falls
def test_cut_keeps_the_discount(limit: int) -> None:
    environment, _ = started("pong", no_ops=1, max_episode_frames=limit)
    outcomes = play(environment, np.zeros(100, np.int64))
    assert len(outcomes) == math.ceil((limit - 1) / 4)  # one frame was the no-op
    assert [outcome.over for outcome in outcomes] == [False] * (len(outcomes) - 1) + [True]
    assert {outcome.discount for outcome in outcomes} == {1.0}


def test_last_observation_of_a_cut_game_shows_the_last_frame() -> None:
    """Cut after 1 or 2 frames of a step, the newest screen is that single frame, as the emulator shows it."""
    cut, observation = started("breakout", no_ops=1, max_episode_frames=1 + 4 * 10 + 1)
    whole, _ = started("breakout", no_ops=1)
    for action in [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]:
        cut.step(action, observation)
        whole.step(action, np.empty_like(observation))
    assert cut.step(2, observation).over
    whole._ale.act(ale_py.Action.RIGHT)
    np.testing.assert_array_equal(cut.screen_rgb(), whole.screen_rgb())
    assert_same_screens(observation[..., 3], shrunk(whole._ale.getScreenGrayscale()))


def test_a_game_goes_on_after_a_cut() -> None:
    environment, observation = started("pong", no_ops=0, max_episode_frames=8)
    for _ in range(3):
        assert [outcome.over for outcome in play(environment, np.zeros(9, np.int64))] == [False, True]
        environment.reset(observation)


def test_life_loss_ends_the_return_but_not_the_game() -> None:
    actions = np.random.default_rng(3).integers(4, size=2000)
    environment, observation = started("breakout", life_loss_ends_return=True)
    assert environment.lives == 5
    lives, zeros = environment.lives, 0
    for action in actions.tolist():
        outcome = environment.step(action, observation)
        assert outcome.discount == (0.0 if environment.lives < lives else 1.0)
        zeros += outcome.discount == 0.0
        lives = environment.lives
        if outcome.over:
            break
    assert outcome.over and zeros == 5

    environment._lives = 9  # as after a game cut with more lives than a new one has
    environment.reset(observation)
    assert environment.step(0, observation).discount == 1.0

    without, _ = started("breakout", life_loss_ends_return=False)
    outcomes = play(without, actions)
    assert [outcome.discount for outcome in outcomes] == [1.0] * (len(outcomes) - 1) + [0.0]
    assert outcomes[-1].over


def test_sticky_actions_change_the_course_and_only_they() -> None:
    actions = np.random.default_rng(3).integers(6, size=60)

    def last_screen(sticky: float, seed: int) -> bytes:
        environment, _ = started("pong", seed, no_ops=0, sticky=sticky)
        play(environment, actions)
        return environment.screen_rgb().tobytes()

    assert len({last_screen(0.0, seed) for seed in range(4)}) == 1
    assert len({last_screen(0.25, seed) for seed in range(4)}) > 1
    assert last_screen(0.25, 1) == last_screen(0.25, 1)  # the emulator's seed comes from the generator


def test_entirely_sticky_actions_are_never_taken() -> None:
    environment, _ = started("pong", no_ops=0, sticky=1.0)
    idle, _ = started("pong", no_ops=0)
    play(environment, np.full(20, 2))
    play(idle, np.zeros(20, np.int64))
    np.testing.assert_array_equal(environment.screen_rgb(), idle.screen_rgb())


def test_no_ops_are_between_one_and_the_setting() -> None:
    environment, observation = started("pong", no_ops=3)
    counts = set()
    for _ in range(40):
        environment.reset(observation)
        counts.add(environment._ale.getEpisodeFrameNumber())
    assert counts == {1, 2, 3}  # each missing with probability (2/3)^40 = 9e-8
    none, _ = started("pong", no_ops=0)
    assert none._ale.getEpisodeFrameNumber() == 0


def test_spec_and_screen() -> None:
    environment, _ = started("beam_rider")
    assert environment.spec.name == "beam_rider"
    assert environment.spec.observation_shape == (84, 84, 4)
    assert environment.spec.observation_dtype == "uint8"
    assert environment.spec.frames_per_step == 4
    assert environment.spec.action_names[0] == "NOOP" and len(environment.spec.action_names) == 9
    assert environment.screen_rgb().shape == (210, 160, 3)


def test_every_game_is_found_by_its_names() -> None:
    assert len(game_names()) > 100
    for game in game_names():
        camel = game.title().replace("_", "")
        for name in (game, game.upper(), camel, f"ALE/{camel}-v5", f"{camel}NoFrameskip-v4", f"{camel}-v0"):
            assert find_game(name) == game
        path = roms.get_rom_path(game)
        assert path is not None and Path(path).is_file()
    registered = [name for name in gymnasium.registry if name.startswith("ALE/")]
    assert len(registered) > 100 and all(find_game(name) for name in registered)
    assert find_game("PongDeterministic-v4") == find_game(" Pong".strip()) == "pong"


def test_a_card_game_of_gymnasium_is_no_atari_game() -> None:
    assert find_game("blackjack") == find_game("ALE/Blackjack-v5") == "blackjack"
    assert find_game("Blackjack-v1") is None


@pytest.mark.parametrize("game", ["combat", "joust", "maze_craze", "warlords"])
def test_games_for_two_are_refused(game: str) -> None:
    with pytest.raises(UserError, match=f"no game {game} for a single player"):
        make_environment(Config(env=game), np.random.default_rng(0))


def test_a_missing_rom_directory_is_a_user_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(UserError, match="cannot read the ROM of the Atari game pong"):
        started("pong")


def test_the_emulator_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    started("pong")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("game", ["breakout", "beam_rider"])  # in which another reset makes no difference, and does
def test_ready_emulators_are_as_good_as_new(game: str) -> None:
    config = Config()
    fresh, observation = started(game)
    make_ready_emulators(game, config, count=1)
    ready, same = started(game)
    np.testing.assert_array_equal(observation, same)
    for action in np.random.default_rng(0).integers(4, size=400).tolist():
        outcome = fresh.step(action, observation)
        assert ready.step(action, same) == outcome
        if outcome.over:
            fresh.reset(observation)
            ready.reset(same)
        np.testing.assert_array_equal(observation, same)


def test_ready_emulators_are_used_once_and_never_with_sticky_actions() -> None:
    make_ready_emulators("pong", Config(), count=1)
    (ready,) = atari._ready["pong", 108_000]
    sticky = Atari("pong", Config(sticky=0.25), np.random.default_rng(0))
    first, second = (Atari("pong", Config(), np.random.default_rng(0)) for _ in range(2))
    assert first._ale is ready
    assert sticky._ale is not ready and second._ale is not ready
    make_ready_emulators("pong", Config(sticky=0.25), count=1)
    assert not atari._ready["pong", 108_000]


def test_a_life_that_is_won_does_not_end_the_return() -> None:
    environment, observation = started("breakout")
    environment._lives = 2  # as if three had been won since
    assert environment.step(0, observation).discount == 1.0


def test_a_game_that_is_over_within_its_no_ops_begins_again() -> None:
    environment, observation = started("pong", no_ops=30, max_episode_frames=5)
    for _ in range(20):
        environment.reset(observation)
        assert not environment._ale.game_over()
