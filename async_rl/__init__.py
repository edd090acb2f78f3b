"""Asynchronous multi-process actor-learners: Q-networks in shared memory, trained by many processes without a lock."""

from typing import TYPE_CHECKING, Any

from async_rl.config import Config
from async_rl.config_file import from_toml
from async_rl.types import UserError

if TYPE_CHECKING:
    __version__: str

    from async_rl.agent import Agent, load
    from async_rl.envs.as_gymnasium import AsGymnasium
    from async_rl.evaluation import Evaluation
    from async_rl.supervisor import Ending
    from async_rl.training import Result, train

__all__ = [
    "Agent",
    "AsGymnasium",
    "Config",
    "Ending",
    "Evaluation",
    "Result",
    "UserError",
    "from_toml",
    "load",
    "train",
]

_LAZY = {
    "train": "training",
    "Result": "training",
    "Ending": "supervisor",
    "load": "agent",
    "Agent": "agent",
    "AsGymnasium": "envs.as_gymnasium",
    "Evaluation": "evaluation",
}

if not TYPE_CHECKING:  # to a type checker every name would be there, however it is spelt

    def __getattr__(name: str) -> Any:
        """``train`` and ``load`` import torch, which takes seconds: only for those who use them, not for ``--help``.

        Nor is the version looked up before.
        """
        import importlib.metadata

        if name == "__version__":
            return importlib.metadata.version("async_rl")
        if name in _LAZY:
            return getattr(importlib.import_module(f"async_rl.{_LAZY[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is there, imported or not."""
    return sorted({*globals(), *__all__})
