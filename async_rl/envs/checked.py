"""What environments made by others must keep to, checked where a fault would otherwise show late or not at all."""

import math
from typing import Any

import numpy as np

from async_rl.checking import shown
from async_rl.types import Environment, EnvSpec, Outcome, UserError
from async_rl.user_code import one_line

_LARGEST = float(np.finfo(np.float32).max)


class Checked:
    """An environment whose errors name it, and whose numbers are looked at; all else is the environment's own.

    A reward, or an observation before or after a step, that is not finite makes the step's reward NaN: whatever
    gradient such a step is part of is dropped, and no replay memory gives it out. The checks take three microseconds
    a step.

    Args:
        environment: made by the user, or by another library.

    Attributes:
        spec: the environment's.
        odd_steps: steps so far with a number that is not finite.

    Raises:
        UserError: by `reset` and `step`, where the environment raises anything or gives what its ``spec`` rules out.
    """

    def __init__(self, environment: Environment) -> None:
        self.spec = environment.spec
        self.odd_steps = 0
        self._environment = environment
        self._may_be_odd = environment.spec.observation_dtype == "float32"  # whole numbers are always finite
        self._odd = False  # the last observation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    @property
    def on_frame(self) -> Any:
        """The environment's, if it has one: called after each frame within a step."""
        return self._environment.on_frame  # type: ignore[attr-defined]

    @on_frame.setter
    def on_frame(self, call: Any) -> None:
        """Hand it on."""
        self._environment.on_frame = call  # type: ignore[attr-defined]

    def reset(self, observation: np.ndarray) -> None:
        """See `async_rl.types.Environment`."""
        try:
            self._environment.reset(observation)
        except UserError:
            raise
        except Exception as error:  # others' code: anything may come
            raise UserError(f"{self.spec.name} raised {one_line(error)} in reset().") from error
        self._odd = self._may_be_odd and self._is_odd(observation)

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        """See `async_rl.types.Environment`."""
        try:
            outcome = self._environment.step(action, observation)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.spec.name} raised {one_line(error)} in step({action}).") from error
        outcome = self._valid(outcome)
        was_odd = self._odd
        self._odd = self._may_be_odd and self._is_odd(observation)
        if was_odd or self._odd or not abs(outcome.reward) <= _LARGEST:
            self.odd_steps += 1
            return outcome._replace(reward=np.nan)
        return outcome

    def _is_odd(self, observation: np.ndarray) -> bool:
        flat = observation.ravel()
        # The sum of squares is finite wherever all is sound and of usual size, and takes a quarter of the time.
        return not math.isfinite(np.dot(flat, flat)) and not np.isfinite(flat).all()

    def _valid(self, outcome: Any) -> Outcome:
        if type(outcome) is Outcome and type(outcome.reward) is float and outcome.discount in (0.0, 1.0):
            return outcome  # as almost always
        try:
            reward, discount, over = outcome
            checked = Outcome(float(reward), float(discount), bool(over))
        except (TypeError, ValueError, OverflowError):
            checked = None
        if checked is None or not 0 <= checked.discount <= 1:
            raise UserError(
                f"{self.spec.name} gave {shown(outcome)} in step(), expected an Outcome: a reward that is a number, a "
                "discount between 0 and 1, and whether the game is over."
            )
        return checked


def check_spec(spec: EnvSpec, name: str) -> None:
    """Raise UserError unless a network can be made for the ``spec`` of a user's environment."""
    shape, actions = spec.observation_shape, spec.action_names
    sound = (
        isinstance(spec.name, str)
        and isinstance(shape, tuple)
        and len(shape) > 0
        and all(type(size) is int and size > 0 for size in (*shape, spec.frames_per_step, spec.stack))
        and shape[-1] % spec.stack == 0
        and spec.observation_dtype in ("uint8", "float32")
        and isinstance(actions, tuple)
        and len(actions) > 0
        and all(type(action) is str for action in actions)
    )
    if not sound:
        raise UserError(
            f"{name}() has the spec {shown(spec)}, expected a name, a tuple of sizes above 0 as observation_shape, "
            "uint8 or float32 as observation_dtype, a tuple of one text for each action, a whole number of "
            "frames_per_step, and a stack that divides the last size."
        )
