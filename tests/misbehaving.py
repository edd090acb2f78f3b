"""Environments that break their word, each in its own way; the launcher, which only describes them, sees no fault."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from async_rl.types import EnvSpec, Outcome

GAME_STEPS = 10


class Base(gymnasium.Env[np.ndarray, int]):
    """Sound: games of ten steps with random numbers as observations."""

    observation_space: Any = Box(-1, 1, (2,))
    action_space: Any = Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        return self.see(), 1.0, self.steps == GAME_STEPS, False, {}

    def see(self) -> Any:
        return self.np_random.random(2, dtype=np.float32)


class SlowToBegin(Base):
    """Its making and its first game take half a second each."""

    def __init__(self) -> None:
        time.sleep(0.5)
        self.begun = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        time.sleep(0.0 if self.begun else 0.5)
        self.begun = True
        return super().reset(seed=seed, options=options)


class SlowToStep(Base):
    """Each of its steps takes half a second."""

    def step(self, action: int) -> Any:
        time.sleep(0.5)
        return super().step(action)


class StartsAProcess(Base):
    """As those that have a simulation of their own beside them."""

    def __init__(self) -> None:
        own = multiprocessing.Process(target=time.sleep, args=(0,), daemon=True)
        own.start()
        own.join()


class NoActions(gymnasium.Env[np.ndarray, int]):
    """It forgets to say what can be done in it."""

    observation_space: Any = Box(-1, 1, (2,))


class OddMeanings(Base):
    def get_action_meanings(self) -> list[str]:
        raise RuntimeError("no words")


class FailsInClose(Base):
    """It says that it was closed, and then fails."""

    def close(self) -> None:
        if "CLOSED" in os.environ:
            with open(os.environ["CLOSED"], "a", encoding="utf-8") as file:
                file.write("x")
        raise RuntimeError("it is stuck")


class StartsAProgram(Base):
    """As those with a game server; its number is added to the file $PROGRAMS. It is ended as the environment is."""

    def __init__(self) -> None:
        if "PROGRAMS" in os.environ:
            self.program = subprocess.Popen(["sleep", "1000"])
            with open(os.environ["PROGRAMS"], "a", encoding="utf-8") as file:
                file.write(f"{self.program.pid}\n")

    def close(self) -> None:
        self.program.terminate()
        self.program.wait()


class HasAnEndlessThread(Base):
    """One that is no daemon, in a process of its own."""

    def __init__(self) -> None:
        if multiprocessing.parent_process() is not None:
            threading.Thread(target=signal.pause).start()


class LeavesInClose(Base):
    """As many that close their window."""

    def close(self) -> None:
        sys.exit()


class HangsInClose(Base):
    def close(self) -> None:
        if multiprocessing.parent_process() is not None:
            time.sleep(1000)


class DiesInClose(Base):
    def close(self) -> None:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGSEGV)


class LeavesInStep(Base):
    def step(self, action: int) -> Any:
        sys.exit("door")


class GlobalRandom(Base):
    """Its rewards come out of NumPy's own generator; as numbers of steps they are exact in any file."""

    def step(self, action: int) -> Any:
        seen, _, _, cut, info = super().step(action)
        return seen, float(np.random.randint(1 << 20)), True, cut, info


class Leaving(Base):
    """It ends the worker's process."""

    def step(self, action: int) -> Any:
        os._exit(0)


class Code255(Base):
    """As a C library that calls exit(-1)."""

    def step(self, action: int) -> Any:
        os._exit(255)


class Code1(Base):
    def step(self, action: int) -> Any:
        os._exit(1)


class Wandering(Base):
    """It looks for its files elsewhere."""

    def __init__(self) -> None:
        os.chdir(os.sep)


class WanderingAndFailing(Wandering):
    def step(self, action: int) -> Any:
        raise ValueError("nothing here")


class WrongShape(Base):
    def see(self) -> Any:
        return np.zeros(1, np.float32)  # which NumPy would write into any shape


class WrongDtype(Base):
    observation_space = Box(0, 255, (8, 8, 3), np.uint8)

    def see(self) -> Any:
        return np.full((8, 8, 3), 0.5)  # all of it 0 as uint8


class Words(Base):
    def see(self) -> Any:
        return np.array(["left", "right"])


class UnknownState(Base):
    observation_space = Discrete(3)

    def see(self) -> Any:
        return -1


class MoreActions(Base):
    def step(self, action: int) -> Any:
        self.action_space = Discrete(3)
        return super().step(action)


class FailsInReset(Base):
    def reset(self, **_: Any) -> Any:
        raise RuntimeError("no\n  level")


class FailsInStep(Base):
    def step(self, action: int) -> Any:
        raise KeyError("door")


class OldReset(Base):
    def reset(self, **_: Any) -> Any:
        return super().reset(**_)[0]


class OldStep(Base):
    def step(self, action: int) -> Any:
        return super().step(action)[:4]


class NoReward(Base):
    def step(self, action: int) -> Any:
        seen, _, *rest = super().step(action)
        return seen, None, *rest


class Endless(Base):
    def step(self, action: int) -> Any:
        while True:
            time.sleep(1)


class Leak(Base):
    kept: list[bytearray] = []  # noqa: RUF012

    def step(self, action: int) -> Any:
        if self.steps == 0:
            self.kept.append(bytearray(b"x" * 20_000))
        return super().step(action)


class OddReward(Base):
    """The reward of each game's fourth step is infinite."""

    def step(self, action: int) -> Any:
        seen, reward, *rest = super().step(action)
        return seen, float("inf") if self.steps == 4 else reward, *rest


class NeverFinite(Base):
    def step(self, action: int) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float("nan"), *rest


class SeldomFinite(Base):
    """The rewards of five games of six are not numbers."""

    games = 0

    def reset(self, **options: Any) -> Any:
        self.games += 1
        return super().reset(**options)

    def step(self, action: int) -> Any:
        seen, reward, *rest = super().step(action)
        return seen, reward if self.games % 6 == 0 else float("nan"), *rest


class OddObservation(Base):
    """What is seen after each game's fourth step is not a number."""

    steps = 0

    def see(self) -> Any:
        return np.full(2, np.nan) if self.steps == 4 else super().see()


class Unlike(Base):
    """The second one made, and each after it, has another number of actions."""

    made = itertools.count()

    def __init__(self) -> None:
        self.action_space = Discrete(2 + min(1, next(self.made)))


class Own:
    """With the interface of this project, and no reward."""

    spec = EnvSpec("own", (2,), "float32", ("a", "b"))

    def reset(self, observation: np.ndarray) -> None:
        observation[:] = 0

    def step(self, action: int, observation: np.ndarray) -> Any:
        observation[:] = 0
        return Outcome(None, 1.0, False)  # type: ignore[arg-type]


class OwnWrongShape(Own):
    def step(self, action: int, observation: np.ndarray) -> Any:
        observation[:] = np.zeros(3)


class OwnBadSpec(Own):
    spec = EnvSpec("own", (2, 0), "float64", ())
