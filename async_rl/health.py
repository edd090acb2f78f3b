"""What the supervisor looks at now and then, and says once: memory that grows, odd numbers, clipped rewards."""

import math
from collections.abc import Callable, Mapping

from async_rl.config import Config
from async_rl.cores import CGROUP
from async_rl.envs import atari_game
from async_rl.machine_memory import limits, private_bytes
from async_rl.shared import SharedTable

GROWTH = 2.0
"""A worker that has become this many times as large as it was is worth a line, and again at that many times more."""

SETTLING_LOOKS = 3
"""Looks at a new worker that tell how large it is by nature."""

_SPARE_BYTES = 256 << 20
_LEAST_FREE = 0.05  # of the limit
_ENOUGH_FREE = 0.10


class Health:
    """Looks at the workers of one run.

    Args:
        config: of the run.
        table: the rows ``odd_steps`` and ``largest_reward`` are read.
        stored_bytes: what one step takes in a replay memory.
        say: takes a line.
    """

    def __init__(self, config: Config, table: SharedTable, stored_bytes: float, say: Callable[[str], None]) -> None:
        self._config = config
        self._table = table
        self._say = say
        self._replay_bytes = int(config.replay / config.workers * stored_bytes)  # fills by and by
        self._looks: dict[int, int] = {}  # by process
        self._worth_a_line: dict[int, float] = {}  # bytes, by process
        self._odd_steps = [0] * config.workers
        self._clips_in_secret = config.rewards == "clipped" and atari_game(config) is None
        self._near_limit = False

    def look(self, processes: Mapping[int, int]) -> None:
        """Look at the workers: index -> process."""
        sizes = {index: size for index, pid in processes.items() if (size := private_bytes(pid)) is not None}
        for ended in self._looks.keys() - processes.values():
            del self._looks[ended], self._worth_a_line[ended]
        for index, size in sizes.items():
            self._look_at_size(index, processes[index], size)
        self._look_at_limit(sizes)
        self._look_at_numbers()
        self._look_at_rewards()

    def _look_at_size(self, index: int, pid: int, size: int) -> None:
        self._looks[pid] = self._looks.get(pid, 0) + 1
        if self._looks[pid] <= SETTLING_LOOKS:
            self._worth_a_line[pid] = GROWTH * size + self._replay_bytes + _SPARE_BYTES
        elif size > self._worth_a_line[pid]:
            self._worth_a_line[pid] = GROWTH * size
            self._say(f"worker {index} has grown to {_mib(size)}: {self._config.env} may leak memory")

    def _look_at_limit(self, sizes: Mapping[int, int]) -> None:
        tight = min(limits(CGROUP), key=lambda pair: pair[0] - pair[1], default=None)
        if tight is None or not sizes:
            return
        limit, used = tight
        free = (limit - used) / limit
        if free < _LEAST_FREE and not self._near_limit:
            largest = max(sizes, key=lambda index: sizes[index])
            self._say(
                f"{_mib(limit - used)} are left of the {_mib(limit)} of this container; the largest worker on "
                f"{self._config.env}, {largest}, has {_mib(sizes[largest])}"
            )
        self._near_limit = free < (_ENOUGH_FREE if self._near_limit else _LEAST_FREE)

    def _look_at_numbers(self) -> None:
        """Say when a worker's environments have begun to give odd numbers, and again at ten times as many."""
        for index, odd in enumerate(self._table["odd_steps"].tolist()):
            if odd > 10 * self._odd_steps[index]:
                self._odd_steps[index] = odd
                self._say(
                    f"worker {index}: {odd:,} steps of {self._config.env} so far had a reward or observation that is "
                    "not finite; what would be learnt from them is dropped"
                )

    def _look_at_rewards(self) -> None:
        """Say once what nobody expects but on Atari."""
        largest = self._table["largest_reward"].max()
        if self._clips_in_secret and 1 < largest < math.inf:
            self._clips_in_secret = False
            self._say(
                f"rewards of up to {largest:,.6g} are learnt from as on Atari, clipped to [-1, 1]; --rewards raw takes "
                "them as they are"
            )


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
