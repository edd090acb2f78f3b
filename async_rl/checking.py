"""Values from files, command lines and programs: of the declared type, or refused in one sentence."""

import contextlib
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from async_rl.types import UserError

_SHOWN_CHARACTERS = 80
_PATH_CHARACTERS = 500


def checked(key: str, value: Any, hint: Any) -> Any:
    """``value`` as the type ``hint`` of the setting ``key``.

    Integers pass as floats, whole floats (1e6) as integers, NumPy's numbers as Python's, lists as tuples.

    Raises:
        UserError: it is of another type.
    """
    origin = typing.get_origin(hint)
    if origin is Literal:
        options = typing.get_args(hint)
        if isinstance(value, str) and value in options:
            return value
        raise UserError(f"{key} must be one of {', '.join(options)}, got {shown(value)}.")
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(checked(key, entry, typing.get_args(hint)[0]) for entry in value)
        raise UserError(f"{key} must be a list, got {shown(value)}.")
    if isinstance(hint, types.UnionType):  # X | None; TOML has no null, so the value is an X
        return None if value is None else checked(key, value, typing.get_args(hint)[0])
    if type(value) is hint or (hint not in (int, float) and isinstance(value, hint)):
        return value
    converted = _number(value, hint)
    if converted is None:
        raise UserError(f"{key} must be of type {hint.__name__}, got {shown(value)}.")
    return converted


def _number(value: Any, hint: Any) -> int | float | None:
    """A number of another type as an int or float, None if it is none."""
    if hint not in (int, float) or isinstance(value, bool | str):
        return None
    try:
        if hint is float:
            return float(value)
        return int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
    except (TypeError, ValueError, OverflowError):  # such as an integer beyond the largest float
        return None


def number(text: str) -> float:
    """The number that a text means; raises ValueError where it means none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number such as 0.25 or 2.5e-4, got {text!r}") from None


def whole_number(text: str) -> int:
    """The integer that a text writes: ``10_000_000`` or ``1e7``.

    Raises:
        ValueError: it is none.
    """
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if (value := float(text)).is_integer():
            return int(value)
    raise ValueError(f"expected a whole number such as 10_000_000 or 1e7, got {shown(text)}")


def flag(name: str) -> str:
    """The command line's spelling of a field: ``t_max`` -> ``--t-max``."""
    return "--" + name.rstrip("_").replace("_", "-")


def differences(before: object, now: object, names: Iterable[str]) -> list[str]:
    """``--lr: 0.1, not 0.2`` for each of the fields ``names`` that is another in ``now``."""
    pairs = [(name, getattr(before, name), getattr(now, name)) for name in names]
    return [f"{flag(name)}: {new}, not {old}" for name, old, new in pairs if old != new]


def shown_path(path: Path) -> str:
    """A path in one line of an error message: as it is, or cut and quoted where no system would take such a name."""
    text = str(path)
    return text if len(text) <= _PATH_CHARACTERS and text.isprintable() else f"{text[:_PATH_CHARACTERS]!r}..."


def reason(error: BaseException) -> str:
    """What the system says of an error, without number and file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def shown(value: Any) -> str:
    """``value`` in one line of an error message, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # an integer of more digits than Python writes, an object with a repr of its own
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def within(low: float, high: float) -> Callable[[float], bool]:
    """Whether a number is between two, or one of them."""
    return lambda value: low <= value <= high


def at_least(low: float) -> Callable[[float], bool]:
    """Whether a number is finite, and not below ``low``."""
    return lambda value: math.isfinite(value) and value >= low


def positive(value: float) -> bool:
    """Whether a number is finite, and above 0."""
    return math.isfinite(value) and value > 0
