"""Functions of the user's own, named ``package.module:function``."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from async_rl.types import UserError


def is_function_name(name: str) -> bool:
    """Whether ``name`` has the form ``package.module:function``."""
    return ":" in name and name.rpartition(":")[2].isidentifier()


def code_named(*names: str) -> list[str]:
    """Those of ``names`` (of environments, networks) that say which module to import: what has a colon.

    >>> code_named("pong", "my_games.maze:make", "my_package:Maze-v0")
    ['my_games.maze:make', 'my_package:Maze-v0']

    Importing a module runs its code. So a name typed by the user is followed, and one that was read from a file, which
    somebody else may have written, only where the user has said that the file is to be trusted.
    """
    return [name for name in names if ":" in name]


def import_function(name: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names; modules of the working directory are found, too.

    Raises:
        UserError: no such module or function, or importing it failed.
    """
    module_name, _, function_name = name.rpartition(":")
    add_working_directory()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(
                f"no module {module_name!r} for {name!r} in the Python path; start this in the folder that has "
                "it, or add that folder to PYTHONPATH."
            ) from None
        raise UserError(f"importing {module_name} needs the module {error.name!r}, which is missing.") from error
    except (Exception, SystemExit) as error:  # others' code
        raise UserError(f"importing {module_name} raised {one_line(error)}.") from error
    if not hasattr(module, function_name):
        near = difflib.get_close_matches(function_name, vars(module), n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        if module_name == "__main__":  # another one in every command
            hint = ": it was in the script that was started then; commands find it in a module of its own."
        raise UserError(f"the module {module_name} has no function {function_name!r}{hint}")
    if not callable(function := getattr(module, function_name)):
        raise UserError(f"{name} must be a function, got {type(function)}.")
    return function


def one_line(error: BaseException) -> str:
    """Class and text of an error in one line, without a full stop."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")


def add_working_directory() -> None:
    """Let modules of the working directory be imported, after those that are installed."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
