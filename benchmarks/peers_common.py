"""What the programs that `benchmarks.peers` starts in the environment of the peers have in common."""

import json
import time

import cv2
from ale_py.env import AtariEnv

GAMMA = 0.99
LEARNING_RATE = 7e-4
RMS_DECAY = 0.99
RMS_EPSILON = 0.1
ENTROPY_WEIGHT = 0.01
MAX_GRADIENT_NORM = 40.0
T_MAX = 5
TOTAL_STEPS = 10_000_000
"""Length that the training is set up for; it is stopped long before."""
WARM_UP_SECONDS = 3.0
"""Seconds of learning, by every process, before anything is counted."""


def emulator(game: str) -> AtariEnv:
    """The bare emulator, frame by frame and without sticky actions; the peers' own wrappers go around it."""
    cv2.setNumThreads(0)  # the peers shrink the screens with OpenCV, whose threads take the cores from each other
    return AtariEnv(game=game, frameskip=1, repeat_action_probability=0.0, max_num_frames_per_episode=108_000)


class Stopwatch:
    """Measures a training run: warm-up, then ``seconds``, then one line of JSON on the standard output."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._start: float | None = None
        self._first_steps = 0

    def over(self, steps: int) -> bool:
        """Take note of the steps so far; whether the measurement is over. To be asked once learning is on."""
        now = time.monotonic()
        if self._start is None:
            self._start = now + WARM_UP_SECONDS
        if now < self._start:
            return False
        if self._first_steps == 0:
            self._start, self._first_steps = now, steps
        if now - self._start < self._seconds:
            return False
        print(json.dumps({"steps": steps - self._first_steps, "seconds": now - self._start}), flush=True)
        return True
