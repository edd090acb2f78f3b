"""``python -m launch.docs``: pages that describe the library, made of its docstrings."""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import async_rl
from async_rl.checking import reason
from async_rl.types import UserError
from launch import command


@dataclass(frozen=True)
class Options:
    """Write pages about the library as HTML, one a module, made of the docstrings; ``make docs`` runs this.

    Needs pdoc: pip install pdoc.
    """

    output: Path = Path("build/docs")
    """Folder to write into; begin with its index.html."""


def main() -> None:
    """Run the command; exits with 0 (done) or 2 (bad input)."""
    command.run(lambda: _write(command.read_arguments(Options, "launch.docs")))


def _write(options: Options) -> None:
    try:
        import pdoc
    except ImportError:
        raise UserError("the pages need pdoc: pip install pdoc.") from None
    names = ["async_rl", *(module.name for module in pkgutil.walk_packages(async_rl.__path__, "async_rl."))]
    for name in async_rl.__all__:
        setattr(async_rl, name, getattr(async_rl, name))  # pdoc asks for what is there, not for what would come
    for module in map(importlib.import_module, names):
        _list_modules(module)
    pdoc.render.configure(docformat="google")
    try:
        pdoc.pdoc("async_rl", output_directory=options.output)
    except OSError as error:
        raise UserError(f"cannot write into {options.output}: {reason(error)}.") from None
    print(f"written: {options.output / 'index.html'}")


def _list_modules(package: Any) -> None:
    """Name the modules of a package in its ``__all__``, if it has one: pdoc leads to no others then."""
    if hasattr(package, "__path__") and hasattr(package, "__all__"):
        package.__all__ = [*package.__all__, *(module.name for module in pkgutil.iter_modules(package.__path__))]


if __name__ == "__main__":
    main()
