"""Learning algorithms: each a small record of choices for the one loop in `async_rl.worker`."""

from async_rl.algorithms.one_step_q import ONE_STEP_Q
from async_rl.algorithms.segment import Algorithm, Learning, Segment

ALGORITHMS: dict[str, Algorithm] = {"one-step-q": ONE_STEP_Q}

__all__ = ["ALGORITHMS", "Algorithm", "Learning", "Segment"]
