"""Configurations as TOML: files that hold what differs from the defaults, and the record in a run directory."""

import dataclasses
import difflib
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal

import tomli_w

from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.types import UserError


def from_toml(path: Path) -> Config:
    """The configuration of a TOML file, which holds only what differs from the defaults.

    Raises:
        UserError: the file cannot be read or is no TOML, a key is unknown (the nearest one is named), or a value
            has the wrong type or range.
    """
    try:
        return from_text(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"the configuration {path} is no valid TOML: {error}.") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def from_text(text: str) -> Config:
    """The configuration of a TOML text; see `from_toml`, whose errors name the file."""
    return from_values(tomllib.loads(text))


def from_values(values: dict[str, Any]) -> Config:
    """A `Config` from plain values such as TOML gives; see `from_toml` for the errors."""
    hints = typing.get_type_hints(Config)
    values = {"lambda_" if key == "lambda" else key: value for key, value in values.items()}  # Python's own keyword
    if values.get("workers") == "auto":
        values = values | {"workers": available_cores()}
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key.replace("-", "_"), hints, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(hints)}."
            raise UserError(f"unknown key {key!r}{hint}")
    return Config(**{key: _checked(key, value, hints[key]) for key, value in values.items()})


def to_toml(config: Config) -> str:
    """The whole configuration as TOML; `from_toml` gives the same configuration back."""
    values = dataclasses.asdict(config).items()
    return tomli_w.dumps({key.rstrip("_"): _plain(value) for key, value in values if value is not None})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _checked(key: str, value: Any, hint: Any) -> Any:
    """``value`` if it is of the type ``hint``; integers pass as floats, lists as tuples."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        options = typing.get_args(hint)
        if value in options:
            return value
        raise UserError(f"{key} must be one of {', '.join(options)}, got {value!r}.")
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_checked(key, entry, typing.get_args(hint)[0]) for entry in value)
        raise UserError(f"{key} must be a list, got {value!r}.")
    if isinstance(hint, types.UnionType):  # X | None; TOML has no null, so the value is an X
        return None if value is None else _checked(key, value, typing.get_args(hint)[0])
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{key} must be of type {hint.__name__}, got {value!r}.")
    return value
