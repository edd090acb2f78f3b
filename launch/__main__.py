"""``python -m launch``: which commands there are, told by the first lines of their modules."""

import ast
import re
import sys
from pathlib import Path

from async_rl.types import UserError
from launch import command


def main() -> None:
    """Print them; none is imported for it."""
    if words := [word for word in sys.argv[1:] if word not in ("-h", "--help")]:
        raise UserError(f"each command is a module, as in python -m launch.async; got python -m launch {words[0]}.")
    print("Each of these tells its options with --help:")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if told := re.match(rf"``(python -m launch\.{path.stem})``: (.+?)[.;](?=\s|$)", docstring):
            print(f"  {told[1]:<27}{told[2].replace('``', '')}")


if __name__ == "__main__":
    command.run(main)
