"""The islands as the supervisor sees them: in the place of worker processes, through the same few methods.

What islands tell is written into the driver's own table, which has a slot for each worker of all islands. So games,
reports, checkpoints, evaluations and the look at numbers that are not finite are those of a single machine. No call
here waits for an answer: each island and each shard has at most one call under way, and is asked again where that
fails.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from async_rl import errors
from async_rl.build import shared_statistics
from async_rl.checking import reason
from async_rl.checkpoint import Progress
from async_rl.cluster import versions
from async_rl.cluster.common import Copy
from async_rl.cluster.connection import Cluster
from async_rl.cluster.games import dated_within, put_games
from async_rl.cluster.island import COUNTED, Collected, Order
from async_rl.cluster.keeper import Keeper
from async_rl.cluster.member import Member
from async_rl.cluster.settings import record
from async_rl.config import Config
from async_rl.processes import FRUITLESS_STARTS
from async_rl.shared import SharedTable

STOP_SECONDS = 30.0
"""Patience with islands that were asked to stop: their workers' last segments and one more exchange."""

COLLECT_SECONDS, RETRY_SECONDS = 0.2, 0.5
"""Between two questions to an island, and before one that did not answer is asked again."""

_VECTORS_SECONDS = 2.0
"""Between two copies of theta^- and statistics; what is saved, and what a new island begins with, is as old."""


class Islands:
    """All islands of one run; see `async_rl.processes.WorkerProcesses`, whose place they take."""

    def __init__(
        self,
        cluster: Cluster,
        config: Config,
        table: SharedTable,
        run_dir: Path,
        progress: Progress,
        say: Callable[[str], None],
    ):
        self._config, self._table, self._say = config, table, say
        self._settings = cluster.settings
        self._errors = run_dir / "errors"
        self._restarted_before = progress.restarted
        self._versions = versions.own()
        count = config.workers // self._settings.islands
        first = [*progress.incarnations, *[0] * config.workers]
        self._members = [
            Member(
                n, cluster.make_island(n), slice(n * count, (n + 1) * count), tuple(first[n * count : (n + 1) * count])
            )
            for n in range(self._settings.islands)
        ]
        self._holders = cluster.make_holders()
        first_copy = Copy(table["parameters"].copy(), table["steps"].copy(), ((0, 0),) * len(self._members))
        self._keeper = Keeper(self._holders, first_copy, say)
        self._vectors_call: Any = None
        self._vectors_due = 0.0
        self._stopping = False
        names = ("target", *shared_statistics(config)) if table.total_steps() else ()
        self._vectors = {name: table[name].copy() for name in names}
        if table.total_steps() < config.steps:
            record(run_dir, self._settings)

    @property
    def restarted(self) -> int:
        """Workers started again, one by one or with their island."""
        return self._restarted_before + sum(member.restarted_before + member.restarted for member in self._members)

    @property
    def incarnations(self) -> tuple[int, ...]:
        """How often each worker has been started, minus one."""
        return tuple(number for member in self._members for number in member.worker_incarnations)

    @property
    def any_alive(self) -> bool:
        """Whether an island goes on, or is about to."""
        return any(not member.ended for member in self._members)

    @property
    def stepping(self) -> int:
        """Number of workers that take steps."""
        return sum(member.stepping for member in self._members)

    @property
    def pids(self) -> dict[int, int]:
        """None of this machine: islands look after their workers themselves."""
        return {}

    def start(self) -> None:
        """Fill the holder, and let every island begin."""
        updates = self._table["updates"]  # only their sum matters, but statistics of Adam count those of their island
        share, rest = divmod(int(updates.sum()), len(updates))
        updates[:] = share
        updates[0] += rest
        self._keeper.fill()
        self.watch(0)

    def watch(self, seconds: float) -> None:
        """Wait, at most that long, for answers, and take them; let islands begin again that were lost."""
        now = time.monotonic()
        self._keeper.look()
        self._look_at_vectors(now)
        self._count_lost()
        for member in self._members:
            if member.call is None and not member.ended and now >= member.due:
                member.call = self._ask(member) if member.begun else self._begin(member)
        calls = {member.call: member for member in self._members if member.call is not None}
        if not calls:
            time.sleep(seconds)
            return
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=seconds)
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0) if ready else (ready, [])
        for call in ready:
            self._take(calls[call])
        self._take_parameters()
        if self._config.uses_target:
            self._table["target_refreshes"][0] = self._table.total_steps() // self._config.target_interval
        if not ready or all(member.call is None for member in self._members):
            time.sleep(min(seconds, 0.02))

    def _count_lost(self) -> None:
        """What a lost island had pushed is in theta, so its steps count; at the goal nobody waits for it any more."""
        steps, pushed = self._table["steps"], self._keeper.steps
        for member in [member for member in self._members if member.lost and not member.ended]:
            np.maximum(steps[member.workers], pushed[member.workers], out=steps[member.workers])
            if self._table.total_steps() >= self._config.steps:
                member.ended = True
                self._say(f"island {member.index} has not come back, and is not waited for: T has reached its goal")

    def stop(self) -> None:
        """Ask all islands to end, and take what they have to say; then one more copy of theta."""
        deadline = time.monotonic() + STOP_SECONDS
        self._stopping = True
        playing = [member for member in self._members if member.begun and not (member.lost or member.ended)]
        for member in self._members:
            with contextlib.suppress(RayError):
                member.actor.stop.remote()
            if not member.begun or member.lost:
                member.ended = True
        while self.any_alive and time.monotonic() < deadline:
            self.watch(0.1)
        for member in self._members:
            if not member.ended:
                self._say(f"island {member.index} has not ended in time; what it did since its last push is lost")
        self._last_vectors(playing)
        self._keeper.finish()
        self._take_parameters()

    def kill(self) -> None:
        """End every island and the holder at once."""
        for member in self._members:
            member.stepping, member.ended = 0, True
        for actor in (*(member.actor for member in self._members), *self._holders):
            with contextlib.suppress(RayError):
                ray.kill(actor)

    def _take_parameters(self) -> None:
        """Where an island has diverged more than once, NaN in their place, for the supervisor to see."""
        hopeless = any(len(member.diverged_in) > 1 for member in self._members)
        np.copyto(self._table["parameters"], np.nan if hopeless else self._keeper.parameters)

    def _begin(self, member: Member) -> Any:
        member.incarnation += 1  # however far the one before has come, its pushes count no more
        rows = {name: self._table[name][member.workers].copy() for name in (*COUNTED, "games_written")}
        if member.incarnation > 1:  # as if never written: the new incarnations draw their own
            rows["random_states"].fill(np.iinfo(rows["random_states"].dtype).max)
        order = Order(
            config=self._config,
            settings=self._settings,
            island=member.index,
            incarnation=member.incarnation,
            workers=member.workers,
            worker_incarnations=member.next_incarnations,
            rows=rows,
            vectors=self._vectors,
            parameters=len(self._table["parameters"]),
            versions=self._versions,
        )
        member.begun = True
        return member.actor.begin.remote(order, self._holders)

    def _ask(self, member: Member) -> Any:
        return member.actor.collect.remote(self._table["games_written"][member.workers].tolist(), member.said)

    def _take(self, member: Member) -> None:
        call, member.call = member.call, None
        member.due = time.monotonic() + COLLECT_SECONDS
        try:
            answer = ray.get(call)
        except RayError as error:
            self._lose(member, error)
            return
        if answer is None:  # the process is a new one, and has not begun
            self._lose(member, None)
        elif isinstance(answer, Collected):
            self._merge(member, answer)
        else:
            member.note_begin(answer)

    def _lose(self, member: Member, error: RayError | None) -> None:
        """An island's process has gone, cannot be reached, or fails: then something is missing on its machine."""
        member.due = time.monotonic() + RETRY_SECONDS
        if isinstance(error, RayTaskError):
            member.failures += 1
            tries, told = member.failures, f"fails ({type(error.cause).__name__}: {reason(error.cause)})"
            then = "it is asked again"
        else:
            member.failures, tries = 0, member.fruitless_starts
            told = "is out of reach" + (f" ({type(error).__name__})" if error is not None else "")
            then = "Ray starts it again where there is a place for it"
        if hopeless := tries >= FRUITLESS_STARTS:
            then = f"given up, {FRUITLESS_STARTS} tries in a row were in vain"
        if (hopeless or not member.lost) and not member.ended:
            self._say(f"island {member.index} {told}; {then}")
        member.stepping, member.lost, member.begun = 0, True, False
        member.ended |= self._stopping or hopeless

    def _merge(self, member: Member, collected: Collected) -> None:
        if collected.incarnation != member.incarnation:
            return
        member.failures = 0
        if member.lost:
            member.lost = False
            self._say(f"island {member.index} goes on")
        before = self._table.total_steps()
        if collected.rows and collected.rows["steps"].sum() > self._table["steps"][member.workers].sum():
            member.fruitless_starts = 0
        for name, rows in collected.rows.items():
            self._table[name][member.workers] = rows
        dated = dated_within([games[:, 0] for games in collected.games], before + 1, self._table.total_steps())
        for worker, new in enumerate(zip(collected.games, dated, collected.games_written, strict=True)):
            put_games(self._table, member.workers.start + worker, *new)
        member.worker_incarnations = collected.worker_incarnations
        member.restarted, member.stepping = collected.restarted, collected.stepping
        self._keep_errors(member, collected.errors)
        for text in collected.said:
            self._say(text)
        member.said += len(collected.said)
        member.ended = collected.ended
        if collected.diverged:
            member.diverged_in.add(member.incarnation)

    def _keep_errors(self, member: Member, tracebacks: dict[str, str]) -> None:
        """In the run directory, beside those of former sessions."""
        for name, text in tracebacks.items() - member.errors.items():
            with contextlib.suppress(OSError):
                self._errors.mkdir(exist_ok=True)
                path = member.error_files.setdefault(name, errors.free(self._errors / name))
                path.write_text(text, encoding="utf-8")
                errors.tidy(path)
        member.errors = tracebacks

    def _look_at_vectors(self, now: float) -> None:
        """Get target and statistics of one island now and then, for checkpoints and for islands that begin again."""
        if self._vectors_call is not None:
            if ray.wait([self._vectors_call], timeout=0)[0]:
                self._take_vectors()
            return
        asked = next((member for member in self._members if member.stepping and not member.ended), None)
        if asked is not None and now >= self._vectors_due:
            self._vectors_due = now + _VECTORS_SECONDS
            self._vectors_call = asked.actor.vectors.remote()

    def _take_vectors(self) -> None:
        call, self._vectors_call = self._vectors_call, None
        with contextlib.suppress(RayError):
            vectors = ray.get(call, timeout=5.0) or {}
            if all(np.isfinite(vector).all() for vector in vectors.values()):
                self._vectors = vectors or self._vectors
        for name, vector in self._vectors.items():
            np.copyto(self._table[name], vector)

    def _last_vectors(self, playing: list[Member]) -> None:
        """Of one of those that were ``playing`` until the stop; of one that ended before, if all had."""
        asked = next((member for member in (*playing, *self._members) if member.begun and not member.lost), None)
        if asked is not None:
            self._vectors_call = asked.actor.vectors.remote()
            self._take_vectors()
