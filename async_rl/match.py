"""An evaluation as its starter sees it: start the players, watch them, and collect the scores.

Life of a game:  waiting --> played, its length counts up --> its score is in the table
                                |
                                its process died or fell silent: it is played again, and is the same game
"""

import atexit
import contextlib
import dataclasses
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from async_rl import fork_server, temporary
from async_rl.checking import checked
from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.envs import atari_game, describe, require_same
from async_rl.evaluation import Evaluation, Protocol
from async_rl.export import SavedNetwork
from async_rl.listening import Listening
from async_rl.players import environment_config, player_process
from async_rl.shared import Row, SharedTable
from async_rl.signals import END_SECONDS
from async_rl.types import UserError

FRUITLESS_STARTS = 3
"""Deaths in a row, without a game finished in between, after which an evaluation is given up."""


POLL_SECONDS = 0.2

_PROGRAM_ENDS = "the program ends."


class Match:
    """All games of one evaluation, and the processes that play them.

    Args:
        saved: the network.
        protocol: of the games.
        workers: processes; each takes its share of the games before the first one begins.
        error_dir: where a process leaves what was wrong.
        say: takes a line about each death.
        niceness: of the processes, added to this one's.

    Raises:
        UserError: the environment cannot be made, or has changed since the training.
    """

    def __init__(
        self,
        saved: SavedNetwork,
        protocol: Protocol,
        workers: int,
        error_dir: Path,
        say: Callable[[str], None],
        niceness: int = 0,
    ):
        require_same(describe(environment_config(saved.config, protocol)), saved.spec, saved.path)
        # The parameters are in the table: a process that is killed while it starts leaves no half-written pipe then.
        self._saved = dataclasses.replace(saved, vector=np.empty(0, np.float32))
        self._protocol, self._niceness = protocol, niceness
        self._error_dir = error_dir.absolute()
        self._say = say
        count = protocol.episodes
        self._workers = min(workers, count)
        self._table = SharedTable(
            [
                Row("parameters", saved.vector.shape, "float32", "the starter", "theta"),
                Row("score", (count,), "float64", "whoever plays the game", "score; NaN until the game is over"),
                Row("length", (count,), "int64", "whoever plays the game", "steps so far; -1 until it begins"),
            ]
        )
        np.copyto(self._table["parameters"], saved.vector)
        self._context = multiprocessing.get_context(fork_server.START_METHOD)
        self._processes: dict[BaseProcess, tuple[int, ...]] = {}
        self._waiting: list[tuple[float, tuple[int, ...]]] = []  # games of processes to be started, and when
        self._fruitless = 0
        self._finished_before = 0
        self._started = self._changed = time.monotonic()
        self._listening = Listening()
        self._done_before = 0
        self.failure: str | None = None
        try:
            for worker in range(self._workers):
                self._start(tuple(range(worker, count, self._workers)))
        except BaseException:  # Ctrl-C: those that have been started would play on
            self.kill()
            raise

    @property
    def finished_games(self) -> int:
        """Games that are over."""
        return int(np.isfinite(self._table["score"]).sum())

    @property
    def steps(self) -> int:
        """Steps played so far."""
        return int(self._table["length"].clip(min=0).sum())

    @property
    def pids(self) -> list[int]:
        """Of the processes that play."""
        return [process.pid for process in self._processes if process.pid is not None]

    def watch(self, seconds: float) -> bool:
        """Wait, at most that long, for a process to end, and see to those that died; True as long as games are left.

        ``failure`` says why if they will never be over; no process is left then.
        """
        by_sentinel = {process.sentinel: process for process in self._processes}
        for sentinel in wait(list(by_sentinel), timeout=seconds):
            self._ended(by_sentinel[sentinel])  # type: ignore[index]
        self._end_silent()
        now, waiting, self._waiting = time.monotonic(), self._waiting, []
        for due, games in waiting:
            if due <= now and self.failure is None:
                self._start(games)
            else:
                self._waiting.append((due, games))
        if self.failure is not None:
            self.kill()
        return self.failure is None and bool(self._processes or self._waiting)

    def kill(self) -> None:
        """End every process at once."""
        self._waiting.clear()
        for process in fork_server.kill(list(self._processes)):
            self._join(process)
        self._processes.clear()

    def evaluation(self) -> Evaluation:
        """What came of it, when no game is left."""
        saved = self._saved
        return Evaluation(
            game=saved.spec.name,
            path=str(saved.path),
            total_steps=saved.total_steps,
            protocol=self._protocol,
            atari=atari_game(saved.config) is not None,
            scores=tuple(self._table["score"].tolist()),
            lengths=tuple(self._table["length"].tolist()),
            seconds=time.monotonic() - self._started,
        )

    def _start(self, games: tuple[int, ...]) -> None:
        process = self._context.Process(  # type: ignore[attr-defined]
            target=player_process,
            args=(self._saved, self._protocol, games, self._table, self._niceness, self._error_file(games)),
            name=f"{fork_server.PREFIX}player of game {games[0]}",
            daemon=True,
        )
        with contextlib.suppress(OSError):
            self._error_file(games).unlink(missing_ok=True)  # of an evaluation before
        try:
            # Every game has an emulator of its own, so there are none to make ready.
            fork_server.prepare(Config(env="catch"), self._workers)
            fork_server.start(process)
            self._processes[process] = games
            self._changed = time.monotonic()  # the fork server itself may have been starting until now
        except (EOFError, OSError) as error:  # what a dying fork server may still have forked dies with it
            self._died(games, fork_server.not_started(error), pause=1.0)  # there may be room for it then

    def _join(self, process: BaseProcess) -> tuple[tuple[int, ...], int | None]:
        games = self._processes.pop(process)
        return games, fork_server.join(process)

    def _ended(self, process: BaseProcess) -> None:
        """Take leave of a process that has ended; games of it that are not over are played again."""
        games, code = self._join(process)
        left = tuple(game for game in games if np.isnan(self._table["score"][game]))
        if not left:  # whatever happened as it tidied up
            return
        if code == 1 and self._error_file(games).is_file():
            with contextlib.suppress(OSError):  # the disk has gone meanwhile
                self.failure = self._error_file(games).read_text(encoding="utf-8").partition("\n")[0]
                return
        if len(left) < len(games):  # it was not in vain
            self._fruitless = 0
        self._died(left, fork_server.told(code))

    def _died(self, left: tuple[int, ...], cause: str, pause: float = 0.0) -> None:
        """Play again what is ``left``, ``pause`` seconds later for each try in vain, unless these were too many."""
        now = time.monotonic()
        if not (pause and any(due > now for due, _ in self._waiting)):  # several at once are one try
            self._fruitless = self._fruitless + 1 if self.finished_games == self._finished_before else 1
        self._finished_before = self.finished_games
        if self._fruitless >= FRUITLESS_STARTS:
            self.failure = f"a process that plays {cause}, {FRUITLESS_STARTS} times without a finished game."
            return
        self._say(f"a process that plays {cause}; its games are played again, {len(left)} of them")
        self._waiting.append((now + pause * self._fruitless, left))

    def _end_silent(self) -> None:
        """End everything where nothing was done for as long as a worker in training may be silent."""
        fork_server.go_on()
        now, done = self._listening.listen(), int((self._table["length"] + 1).sum())  # to begin a game is something
        if done != self._done_before:
            self._done_before, self._changed = done, now
        elif self._processes and now - max(self._changed, self._listening.since) > self._saved.config.heartbeat_seconds:
            self.failure = f"no step was taken for {self._saved.config.heartbeat_seconds:.0f} s."

    def _error_file(self, games: tuple[int, ...]) -> Path:
        return self._error_dir / f"evaluation_game{games[0]}.txt"


@contextlib.contextmanager
def _ending_with_the_program(match: Match) -> Iterator[None]:
    """End it however this is left, and in a daemon thread at the end of the program, which would wait for the games."""
    over = threading.Event()

    def end() -> None:
        """Have it ended, by the thread that watches it."""
        match.failure = _PROGRAM_ENDS
        over.wait(END_SECONDS)

    atexit.register(end)
    try:
        yield
    finally:
        match.kill()
        atexit.unregister(end)
        over.set()
        if match.failure == _PROGRAM_ENDS:
            raise SystemExit


def evaluate(
    saved: SavedNetwork,
    protocol: Protocol,
    workers: int | None = None,
    say: Callable[[str], None] = lambda message: None,
    show: Callable[[Match], None] = lambda match: None,
) -> Evaluation:
    """Play the games of ``protocol`` in processes of their own.

    Args:
        saved: the network.
        protocol: of the games.
        workers: processes; default: one a core.
        say: takes a line about each process that died.
        show: called several times a second with the match as it stands.

    Raises:
        UserError: the environment cannot be made, has changed since the training, or fails.
    """
    fork_server.require_possible()
    workers = checked("workers", workers, int | None)
    if workers is not None and not 1 <= workers <= 4096:
        raise UserError(f"--workers must be between 1 and 4096, got {workers}.")
    with tempfile.TemporaryDirectory(prefix=temporary.PREFIX) as folder, os.fdopen(temporary.hold(Path(folder)), "wb"):
        match = Match(saved, protocol, workers or available_cores(), Path(folder), say)
        with _ending_with_the_program(match):
            while match.watch(POLL_SECONDS):
                show(match)
        if match.failure is not None:
            raise UserError(f"the evaluation failed: {match.failure}")
        return match.evaluation()
