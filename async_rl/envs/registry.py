"""From the name of a game to an environment.

Emulator and Gymnasium are imported only where a name needs them: they cost a worker of a toy 0.2 seconds.
"""

import contextlib
import difflib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from async_rl.checking import flag
from async_rl.config import Config
from async_rl.envs.catch import Catch
from async_rl.envs.checked import Checked, check_spec
from async_rl.stopwatch import Stopwatch
from async_rl.types import Environment, EnvSpec, UserError
from async_rl.user_code import add_working_directory, import_function, is_function_name, one_line

if TYPE_CHECKING:
    import gymnasium

CLOSE_SECONDS = 5.0
"""Patience with an environment that is closed."""

ATARI_ONLY = ("sticky", "no_ops", "max_episode_frames")
"""Settings that would mean nothing to other games."""

MOST_READY = 64
"""Emulators made before the first worker is: some seconds and 320 MiB, for which nobody asked yet."""


def make_environment(
    config: Config, random: np.random.Generator, stopwatch: Stopwatch | None = None, render: bool = False
) -> Environment:
    """The environment that ``config.env`` names.

    Names are tried in this order: ``catch``; ``package.module:function``; an Atari game by its plain name or any of
    its Gymnasium ids; a Gymnasium id, with ``package:`` before it where a package has to be imported first.

    Args:
        config: its ``env`` and the fields of the Atari protocol.
        random: the generator of this stream's environment; all chance in it comes from here.
        stopwatch: told where the game itself ends and the making of an observation begins, if the environment knows.
        render: whether a Gymnasium environment is to draw itself, where it can.

    Raises:
        UserError: nothing of that name (the nearest are named), or it cannot be made or used.
    """
    game = atari_game(config)
    if game is not None:
        from async_rl.envs.atari import Atari

        return Atari(game, config, random, stopwatch)
    environment = _of_another_kind(config.env.strip(), random, render)
    for name in ATARI_ONLY:
        if config.changes(name):
            close(environment)
            raise UserError(f"{flag(name)} is for Atari games, and {environment.spec.name} is none.")
    return environment


def atari_game(config: Config) -> str | None:
    """Plain name of the Atari game that ``config.env`` names, None where it names something else."""
    name = config.env.strip()
    if name.lower() == Catch.spec.name or is_function_name(name):
        return None
    from async_rl.envs.atari import find_game

    return find_game(name)


def make_ready(config: Config) -> None:
    """Make what `make_environment` can use later in forks of this process: emulators for one worker's streams.

    Of more than `MOST_READY` streams the workers make the rest, once it is known that there is memory for them.
    """
    if game := atari_game(config):
        from async_rl.envs.atari import make_ready_emulators

        make_ready_emulators(game, config, min(config.envs_per_worker, MOST_READY))


def describe(config: Config) -> EnvSpec:
    """What `make_environment` makes of ``config``; see there for the errors.

    Some environments change the working directory; paths that a person has given mean the one before.
    """
    before = _working_directory()
    try:
        environment = make_environment(config, np.random.default_rng(config.seed))
        close(environment)
    finally:
        if before and _working_directory() != before:
            with contextlib.suppress(OSError):
                os.chdir(before)
    return environment.spec


def _working_directory() -> str | None:
    with contextlib.suppress(OSError):  # it may have been removed
        return os.getcwd()
    return None


def require_same(now: EnvSpec, then: EnvSpec, network: Path) -> None:
    """Raise UserError where an environment is another than the one that a network was trained on."""
    for name in ("observation_shape", "observation_dtype", "action_names"):
        if getattr(now, name) != getattr(then, name):
            raise UserError(
                f"{network} was trained on {then.name} with the {name} {getattr(then, name)}, the environment has "
                f"{getattr(now, name)} now; use it with the environment that it was trained on."
            )


def close(environment: Environment | None) -> None:
    """Release what an environment holds, if it has a way to do so; what it raises then harms nobody any more."""
    own = getattr(environment, "close", None)
    if callable(own):
        with contextlib.suppress(Exception, SystemExit):  # many end the program with their window
            own()


def close_or_leave(environment: Environment) -> None:
    """`close` it; where that takes more than `CLOSE_SECONDS`, end this process as if it had not."""
    late = threading.Timer(CLOSE_SECONDS, os._exit, (0,))
    late.daemon = True
    late.start()
    close(environment)
    late.cancel()


def _of_another_kind(name: str, random: np.random.Generator, render: bool) -> Environment:
    if name.lower() == Catch.spec.name:
        return Catch(random)
    return _from_function(name, random) if is_function_name(name) else _from_gymnasium(name, random, render)


def _from_gymnasium(name: str, random: np.random.Generator, render: bool) -> Environment:
    import gymnasium

    from async_rl.envs.gymnasium_adapter import make

    add_working_directory()
    try:
        environment = make(name, render)
    except gymnasium.error.UnregisteredEnv:
        near = _nearest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "try pong, CartPole-v1 or catch."
        raise UserError(f"unknown game {name!r}; {hint}") from None
    except (Exception, SystemExit) as error:  # made by others' code: anything may come
        raise UserError(f"Gymnasium cannot make {name}: {one_line(error)}.") from error
    return _adapted(environment, environment.spec.id if environment.spec else name, random)


def _nearest(name: str) -> list[str]:
    from async_rl.envs.atari import game_names, plain_name
    from async_rl.envs.gymnasium_adapter import registered_names

    known = {known.lower(): known for known in (*registered_names(), *game_names(), Catch.spec.name)}
    wanted = [plain_name(name), name.lower()]
    near = [match for want in wanted for match in difflib.get_close_matches(want, known, n=2)]
    return list(dict.fromkeys(known[match] for match in near))


def _from_function(name: str, random: np.random.Generator) -> Environment:
    try:
        made = import_function(name)()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # made by others' code: anything may come
        raise UserError(f"{name}() raised {one_line(error)}.") from error
    if isinstance(getattr(made, "spec", None), EnvSpec) and hasattr(made, "reset") and hasattr(made, "step"):
        check_spec(made.spec, name)
        return Checked(made)
    import gymnasium

    if isinstance(made, gymnasium.Env):
        return _adapted(made, name, random)
    raise UserError(f"{name}() must return a gymnasium.Env or an environment of async_rl.types, got {type(made)}.")


def _adapted(environment: "gymnasium.Env[Any, Any]", name: str, random: np.random.Generator) -> Environment:
    from async_rl.envs.gymnasium_adapter import GymnasiumEnvironment

    try:
        return Checked(GymnasiumEnvironment(environment, name, random))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # its spaces, or the names of its actions, are others' code, too
        raise UserError(f"{name} raised {one_line(error)} where its spaces and actions were looked at.") from error
