"""Short names of games, methods and settings, for titles and legends."""

from collections.abc import Mapping
from typing import Any

from async_rl.config import Config
from async_rl.config_file import to_values

METHOD = ("double", "dueling", "replay", "prioritized", "lambda", "epochs", "norm", "target")
"""Settings that make another method of an algorithm."""

BY_VALUE = frozenset({"optimizer", "network", "precision"})
"""Settings whose values speak for themselves."""

_OFF = (("replay", 0), ("epochs", 1), ("norm", "none"), ("target", "shared"))


def game_title(game: str) -> str:
    """``space_invaders`` -> ``Space Invaders``; others, Gymnasium's ids and functions, are left as they are."""
    if game == "qbert":
        return "Q*bert"
    return game.replace("_", " ").title() if game.islower() and ":" not in game else game


def method_of(config: Config) -> str:
    """`method_name` of a configuration."""
    return method_name(to_values(config))


def method_name(settings: Mapping[str, Any]) -> str:
    """``n-step-q, lambda 0.65, layer norm, no target``: the algorithm and what makes it another one."""
    added = (setting_text(name, settings.get(name)) for name in METHOD)
    return ", ".join([str(settings["algorithm"]), *filter(None, added)])


def setting_text(name: str, value: Any) -> str:
    """A setting as a person would say it: ``lr 7e-4``, ``lambda 0.65``, ``double``; nothing for what is off."""
    if value is None or value is False or (name, value) in _OFF:
        return ""
    if name == "target":
        return "no target"
    if name == "norm":
        return f"{value} norm"
    spoken = name.replace("_", " ")
    if value is True:
        return spoken
    plain = " / ".join(map(_number, value)) if isinstance(value, list) else _number(value)
    return plain if name in BY_VALUE else f"{spoken} {plain}"


def _number(value: Any) -> str:
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
