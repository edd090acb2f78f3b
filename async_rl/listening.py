"""How long others have been silent, as far as somebody has listened."""

import time

DEAF_SECONDS = 5.0
"""A pause of the listener itself, by Ctrl-Z or a slow disk, after which the silence of others is counted anew."""


class Listening:
    """Whoever listens calls `listen` often.

    Attributes:
        since: time (`time.monotonic`) before which silence means nothing.
    """

    def __init__(self) -> None:
        self.since = self._last = time.monotonic()

    def listen(self) -> float:
        """The time, now."""
        now = time.monotonic()
        if now - self._last > DEAF_SECONDS:
            self.since = now
        self._last = now
        return now
