"""Environments: Atari straight on the emulator, any Gymnasium environment, and a toy, behind one small interface."""

from async_rl.envs.registry import (
    atari_game,
    close,
    close_or_leave,
    describe,
    make_environment,
    make_ready,
    require_same,
)
from async_rl.envs.streams import Streams

__all__ = [
    "Streams",
    "atari_game",
    "close",
    "close_or_leave",
    "describe",
    "make_environment",
    "make_ready",
    "require_same",
]
