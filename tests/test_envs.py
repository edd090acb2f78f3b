"""Names of environments, the toy, the Gymnasium adapter, and streams against a scalar restatement."""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from async_rl.checking import flag
from async_rl.config import Config
from async_rl.envs import Streams, describe, make_environment
from async_rl.envs.catch import COLUMNS, ROWS, Catch
from async_rl.envs.gymnasium_adapter import GymnasiumEnvironment
from async_rl.types import Environment, EnvSpec, Outcome, UserError


def make(name: str, seed: int = 0) -> Environment:
    return make_environment(Config(env=name), np.random.default_rng(seed))


def fresh(environment: Environment) -> np.ndarray:
    """An array for observations of ``environment``, full of what does not belong there."""
    return np.full(environment.spec.observation_shape, 77, environment.spec.observation_dtype)


# Catch.


def test_catch_follows_the_ball_to_plus_one() -> None:
    environment = Catch(np.random.default_rng(0))
    observation = fresh(environment)
    for _ in range(30):
        environment.reset(observation)
        rewards = []
        for _ in range(ROWS - 1):
            assert set(np.unique(observation)) == {0, 255}
            ball = int(observation[: ROWS - 1, :, 0].max(axis=0).argmax())
            paddle = int(observation[ROWS - 1, :, 0].argmax())
            outcome = environment.step(1 + int(np.sign(ball - paddle)), observation)
            rewards.append(outcome.reward)
            assert outcome.over == (outcome.discount == 0.0) == (len(rewards) == ROWS - 1)
        assert rewards == [0.0] * (ROWS - 2) + [1.0]


def test_catch_rewards_every_ball_and_place_of_the_paddle_right() -> None:
    """The score of random play, exactly: the law of the paddle's clipped walk, summed over the columns of the ball."""
    law = {COLUMNS // 2: Fraction(1)}
    for _ in range(ROWS - 1):
        following: dict[int, Fraction] = dict.fromkeys(range(COLUMNS), Fraction(0))
        for (place, probability), move in itertools.product(law.items(), (-1, 0, 1)):
            following[min(max(place + move, 0), COLUMNS - 1)] += probability / 3
        law = following
    score = sum(probability * (2 * Fraction(1, COLUMNS) - 1) for probability in law.values())
    assert sum(law.values()) == 1 and score == Fraction(2, COLUMNS) - 1  # the ball does not look at the paddle

    games, random = 3000, np.random.default_rng(0)
    environment = Catch(random)
    observation = fresh(environment)
    scores = []
    for _ in range(games):
        environment.reset(observation)
        scores.append(sum(environment.step(a, observation).reward for a in random.integers(3, size=ROWS - 1).tolist()))
    deviation = math.sqrt((1 - float(score) ** 2) / games)  # of a mean of values of -1 and 1
    assert abs(np.mean(scores) - float(score)) < 4 * deviation


# The Gymnasium adapter.


class Scripted(gymnasium.Env[Any, int]):
    """Observes ``seen``; the game ends in its third step, the way that ``ending`` (terminated, truncated) says."""

    def __init__(self, space: Any, seen: Any, actions: Any = None, ending: tuple[bool, bool] = (True, False)) -> None:
        self.observation_space, self.seen, self.ending = space, seen, ending
        self.action_space: Any = Discrete(2) if actions is None else actions
        self.actions: list[int] = []
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.actions = []
        self.seeds.append(seed)
        return self.seen, {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        terminated, truncated = self.ending if len(self.actions) == 3 else (False, False)
        return self.seen, 2.5, terminated, truncated, {}


def adapted(environment: gymnasium.Env[Any, Any], seed: int = 0) -> GymnasiumEnvironment:
    return GymnasiumEnvironment(environment, "fake", np.random.default_rng(seed))


IMAGE = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)


@pytest.mark.parametrize(
    ("space", "seen", "expected"),
    [
        (Box(-1, 1, (2, 2)), np.array([[1, 2], [3, 4]], np.float32), np.array([1, 2, 3, 4], np.float32)),
        (Box(-1, 1, (3,), np.float64), np.array([0.5, 0.25, 1.0]), np.array([0.5, 0.25, 1], np.float32)),
        (Box(0, 255, (3,), np.uint8), np.array([0, 7, 255], np.uint8), np.array([0, 7, 255], np.float32)),
        (Box(0, 9, (2,), np.int64), np.array([3, 4]), np.array([3, 4], np.float32)),
        (Box(-1, 1, ()), np.float32(0.5), np.array([0.5], np.float32)),
        (Discrete(4), np.int64(2), np.array([0, 0, 1, 0], np.float32)),
        (Discrete(3, start=5), 5, np.array([1, 0, 0], np.float32)),
        (Box(0, 255, IMAGE.shape, np.uint8), IMAGE, IMAGE),
        (Box(0, 255, (6, 5), np.uint8), IMAGE[:, :, 0], IMAGE[:, :, :1]),
        (Box(0, 255, (3, 6, 5), np.uint8), IMAGE.transpose(2, 0, 1), IMAGE),
    ],
)
def test_observations_are_written_in_place(space: Any, seen: Any, expected: np.ndarray) -> None:
    environment = adapted(Scripted(space, seen))
    assert environment.spec.observation_shape == expected.shape
    assert environment.spec.observation_dtype == expected.dtype.name
    observation = fresh(environment)
    environment.reset(observation)
    np.testing.assert_array_equal(observation, expected)
    observation.fill(77)
    environment.step(0, observation)
    np.testing.assert_array_equal(observation, expected)


@pytest.mark.parametrize(
    ("ending", "discount"), [((True, False), 0.0), ((False, True), 1.0), ((True, True), 0.0)], ids=str
)
def test_terminal_has_discount_zero_and_a_cut_one(ending: tuple[bool, bool], discount: float) -> None:
    environment = adapted(Scripted(Discrete(2), 0, ending=ending))
    observation = fresh(environment)
    environment.reset(observation)
    outcomes = [environment.step(1, observation) for _ in range(3)]
    assert outcomes == [Outcome(2.5, 1.0, False), Outcome(2.5, 1.0, False), Outcome(2.5, discount, True)]


def test_cartpole_falls_with_discount_zero_and_is_cut_with_one() -> None:
    environment = make("CartPole-v1")
    observation = fresh(environment)
    environment.reset(observation)
    outcomes = [environment.step(0, observation)]
    while not outcomes[-1].over:
        outcomes.append(environment.step(0, observation))
    assert len(outcomes) < 20 and outcomes[-1] == (1.0, 0.0, True)  # always left: the pole falls

    environment.reset(observation)
    for step in range(1, 501):  # balanced by a linear rule until the limit of 500 steps
        outcome = environment.step(int(observation @ (0.1, 0.3, 3.0, 1.0) > 0), observation)
        assert outcome == (1.0, 1.0, step == 500)


def test_games_follow_from_the_generator_alone() -> None:
    def first_observations(seed: int) -> list[bytes]:
        environment = make("CartPole-v1", seed)
        observation, seen = fresh(environment), []
        for _ in range(3):
            environment.reset(observation)
            seen.append(observation.tobytes())
        return seen

    assert first_observations(1) == first_observations(1) != first_observations(2)
    assert len(set(first_observations(1))) == 3  # seeded once, not for each game


def test_actions_count_from_the_start_of_the_space() -> None:
    inner = Scripted(Discrete(2), 0, actions=Discrete(3, start=-1))
    environment = adapted(inner)
    observation = fresh(environment)
    environment.reset(observation)
    for action in range(3):
        environment.step(action, observation)
    assert inner.actions == [-1, 0, 1] and environment.spec.action_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("space", "actions", "message"),
    [
        (Discrete(2), Box(-1, 1, (2,)), r"fake has the action space Box\(.*\), but Q-learning needs Discrete actions"),
        (Discrete(2), MultiDiscrete([2, 3]), "needs Discrete actions"),
        (Dict(a=Discrete(2)), None, "observations of the kind Dict, but Box or Discrete is needed"),
        (Tuple((Discrete(2),)), None, "observations of the kind Tuple"),
    ],
)
def test_spaces_that_cannot_be_used_are_refused(space: Any, actions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        adapted(Scripted(space, 0, actions=actions))


# Names.


@pytest.mark.parametrize(
    ("name", "canonical", "shape"),
    [
        (" Catch ", "catch", (10, 5, 1)),
        ("CartPole-v1", "CartPole-v1", (4,)),
        ("CartPole", "CartPole-v1", (4,)),
        ("FrozenLake-v1", "FrozenLake-v1", (16,)),
        ("ALE/SpaceInvaders-v5", "space_invaders", (84, 84, 4)),
    ],
)
def test_names_resolve(name: str, canonical: str, shape: tuple[int, ...]) -> None:
    spec = describe(Config(env=name))
    assert (spec.name, spec.observation_shape) == (canonical, shape)


@pytest.mark.parametrize("name", ["catch", "CartPole-v1"])
@pytest.mark.parametrize("setting", [{"sticky": 0.25}, {"no_ops": 0}, {"max_episode_frames": 500}])
def test_the_protocol_of_atari_is_refused_where_it_would_mean_nothing(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{flag(*setting)} is for Atari games, and {name} is none"):
        describe(Config(env=name, **setting))


@pytest.mark.filterwarnings("error")
def test_an_out_of_date_version_is_made_without_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    assert describe(Config(env="CartPole-v0")).name == "CartPole-v0"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pnog", "unknown game 'pnog'; did you mean pong?"),
        ("ALE/BeamRyder-v5", "did you mean beam_rider"),
        ("SpaceInvader-v4", "did you mean space_invaders"),
        ("CartPol-v1", "did you mean CartPole-v1"),
        ("CartPole-v99", "did you mean CartPole-v1"),
        ("cach", "did you mean catch"),
        ("qqqqqqqq", "unknown game 'qqqqqqqq'; try pong"),
        ("a/b/c", "Gymnasium cannot make a/b/c: "),
        ("Pendulum-v1", "needs Discrete actions"),
        ("no_such.module:function", "no module 'no_such.module' for"),
        ("nothing_here:Env-v0", "No module named 'nothing_here'"),
        ("math:squirt", "the module math has no function 'squirt'; did you mean sqrt?"),
        ("math:pi", "must be a function, got"),
        ("math:sqrt", "math:sqrt() raised TypeError: "),
        ("sys:exit", "sys:exit() raised SystemExit."),
        ("__main__:Mine", "no function 'Mine': it was in the script that was started then; commands find it in"),
        ("builtins:dict", "must return a gymnasium.Env or an environment of async_rl.types, got <class 'dict'>"),
    ],
)
def test_errors_say_what_to_do(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make(name)
    text = str(caught.value)
    assert message in text and "\n" not in text and text[-1] in ".?"


USERS_MODULE = """
import gymnasium
import numpy as np
from async_rl.types import EnvSpec, Outcome

def cart():
    return gymnasium.make("CartPole-v1")

class Own:
    spec = EnvSpec("own", (2,), "float32", ("a", "b"))
    def reset(self, observation): observation[:] = 0
    def step(self, action, observation): return Outcome(1.0, 1.0, False)

def broken():
    raise RuntimeError("no\\n luck")
"""


def test_functions_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_games.py").write_text(USERS_MODULE)
    (tmp_path / "users_wishes.py").write_text("import no_such_package")
    (tmp_path / "users_slip.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert make("users_games:cart").spec.observation_shape == (4,)
    assert make("users_games:cart").spec.name == "users_games:cart"
    assert make("users_games:Own").spec.name == "own"
    with pytest.raises(UserError, match=r"users_games:broken\(\) raised RuntimeError: no luck\."):
        make("users_games:broken")
    with pytest.raises(UserError, match="importing users_wishes needs the module 'no_such_package'"):
        make("users_wishes:f")
    with pytest.raises(UserError, match="importing users_slip raised ZeroDivisionError"):
        make("users_slip:f")


def test_a_toy_needs_neither_emulator_nor_gymnasium() -> None:
    program = (
        "import sys; from async_rl.config import Config; from async_rl.envs import describe; "
        "describe(Config(env='catch')); print(sorted({'ale_py', 'cv2', 'gymnasium', 'torch'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


# Streams.


class Tape:
    """Plays outcomes from a list, again and again; its observations are numbers that never repeat."""

    spec = EnvSpec("tape", (2,), "float32", ("a", "b", "c"))

    def __init__(self, stream: int, outcomes: list[Outcome]) -> None:
        self.outcomes, self.seen, self.step_count = outcomes, 1000.0 * stream, 0
        self.actions: list[int] = []
        self.awaits_reset = True

    def reset(self, observation: np.ndarray) -> None:
        self.awaits_reset = False
        self._show(observation)

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        assert not self.awaits_reset and type(action) is int
        self.actions.append(action)
        outcome = self.outcomes[self.step_count % len(self.outcomes)]
        self.step_count += 1
        self.awaits_reset = outcome.over
        self._show(observation)
        return outcome

    def _show(self, observation: np.ndarray) -> None:
        self.seen += 1
        observation[:] = self.seen


def observed(streams: Streams) -> np.ndarray:
    """What each stream sees now."""
    spec = streams.spec
    observation = np.zeros((len(streams.environments), *spec.observation_shape), spec.observation_dtype)
    streams.observe(observation)
    return observation


OUTCOMES = st.builds(
    lambda reward, ending: Outcome(reward, *ending),
    st.integers(-5, 5).map(float),
    st.sampled_from([(1.0, False), (1.0, False), (0.0, False), (0.0, True), (1.0, True)]),  # life, end, cut
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(OUTCOMES, min_size=1, max_size=7), min_size=1, max_size=4), st.integers(1, 12))
def test_streams_keep_the_books_of_each_game(tapes: list[list[Outcome]], steps: int) -> None:
    streams = Streams([Tape(stream, outcomes) for stream, outcomes in enumerate(tapes)])
    twins = [Tape(stream, outcomes) for stream, outcomes in enumerate(tapes)]
    now = np.zeros((len(tapes), 2), np.float32)
    for twin, observation in zip(twins, now, strict=True):
        twin.reset(observation)
    scores, lengths = [0.0] * len(tapes), [0] * len(tapes)
    segment = np.full((steps, len(tapes), 2), np.nan, np.float32)
    for step in range(steps):
        np.testing.assert_array_equal(observed(streams), now)
        actions = np.arange(len(tapes)) % 3
        streams.step(actions, segment[step])
        finished = []
        for stream, twin in enumerate(twins):  # one stream after another, in plain numbers
            after = np.zeros(2, np.float32)
            reward, discount, over = twin.step(int(actions[stream]), after)
            assert segment[step, stream].tolist() == after.tolist()
            assert (streams.reward[stream], streams.discount[stream]) == (reward, discount)
            assert streams.continues[stream] == (not over)  # a lost life ends the return, a cut the game
            scores[stream] += reward
            lengths[stream] += 1
            now[stream] = after
            if over:
                finished.append((stream, scores[stream], lengths[stream]))
                scores[stream], lengths[stream] = 0.0, 0
                twin.reset(now[stream])
        assert streams.finished == finished
    np.testing.assert_array_equal(observed(streams), now)


@pytest.mark.parametrize("build", [lambda: Catch(np.random.default_rng(0)), lambda: make("CartPole-v1")])
def test_streams_before_the_first_step(build: Callable[[], Environment]) -> None:
    streams = Streams([build(), build()])
    assert observed(streams).any() and not streams.finished
    assert streams.reward.dtype == streams.discount.dtype == np.float32
    assert np.isnan(streams.reward).all() and np.isnan(streams.discount).all()


def test_a_module_that_leaves_as_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves_at_once.py").write_text("import sys; sys.exit()", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"importing leaves_at_once raised SystemExit\."):
        make("leaves_at_once:game")


def test_balls_fall_in_every_column() -> None:
    environment, observation, columns = Catch(np.random.default_rng(0)), np.zeros((ROWS, COLUMNS, 1), np.uint8), set()
    for _ in range(200):
        environment.reset(observation)
        columns.add(int(observation[0, :, 0].argmax()))
    assert columns == set(range(COLUMNS))
