"""An actor-learner: plays its own streams and adds its gradients to the shared parameters, without a lock.

Life of a worker process:

    start --> build --> [ synchronise --> collect --> learn --> advance ]* --> end (stop flag, or T reached)
                                       any instant: SIGKILL. Only its running games are lost;
                                       the supervisor starts the next incarnation in the same slots.
"""

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from async_rl import errors, kernels
from async_rl.algorithms import LossGradient, Minibatches, Segment
from async_rl.build import Parts, make_parts
from async_rl.config import Config
from async_rl.cores import pin_worker, take_long_turns
from async_rl.envs import close_or_leave
from async_rl.optimizers import limit_norm
from async_rl.parent import allow_children, leave, worker_dies_with_parents
from async_rl.schedules import epsilons, learning_rate
from async_rl.seeding import seed_others, state_of
from async_rl.shared import SharedTable
from async_rl.signals import let_others_be_terminated


class Worker:
    """One actor-learner over parts that `async_rl.build` made; it builds nothing itself."""

    def __init__(self, config: Config, index: int, table: SharedTable, parts: Parts):
        self._config = config
        self._index = index
        self._table = table
        self._parts = parts
        self._segment = segment = parts.segment
        self._games: list[tuple[int, float, int, float]] = []  # that have ended in it: stream, score, length, epsilon
        self._observations = segment.observation.numpy()
        self._next_observations = segment.next_observation.numpy()
        self._actions = segment.action.numpy()
        self._next_actions = segment.next_action.numpy()
        self._rewards = segment.reward.numpy()
        self._discounts = segment.discount.numpy()
        self._continues = segment.continues.numpy()
        self._promised: np.ndarray | None = None  # actions [E] that the next segment begins with, if they are chosen
        self._ahead = np.empty_like(self._observations[0])  # memory for what they are chosen from
        # Where steps are learnt from once, just as they were played, the passes that acted are kept for the gradient.
        self._keeps_passes = parts.minibatches is None and not config.replay
        self._outputs: list[Tensor] = []  # of the segment, [E, outputs] each, where it is learnt from more than once
        self._total_steps = table.total_steps()
        self._lap = parts.stopwatch.lap
        self._phases_before = table["phases"][index].copy()  # of former incarnations
        self._odd_steps_before = int(table["odd_steps"][index])
        self._random_states_due = 0.0
        self._refreshes_seen = -1

    def run(self) -> None:
        """Learn until the supervisor says stop or T reaches its goal."""
        self._parts.stopwatch.restart()
        while not self._finished():
            self._synchronise()
            self._collect()
            self._learn()
            self._advance()
        if self._random_states_due:  # a worker that has done nothing leaves them as they were
            self._publish_rarely()

    def _finished(self) -> bool:
        return bool(self._table["stop"][0]) or self._total_steps >= self._config.steps

    def _synchronise(self) -> None:
        """Copy theta, where the algorithm works on a copy, and let the passes take it as it is now."""
        if self._parts.algorithm.copies_parameters:
            self._parts.parameters.copy_(self._table.tensor("parameters"))
        self._parts.passes.refresh()
        self._lap("synchronise")

    def _collect(self) -> None:
        """Play ``t_max`` steps of every stream."""
        streams = self._parts.streams
        explore = epsilons(self._config, self._parts.final_epsilons, self._total_steps)
        for t in range(self._config.t_max):
            self._actions[t] = self._act(t, explore)
            self._lap("act")
            streams.step(self._actions[t], self._next_observations[t])
            self._rewards[t] = streams.reward
            self._discounts[t] = streams.discount
            self._continues[t] = streams.continues
            self._table["heartbeat"][self._index] = time.monotonic()  # a segment may be long
            self._lap("emulate")
            for stream, score, length in streams.finished:
                self._games.append((stream, score, length, explore[stream]))
        if self._parts.algorithm.needs_next_action:
            self._look_ahead(explore)
        self._parts.shape_rewards(self._rewards)
        self._discounts *= self._config.gamma

    def _act(self, t: int, explore: np.ndarray) -> np.ndarray:
        """Actions [E] for what the streams see now."""
        streams, segment, unseen = self._parts.streams, self._segment, None
        if self._config.t_max == 1:  # what came next is what is seen now, and stays where it is
            unseen = streams.begun
            segment.observation, segment.next_observation = segment.next_observation, segment.observation
            self._observations, self._next_observations = self._next_observations, self._observations
        streams.observe(self._observations[t])
        if self._keeps_passes:
            outputs = self._parts.passes.act(segment.observation[t], t, self._config.t_max, unseen)
        else:
            outputs = self._parts.passes(segment.observation[t])
        if self._parts.minibatches is not None:
            self._outputs.append(outputs)
        if self._promised is None:
            return self._choose(outputs, explore)
        promised, self._promised = self._promised, None
        return promised

    def _look_ahead(self, explore: np.ndarray) -> None:
        """Choose the actions that the next segment begins with, and note what was done after each step of this one."""
        self._parts.streams.observe(self._ahead)
        self._promised = self._choose(self._parts.passes(torch.from_numpy(self._ahead)), explore)
        self._next_actions[:-1] = self._actions[1:]
        self._next_actions[-1] = self._promised
        self._next_actions[self._continues == 0] = -1
        self._lap("act")

    def _choose(self, outputs: Tensor, explore: np.ndarray) -> np.ndarray:
        return self._parts.algorithm.policy(outputs.numpy(), explore, self._parts.policy_generators)

    def _learn(self) -> None:
        """Learn from what there is to learn from: in one update, or in many small ones."""
        self._lap("report")
        if self._parts.minibatches is not None:
            self._learn_in_epochs(self._parts.minibatches)
            return
        batch = self._parts.experience.batch(self._segment, self._total_steps)
        if batch is None:
            return
        passes = self._parts.passes
        outputs = passes.kept(batch.observation) if self._keeps_passes else passes.forward(batch.observation)
        self._lap("gradient")
        self._update(batch, outputs, self._returns(batch, outputs))

    def _learn_in_epochs(self, minibatches: Minibatches) -> None:
        """Move the values of the segment towards returns that stay what they were before the first update."""
        returns = self._returns(self._segment, torch.stack(self._outputs))
        self._outputs.clear()
        for batch, batch_returns in minibatches(self._segment, returns):
            self._synchronise()
            self._update(batch, self._parts.passes.forward(batch.observation), batch_returns)
            self._table["heartbeat"][self._index] = time.monotonic()  # they may be many

    def _returns(self, batch: Segment, outputs: Tensor) -> Tensor:
        """Returns [T, E], by a theta^- that is all of one refresh: some layers have copies, the others see it live.

        Where it is refreshed in the middle of this, one batch may be valued by copies of the old one in some layers and
        by the new one in the others.
        """
        refreshes = int(self._table["target_refreshes"][0])
        if refreshes != self._refreshes_seen:
            self._parts.target.refresh()
            self._refreshes_seen = refreshes
        returns = self._parts.algorithm.learner.returns(self._parts.passes, self._parts.target, batch, outputs)
        self._lap("target")
        return returns

    def _update(self, batch: Segment, outputs: Tensor, returns: Tensor) -> None:
        """Differentiate, and update the shared parameters."""
        loss = self._parts.algorithm.learner.loss_gradient(outputs, returns, batch)
        self._parts.passes.backward(loss.gradient)
        self._lap("gradient")
        self._parts.experience.update_priorities(loss.errors)
        self._apply(loss)
        self._lap("apply")

    def _apply(self, loss: LossGradient) -> None:
        """Update the shared parameters; a gradient that is not finite is dropped and counted."""
        gradient, sums = self._parts.gradient, self._table["sums"][self._index]
        norm = float(torch.dot(gradient, gradient)) ** 0.5
        if not np.isfinite(norm):
            self._table["dropped"][self._index] += 1
            return
        if norm > self._config.gradient_norm_limit:  # else no part is longer
            limit_norm(self._parts.limited_gradients, self._config.gradient_norm_limit)
        self._parts.optimizer.apply(learning_rate(self._config, self._total_steps))
        steps = loss.errors.numel()
        sums += (loss.td_loss / steps, loss.value / steps, norm)
        self._table["updates"][self._index] += 1

    def _advance(self) -> None:
        """Count the segment's steps, and refresh the target network if that is this worker's duty."""
        if self._games:
            self._record_games()
        self._table["steps"][self._index] += self._config.steps_per_segment
        self._total_steps = self._table.total_steps()
        if self._config.uses_target and self._table["refresher"][0] == self._index:
            self._refresh_target()
        self._publish()
        self._lap("report")

    def _refresh_target(self) -> None:
        """Set theta^- to theta, once in every ``target_interval`` steps, but after each of its own segments at most."""
        refreshes = self._table["target_refreshes"]
        if self._total_steps >= (refreshes[0] + 1) * self._config.target_interval:
            np.copyto(self._table["target"], self._table["parameters"])
            # T of many machines comes in leaps, and a worker that hung may come late.
            refreshes[0] = max(refreshes[0], self._total_steps // self._config.target_interval)

    def _publish(self) -> None:
        """Show a sign of life."""
        now = time.monotonic()
        self._table["phases"][self._index] = self._phases_before + list(self._parts.stopwatch.seconds.values())
        self._table["heartbeat"][self._index] = now
        if now >= self._random_states_due:
            self._publish_rarely()
            self._random_states_due = now + 1.0

    def _publish_rarely(self) -> None:
        """Leave the random states where a checkpoint finds them, and say how often numbers were not finite."""
        self._table["odd_steps"][self._index] = self._odd_steps_before + self._parts.streams.odd_steps
        states = self._table["random_states"][self._index]
        for stream, pair in enumerate(zip(self._parts.emulator_generators, self._parts.policy_generators, strict=True)):
            states[stream] = [state_of(generator) for generator in pair]

    def _record_games(self) -> None:
        """Append to this worker's ring, which only the supervisor reads: each record first, the count after it.

        Right before their steps are counted, as of the T that counts them: a resume has the games of the steps it has.
        """
        ring, written = self._table["games"][self._index], self._table["games_written"]
        total_steps = self._table.total_steps() + self._config.steps_per_segment
        for game in self._games:
            ring[written[self._index] % len(ring)] = (total_steps, *game)
            written[self._index] += 1
        self._games.clear()


def worker_process(
    config: Config, index: int, incarnation: int, table: SharedTable, error_file: Path, crowded: bool, first_step: int
) -> None:
    """Entry of a worker process, one of more than there are cores if it is ``crowded`` here.

    ``first_step`` is T at the start of the session. An error is left in ``error_file``, and the exit code is 1.
    """
    worker_dies_with_parents()
    allow_children()
    let_others_be_terminated()
    pin_worker(index, config.pin)
    if crowded:
        take_long_turns()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # statistics of silent weights decay into denormal numbers, which are slow
    cv2.setNumThreads(0)
    with errors.left_in(error_file):
        kernels.compile_all()  # done already in the fork server; not where there is none
        seed_others(config.seed, index, incarnation, first_step)
        parts = make_parts(config, index, incarnation, table, first_step)
        Worker(config, index, table, parts).run()
        for environment in parts.streams.environments:
            close_or_leave(environment)
    leave()
