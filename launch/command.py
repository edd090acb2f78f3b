"""What the commands have in common: how they end, how bad input is told, and how a network is read."""

import dataclasses
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar, cast, get_args

import docstring_parser
import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from async_rl.checking import number, reason, shown_path, whole_number
from async_rl.cores import available_cores
from async_rl.types import UserError

if TYPE_CHECKING:
    from async_rl.agent import Agent
    from async_rl.export import SavedNetwork, Which

Options = TypeVar("Options")

PathOrNone = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
"""For a file or folder that need not be given; its docstring says what happens then."""


def _path(word: str) -> Path:
    """A path; an empty one, as of a variable that is not set, would be the current directory."""
    if not word:
        raise ValueError("expected a path, got nothing")
    return Path(word)


_READ: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("INT", whole_number),
    float: ("FLOAT", number),
    Path: ("PATH", _path),
}
"""How one word becomes a value of a type, or a ValueError that says what was expected, and how the help calls it."""


def _one_word(metavar: str, read: Callable[[str], Any], types: tuple[Any, ...]) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, types),
        str_from_instance=lambda value: [str(value)],
    )


NUMBER_OR_AUTO = _one_word("INT|auto", lambda word: available_cores() if word == "auto" else whole_number(word), (int,))
"""For a number of processes."""

_RULES = ConstructorRegistry()


@_RULES.primitive_rule
def _one_word_rule(type_info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """For the types of `_READ`, alone or with None, of all commands."""
    kinds = get_args(type_info.type) or (type_info.type,)
    optional = kinds[1:] == (NoneType,)
    if kinds[0] not in _READ or len(kinds) != 1 + optional:
        return None
    metavar, read = _READ[kinds[0]]
    if not optional or kinds[0] is Path:  # a file may be called None
        return _one_word(metavar, read, kinds)
    return _one_word(f"{{None}}|{metavar}", lambda word: None if word == "None" else read(word), kinds)


def read_arguments(
    options: type[Options], module: str, arguments: Sequence[str] | None = None, default: Options | None = None
) -> Options:
    """The options that a command line gives, by default this process's; ``--help`` and what is wrong end the process.

    The help of an option is its docstring without line breaks, which tyro would keep where lines are indented.

    Args:
        options: a dataclass.
        module: the command, as in ``python -m module``.
        arguments: the words after it.
        default: where the defaults are not those of ``options``.
    """
    described = [each for owner in options.__mro__[-2::-1] for each in docstring_parser.parse_from_object(owner).params]
    helps = {each.arg_name: " ".join((each.description or "").split()) for each in described}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        field.metadata = MappingProxyType({"help": helps.get(field.name)})
    with _RULES:
        read = tyro.cli(options, args=arguments, default=default, prog=f"python -m {module}")
    return cast(Options, read)


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process: 0 or what it returns, 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM, 1 if
    nobody reads the output any more, or the disk is full.

    What a person can mend (`UserError`) is one line on standard error, without a traceback.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  None where it is closed
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what has no character
    try:
        code = command() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    except OSError as error:
        _write_no_more(error)
        code = 1
    sys.exit(code)


def tell(line: str) -> None:
    """Print what is or was done; if nobody reads the output any more, or its disk is full, it is done all the same."""
    try:
        print(line, flush=True)
    except OSError as error:
        _write_no_more(error)


def _write_no_more(error: OSError) -> None:
    """Give up the output, of which Python would write what is left at its end; an ``error`` of other causes is raised.

    A full disk is told, but who has closed a pipe, such as head, has seen enough.
    """
    if error.errno not in (errno.EPIPE, errno.ENOSPC):
        raise error
    if error.errno == errno.ENOSPC:
        print(f"error: cannot write the output: {reason(error)}.", file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(number: int, frame: object) -> NoReturn:
    """End by the way of all ``finally`` blocks, which leave no half of a file and no process behind."""
    sys.exit(128 + number)


@dataclass(frozen=True, kw_only=True)
class OfNetwork:
    """Options of what is done with a trained network."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, checkpoint or exported network (.safetensors)."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Which checkpoint of a run directory."""
    trust_code: bool = False
    """Let the file name code of your own to import (package.module:function), as its environment or network."""

    def read_network(self) -> "SavedNetwork":
        """See `read_network`."""
        return read_network(self.run, self.checkpoint, self.trust_code)

    def agent(self) -> "Agent":
        """The network as something that plays, one screen after the other, which gains nothing by more threads."""
        import torch

        from async_rl.agent import Agent

        torch.set_num_threads(1)
        return Agent(self.read_network())


def check_run(run_or_file: Path) -> None:
    """Say at once, before torch is imported, that there is nothing at ``run_or_file``.

    Raises:
        UserError: so it is.
    """
    try:
        exists = run_or_file.exists()
    except (OSError, ValueError) as error:  # too long a name, a NUL in it
        raise UserError(f"cannot read {shown_path(run_or_file)}: {reason(error)}.") from None
    if not exists:
        raise UserError(f"there is no run or checkpoint at {run_or_file}.")


def read_network(run_or_file: Path, which: "Which" = "latest", trust_code: bool = False) -> "SavedNetwork":
    """See `async_rl.export.read_network`; damaged checkpoints that were passed over are told on standard error."""
    from async_rl.export import read_network  # torch takes seconds to import

    saved = read_network(run_or_file, which, trust_code)
    for sentence in saved.passed_over:
        print(sentence, file=sys.stderr)
    return saved
