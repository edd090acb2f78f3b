"""What the benchmarks' command lines have in common: what cannot be measured or written is refused, in one sentence."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from async_rl.checking import flag, reason
from async_rl.types import UserError
from launch import command

Options = TypeVar("Options")


def run(options: type[Options], module: str, measure: Callable[[Options], None]) -> NoReturn:
    """Run ``python -m module``, which does ``measure`` with the ``options`` that its command line gives.

    It ends as all commands do, see `launch.command.run`.
    """
    read = command.read_arguments(options, module)

    def checked() -> None:
        """Refuse what cannot be measured, then measure."""
        for field in dataclasses.fields(read):  # type: ignore[arg-type]
            _check(flag(field.name), getattr(read, field.name), field.default)
        if (output := getattr(read, "output", None)) is not None:
            make_folder(output.parent)
        measure(read)

    command.run(checked)


def _check(name: str, value: Any, default: Any) -> None:
    if value == () != default:
        raise UserError(f"{name} needs at least one value.")
    for each in value if isinstance(value, tuple) else (value,):
        if type(each) is int and each < 1:
            raise UserError(f"{name} must be at least 1, got {each}.")
        if type(each) is float and not 0 < each < float("inf"):
            raise UserError(f"{name} must be above 0, got {each:g}.")


def make_folder(folder: Path) -> None:
    """Make the directory that results are to be written to, before anything is measured.

    Raises:
        UserError: that is impossible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {folder}: {reason(error)}.") from None
