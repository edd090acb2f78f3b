"""Files that people get: whole, or not there."""

from pathlib import Path

from async_rl.types import UserError


def write(path: Path, content: bytes) -> None:
    """Write a file, and the folder it is in if need be; until it is whole, what was there before stays.

    Raises:
        UserError: it cannot be written.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from None
