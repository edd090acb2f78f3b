"""Configurations as TOML: files that hold what differs from the defaults, and the record in a run directory."""

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from async_rl.checking import reason, shown, shown_path
from async_rl.config import Config
from async_rl.types import UserError


def from_toml(path: str | Path) -> Config:
    """The configuration of a TOML file, which holds only what differs from the defaults.

    Raises:
        UserError: the file cannot be read or is no TOML text, a key is unknown (the nearest one is named), or a value
            has the wrong type or range.
    """
    path = Path(path)
    try:
        return from_text(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {shown_path(path)}: {reason(error)}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the text is no valid TOML: {error}.") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot read the configuration {shown_path(path)}: {error}.") from None


def from_text(text: str) -> Config:
    """The configuration of a TOML text; see `from_toml`, whose errors name the file."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no TOML, or a number of too many digits
        raise UserError(f"the text is no valid TOML: {error}.") from None
    return from_values(values)


def from_values(values: dict[str, Any]) -> Config:
    """A `Config` from plain values such as TOML gives; see `from_toml` for the errors."""
    if not isinstance(values, dict):
        raise UserError(f"settings must be a table of names and values, got {shown(values)}.")
    known = [field.name for field in dataclasses.fields(Config)]
    values = {"lambda_" if key == "lambda" else key: value for key, value in values.items()}  # Python's own keyword
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key[:40].replace("-", "_"), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(known)}."
            raise UserError(f"unknown key {shown(key)}{hint}")
    return Config(**values)


def to_values(config: Config) -> dict[str, Any]:
    """The whole configuration as plain values, such as TOML gives; `from_values` gives the same configuration back."""
    values = dataclasses.asdict(config).items()
    return {k.rstrip("_"): list(v) if isinstance(v, tuple) else v for k, v in values if v is not None}


def to_toml(config: Config) -> str:
    """The whole configuration as TOML; `from_toml` gives the same configuration back."""
    return tomli_w.dumps(to_values(config))
