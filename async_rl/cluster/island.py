"""An island: a Ray actor whose process starts ordinary workers, on a table in its machine's shared memory.

Life of an island's process:

    started by Ray --> begin --> theta pulled --> workers start --> [ watch workers ]* --> last exchange --> ended
                                                                       exchange, in a thread of its own
    any instant: SIGKILL, or the machine is gone. The workers die with it; Ray starts the process again, there or
    elsewhere, and the driver lets it begin with the next incarnation. An island whose parameters are not finite
    any more ends its process itself, to the same effect.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_rl import fork_server, temporary
from async_rl.ahead import compile_others
from async_rl.build import shared_statistics, table_rows, unread_games, zero_counts
from async_rl.cluster import versions
from async_rl.cluster.exchange import DivergedError, Exchange, ReplacedError, Store, UnavailableError
from async_rl.cluster.holder import RemoteStore
from async_rl.cluster.settings import ClusterSettings
from async_rl.config import Config
from async_rl.envs import describe
from async_rl.processes import WorkerProcesses
from async_rl.shared import SharedTable
from async_rl.training import require_memory

COUNTED = ("steps", "updates", "dropped", "odd_steps", "largest_reward", "sums", "phases", "exchange", "random_states")
"""Rows of the table of which the driver gets the island's slots."""

_POLL_SECONDS = 0.1
_LAST_EXCHANGE_SECONDS = 10.0
_TOLD_SECONDS = 1.0
"""After which the driver has heard why an island's process ends itself."""


@dataclass(frozen=True)
class Order:
    """What an island begins with; ``rows``: its workers' slots of `COUNTED` and of ``games_written``, by name."""

    config: Config
    settings: ClusterSettings
    island: int
    incarnation: int
    workers: slice
    worker_incarnations: tuple[int, ...]
    rows: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]
    """theta^- and statistics of the optimiser [P], where they are known."""
    parameters: int
    """P."""
    versions: dict[str, str]
    """Of the machine that drives the run."""


@dataclass(frozen=True)
class Collected:
    """What the driver gets of an island, again and again; counts are totals, so that a lost answer loses nothing."""

    incarnation: int
    rows: dict[str, np.ndarray]
    games: list[np.ndarray]  # of each worker, [N, GAME_FIELDS], the newest of those that the driver has not read
    games_written: list[int]  # of each worker, the last of those among them
    worker_incarnations: tuple[int, ...]
    restarted: int
    stepping: int
    said: list[str]
    errors: dict[str, str]
    ended: bool
    diverged: bool


class Island:
    """One island's process; all methods return at once."""

    def __init__(self) -> None:
        self._order: Order | None = None
        self._table: SharedTable | None = None
        self._workers: WorkerProcesses | None = None
        self._said: list[str] = []
        self._asked_to_stop, self._exchange_ends = threading.Event(), threading.Event()
        self._ended = self._diverged = False
        self._folder = Path(tempfile.mkdtemp(prefix=temporary.PREFIX))
        temporary.hold(self._folder)
        # Workers import the main module of this process, which is Ray's own, and with it all of Ray; they need neither.
        sys.modules["__main__"].__dict__.pop("__file__", None)

    def begin(self, order: Order, holders: list[Any]) -> int:
        """Start to train, once in the life of this process; the incarnation that trains.

        Raises:
            UserError: this machine, which may have come after the start of the run, has other versions.
        """
        if self._order is not None:
            return self._order.incarnation
        versions.compare("that drives the run", order.versions)
        fork_server.prepare_ahead(order.config)
        self._order = order
        store = RemoteStore(holders, order.island, order.workers, order.settings.wire)
        threading.Thread(target=self._run, args=(order, store), daemon=True).start()
        return order.incarnation

    def collect(self, games_read: list[int], said: int) -> Collected | None:
        """What has happened beyond the games and lines that the driver has; None: this process has not begun."""
        order = self._order
        if order is None:
            return None
        ended, table, workers = self._ended, self._table, self._workers
        # First the games, then the counts, so that these have the steps of every game.
        workers_read = enumerate(games_read, order.workers.start)
        new = [] if table is None else [unread_games(table, worker, read) for worker, read in workers_read]
        rows = {} if table is None else {name: table[name][order.workers].copy() for name in COUNTED}
        return Collected(
            incarnation=order.incarnation,
            rows=rows,
            games=[games for games, _ in new],
            games_written=[written for _, written in new],
            worker_incarnations=workers.incarnations if workers else order.worker_incarnations,
            restarted=workers.restarted if workers else 0,
            stepping=workers.stepping if workers and not ended else 0,
            said=self._said[said:],
            errors=_texts(self._folder) if ended or (workers and workers.restarted) else {},
            ended=ended,
            diverged=self._diverged,
        )

    def vectors(self) -> dict[str, np.ndarray] | None:
        """theta^- and the statistics of the optimiser as they are now; None before there are any."""
        if self._table is None or self._order is None:
            return None
        return {name: self._table[name].copy() for name in ("target", *shared_statistics(self._order.config))}

    def stop(self) -> None:
        """Let the workers finish their segments, exchange once more and end; `collect` tells when that is done."""
        self._asked_to_stop.set()

    def _say(self, line: str) -> None:
        """Of files in this machine's folder, whose content the driver gets, as of those in the run directory."""
        self._said.append(line.replace(str(self._folder), "errors"))

    def _run(self, order: Order, store: Store) -> None:
        try:
            self._train(order, store)
        except ReplacedError:
            self._said.append(f"island {order.island}, incarnation {order.incarnation}, has been replaced and ends")
        except DivergedError:
            self._diverged = True
            self._said.append(f"island {order.island} has diverged: its parameters are not finite; they are dropped")
        except Exception as error:  # whatever it is, the driver has to know
            text = traceback.format_exc()
            self._said.append(f"island {order.island} failed ({type(error).__name__}: {error})")
            with contextlib.suppress(OSError):
                (self._folder / f"island{order.island}.{order.incarnation}.txt").write_text(text, encoding="utf-8")
        finally:
            self._exchange_ends.set()
            if self._workers is not None:
                self._workers.kill()
            if not _texts(self._folder):
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._diverged and not self._asked_to_stop.wait(_TOLD_SECONDS):
                os._exit(1)  # it begins again with the common parameters, and all else new, too
            self._ended = True

    def _train(self, order: Order, store: Store) -> None:
        config, spec = order.config, describe(order.config)
        share = (order.workers.stop - order.workers.start) / config.workers
        require_memory(config, spec, share)
        compile_others(config, spec)
        table = SharedTable(table_rows(config, order.parameters))
        _fill(table, order)
        exchange = Exchange(order.settings, table, order.workers, order.incarnation, store, config.steps)
        if not self._pull_first(exchange):
            return
        if "target" not in order.vectors:
            np.copyto(table["target"], table["parameters"])
        table["target_refreshes"][0] = table.total_steps() // config.target_interval
        self._table = table
        indices = range(order.workers.start, order.workers.stop)
        first = (0,) * order.workers.start + order.worker_incarnations
        workers = WorkerProcesses(config, table, self._folder, first, 0, self._say, indices)
        self._workers = workers
        workers.start()
        failed: list[Exception] = []
        exchanging = threading.Thread(target=self._exchange, args=(exchange, failed), daemon=True)
        exchanging.start()
        while workers.any_alive and not self._asked_to_stop.is_set() and not failed:
            workers.watch(_POLL_SECONDS)
        workers.stop()
        self._exchange_ends.set()
        exchanging.join()
        if failed:
            raise failed[0]
        _exchange_last(exchange)

    def _pull_first(self, exchange: Exchange) -> bool:
        while not self._asked_to_stop.is_set():
            with contextlib.suppress(UnavailableError):
                exchange.start()
                return True
            self._asked_to_stop.wait(0.2)
        return False

    def _exchange(self, exchange: Exchange, failed: list[Exception]) -> None:
        try:
            exchange.run(self._exchange_ends)
        except Exception as error:  # without exchange nothing would come of the island's training
            failed.append(error)

    def __ray_shutdown__(self) -> None:
        """Called where Ray ends the process politely."""
        if self._workers is not None:
            self._workers.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _exchange_last(exchange: Exchange) -> None:
    deadline = time.monotonic() + _LAST_EXCHANGE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(UnavailableError):
            if exchange.once():
                return
        time.sleep(0.2)


def _fill(table: SharedTable, order: Order) -> None:
    """Everything but theta: counts of former incarnations, random states, statistics and target."""
    zero_counts(table, order.config)
    for name, rows in order.rows.items():
        table[name][order.workers] = rows
    for name, vector in order.vectors.items():
        table[name][:] = vector


def _texts(folder: Path) -> dict[str, str]:
    """Tracebacks that workers have left, the newest few of them."""
    found = []
    for file in folder.glob("*.txt"):
        with contextlib.suppress(OSError):  # an empty one may be removed in this moment
            found.append((file.stat().st_mtime_ns, file.name, file.read_text(encoding="utf-8", errors="replace")))
    return {name: text[:20_000] for _, name, text in sorted(found)[-5:] if text}
