"""Saying once that something cannot be written, and once that it can be written again."""

from collections.abc import Callable

from async_rl.checking import reason


class Outage:
    """Turns repeated failures of one log into one message when they begin and one when they end.

    Args:
        name: of what is written.
        say: takes a line.
        comfort: what becomes of it.

    Attributes:
        failing: whether the last write failed.
    """

    def __init__(self, name: str, say: Callable[[str], None], comfort: str = "its rows are kept and tried again"):
        self.failing = False
        self._name = name
        self._say = say
        self._comfort = comfort

    def failed(self, error: Exception) -> None:
        """Note a failed write; only the first one since the last success is said."""
        if not self.failing:
            self._say(f"cannot write {self._name} ({reason(error)}); training goes on, {self._comfort}")
        self.failing = True

    def succeeded(self) -> None:
        """Note a successful write; said only if the one before had failed."""
        if self.failing:
            self._say(f"{self._name} can be written again")
        self.failing = False
