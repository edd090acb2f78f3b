"""Replay against restatements that store every observation whole and add up every weight."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from async_rl import Config
from async_rl.algorithms import Segment
from async_rl.build import _experience
from async_rl.replay import Proportional, Replay, Rings, Sampler, SumTree, Uniform
from async_rl.training import _require_stacks_fit
from async_rl.types import EnvSpec, UserError

SCREENS = EnvSpec("screens", (5, 4, 4), "uint8", ("a", "b"), stack=4)
PAIRS = EnvSpec("pairs of coloured screens", (3, 2, 6), "uint8", ("a", "b"), stack=2)
STEPS = 600
"""T at which prioritised draws are corrected in full."""

VECTOR = EnvSpec("vector", (3,), "float32", ("a", "b"))
ATARI = EnvSpec("pong", (84, 84, 4), "uint8", ("a", "b"), frames_per_step=4, stack=4)
GAMMA = 0.9


WRITES = st.lists(st.tuples(st.integers(0, 39), st.sampled_from([0.0, 1e-9, 0.1, 1.0, 7.0, 1e6])))
"""(index, value) pairs of one call of `SumTree.set`."""


@given(capacity=st.integers(1, 40), writes=st.lists(WRITES, max_size=5))
def test_sum_tree_is_a_cumulative_sum(capacity: int, writes: list[list[tuple[int, float]]]) -> None:
    tree, leaves = SumTree(capacity), np.zeros(capacity)
    for write in writes:
        for index, value in write:
            leaves[index % capacity] = value
        tree.set(np.array([i % capacity for i, _ in write], int), np.array([v for _, v in write]))
        np.testing.assert_array_equal(tree.values(np.arange(capacity)), leaves)
        assert tree.total == pytest.approx(math.fsum(leaves), rel=1e-12, abs=0)
    if not leaves.any():
        with pytest.raises(ValueError, match="all 0"):
            tree.find(np.zeros(1))
        return
    bounds = np.concatenate(([0.0], np.cumsum(leaves)))
    middles = (bounds[1:] + bounds[:-1]) / 2
    wide = leaves > 1e-6 * leaves.sum()  # where rounding cannot move a middle over its bounds
    np.testing.assert_array_equal(tree.find(middles[wide]), np.flatnonzero(wide))
    anywhere = np.concatenate((bounds, bounds * (1 + 1e-12), [2 * tree.total]))
    assert leaves[tree.find(anywhere)].all(), "a leaf of weight 0 was found"


def test_sum_tree_finds_exact_bounds() -> None:
    tree = SumTree(6)
    tree.set(np.arange(6), np.array([0.0, 2.0, 0.0, 1.0, 3.0, 0.0]))
    assert tree.find(np.array([0.0, 1.5, 2.0, 2.5, 3.0, 5.5, 6.0, 99.0])).tolist() == [1, 1, 3, 3, 4, 4, 4, 4]


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_sum_tree_refuses_what_would_spoil_it(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        SumTree(4).set(np.array([1]), np.array([value]))


class Transition(NamedTuple):
    """One step as stored by the restatement: whole observations, as bytes so that they compare by value."""

    observation: bytes
    action: int
    reward: float
    discount: float
    next_observation: bytes


@dataclass
class Row:
    """An observation of a stream, in order; ``reach``: rows before it that its stack still shows."""

    reach: int
    transition: Transition | None = None


class Stream:
    """Random games of one stream: ends, cuts and lost lives anywhere; every row that ever was."""

    def __init__(self, spec: EnvSpec, random: np.random.Generator) -> None:
        self.spec, self.random = spec, random
        self.rows: list[Row] = []
        self.over = True

    def screen(self) -> np.ndarray:
        *sides, last = self.spec.observation_shape
        return self.random.integers(256, size=(*sides, last // self.spec.stack)).astype(self.spec.observation_dtype)

    def reset(self) -> None:
        self.seen = np.concatenate([self.screen()] * self.spec.stack, axis=-1)
        self.rows.append(Row(0))

    def step(self, segment: Segment, t: int, e: int) -> None:
        """Play one step, write it into ``segment``, and remember it."""
        before, screen = self.seen, self.screen()
        self.seen = np.concatenate((before[..., screen.shape[-1] :], screen), axis=-1)
        goes_on, discount = ((1, GAMMA), (0, 0.0), (0, GAMMA), (1, 0.0))[self.random.choice(4, p=(0.7, 0.1, 0.1, 0.1))]
        action, reward = int(self.random.integers(2)), float(np.float32(self.random.normal()))
        segment.observation[t, e] = torch.from_numpy(before)
        segment.next_observation[t, e] = torch.from_numpy(self.seen)
        segment.action[t, e], segment.reward[t, e] = action, reward
        segment.discount[t, e], segment.continues[t, e] = discount, goes_on
        row = self.rows[-1]
        discount = float(np.float32(discount))
        row.transition = Transition(before.tobytes(), action, reward, discount, self.seen.tobytes())
        self.rows.append(Row(min(row.reach + 1, self.spec.stack - 1)))
        self.over = not goes_on

    def play(self, segment: Segment, e: int) -> None:
        for t in range(len(segment.action)):
            if self.over:
                self.reset()
            self.step(segment, t, e)

    def stored(self, capacity: int) -> Iterator[Transition]:
        """Transitions of which every screen is among the newest ``capacity`` rows."""
        oldest = max(len(self.rows) - capacity, 0)
        for number, row in enumerate(self.rows):
            if row.transition is not None and number - row.reach >= oldest:
                yield row.transition


def transitions(batch: Segment) -> list[Transition]:
    assert (batch.continues == 0).all() and (batch.next_action == -1).all()
    return [
        Transition(
            batch.observation[0, b].numpy().tobytes(),
            int(batch.action[0, b]),
            float(batch.reward[0, b]),
            float(batch.discount[0, b]),
            batch.next_observation[0, b].numpy().tobytes(),
        )
        for b in range(batch.action.shape[1])
    ]


@pytest.mark.parametrize("spec", [SCREENS, PAIRS, VECTOR], ids=lambda spec: spec.name)
@pytest.mark.parametrize("sampler", [Uniform(), Proportional(STEPS)], ids=lambda sampler: type(sampler).__name__)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    streams=st.integers(1, 3),
    t_max=st.integers(1, 7),
    extra=st.integers(0, 8),
    segments=st.integers(1, 12),
)
def test_samples_are_exactly_the_complete_stored_transitions(
    spec: EnvSpec, sampler: Sampler, seed: int, streams: int, t_max: int, extra: int, segments: int
) -> None:
    random = np.random.default_rng(seed)
    length = spec.stack + 1 + extra
    replay = Replay(spec, length * streams + extra % streams, streams, sampler, random)
    games = [Stream(spec, random) for _ in range(streams)]
    segment = Segment(spec, t_max, streams)
    for _ in range(segments):
        for e, game in enumerate(games):
            game.play(segment, e)
        replay.add(segment)
        expected = {transition for game in games for transition in game.stored(length)}
        assert len(replay) == len(expected) > 0
        batch = Segment(spec, 1, 8 * len(replay))  # all weights are equal: 8 of the equal shares lie in each step
        indices = replay.sample(batch, 0)
        assert set(transitions(batch)) == expected
        assert len(set(indices.tolist())) == len(expected)
    stale = indices
    replay.add(segment)  # the sampled steps may be gone: an update must not bring them back
    before = len(replay)
    replay.update(stale, np.ones(len(stale), np.float32))
    ready = replay._rings.ready
    np.testing.assert_array_equal(replay._tree.values(np.arange(len(ready))) > 0, ready)
    assert len(replay) == before


def filled(sampler: Sampler, steps: int, t_max: int = 4, seed: int = 0) -> tuple[Replay, Segment]:
    """A replay of ``steps`` steps that never end, whose reward is their number, and the segment for more of them."""
    replay = Replay(VECTOR, 2 * steps, 1, sampler, np.random.default_rng(seed))
    segment = Segment(VECTOR, t_max, 1)
    segment.action.fill_(0)
    segment.discount.fill_(GAMMA)
    segment.continues.fill_(1)
    for first in range(0, steps, t_max):
        segment.reward[:, 0] = torch.arange(first, first + t_max)
        replay.add(segment)
    return replay, segment


def sampled_numbers(replay: Replay, draws: int, batch_size: int) -> np.ndarray:
    batch = Segment(VECTOR, 1, batch_size)
    numbers = []
    for _ in range(draws):
        replay.sample(batch, 0)
        numbers.append(batch.reward[0].numpy().astype(int))
    return np.concatenate(numbers)


def assert_distribution(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Chi-square within four standard deviations of its mean (its degrees of freedom, with twice their variance)."""
    expected = counts.sum() * probabilities
    freedom = len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 4 * math.sqrt(2 * freedom)


ERRORS = np.array([0.0, -0.5, 1.0, -2.0, 4.0, 0.1, 0.3, 9.0, 0.7, -0.2, 1.5, 3.0])


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    ("sampler", "priorities"),
    [(Uniform(), [1.0] * 12), (Proportional(STEPS, 0.6, epsilon=0.05), [(abs(e) + 0.05) ** 0.6 for e in ERRORS])],
    ids=["uniform", "proportional"],
)
def test_distribution(sampler: Sampler, priorities: list[float], batch_size: int) -> None:
    replay, _ = filled(sampler, 12)
    replay.update(np.arange(12), ERRORS)
    counts = np.bincount(sampled_numbers(replay, 16_000 // batch_size, batch_size), minlength=12)
    assert_distribution(counts, np.array(priorities) / sum(priorities))


def test_each_of_the_equal_shares_gives_one_step() -> None:
    replay, _ = filled(Uniform(), 12)
    for _ in range(20):
        assert sorted(sampled_numbers(replay, 1, 12)) == list(range(12))


@pytest.mark.parametrize(("total_steps", "beta"), [(0, 0.4), (STEPS // 2, 0.7), (STEPS, 1.0), (2 * STEPS, 1.0)])
def test_importance_weights(total_steps: int, beta: float) -> None:
    """w_i = (N P(i))^-beta / max_j w_j, the maximum over the batch; beta rises to 1 (Schaul et al., section 3.4)."""
    replay, _ = filled(Proportional(STEPS, 0.6, epsilon=0.01), 12)
    replay.update(np.arange(12), ERRORS)
    batch = Segment(VECTOR, 1, 5)
    replay.sample(batch, total_steps)
    priorities = [(abs(error) + 0.01) ** 0.6 for error in ERRORS.tolist()]
    weights = [(12 * priorities[int(r)] / sum(priorities)) ** -beta for r in batch.reward[0].tolist()]
    assert batch.weight[0].tolist() == pytest.approx([w / max(weights) for w in weights], rel=1e-5)


def test_uniform_weights_are_one() -> None:
    replay, _ = filled(Uniform(), 12)
    batch = Segment(VECTOR, 1, 5)
    batch.weight.fill_(7)
    replay.update(replay.sample(batch, 0), np.full(5, 100.0))
    assert batch.weight.tolist() == [[1.0] * 5]


def test_new_steps_have_the_largest_priority_so_far() -> None:
    replay, segment = filled(Proportional(STEPS, 1.0, epsilon=0.01), 12)
    assert replay._tree.values(np.arange(12)) == pytest.approx([1.01] * 12)
    replay.update(np.array([3, 5]), np.array([-6.0, 2.0]))
    replay.update(np.array([3]), np.array([0.5]))  # the largest so far stays the largest so far
    replay.add(segment)
    assert replay._tree.values(np.array([3, 5, 12, 15])) == pytest.approx([0.51, 2.01, 6.01, 6.01])


def test_errors_that_are_not_finite_leave_the_priorities() -> None:
    replay, _ = filled(Proportional(STEPS, 1.0, epsilon=0.01), 12)
    replay.update(np.arange(3), np.array([math.nan, math.inf, 2.0], np.float32))
    assert replay._tree.values(np.arange(3)) == pytest.approx([1.01, 1.01, 2.01])


def test_one_seed_gives_the_same_samples_twice() -> None:
    first, second = (sampled_numbers(filled(Proportional(STEPS), 12, seed=3)[0], 5, 8) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def arrays(part: object) -> Iterator[np.ndarray]:
    """All arrays that an object of the package holds, at any depth."""
    for value in vars(part).values():
        if isinstance(value, np.ndarray):
            yield value
        elif type(value).__module__.startswith("async_rl"):
            yield from arrays(value)


@pytest.mark.parametrize("capacity", [2**17, 2**17 + 8])  # the best and the worst for the tree
def test_bytes_per_step_of_atari(capacity: int) -> None:
    replay = Replay(ATARI, capacity, 8, Proportional(STEPS), np.random.default_rng())
    assert 84 * 84 < sum(array.nbytes for array in arrays(replay)) / capacity <= 7300


def test_an_atari_stack_is_rebuilt_and_nothing_large_is_allocated_later() -> None:
    random = np.random.default_rng(0)
    replay = Replay(ATARI, 64, 2, Uniform(), random)
    memory = {id(array) for array in arrays(replay)}
    games = [Stream(ATARI, random) for _ in range(2)]
    segment, batch = Segment(ATARI, 5, 2), Segment(ATARI, 1, 32)
    for _ in range(10):
        for e, game in enumerate(games):
            game.play(segment, e)
        replay.add(segment)
        replay.sample(batch, 0)
        assert set(transitions(batch)) <= {transition for game in games for transition in game.stored(32)}
    large = [array for array in arrays(replay) if array.nbytes > 10_000]
    assert large and all(id(array) in memory for array in large)


def test_stacks_may_be_deep() -> None:
    """More screens than a byte counts."""
    spec = EnvSpec("deep", (200,), "float32", ("a", "b"), stack=200)
    memory = Replay(spec, 400, 1, Uniform(), np.random.default_rng(0))
    segment = Segment(spec, 1, 1)
    for step in range(300):
        segment.observation[0, 0] = torch.arange(step - 199, step + 1).clamp(min=0)
        segment.next_observation[0, 0] = torch.arange(step - 198, step + 2).clamp(min=0)
        segment.action.zero_(), segment.reward.fill_(step), segment.discount.fill_(1), segment.continues.fill_(1)
        memory.add(segment)
    batch = Segment(spec, 1, 64)
    memory.sample(batch, 0)
    for observation, step in zip(batch.observation[0], batch.reward[0], strict=True):
        assert torch.equal(observation, (torch.arange(200) - 199 + step).clamp(min=0).float())


def test_what_cannot_work_is_refused() -> None:
    deep = EnvSpec("deep", (8,), "float32", ("a", "b"), stack=8)
    _require_stacks_fit(Config(replay=72, workers=2, envs_per_worker=4), deep)
    with pytest.raises(UserError, match="at least 72, 9 steps for each stream, as deep shows 8 screens at once"):
        _require_stacks_fit(Config(replay=71, workers=2, envs_per_worker=4), deep)
    with pytest.raises(ValueError, match="at least 10 for 2 streams"):
        Rings(SCREENS, 9, 2)
    with pytest.raises(ValueError, match="multiple of stack"):
        Rings(EnvSpec("no stack", (5, 3), "uint8", ("a",), stack=4), 100, 1)
    with pytest.raises(ValueError, match="all 0"):
        Replay(SCREENS, 10, 2, Uniform(), np.random.default_rng()).sample(Segment(SCREENS, 1, 4), 0)


@pytest.mark.parametrize("spec", [VECTOR, SCREENS], ids=["vector", "screens"])
@pytest.mark.parametrize("replay", [80, 81, 1000, 5000, 10_000])
def test_games_of_one_step_are_learnt_from_too(replay: int, spec: EnvSpec) -> None:
    """Each takes two rows: the step and what was seen after it."""
    config = Config(workers=1, envs_per_worker=16, replay=replay, learning_starts=10**6)
    experience, segment = _experience(config, spec, np.random.default_rng(0)), Segment(spec, 1, 16)
    for field in (segment.observation, segment.next_observation, segment.reward, segment.discount, segment.continues):
        field.zero_()
    segment.action.zero_()
    assert any(experience.batch(segment, 0) is not None for _ in range(replay // 16))
