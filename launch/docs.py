"""The command line of the pages that describe the library, made of its docstrings."""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path

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
    names = [f"async_rl.{module.name}" for module in pkgutil.iter_modules(async_rl.__path__)]
    for name in names:
        importlib.import_module(name)
    for name in async_rl.__all__:
        setattr(async_rl, name, getattr(async_rl, name))  # pdoc asks for what is there, not for what would come
    pdoc.render.configure(docformat="google")
    try:
        pdoc.pdoc("async_rl", *names, output_directory=options.output)
    except OSError as error:
        raise UserError(f"cannot write into {options.output}: {reason(error)}.") from None
    print(f"written: {options.output / 'index.html'}")


if __name__ == "__main__":
    main()
