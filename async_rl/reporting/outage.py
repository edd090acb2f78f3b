"""Saying once that a log cannot be written, and once that it can be written again."""

from collections.abc import Callable


class Outage:
    """Turns repeated failures of one log into one message when they begin and one when they end."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._failing = False

    def failed(self, error: Exception) -> None:
        """Note a failed write; only the first one since the last success is said."""
        if not self._failing:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._say(f"cannot write {self._name} ({reason}); training goes on, its rows are kept and tried again")
        self._failing = True

    def succeeded(self) -> None:
        """Note a successful write; said only if the one before had failed."""
        if self._failing:
            self._say(f"{self._name} is written again")
        self._failing = False
