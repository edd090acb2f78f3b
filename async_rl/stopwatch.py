"""Where a worker's time goes."""

import time

PHASES = ("emulate", "preprocess", "act", "target", "gradient", "apply", "synchronise", "report")
"""What a worker does, in the order of a step: run the emulators; make observations of their screens; choose actions;
value what comes next; differentiate, with replay keep and draw steps, too; update the shared parameters; copy them,
where the algorithm works on a copy; count, publish and record."""


class Stopwatch:
    """Seconds that one process spent in each of `PHASES`.

    All time between two laps goes to the second one's phase, so the phases add up to the whole. A lap takes 0.1
    microseconds, five of them a step of an Atari game.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.restart()

    def restart(self) -> None:
        """What was done until now belongs to no phase."""
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What was done since the last lap was ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now
