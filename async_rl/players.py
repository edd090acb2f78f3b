"""Processes that play the games of an evaluation.

Game number i has random numbers and an emulator of its own, so it is the same game in whatever process and beside
whatever other games it is played, and it can be played again where its process was killed. Nothing passes between the
processes but numbers in a shared table; see `async_rl.shared`.
"""

import contextlib
import dataclasses
import os
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from async_rl.algorithms import Network, make_algorithm
from async_rl.algorithms.segment import Policy
from async_rl.config import Config
from async_rl.envs import close_or_leave, make_environment
from async_rl.evaluation import Protocol
from async_rl.export import SavedNetwork
from async_rl.parent import allow_children, leave, worker_dies_with_parents
from async_rl.seeding import evaluation_generators, seed_others
from async_rl.shared import SharedTable
from async_rl.signals import let_others_be_terminated
from async_rl.types import Environment, UserError
from async_rl.user_code import one_line

BATCH = 8
"""Rows of every forward pass, those of games that are over included: the last bits of a result depend on the number of
rows, and a game must not depend on how many others are left."""


class Play:
    """One game under way; its score and length go into row ``number`` of the table."""

    def __init__(self, number: int, config: Config, seed: int, observation: np.ndarray, table: SharedTable):
        emulator, self.generator = evaluation_generators(seed, number)
        self._environment: Environment = make_environment(config, emulator)
        self._observation = observation
        self._number = number
        self._table = table
        self._score = 0.0
        self._environment.reset(observation)
        table["length"][number] = 0

    def step(self, action: int) -> bool:
        """Take one step; True if the game is over."""
        outcome = self._environment.step(action, self._observation)
        self._score += outcome.reward
        if not np.isfinite(self._score):
            raise UserError(f"game {self._number} has the score {self._score}, expected a number.")
        self._table["length"][self._number] += 1
        if outcome.over:
            self._table["score"][self._number] = self._score  # last: the game counts as finished from here on
            close_or_leave(self._environment)
        return outcome.over


def play(
    network: Network,
    policy: Policy,
    epsilon: float,
    games: Sequence[int],
    observations: np.ndarray,
    begin: Callable[[int, np.ndarray], Play],
) -> None:
    """Play ``games``, at most `BATCH` at a time, to the end of each.

    Args:
        network: observations [BATCH, *observation_shape] -> outputs [BATCH, outputs].
        policy: how actions are chosen from the outputs.
        epsilon: for the policy.
        games: numbers.
        observations: [BATCH, *observation_shape], written.
        begin: starts the game of a number, given the row of ``observations`` that it is to write.
    """
    waiting = deque(games)
    plays: dict[int, Play] = {}  # by row
    while waiting or plays:
        for row in range(BATCH):
            if waiting and row not in plays:
                plays[row] = begin(waiting.popleft(), observations[row])
        rows = sorted(plays)
        with torch.no_grad():
            outputs = network(torch.from_numpy(observations)).numpy()[rows]
        actions = policy(outputs, np.full(len(rows), epsilon), [plays[row].generator for row in rows])
        for row, action in zip(rows, actions.tolist(), strict=True):
            if plays[row].step(action):
                del plays[row]


def player_process(
    saved: SavedNetwork, protocol: Protocol, games: Sequence[int], table: SharedTable, niceness: int, error_file: Path
) -> None:
    """Entry of a process that plays ``games``; it ends with the process that started it.

    Args:
        saved: the network but for its parameters, which are in the table.
        protocol: of the games.
        games: their numbers.
        table: with the rows ``parameters``, ``score`` and ``length``; see `async_rl.match`.
        niceness: to add to this process's own.
        error_file: gets what was wrong, one sentence in its first line; the exit code is 1 then.
    """
    worker_dies_with_parents()
    allow_children()
    let_others_be_terminated()
    os.nice(niceness)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cv2.setNumThreads(0)
    try:
        config = environment_config(saved.config, protocol)
        seed_others(protocol.seed, *games)
        observations = np.zeros((BATCH, *saved.spec.observation_shape), saved.spec.observation_dtype)
        play(
            dataclasses.replace(saved, vector=table["parameters"]).make(),
            make_algorithm(saved.config).policy,
            protocol.epsilon or 0.0,
            games,
            observations,
            lambda number, row: Play(number, config, protocol.seed, row, table),
        )
    except (Exception, SystemExit) as error:
        sentence = str(error) if isinstance(error, UserError) else f"a game failed with {one_line(error)}."
        with contextlib.suppress(OSError):
            error_file.parent.mkdir(exist_ok=True)
            error_file.write_text(f"{sentence}\n{traceback.format_exc()}", encoding="utf-8")
        os._exit(1)
    leave()


def environment_config(config: Config, protocol: Protocol) -> Config:
    """The settings of a run with the protocol's own in their place."""
    return dataclasses.replace(
        config, no_ops=protocol.no_ops, sticky=protocol.sticky, max_episode_frames=protocol.max_episode_frames
    )
