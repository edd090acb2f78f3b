"""Files that are whole or not there, and a seal by which damage of a single bit shows.

A sealed file is a safetensors file whose metadata hold a description (JSON) and the SHA-256 of the whole file, header
and padding included, taken with zeros in the place of the sum itself:

    | length of header | {"__metadata__": {"async_rl": description, "sha256": sum}, names, shapes } | arrays |
      everything but the 64 digits of the sum is summed, and those are compared

It tells damage, not malice: whoever can write the file can also write its sum. Reading one executes no code.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import safetensors.numpy

from async_rl.checking import reason
from async_rl.types import UserError

CHECKPOINTS = "checkpoints"
"""The folder of a run in which its checkpoints are."""

CONFIG, RECORD, CLUSTER = "config.toml", "run.json", "cluster.toml"
"""Files of a run: its settings, what its sessions were, and how it is spread over machines; most have no such one."""

_OF_RUNS = (CONFIG, RECORD, CLUSTER, "metrics.csv", "episodes.csv", "evaluations.csv")

DESCRIPTION = "async_rl"
SUM = "sha256"

_NO_SUM = "0" * hashlib.sha256().digest_size * 2


def seal(
    description: dict[str, Any], arrays: dict[str, np.ndarray], notes: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The content of a sealed file; `unseal` gives description and arrays back, ``notes`` are for people."""
    metadata = {**notes, DESCRIPTION: json.dumps(description), SUM: _NO_SUM}
    content = safetensors.numpy.save(arrays, metadata=metadata)
    return content.replace(_entry(_NO_SUM), _entry(hashlib.sha256(content).hexdigest()), 1)


def unseal(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a sealed file.

    Raises:
        Exception: of whatever class, where the content is anything else, or damaged.
    """
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    metadata = json.loads(header)["__metadata__"]
    found = metadata[SUM]
    if hashlib.sha256(content.replace(_entry(found), _entry(_NO_SUM), 1)).hexdigest() != found:
        raise ValueError("its checksum does not agree")
    return json.loads(metadata[DESCRIPTION]), safetensors.numpy.load(content)


def _entry(digits: str) -> bytes:
    """How the sum stands in the header; within the description, a JSON string, quotation marks have a backslash."""
    return f'"{SUM}":"{digits}"'.encode()


def write(path: Path, content: bytes, previous: Path | None = None, ending: str = ".tmp") -> None:
    """Put ``content`` in the place of a file; the one that was there becomes ``previous``, if that is given.

    At any instant, a kill or a power failure included, each of the two files is a whole one: of this generation, of
    the one before, or of that before it. Until it is whole, the new one has ``ending`` behind its name.

    Raises:
        OSError: it cannot be written; what was there is there.
    """
    with _beside(path, ending) as beside:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is None or not path.exists():
            beside.replace(path)
        else:
            with _beside(previous, ending) as second:
                _link(path, second)
                beside.replace(path)
                second.replace(previous)
    _sync_directory(path.parent)


def write_result(path: Path, content: bytes) -> None:
    """Write what a person asked for, and make the folder it is in if need be.

    Raises:
        UserError: it cannot be written, or is a file that a run keeps itself; what was there is there.
    """
    try:
        _spare_runs(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))  # links stay
        if target.exists() and not target.is_file():  # a device, such as /dev/null, is not to be replaced
            target.write_bytes(content)
        else:
            write(target, content, ending=f".{secrets.token_hex(4)}.tmp")  # X.tmp may be a file of theirs
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"cannot write {path}: {reason(error)}.") from None


def require_writable(path: Path) -> None:
    """Say, before the work for it is done, that there can be no such file; the folder it is in is made if need be.

    Raises:
        UserError: so it is, or a run keeps such a file itself.
    """
    try:
        _spare_runs(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():  # a device, such as /dev/null
            return
        with _beside(path, f".{secrets.token_hex(4)}.tmp") as beside:
            beside.touch()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {reason(error)}.") from None


def _spare_runs(path: Path) -> None:
    """Raise UserError for a file without which a run would have no past, or could not go on."""
    target = Path(os.path.realpath(path))
    in_checkpoints = target.parent.name == CHECKPOINTS
    run_dir = target.parent.parent if in_checkpoints else target.parent
    if (in_checkpoints or target.name in _OF_RUNS) and (run_dir / CONFIG).exists():
        raise UserError(f"{path} is what the run in {run_dir} keeps itself; choose another name.")


def _link(path: Path, second: Path) -> None:
    """A second name for a file, or a copy of it where a file can have but one."""
    second.unlink(missing_ok=True)
    try:
        second.hardlink_to(path)
    except (OSError, NotImplementedError):
        write(second, path.read_bytes())


@contextlib.contextmanager
def _beside(path: Path, ending: str) -> Iterator[Path]:
    """A temporary path next to ``path`` that is gone after the block."""
    beside = path.with_name(path.name + ending)
    try:
        yield beside
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    """Bring the names of files onto the disk, too, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
