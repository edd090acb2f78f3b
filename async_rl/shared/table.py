"""All memory that processes share, as one table; nothing else passes between them after the start.

There is no lock, queue, pipe or event: a process that is killed while it holds one would block the others for ever.
Each row has either one writer or tolerates lost updates (Hogwild, Recht et al. 2011). T, the number of steps of all
workers, is the sum of the workers' own counts, so no count is ever lost.

The memory is one anonymous shared mapping (its file is unlinked before anyone writes to it), handed to children as a
file descriptor: whoever is killed in whatever order, the operating system frees it with the last process.
"""

import multiprocessing
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from async_rl.checking import reason
from async_rl.types import UserError

# A row starts on a page of its own, so that the counters of one writer do not share a cache line with another row.
_ALIGNMENT = 4096


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: how the table is indexed.
        shape: of the array; a leading W is the number of workers.
        dtype: "float32", "float64", "int64" or "uint64".
        writer: who writes it.
        meaning: what it holds, with its unit.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    writer: str
    meaning: str

    @property
    def size_bytes(self) -> int:
        """Bytes of the row's own data."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class SharedTable:
    """Named arrays in shared memory. Picklable to a child process while that is being started, and only then.

    >>> table = SharedTable([Row("steps", (2,), "int64", "worker", "steps of each worker")])
    >>> table["steps"].tolist()
    [-1, -1]
    """

    def __init__(self, rows: Sequence[Row]):
        """Reserve the memory and fill it: NaN for floats, -1 for integers, so that a forgotten write shows.

        Raises:
            UserError: there is not that much shared memory, or it cannot be had.
        """
        self.rows = tuple(rows)
        size_bytes = sum(_aligned(row.size_bytes) for row in rows)
        _require_shared_memory(size_bytes)
        context = multiprocessing.get_context("spawn")  # the mapping is the same for every start method but fork
        try:
            self._memory = context.RawArray("b", size_bytes + _ALIGNMENT)
        except OSError as error:
            raise UserError(
                f"cannot reserve {size_bytes / 2**20:.1f} MiB of shared memory: {reason(error)}; perhaps by a limit "
                "of the shell (ulimit -a)."
            ) from None
        self._attach()
        self.clear()

    def clear(self) -> None:
        """Fill everything as in the beginning."""
        for row in self.rows:
            self[row.name].fill(np.nan if row.dtype.startswith("float") else _all_ones(row.dtype))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def tensor(self, name: str) -> torch.Tensor:
        """The row as a torch tensor on the same memory."""
        return torch.from_numpy(self._arrays[name])

    def total_steps(self) -> int:
        """T: steps of all workers."""
        return sum(self._arrays["steps"].tolist())  # NumPy's sum of so few takes 7 microseconds more

    def _attach(self) -> None:
        memory = np.frombuffer(self._memory, dtype=np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        self._arrays = {}
        for row in self.rows:
            self._arrays[row.name] = memory[start : start + row.size_bytes].view(row.dtype).reshape(row.shape)
            start += _aligned(row.size_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {"rows": self.rows, "_memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach()


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT


def _all_ones(dtype: str) -> int:
    return -1 if dtype == "int64" else int(np.iinfo(dtype).max)


def _require_shared_memory(size_bytes: int, folder: str = "/dev/shm") -> None:
    """Too small a /dev/shm would otherwise show as SIGBUS at the first write, or as silently slow pages of a disk."""
    if not os.path.isdir(folder):  # not Linux: the mapping is backed by a temporary file
        return
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes:
        raise UserError(
            f"the run needs {size_bytes / 2**20:.1f} MiB of shared memory, {folder} has {free_bytes / 2**20:.1f} MiB "
            "free; raise it (in a container: --shm-size=1g) or lower --workers."
        )
