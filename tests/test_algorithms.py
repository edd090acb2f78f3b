"""Algorithms 1, S2, S3, Sarsa and their switches against restatements in Python floats, written from the papers."""

import itertools
import math
import random
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_worker, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from async_rl import chain, checkpoint, kernels, run_directory, train
from async_rl.algorithms import LossGradient, Segment, make_algorithm
from async_rl.algorithms.segment import Learner
from async_rl.build import final_epsilons, make_parts, make_table
from async_rl.config import Config
from async_rl.envs import describe
from async_rl.networks import make_network
from async_rl.optimizers import limit_norm
from async_rl.replay import Proportional
from async_rl.returns import lambda_returns, taken
from async_rl.rewards import REWARDS
from async_rl.schedules import with_drawn_learning_rate
from async_rl.seeding import minibatch_generator
from async_rl.shared import bind, flatten, layout
from async_rl.types import EnvSpec, UserError
from async_rl.worker import Worker

GAMMA = 0.9
VECTOR = EnvSpec("vector", (3,), "float32", ("a", "b"))

seeds = st.integers(0, 10_000)
segments = st.builds(
    lambda seed, t_max, streams: random_segment(seed, t_max, streams),
    seeds,
    st.integers(1, 6),
    st.integers(1, 3),
)
"""Segments with ends, cuts, and lost lives (discount 0, but the game goes on) anywhere."""


def random_segment(seed: int, t_max: int, streams: int) -> Segment:
    random = np.random.default_rng(seed)
    segment = Segment(VECTOR, t_max, streams)
    for tensor in (segment.observation, segment.next_observation, segment.reward):
        tensor.copy_(torch.from_numpy(random.normal(size=tensor.shape)))
    segment.action.copy_(torch.from_numpy(random.integers(2, size=(t_max, streams))))
    kinds = random.choice(4, p=(0.7, 0.1, 0.1, 0.1), size=(t_max, streams))  # goes on, end, cut, lost life
    segment.discount.copy_(torch.from_numpy(np.where((kinds == 1) | (kinds == 3), 0.0, GAMMA)))
    segment.continues.copy_(torch.from_numpy(np.where((kinds == 1) | (kinds == 2), 0.0, 1.0)))
    next_action = random.integers(2, size=(t_max, streams))
    segment.next_action.copy_(torch.from_numpy(np.where(segment.continues.numpy() > 0, next_action, -1)))
    segment.weight.copy_(torch.from_numpy(random.uniform(0.1, 1, size=(t_max, streams))))
    return segment


class Linear(nn.Module):
    """Outputs ``weight @ state``: small enough to restate by hand."""

    def __init__(self, seed: int, outputs: int = 2):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.random.default_rng(seed).normal(size=(outputs, 3))).float())

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return observation @ self.weight.T

    def of(self, state: torch.Tensor) -> list[float]:
        return [sum(w * s for w, s in zip(row, state.tolist(), strict=True)) for row in self.weight.tolist()]


def learn(config: Config, theta: nn.Module, target: nn.Module, segment: Segment) -> LossGradient:
    learner = make_algorithm(config).learner
    outputs = theta(segment.observation.flatten(0, 1)).unflatten(0, segment.action.shape)
    returns = learner.returns(theta, target, segment, outputs)
    learning = learner.loss_gradient(outputs.detach(), returns, segment)
    outputs.backward(learning.gradient)
    return learning


def n_step(segment: Segment, next_value: list[float], e: int, t: int, n: int) -> float:
    """r[t] + gamma r[t+1] + ... + gamma^n V(next observation of t+n-1), zero after an end."""
    total, weight = 0.0, 1.0
    for k in range(t, t + n):
        total += weight * float(segment.reward[k, e])
        weight *= float(segment.discount[k, e])
    return total + weight * next_value[t + n - 1]


def restated_returns(segment: Segment, next_value: list[float], e: int, decay: float) -> list[float]:
    """The lambda-return as it is defined: a mean of n-step returns, up to the end of the game or of the segment."""
    returns = []
    t_max = len(segment.reward)
    for t in range(t_max):
        longest = 1
        while t + longest < t_max and float(segment.continues[t + longest - 1, e]) == 1:
            longest += 1
        mean = decay ** (longest - 1) * n_step(segment, next_value, e, t, longest)
        for n in range(1, longest):
            mean += (1 - decay) * decay ** (n - 1) * n_step(segment, next_value, e, t, n)
        returns.append(mean)
    return returns


@given(segment=segments, decay=st.sampled_from([0.0, 0.3, 0.65, 1.0]), seed=seeds)
def test_lambda_returns_are_means_of_n_step_returns(segment: Segment, decay: float, seed: int) -> None:
    next_value = torch.randn(segment.reward.shape, generator=torch.Generator().manual_seed(seed))
    returns = lambda_returns(segment.reward, segment.discount, segment.continues, next_value, decay)
    for e in range(segment.reward.shape[1]):
        expected = restated_returns(segment, next_value[:, e].tolist(), e, decay)
        np.testing.assert_allclose(returns[:, e].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.65, 1.0])
def test_what_follows_the_end_of_a_game_does_not_count_whatever_it_is(decay: float) -> None:
    ends = torch.tensor([[1.0], [0.0], [1.0], [1.0]])  # after the second step
    reward, value = torch.tensor([[0.5], [1.0], [torch.nan], [0.0]]), torch.tensor([[2.0], [torch.inf], [3.0], [4.0]])
    returns = lambda_returns(reward, ends, ends, value, decay)
    assert returns[:2, 0].tolist() == pytest.approx([0.5 + (1 - decay) * 2.0 + decay * 1.0, 1.0])
    assert torch.isnan(returns[2, 0]) and returns[3, 0] == 4.0


@given(segment=segments, cut=st.integers(0, 6), seed=seeds)
def test_cutting_a_segment_anywhere_does_not_change_one_step_targets(segment: Segment, cut: int, seed: int) -> None:
    next_value = torch.randn(segment.reward.shape, generator=torch.Generator().manual_seed(seed))
    parts = (segment.reward, segment.discount, segment.continues, next_value)
    whole = lambda_returns(*parts, decay=0.0)
    pieces = [lambda_returns(*(p[i] for p in parts), decay=0.0) for i in (slice(0, cut), slice(cut, None)) if
              len(segment.reward[i])]  # fmt: skip
    torch.testing.assert_close(torch.cat(pieces), whole)


def restated_next_value(config: Config, segment: Segment, theta: Linear, target: Linear, t: int, e: int) -> float:
    state, action = segment.next_observation[t, e], int(segment.next_action[t, e])
    values = target.of(state)
    if config.double:
        own = theta.of(state)
        return values[own.index(max(own))]
    if config.algorithm == "one-step-sarsa" and action >= 0:
        return values[action]
    return max(values)


VALUE_METHODS = [
    Config(algorithm="one-step-q"),
    Config(algorithm="one-step-q", double=True),
    Config(algorithm="one-step-sarsa"),
    Config(algorithm="n-step-q"),
    Config(algorithm="n-step-q", double=True, lambda_=0.65, t_max=4),
    Config(algorithm="one-step-q", loss="huber"),
]


@pytest.mark.parametrize("config", VALUE_METHODS, ids=lambda c: f"{c.algorithm} {c.double} {c.lambda_} {c.loss}")
@settings(max_examples=40)
@given(segment=segments)
def test_gradients_of_value_methods(config: Config, segment: Segment) -> None:
    """Accumulated over the segment: d theta <- d theta + d (R - Q(s, a; theta))^2 / d theta; or Huber's loss."""
    theta, target = Linear(1), Linear(2)
    decay = config.lambda_ if config.lambda_ is not None else float(config.algorithm == "n-step-q")
    gradient = np.zeros((2, 3))
    errors = value_sum = 0.0
    t_max, streams = segment.reward.shape
    for e in range(streams):
        next_value = [restated_next_value(config, segment, theta, target, t, e) for t in range(t_max)]
        for t, expected in enumerate(restated_returns(segment, next_value, e, decay)):
            action = int(segment.action[t, e])
            value = theta.of(segment.observation[t, e])[action]
            error = expected - value
            q = torch.tensor(value, requires_grad=True)
            loss = nn.functional.huber_loss if config.loss == "huber" else nn.functional.mse_loss
            loss(q, torch.tensor(expected)).backward()  # type: ignore[no-untyped-call]
            assert q.grad is not None
            gradient[action] += float(segment.weight[t, e]) * q.grad.item() * segment.observation[t, e].numpy()
            errors += error**2
            value_sum += value
    learning = learn(config, theta, target, segment)
    assert theta.weight.grad is not None and target.weight.grad is None
    np.testing.assert_allclose(theta.weight.grad.numpy(), gradient, rtol=1e-3, atol=1e-3)
    assert learning.td_loss == pytest.approx(errors, rel=1e-3, abs=1e-4)
    assert learning.value == pytest.approx(value_sum, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("config", "reward"),
    [
        *itertools.product([Config(), Config(algorithm="a3c")], [math.nan, math.inf, -math.inf]),
        (Config(loss="huber"), math.nan),  # where an infinite one has a gradient of 1, as every large error
    ],
)
def test_gradients_of_what_is_not_finite_are_not_finite(config: Config, reward: float) -> None:
    """So that they are noticed, and dropped."""
    segment = random_segment(0, t_max=2, streams=2)
    segment.reward[1, 1] = reward
    learning = learn(config, Linear(1, outputs=3), Linear(2), segment)
    assert not learning.gradient[1, 1].isfinite().all() and learning.gradient[1, 0].isfinite().all()


@settings(max_examples=40)
@given(segment=segments)
@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(algorithm="n-step-q", lambda_=0.65, t_max=4),
        Config(algorithm="n-step-q"),
        Config(algorithm="one-step-sarsa"),  # whose next action need not be the best one
    ],
)
def test_without_a_target_what_acting_has_valued_is_not_valued_again(config: Config, segment: Segment) -> None:
    """The network is asked only for what ends the segment, or was cut; the returns are the same."""
    theta = Linear(1)
    decay = config.lambda_ if config.lambda_ is not None else float(config.algorithm == "n-step-q")
    goes_on = segment.continues[:-1].unsqueeze(-1) == 1
    segment.next_observation[:-1] = torch.where(goes_on, segment.observation[1:], segment.next_observation[:-1])
    asked: list[int] = []

    def counting(observation: torch.Tensor) -> torch.Tensor:
        asked.append(len(observation))
        return theta(observation)

    outputs = theta(segment.observation)
    returns = make_algorithm(config).learner.returns(counting, counting, segment, outputs.detach())
    t_max, streams = segment.reward.shape
    for e in range(streams):
        next_value = [restated_next_value(config, segment, theta, theta, t, e) for t in range(t_max)]
        expected = restated_returns(segment, next_value, e, decay)
        np.testing.assert_allclose(returns[:, e].detach().numpy(), expected, rtol=1e-3, atol=1e-3)
    cut = (segment.continues[:-1] == 0) & (segment.discount[:-1] > 0)
    sarsa = config.algorithm == "one-step-sarsa"
    assert asked == [streams * t_max if sarsa else streams + int(cut.sum())]


@given(segment=segments)
def test_a_loss_of_ones_own_is_written_as_the_learner_says(segment: Segment) -> None:
    """The lines in its docstring have the gradient of the loss that is written by hand."""
    returns, outputs = torch.full_like(segment.reward, 0.5), Linear(1)(segment.observation)
    by_hand = make_algorithm(Config()).learner.loss_gradient(outputs.detach(), returns, segment)
    _, lines = str(Learner.loss_gradient.__doc__).split("::")
    names = {"torch": torch, "taken": taken, "LossGradient": LossGradient}
    exec(f"def loss_gradient(outputs, returns, segment):\n{textwrap.indent(textwrap.dedent(lines), '    ')}", names)
    own = names["loss_gradient"](outputs, returns, segment)
    torch.testing.assert_close(own.gradient, by_hand.gradient)
    torch.testing.assert_close(own.errors, by_hand.errors)
    assert not own.errors.requires_grad  # as replay takes them
    sums = [(each.value, each.td_loss) for each in (own, by_hand)]
    torch.testing.assert_close(*map(torch.tensor, sums))


@settings(max_examples=40)
@given(segment=segments)
def test_gradient_of_a3c_is_that_of_algorithm_s3(segment: Segment) -> None:
    """d theta + grad log pi (R - V) + beta grad H, less d (R - V)^2, by finite differences of that objective."""
    beta, network = 0.3, Linear(1, outputs=3)
    t_max, streams = segment.reward.shape

    def policy(outputs: list[float]) -> list[float]:
        exponentials = [math.exp(logit) for logit in outputs[:2]]
        return [value / sum(exponentials) for value in exponentials]

    returns = []
    for e in range(streams):
        next_value = [network.of(segment.next_observation[t, e])[2] for t in range(t_max)]
        returns.append(restated_returns(segment, next_value, e, decay=1.0))
    advantages = [
        [returns[e][t] - network.of(segment.observation[t, e])[2] for t in range(t_max)] for e in range(streams)
    ]

    def objective(weights: np.ndarray) -> float:
        total = 0.0
        for e, t in itertools.product(range(streams), range(t_max)):
            outputs = (weights @ segment.observation[t, e].double().numpy()).tolist()
            probabilities = policy(outputs)
            total -= math.log(probabilities[int(segment.action[t, e])]) * advantages[e][t]
            total += beta * sum(p * math.log(p) for p in probabilities)
            total += (returns[e][t] - outputs[2]) ** 2
        return total

    learn(Config(algorithm="a3c", entropy_weight=beta), network, network, segment)
    weights = network.weight.detach().double().numpy()
    assert network.weight.grad is not None
    for index in np.ndindex(weights.shape):
        step = np.zeros_like(weights)
        step[index] = 1e-5
        slope = (objective(weights + step) - objective(weights - step)) / 2e-5
        assert float(network.weight.grad[index]) == pytest.approx(slope, rel=1e-3, abs=1e-3)


def worker_on_catch(config: Config) -> tuple[Worker, np.ndarray]:
    worker, table = make_worker(replace(config, env="catch", workers=1))
    return worker, table["parameters"]


def combinations() -> list[Config]:
    """Every combination of the switches that is allowed."""
    found = []
    for algorithm, double, dueling, norm, target, optimizer, statistics, decay in itertools.product(
        ("one-step-q", "one-step-sarsa", "n-step-q", "a3c"), (False, True), (False, True), ("none", "layer"),
        ("shared", "none"), ("rmsprop", "momentum", "adam"), ("shared", "local"), (None, 0.5),
    ):  # fmt: skip
        try:
            found.append(
                Config(algorithm=algorithm, double=double, dueling=dueling, norm=norm, target=target,  # type: ignore[arg-type]
                       optimizer=optimizer, statistics=statistics, lambda_=decay, steps=200, t_max=5,  # type: ignore[arg-type]
                       envs_per_worker=4)
            )  # fmt: skip
        except UserError as error:
            assert re.search("has no meaning with --(algorithm|target none)", str(error))
    return found


def test_every_combination_of_the_switches_runs_200_steps() -> None:
    for config in combinations():
        worker, parameters = worker_on_catch(config)
        before = parameters.copy()
        worker.run()
        assert worker._table.total_steps() == 200 and worker._table["updates"][0] == 10, config
        assert np.isfinite(parameters).all() and not np.array_equal(parameters, before), config


@pytest.mark.parametrize("settings", [
    {"replay": 400, "prioritized": True}, {"algorithm": "n-step-q", "t_max": 8, "epochs": 2, "optimizer": "adam"}
])  # fmt: skip
def test_one_worker_and_one_seed_give_the_same_bits_twice(settings: dict[str, Any]) -> None:
    """In processes, with the defaults: see test_processes."""
    learnt = []
    for seed in (3, 3, 4):
        worker, parameters = worker_on_catch(Config(steps=4000, seed=seed, **settings))
        before = parameters.copy()
        worker.run()
        assert not np.array_equal(parameters, before)
        learnt.append(parameters.copy())
    first, again, other = learnt
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sarsa_takes_the_actions_that_it_bootstraps_from(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, _ = worker_on_catch(Config(algorithm="one-step-sarsa", t_max=4, envs_per_worker=3, steps=10**9))
    passes: list[int] = []
    forward = chain.forward
    monkeypatch.setattr(chain, "forward", lambda layers, x, rows: passes.append(len(x)) or forward(layers, x, rows))
    promised = None
    for _ in range(20):
        worker._collect()
        assert passes == [3] * 5  # four times to act, and once ahead
        passes.clear()
        segment = worker._segment
        if promised is not None:
            known = promised >= 0
            assert (segment.action[0][known] == promised[known]).all()
        for t in range(3):
            known = segment.next_action[t] >= 0
            assert (known == (segment.continues[t] > 0)).all()
            assert (segment.action[t + 1][known] == segment.next_action[t][known]).all()
        promised = segment.next_action[3].clone()


@pytest.mark.parametrize("more", [{"replay": 60}, {"epochs": 2}, {"epochs": 2, "t_max": 2}])
def test_what_is_learnt_from_is_what_was_drawn_and_not_what_streams_see(more: dict[str, Any]) -> None:
    """Though there are as many steps in a batch as streams."""
    config = Config(env="pong", workers=1, envs_per_worker=3, batch_size=3, precision="float32", **more)
    worker, table = make_worker(config)
    passes, network, batches = worker._parts.passes, make_network(config, worker._parts.streams.spec), 0
    bind(network, table.tensor("parameters"))
    forward = passes.forward

    def checked(observation: torch.Tensor) -> torch.Tensor:
        nonlocal batches
        outputs, batches = forward(observation), batches + 1
        with torch.no_grad():
            torch.testing.assert_close(outputs.flatten(0, 1), network(observation.flatten(0, 1)))
        return outputs

    passes.forward = checked  # type: ignore[method-assign]
    for _ in range(25):
        worker._synchronise()
        worker._collect()
        worker._learn()
        worker._advance()
    assert batches > 10


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("more", [{}, {"norm": "layer"}, {"algorithm": "n-step-q", "t_max": 2}, {"replay": 60}])
def test_the_target_is_all_of_one_refresh_though_it_comes_while_a_worker_plays(
    precision: str, more: dict[str, Any]
) -> None:
    config = Config(env="pong", workers=1, envs_per_worker=3, precision=precision, **more)  # type: ignore[arg-type]
    worker, table = make_worker(config)
    while not table["updates"][0]:
        worker._synchronise()
        worker._collect()
        worker._learn()
        worker._advance()
    worker._synchronise()
    worker._collect()
    table["target"][:] *= 1.5  # as the refresher does it
    table["target_refreshes"][0] += 1
    worker._learn()
    observation = worker._segment.next_observation[0]
    after = make_parts(config, 0, 1, table).target
    assert torch.equal(worker._parts.target(observation), after(observation))


@pytest.mark.parametrize("more", [{"replay": 200, "batch_size": 4}, {"epochs": 2, "batch_size": 4, "t_max": 4}])
def test_a_session_that_goes_on_draws_other_steps_than_the_first(more: dict[str, Any]) -> None:
    config = Config(env="catch", workers=1, envs_per_worker=2, **more)
    table = make_table(config, describe(config))

    def drawn(first_step: int) -> list[float]:
        parts = make_parts(config, 0, 0, table, first_step)
        drawer = parts.minibatches if config.epochs > 1 else parts.experience._replay  # type: ignore[attr-defined]
        return drawer._random.random(4).tolist()  # type: ignore[union-attr]

    assert drawn(0) == drawn(0) != drawn(1000) == drawn(1000)


def test_a_worker_shows_signs_of_life_within_a_segment() -> None:
    worker, _ = worker_on_catch(Config(t_max=5))
    worker._table["heartbeat"][0] = 0.0
    worker._collect()
    assert worker._table["heartbeat"][0] > 0


def test_algorithms_on_a_copy_see_the_shared_parameters_only_at_the_start_of_a_segment() -> None:
    for algorithm, copies in (("one-step-q", False), ("one-step-sarsa", False), ("n-step-q", True), ("a3c", True)):
        worker, parameters = worker_on_catch(Config(algorithm=algorithm))  # type: ignore[arg-type]
        worker._synchronise()
        parameters += 1.0
        assert (worker._parts.parameters.numpy() == parameters).all() != copies
        worker._synchronise()
        assert (worker._parts.parameters.numpy() == parameters).all()


@pytest.mark.parametrize("algorithm", ["one-step-q", "one-step-sarsa", "n-step-q"])
def test_epochs_go_over_the_segment_in_batches_towards_returns_of_before(algorithm: Any) -> None:
    """Three of them, with plain gradient steps, against autograd and returns as they are defined."""
    config = Config(env="catch", workers=1, envs_per_worker=4, t_max=6, algorithm=algorithm, epochs=3, batch_size=8,
                    optimizer="momentum", momentum_decay=0.0, lr=0.01, lr_schedule="constant",
                    target="none")  # fmt: skip
    worker, parameters = worker_on_catch(config)
    network = make_network(config, worker._parts.streams.spec)
    theta = torch.from_numpy(parameters.copy())
    bind(network, theta)
    worker._synchronise()
    worker._collect()
    segment = worker._segment
    with torch.no_grad():
        values = network(segment.next_observation.flatten(0, 1)).unflatten(0, (6, 4))
    action = values.argmax(-1)
    if algorithm == "one-step-sarsa":
        action = torch.where(segment.next_action >= 0, segment.next_action, action)
    next_value = values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    decay = float(algorithm == "n-step-q")
    expected = torch.tensor([restated_returns(segment, next_value[:, e].tolist(), e, decay) for e in range(4)]).T
    random, orders = minibatch_generator(config.seed, 0, 0, 0), set()
    for _ in range(3):
        order = random.permutation(24)
        orders.add(tuple(order))
        assert sorted(order) == list(range(24))
        for batch in order.reshape(3, 8):
            network.zero_grad()
            outputs = network(torch.stack([segment.observation[i // 4, i % 4] for i in batch]))
            chosen = torch.stack([outputs[row, segment.action[i // 4, i % 4]] for row, i in enumerate(batch)])
            aims = torch.stack([expected[i // 4, i % 4] for i in batch])
            ((aims - chosen) ** 2).sum().backward()
            with torch.no_grad():
                theta -= 0.01 * torch.cat([parameter.grad.flatten() for parameter in network.parameters()])  # type: ignore[union-attr]
    assert len(orders) == 3
    before = parameters.copy()
    worker._learn()
    assert np.abs(parameters - before).max() > 1e-3
    np.testing.assert_allclose(parameters, theta.numpy(), rtol=1e-3, atol=1e-5)
    assert worker._table["updates"][0] == 9


def one_gradient(**settings: object) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The gradient of the first segment on Catch as the optimiser gets it, and the parts whose norms were limited."""
    worker, _ = worker_on_catch(Config(steps=10**9, **settings))  # type: ignore[arg-type]
    worker._collect()
    worker._learn()
    return worker._parts.gradient, worker._parts.limited_gradients


def test_an_action_that_a_policy_rules_out_has_no_part_in_its_gradient() -> None:
    random = np.random.default_rng(0)
    outputs = random.normal(size=(3, 2, 5)).astype(np.float32)
    action, returns = random.integers(0, 3, (3, 2)), random.normal(size=(3, 2)).astype(np.float32)
    masked = np.insert(outputs, 2, -np.inf, axis=2)
    made = []
    for shown, chosen in ((outputs, action), (masked, np.where(action < 2, action, action + 1))):
        gradient, errors = np.empty_like(shown), np.empty_like(returns)
        made.append(
            (kernels.actor_critic_gradient(shown, chosen, returns, np.float32(0.3), gradient, errors), gradient)
        )
    assert made[1][0] == pytest.approx(made[0][0]) and not made[1][1][..., 2].any()
    np.testing.assert_allclose(np.delete(made[1][1], 2, axis=2), made[0][1], rtol=1e-5, atol=1e-6)


def test_long_gradients_are_scaled_to_the_limit() -> None:
    free, _ = one_gradient()
    limited, _ = one_gradient(max_gradient_norm=0.9 * float(free.norm()))
    torch.testing.assert_close(limited, 0.9 * free)
    _, limited_layers = one_gradient(max_gradient_norm=0.1, clip_gradients="layer")
    layers = free.split([layer.numel() for layer in limited_layers])
    assert len(layers) == 6  # three weights, three biases
    for layer, before in zip(limited_layers, layers, strict=True):
        torch.testing.assert_close(layer.flatten(), before * min(1.0, 0.1 / float(before.norm())))
    assert Config(algorithm="a3c").gradient_norm_limit == 40 and Config().gradient_norm_limit == math.inf


@pytest.mark.parametrize(("statistics", "count"), [("shared", 9), ("local", 2)])
def test_adam_counts_the_updates_that_its_statistics_have_seen(statistics: str, count: int) -> None:
    config = Config(env="catch", workers=2, optimizer="adam", statistics=statistics, lr_schedule="constant")  # type: ignore[arg-type]
    table = make_table(config, describe(config))
    table["updates"][:] = (7, 40)
    parts = make_parts(config, 1, 0, table)
    table["updates"][:] = (7, 2) if statistics == "shared" else (70, 42)  # since this worker was started: 2 of its own
    before = table["parameters"].copy()
    parts.gradient.fill_(0.5)
    parts.optimizer.apply(0.01)
    quotient = (0.1 / (1 - 0.9 ** (count + 1))) / math.sqrt(
        (1 - config.rms_decay) / (1 - config.rms_decay ** (count + 1))
    )
    np.testing.assert_allclose(before - table["parameters"], 0.01 * quotient, rtol=1e-3)


def test_rewards_are_clipped_scaled_or_raw() -> None:
    rows = [[0.0, 0.5], [3.0, -6.0], [2.0, 0.0]]
    expected = {
        "clipped": [[0.0, 0.5], [1.0, -1.0], [1.0, 0.0]],
        "scaled": [[0.0, 1.0], [0.5, -1.0], [1 / 3, 0.0]],
        "raw": rows,
    }
    for name, make in REWARDS.items():
        shape = make(np.zeros(2), 1)
        for row, result in zip(rows, expected[name], strict=True):
            rewards = np.array([row], np.float32)
            shape(rewards)
            np.testing.assert_allclose(rewards, [result], rtol=1e-6)


def test_a_reward_that_is_no_number_hides_no_other_from_the_scale() -> None:
    scaled, rewards = REWARDS["scaled"](np.zeros(1), 0), np.array([[np.nan, 500.0]], np.float32)
    scaled(rewards)
    assert np.isnan(rewards[0, 0]) and rewards[0, 1] == 1
    nothing = np.full((1, 2), np.nan, np.float32)
    scaled(nothing)
    assert np.isnan(nothing).all()


def test_scaled_rewards_have_one_scale_that_a_checkpoint_keeps(tmp_path: Path) -> None:
    largest = np.zeros(2)
    first, second = (REWARDS["scaled"](largest, index) for index in range(2))
    for shape, seen, expected in (
        (first, -8.0, -1.0),
        (second, 2.0, 0.25),
        (first, np.nan, np.nan),
        (second, 4.0, 0.5),
    ):
        rewards = np.array([[seen]], np.float32)
        shape(rewards)
        np.testing.assert_allclose(rewards, [[expected]])
    run = train(Config(env="CartPole-v1", workers=2, steps=200, rewards="scaled"), tmp_path / "run", quiet=True).run_dir
    saved = checkpoint.read(run)
    table = make_table(saved.config, saved.spec)
    assert saved.arrays["largest_reward"].max() == 1.0 and table["largest_reward"].tolist() == [0.0, 0.0]
    checkpoint.restore(saved, table, saved.config, saved.spec, saved.layout)
    assert table["largest_reward"].tolist() == [1.0, 1.0]


def test_a_run_without_a_target_has_none_refreshed_when_it_goes_on(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=3000, target="none", target_interval=500)
    saved = checkpoint.read(train(config, tmp_path / "run", quiet=True).run_dir)
    table = make_table(saved.config, saved.spec)
    checkpoint.restore(saved, table, saved.config, saved.spec, saved.layout)
    assert table.total_steps() >= 3000 and table["target_refreshes"][0] == 0


def test_the_ladder_spans_all_streams_of_all_workers() -> None:
    config = Config(exploration="ladder", workers=3, envs_per_worker=2)
    ladder = np.concatenate([final_epsilons(config, worker) for worker in range(3)])
    expected = [0.4 ** (1 + 7 * i / 5) for i in range(6)]
    np.testing.assert_allclose(ladder, expected)


def test_no_file_tells_of_an_epsilon_that_a3c_does_not_have(tmp_path: Path) -> None:
    config = Config(env="catch", algorithm="a3c", t_max=5, workers=1, steps=2000, epsilon_anneal_steps=1000)
    run_dir = train(config, tmp_path / "run", quiet=True).run_dir
    games, reports = rows(run_dir / "episodes.csv"), rows(run_dir / "metrics.csv")
    assert games and {float(game["epsilon"]) for game in games} == {0.0}
    assert {float(report[name]) for report in reports for name in ("epsilon_min", "epsilon_max")} == {0.0}
    assert set(run_directory.sessions(run_dir)[0]["seeds"]["final_epsilons"]["worker 0"]) == {0.0}


def test_learning_rates_are_drawn_log_uniformly_by_the_seed() -> None:
    drawn = [with_drawn_learning_rate(Config(lr_range=(1e-4, 1e-2), seed=seed)) for seed in range(2000)]
    exponents = np.log10([config.lr for config in drawn])
    np.testing.assert_allclose(np.histogram(exponents, bins=4, range=(-4, -2))[0] / 2000, 0.25, atol=0.04)
    assert all(config.lr_range is None for config in drawn)
    assert with_drawn_learning_rate(drawn[0]) == drawn[0]


def users_network(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))


def users_batch_norm(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 3)), nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(3, outputs))


def users_features(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    network = users_network(observation_shape, outputs)
    network.register_buffer("frequencies", torch.randn(3))
    return network


def users_late_buffer(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    class Late(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.register_buffer("late", torch.randn(1))
            return super().forward(x)

    return Late(3, outputs)


def users_numpy(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    network = nn.Linear(3, outputs)
    network.weight.data[:] = torch.from_numpy(np.random.randn(*network.weight.shape) * random.random())
    return network


def users_nothing(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Flatten() if outputs == 3 else nn.Linear(3, outputs).requires_grad_(False)


def users_float64(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    class Wide(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.double()).float()

    return Wide(3, outputs, dtype=torch.float64)


def users_mistake(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs + 1))


def users_batch_of_one(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (1, -1)), nn.Linear(*observation_shape, outputs))


class Answering(nn.Linear):
    """It gives its outputs in another form."""

    def __init__(self, inputs: int, outputs: int, form: Callable[[Tensor], object]):
        super().__init__(inputs, outputs)
        self.form = form

    def forward(self, observation: Tensor) -> object:  # type: ignore[override]
        return self.form(super().forward(observation))


def users_tuple(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Answering(*observation_shape, outputs, lambda values: (values, None))


def users_detached(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Answering(*observation_shape, outputs, Tensor.detach)


def users_exit(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    sys.exit("no licence")


def test_whatever_draws_it_a_network_comes_from_the_seed_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EnvSpec("vector", (3,), "float32", ("a", "b"))
    module = "import torch\ntorch.manual_seed(0)\ndef users(shape, outputs): return torch.nn.Linear(3, outputs)\n"
    (tmp_path / "seeds_as_it_is_imported.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in (f"{__name__}:users_numpy", f"{__name__}:users_network", "seeds_as_it_is_imported:users"):
        config = Config(network=name)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[union-attr]
        made = [flatten(make_network(replace(config, seed=seed), spec)) for seed in (0, 1, 0)]
        assert torch.equal(made[0], made[2]) and not torch.equal(made[0], made[1])
        assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr]
        assert torch.equal(torch.get_rng_state(), before[2])


def test_replay_learns_from_batches_of_its_own_once_it_may() -> None:
    for prioritized in (False, True):
        config = Config(
            replay=500,
            learning_starts=100,
            batch_size=16,
            prioritized=prioritized,
            steps=1000,
            t_max=1,
            envs_per_worker=8,
        )
        worker, parameters = worker_on_catch(config)
        before = parameters.copy()
        while worker._table.total_steps() < 96:
            worker._collect()
            worker._learn()
            worker._advance()
        assert worker._table["updates"][0] == 0 and np.array_equal(parameters, before)
        worker.run()
        assert worker._table["updates"][0] == (1000 - 96) // 8
        assert np.isfinite(parameters).all() and not np.array_equal(parameters, before)


def test_the_importance_exponent_rises_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, importance = [], Proportional.importance

    def noted(sampler: Proportional, ratios: np.ndarray, total_steps: int) -> np.ndarray:
        asked.append((sampler.steps, total_steps))
        return importance(sampler, ratios, total_steps)

    monkeypatch.setattr(Proportional, "importance", noted)
    worker, _ = worker_on_catch(
        Config(replay=500, learning_starts=0, prioritized=True, steps=800, t_max=1, envs_per_worker=8)
    )
    worker.run()
    assert asked == [(800, 8 * update) for update in range(100)]


def test_a_network_of_the_users_own() -> None:
    spec = EnvSpec("vector", (3,), "float32", ("a", "b"))
    network = make_network(Config(network=f"{__name__}:users_network"), spec)
    assert [tuple(p.shape) for p in network.parameters()] == [(2, 3), (2,)]
    with pytest.raises(UserError, match=r"must give a torch module .* got Sequential -> \[2, 3\]"):
        make_network(Config(network=f"{__name__}:users_mistake"), spec)
    with pytest.raises(UserError, match=r"changes its buffer 1\.running_\w+ in every pass, as batch normalisation"):
        make_network(Config(network=f"{__name__}:users_batch_norm"), spec)
    for name, why in (
        ("users_batch_of_one", "failed on vector: RuntimeError: mat1 and mat2"),
        ("users_tuple", r"must give a torch module .* got Answering -> tuple"),
        ("users_detached", "outputs that cannot be differentiated in its parameters"),
        ("users_exit", "failed on vector: SystemExit: no licence"),
    ):
        with pytest.raises(UserError, match=why):
            make_network(Config(network=f"{__name__}:{name}"), spec)
    with torch.inference_mode():  # as of a program that only uses what was trained
        make_network(Config(network=f"{__name__}:users_network"), spec)
    with pytest.raises(UserError, match="changes its buffer late in every pass"):
        make_network(Config(network=f"{__name__}:users_late_buffer"), spec)
    with pytest.raises(UserError, match="draws its buffer frequencies at random; it is not saved"):
        make_network(Config(network=f"{__name__}:users_features"), spec)
    three = EnvSpec("vector", (3,), "float32", ("a", "b", "c"))
    for name, where in (("users_nothing", spec), ("users_nothing", three), ("users_float64", spec)):
        with pytest.raises(UserError, match=f"{name} must have parameters to learn, all of them float32"):
            make_network(Config(network=f"{__name__}:{name}"), where)
    for flag, more in (
        ("--dueling", {"dueling": True}),
        ("--norm", {"norm": "layer"}),
        ("--pixels", {"pixels": "unit"}),
    ):
        with pytest.raises(UserError, match=f"{flag} has no meaning with a --network of your own"):
            Config(network=f"{__name__}:users_network", **more)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has no function 'nothing'"):
        make_network(Config(network=f"{__name__}:nothing"), spec)
    with pytest.raises(UserError, match="--network must be auto"):
        Config(network="nonsense")


def test_the_network_of_nature() -> None:
    screens = EnvSpec("screens", (84, 84, 4), "uint8", ("a", "b"))
    shapes = [tuple(p.shape) for p in make_network(Config(network="nature"), screens).parameters()][::2]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 7 * 7 * 64), (2, 512)]


def test_a_run_starts_from_what_fits_of_another_network(tmp_path: Path) -> None:
    """From CartPole's two actions to a game with three and the same observations: all but the last layer."""
    result = train(Config(env="CartPole-v1", workers=1, steps=200), tmp_path / "run", quiet=True)
    saved = checkpoint.read(result.run_dir)
    spec = replace(saved.spec, action_names=("a", "b", "c"))
    table, fresh = make_table(Config(), spec), make_table(Config(), spec)
    shapes = layout(make_network(Config(), spec))
    missing = checkpoint.transfer(saved, table, shapes)
    assert missing == ["6.weight", "6.bias"]
    fitting = saved.arrays["parameters"].size - 2 * 64 - 2
    np.testing.assert_array_equal(table["parameters"][:fitting], saved.arrays["parameters"][:fitting])
    np.testing.assert_array_equal(table["parameters"][fitting:], fresh["parameters"][fitting:])
    np.testing.assert_array_equal(table["target"], table["parameters"])


class Allocations(TorchDispatchMode):
    """Records the largest tensor that an operation makes anew, in numbers."""

    largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in self._tensors((args, kwargs))}
        for tensor in self._tensors(made):
            if tensor.untyped_storage().data_ptr() not in given:
                self.largest = max(self.largest, tensor.numel())
        return made

    @staticmethod
    def _tensors(tree: Any) -> list[torch.Tensor]:
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("algorithm", ["one-step-q", "one-step-sarsa", "n-step-q", "a3c"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "momentum", "adam"])
def test_the_loop_allocates_nothing_of_the_size_of_the_network(algorithm: str, optimizer: str) -> None:
    config = Config(env="pong", workers=1, envs_per_worker=2, algorithm=algorithm, optimizer=optimizer, t_max=2)  # type: ignore[arg-type]
    worker, _ = make_worker(config)
    weights = 2592 * 256
    with Allocations() as allocations:
        for _ in range(3):
            worker._synchronise()
            worker._collect()
            worker._learn()
            worker._advance()
    assert 0 < allocations.largest < weights


def test_short_gradients_stay_as_they_are() -> None:
    short, long = torch.tensor([0.03, 0.04]), torch.tensor([3.0, 4.0])
    limit_norm([short, long], 0.1)
    assert short.tolist() == torch.tensor([0.03, 0.04]).tolist()
    torch.testing.assert_close(long, torch.tensor([0.06, 0.08]))
