"""What the benchmarks' command lines have in common: what cannot be measured or written is refused, in one sentence."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from async_rl import storage
from async_rl.checking import flag
from async_rl.types import UserError
from launch import command

Options = TypeVar("Options")


def run(options: type[Options], module: str, measure: Callable[[Options], None]) -> NoReturn:
    """Run ``python -m module``, which does ``measure`` with the ``options`` that its command line gives.

    It ends as all commands do, see `launch.command.run`.
    """
    read = command.read_arguments(options, module)
    command.run(lambda: measure(checked(read)))


def checked(options: Options) -> Options:
    """``options``, of which each number can be measured with and the output can be written.

    Raises:
        UserError: so it is not.
    """
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        _check(flag(field.name), getattr(options, field.name), field.default)
    check_output(getattr(options, "output", None))
    return options


def _check(name: str, value: Any, default: Any) -> None:
    if value == () != default:
        raise UserError(f"{name} needs at least one value.")
    least = 0 if 0 in (default if isinstance(default, tuple) else (default,)) else 1
    for each in value if isinstance(value, tuple) else (value,):
        if type(each) is int and each < least:
            raise UserError(f"{name} must be at least {least}, got {each}.")
        if type(each) is float and not 0 < each < float("inf"):
            raise UserError(f"{name} must be above 0, got {each:g}.")


def check_output(output: Path | None) -> None:
    """Make the directory of the files ``output``.csv and ``output``.png, before anything is measured.

    Raises:
        UserError: they cannot be written, or ``output`` has another ending.
    """
    if output is None:
        return
    if output.suffix not in ("", ".csv", ".png") or output.name in ("", ".."):
        raise UserError(f"--output must be the name of a file, with the ending .csv, .png or none, got {output}.")
    for ending in (".csv", ".png"):
        storage.require_writable(output.with_suffix(ending))
